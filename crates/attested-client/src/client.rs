//! A client that outlives its connections, and uses none that is not verified.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tonic::body::Body;
use tower::Service;
use tracing::{info, warn};

use crate::{AttestedChannel, ChannelError, Error, Limits, ServerTrust, Target};

/// Between two verifications of one connection.
const VERIFY_EVERY: Duration = Duration::from_mins(10);
/// After one that brought no verdict.
const RETRY: Duration = Duration::from_secs(30);
/// A connection whose last verdict is older takes no more requests.
const LONGEST: Duration = Duration::from_mins(15);
/// Connections at most.
const CONNECTIONS: usize = 8;
/// Requests on one connection, fewer than the 256 streams that the gateway admits.
const REQUESTS: usize = 200;
/// For a place on one of them.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is demanded of every connection before a request goes out on it.
#[derive(Clone, Debug)]
pub struct Demands {
    /// The gateway.
    pub target: Target,
    /// What vouches for its name.
    pub trust: ServerTrust,
    /// How long dialling and a report may take.
    pub limits: Limits,
    /// Whose hardware is believed.
    pub roots: TrustRoots,
    /// What the machine and its software have to be.
    pub policy: Policy,
    /// The time to judge at.
    pub clock: fn() -> UnixTime,
}

/// A tower service for hyper requests and generated tonic clients over connections that are each verified before their
/// first request, every ten minutes again, and never once a verdict was refused. A cheap handle.
///
/// A gateway that rotates its keys, drains or restarts costs nothing but a new connection. One that stops being what
/// [`Demands`] ask for fails every request that is open, and every one after.
#[derive(Clone)]
pub struct AttestedClient {
    shared: Arc<Shared>,
}

struct Shared {
    demands: Demands,
    live: Mutex<Vec<Arc<Live>>>,
}

/// A request was not sent, or not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no verified connection, and so nothing was sent.
    #[error(transparent)]
    NotVerified(#[from] Error),
    /// Every connection is full. Retry.
    #[error("{CONNECTIONS} connections with {REQUESTS} requests each are open; retry")]
    Busy,
    /// The verified connection failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

impl AttestedClient {
    /// Nothing is dialled before it is needed.
    pub fn new(demands: Demands) -> Self {
        Self { shared: Arc::new(Shared { demands, live: Mutex::default() }) }
    }

    /// A connection that was just verified or is at hand: to see at the start whether there can be one.
    pub async fn connect(&self) -> Result<AttestedChannel, Error> {
        Ok(self.shared.usable().await?.channel.clone())
    }
}

impl Shared {
    /// The first connection that takes a request, or a new one.
    async fn place(&self) -> Result<(Arc<Live>, OwnedSemaphorePermit), ClientError> {
        for live in self.live.lock().await.iter().filter(|live| live.is_usable()) {
            if let Ok(place) = Arc::clone(&live.places).try_acquire_owned() {
                return Ok((Arc::clone(live), place));
            }
        }
        let live = self.usable().await?;
        let place = timeout(PATIENCE, Arc::clone(&live.places).acquire_owned()).await;
        Ok((live, place.ok().and_then(Result::ok).ok_or(ClientError::Busy)?))
    }

    /// Callers wait for one another, so that one connection is made for all of them.
    async fn usable(&self) -> Result<Arc<Live>, Error> {
        let mut all = self.live.lock().await;
        all.retain(|live| live.is_usable());
        let roomy = all.iter().find(|live| live.places.available_permits() > 0);
        let found = roomy.or_else(|| all.first().filter(|_| all.len() >= CONNECTIONS));
        if let Some(live) = found {
            return Ok(Arc::clone(live));
        }
        let live = Live::open(&self.demands).await?;
        all.push(Arc::clone(&live));
        Ok(live)
    }
}

/// A verified connection.
#[derive(Debug)]
struct Live {
    channel: AttestedChannel,
    places: Arc<Semaphore>,
    /// Takes no more requests: its last verdict is too old.
    stale: AtomicBool,
    keeper: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Live {
    async fn open(demands: &Demands) -> Result<Arc<Self>, Error> {
        let Demands { target, trust, limits, roots, policy, clock } = demands;
        let channel = AttestedChannel::connect(target, trust, *limits, roots, policy, clock()).await?;
        let places = Arc::new(Semaphore::new(REQUESTS));
        let live = Arc::new(Self { channel, places, stale: AtomicBool::new(false), keeper: None.into() });
        info!(%target, "connected to a verified gateway");
        let (kept, demands) = (Arc::downgrade(&live), demands.clone());
        let channel = live.channel.clone();
        let keeper = tokio::spawn(async move {
            let end = keep(channel, &demands).await;
            if let Some(live) = kept.upgrade() {
                live.stale.store(true, Ordering::Release);
            }
            warn!(target = %demands.target, why = %end, "the connection takes no more requests");
        });
        *live.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(keeper);
        Ok(live)
    }

    fn is_usable(&self) -> bool {
        !self.stale.load(Ordering::Acquire) && !self.channel.is_closed()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut().ok().and_then(Option::take) {
            keeper.abort();
        }
    }
}

/// Verifies the connection again and again; returns why it is of no more use. A refusal cuts it, with all that is open.
async fn keep(channel: AttestedChannel, demands: &Demands) -> String {
    let (mut verified, mut pause) = (Instant::now(), VERIFY_EVERY);
    loop {
        tokio::select! {
            () = sleep(pause) => {}
            () = channel.closed() => return "it ended".to_owned(),
        }
        match channel.verify_again(&demands.roots, &demands.policy, (demands.clock)()).await {
            Ok(()) => (verified, pause) = (Instant::now(), VERIFY_EVERY),
            Err(error @ (Error::NotTrusted(_) | Error::Protocol { .. })) => {
                channel.cut();
                return error.to_string();
            }
            Err(error) if verified.elapsed() + RETRY > LONGEST => return error.to_string(),
            Err(_) => pause = RETRY,
        }
    }
}

impl Service<Request<Body>> for AttestedClient {
    type Response = Response<Placed>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ClientError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the future, or the answer's body, cancels the request.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (live, place) = shared.place().await?;
            let answer = live.channel.clone().call(request).await?;
            Ok(answer.map(|body| Placed { body, _place: place, _live: live }))
        })
    }
}

/// The body of an answer, which keeps its place on the connection.
#[derive(Debug)]
pub struct Placed {
    body: Incoming,
    _place: OwnedSemaphorePermit,
    /// What is open is verified again, whether or not the client is still there.
    _live: Arc<Live>,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for AttestedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestedClient").field("target", &self.shared.demands.target).finish_non_exhaustive()
    }
}
