//! The calling side: a few connections, each attached before it carries a request.

mod pool;

use std::{
    error::Error,
    fmt,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use mtls::{Role, SpiffeId, no_name, spki_of};
use proto::{
    backend::v1::{AttachRequest, AttachResponse, backend_service_client::BackendServiceClient},
    reason,
};
use rustls_pki_types::CertificateDer;
use service_runtime::{CancellationToken, propagate};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, body::Body};
use tower::Service;
use tracing::warn;

use self::pool::Pool;
use super::{AttachedPermit, Attachment};
use crate::{
    h2,
    holder::{Holder, Tokens},
    random::Backoff,
    term::reached,
    trust::Peer,
};

/// Connections that are kept, so 2,000 calls at once.
const CONNECTIONS: usize = 8;
/// For each of: TCP, TLS, `Attach`.
const CONNECT: Duration = Duration::from_secs(2);
/// Calls on one connection, fewer than the 256 streams that the peer admits: what is beyond would wait
/// inside the transport, unseen and without bound.
const CALLS: u32 = 250;
/// The own token is shown at least this often, so that the answer brings the peer's newest.
const RENEW: Duration = Duration::from_secs(20);
/// For requests on a connection that takes no new ones.
const DRAIN: Duration = Duration::from_hours(1);

/// Attached connections to one peer, as a tower service for generated clients. A cheap handle; the
/// connections end when the last one is dropped.
#[derive(Clone)]
pub struct AttachedChannel {
    pool: Arc<Pool>,
}

/// A place for one connection.
struct Slot {
    address: SocketAddr,
    holder: Holder,
    expect: Role,
    link: ArcSwapOption<Link>,
    state: Arc<watch::Sender<Option<Status>>>,
}

/// A connection that is attached.
#[derive(Clone)]
struct Link {
    connection: h2::Connection,
    permit: AttachedPermit,
    /// One for each call that may use the connection.
    places: Arc<Semaphore>,
}

impl Link {
    fn is_usable(&self) -> bool {
        !self.connection.is_closed() && self.permit.check().is_ok()
    }
}

impl AttachedChannel {
    /// Connects to the service of role `expect` at `address`, now and whenever connections are lost.
    pub fn connect(address: SocketAddr, holder: &Holder, expect: Role) -> Self {
        let state = Arc::new(watch::Sender::new(None));
        let given_up = CancellationToken::new();
        let slots: Vec<_> = (0..CONNECTIONS).map(|_| Slot::new(address, holder, expect, &state)).collect();
        for slot in &slots {
            let (slot, given_up) = (Arc::clone(slot), given_up.clone());
            holder.tracker().spawn(async move { given_up.run_until_cancelled(slot.keep()).await.is_some() });
        }
        let pool = Pool::new(slots, state.subscribe(), given_up.drop_guard());
        Self { pool: Arc::new(pool) }
    }
}

impl fmt::Debug for AttachedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.pool.live().len();
        f.debug_struct("AttachedChannel").field("live", &live).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for AttachedChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the future, or the answer's body, resets the HTTP/2 stream.
    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        propagate(request.headers_mut());
        let pool = Arc::clone(&self.pool);
        Box::pin(async move { pool.send(request).await })
    }
}

impl Slot {
    fn new(
        address: SocketAddr,
        holder: &Holder,
        expect: Role,
        state: &Arc<watch::Sender<Option<Status>>>,
    ) -> Arc<Self> {
        let (holder, link, state) = (holder.clone(), ArcSwapOption::empty(), Arc::clone(state));
        Arc::new(Self { address, holder, expect, link, state })
    }

    fn live(&self) -> Option<Link> {
        let link = self.link.load();
        link.as_deref().filter(|link| link.is_usable()).cloned()
    }

    /// Keeps a connection in this place for ever.
    async fn keep(&self) {
        let (mut backoff, mut said) = (Backoff::default(), String::new());
        loop {
            match Box::pin(self.attach()).await {
                Ok(attached) => {
                    said.clear();
                    let since = self.holder.clock().boot();
                    self.publish(Some(attached.link.clone()), None);
                    self.hold(attached).await;
                    backoff.reset_after(self.holder.clock().boot().saturating_sub(since));
                }
                Err(status) => {
                    let error = cause(&status);
                    if error != said {
                        warn!(address = %self.address, error, "not attached; trying again");
                        said = error;
                    }
                    self.publish(None, Some(status));
                }
            }
            sleep(backoff.next()).await;
        }
    }

    /// Renews until the connection is of no more use; requests under way on one that only takes no new
    /// ones go on.
    async fn hold(&self, mut attached: Attached) {
        let told_to_go = attached.link.connection.told_to_go();
        let retired = tokio::select! {
            status = attached.renew() => Err(status),
            () = told_to_go => Ok(()),
        };
        self.publish(None, retired.as_ref().err().cloned());
        match retired {
            Ok(()) => drop(self.holder.tracker().spawn(timeout(DRAIN, attached.drain()))),
            Err(status) => warn!(address = %self.address, error = status.message(), "attachment over"),
        }
    }

    fn publish(&self, link: Option<Link>, why: Option<Status>) {
        self.link.store(link.map(Arc::new));
        self.state.send_replace(why);
    }

    async fn attach(&self) -> Result<Attached, Status> {
        let mut open = self.holder.gate().watch();
        if open.wait_for(|open| *open).await.is_err() {
            return Err(unavailable());
        }
        let (stream, peer) = self.connect().await?;
        let opened = within(h2::Connection::open(stream, self.holder.tracker())).await?;
        let connection = opened.map_err(broken)?;
        let (tokens, mut own) = (mpsc::channel(1), self.holder.tokens());
        show(&tokens.0, &mut own)?;
        let mut client = BackendServiceClient::new(connection.clone());
        let first = async {
            let mut answers = client.attach(ReceiverStream::new(tokens.1)).await?.into_inner();
            let answer = answers.message().await?.ok_or_else(unavailable)?;
            Ok::<_, Status>((answers, answer))
        };
        let (answers, answer) = within(first).await??;
        let attachment = Attachment::new(&self.holder, &peer, &answer.health_token)?;
        let places = Arc::new(Semaphore::new(CALLS as usize));
        let link = Link { connection, permit: attachment.permit.clone(), places };
        let holder = self.holder.clone();
        Ok(Attached { link, attachment, peer, holder, own, tokens: tokens.0, answers })
    }

    async fn connect(&self) -> Result<(TlsStream<TcpStream>, Peer), Status> {
        let config = self.holder.material().client_config(self.expect).ok_or_else(unavailable)?;
        let stream = within(TcpStream::connect(self.address)).await?.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let connect = TlsConnector::from(config).connect(no_name(), stream);
        let stream = within(connect).await?.map_err(broken)?;
        let peer = peer(stream.get_ref().1.peer_certificates()).ok_or_else(unavailable)?;
        Ok((stream, peer))
    }
}

fn peer(chain: Option<&[CertificateDer<'_>]>) -> Option<Peer> {
    let leaf = chain?.first()?;
    Some(Peer { identity: SpiffeId::from_certificate(leaf).ok()?, spki: spki_of(leaf).ok()? })
}

/// A connection with its `Attach` stream.
struct Attached {
    link: Link,
    attachment: Attachment,
    peer: Peer,
    holder: Holder,
    own: Tokens,
    tokens: mpsc::Sender<AttachRequest>,
    answers: Streaming<AttachResponse>,
}

impl Attached {
    /// Renews both tokens until that fails.
    async fn renew(&mut self) -> Status {
        loop {
            if let Err(status) = self.step().await {
                return status;
            }
        }
    }

    async fn step(&mut self) -> Result<(), Status> {
        let clock = Arc::clone(self.holder.clock());
        tokio::select! {
            answer = self.answers.message() => {
                let answer = answer?.ok_or_else(unavailable)?;
                self.attachment.renew(&self.holder, &self.peer, &answer.health_token)
            }
            () = self.own.renewed() => show(&self.tokens, &mut self.own),
            () = reached(&*clock, clock.boot() + RENEW) => show(&self.tokens, &mut self.own),
            status = self.attachment.over() => Err(status),
        }
    }

    /// Goes on renewing until nobody uses the connection.
    async fn drain(mut self) {
        let places = Arc::clone(&self.link.places);
        tokio::select! {
            _ = places.acquire_many(CALLS) => {}
            _ = self.renew() => {}
        }
    }
}

fn show(tokens: &mpsc::Sender<AttachRequest>, own: &mut Tokens) -> Result<(), Status> {
    let request = AttachRequest { health_token: own.newest().to_string() };
    // The queue is full only where the transport has stood still since the last renewal.
    tokens.try_send(request).map_err(|_| unavailable())
}

async fn within<T>(step: impl Future<Output = T>) -> Result<T, Status> {
    timeout(CONNECT, step).await.map_err(broken)
}

fn unavailable() -> Status {
    proto::status(
        Code::Unavailable,
        reason::ADAPTER_UNAVAILABLE,
        "no attached connection to the adapter; retry",
    )
}

/// What callers are told; the transport's own words are for the log.
fn broken(error: impl Error + Send + Sync + 'static) -> Status {
    let message = "the connection to the adapter failed; retry";
    let mut status = proto::status(Code::Unavailable, reason::ADAPTER_UNAVAILABLE, message);
    status.set_source(Arc::new(error));
    status
}

fn cause(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), ToString::to_string)
}
