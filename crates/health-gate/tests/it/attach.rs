//! Gateway and adapter, each with its own lease, over real mutual TLS.

mod limits;
mod revoked;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt, stream};
use health_gate::{
    GateLayer, Holder,
    attach::{AttachedChannel, Attachments, PeerAttachment, require, serve_attach},
};
use http::Request as HttpRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mtls::{Role, no_name};
use proto::{
    backend::v1::{
        AttachRequest, AttachResponse, GenerateRequest, GenerateResponse, ListModelsRequest,
        ListModelsResponse, RelayRequest, RelayResponse,
        backend_service_client::BackendServiceClient,
        backend_service_server::{BackendService, BackendServiceServer},
    },
    reason_of,
};
use service_runtime::{CancellationToken, ConnectionLimits, Incoming, Observer, Server};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, body::Body, service::Routes};

use crate::{
    fake::Fake,
    world::{World, soon, until_open},
};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A backend whose streams say one thing and then wait.
#[derive(Clone)]
struct Backend {
    /// Streams that are open.
    open: Arc<watch::Sender<usize>>,
    /// `Attach` calls so far.
    attached: Arc<watch::Sender<usize>>,
    /// Tokens shown on them that were answered.
    answered: Arc<watch::Sender<usize>>,
}

struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

#[tonic::async_trait]
impl BackendService for Backend {
    type AttachStream = Answers<AttachResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        self.attached.send_modify(|count| *count += 1);
        let peer = request.extensions().get::<PeerAttachment>().unwrap().clone();
        let answered = Arc::clone(&self.answered);
        let answers = serve_attach(&peer, request.into_inner());
        Ok(Response::new(answers.inspect(move |_| answered.send_modify(|count| *count += 1)).boxed()))
    }

    type GenerateStream = Answers<GenerateResponse>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let permit = require(request.extensions())?;
        self.open.send_modify(|open| *open += 1);
        let open = Open(Arc::clone(&self.open));
        let events = stream::iter([Ok(GenerateResponse::default())]).chain(stream::pending());
        let events = events.map(move |event| {
            let _open = &open;
            event
        });
        Ok(Response::new(permit.guard(events).boxed()))
    }

    type RelayStream = Answers<RelayResponse>;
    async fn relay(&self, _: Request<RelayRequest>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented("nothing is passed on here"))
    }
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        require(request.extensions())?.check()?;
        Ok(Response::new(ListModelsResponse::default()))
    }
}

struct Pair {
    world: World,
    fake: Fake,
    gateway: Holder,
    adapter: Holder,
    address: SocketAddr,
    backend: Backend,
    stop: tokio_util::sync::DropGuard,
}

impl Pair {
    async fn start() -> Self {
        Self::with_limits(ConnectionLimits::default()).await
    }

    async fn with_limits(limits: ConnectionLimits) -> Self {
        let world = World::new();
        let fake = Fake::start(&world);
        let (gateway, adapter) = (world.hold(Role::Gateway).await, world.hold(Role::Adapter).await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let backend = Backend { open: Arc::default(), attached: Arc::default(), answered: Arc::default() };
        let routes = Routes::new(BackendServiceServer::new(backend.clone()));
        let server = Server {
            router: routes.into_axum_router().layer(GateLayer::new(adapter.gate(), |_| false)),
            tls: Some(adapter.mutual_tls()),
            scope: Attachments::new(&adapter, Role::Gateway).scope(),
            limits,
            recycle: watch::channel(0).1,
            observer: Observer::default(),
        };
        tokio::spawn(server.serve(Incoming::Tcp(listener), stop.clone()));
        Self { world, fake, gateway, adapter, address, backend, stop: stop.drop_guard() }
    }

    fn channel(&self) -> BackendServiceClient<AttachedChannel> {
        BackendServiceClient::new(AttachedChannel::connect(self.address, &self.gateway, Role::Adapter))
    }

    /// A connection with the SVID of `holder` and nothing else.
    async fn raw(&self, holder: &Holder) -> Raw {
        self.raw_taking(holder, 1 << 20).await
    }

    /// The same, where each stream may have so many bytes under way.
    async fn raw_taking(&self, holder: &Holder, window: u32) -> Raw {
        let config = holder.material().client_config(Role::Adapter).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = TlsConnector::from(config).connect(no_name(), stream).await.unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (send, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let mut send = send.clone();
            async move { send.send_request(request).await }
        });
        BackendServiceClient::with_origin(
            tower::util::BoxCloneService::new(service),
            "https://cvm.internal".parse().unwrap(),
        )
    }

    /// Lets `seconds` pass for both holders, one heartbeat each.
    async fn beat(&self, seconds: u64) {
        let heard = *self.fake.authority.heard.borrow();
        self.world.advance(seconds);
        self.fake.heard(heard + 2).await;
    }
}

type Raw = BackendServiceClient<
    tower::util::BoxCloneService<HttpRequest<Body>, http::Response<hyper::body::Incoming>, hyper::Error>,
>;

/// An `Attach` stream, open in both directions.
struct Attached {
    tokens: mpsc::Sender<AttachRequest>,
    answers: Streaming<AttachResponse>,
}

impl Attached {
    /// Shows another token; one that waits already is as good.
    fn renew(&self, token: &str) {
        drop(self.tokens.try_send(AttachRequest { health_token: token.to_owned() }));
    }
}

/// Shows one token on an `Attach` stream that stays open; the answer, or the refusal.
async fn show(client: &mut Raw, token: &str) -> Result<Attached, Status> {
    let (tokens, queue) = mpsc::channel(1);
    tokens.try_send(AttachRequest { health_token: token.to_owned() }).unwrap();
    let mut answers = soon(client.attach(ReceiverStream::new(queue))).await?.into_inner();
    soon(answers.message()).await?.unwrap();
    Ok(Attached { tokens, answers })
}

fn refusal<T>(answer: Result<T, Status>) -> (String, String) {
    let status = answer.err().expect("it was not refused");
    (reason_of(&status).unwrap_or_default(), status.message().to_owned())
}

fn empty<T: Default>() -> Request<T> {
    Request::new(T::default())
}

#[tokio::test]
async fn calls_pass_on_attached_connections() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    for _ in 0..4 {
        soon(client.list_models(empty())).await.unwrap();
    }
}

#[tokio::test]
async fn a_prompt_before_attach_is_refused() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    assert_eq!(refusal(soon(client.list_models(empty())).await).0, "PEER_NOT_ATTACHED");
    assert_eq!(refusal(soon(client.generate(empty())).await).0, "PEER_NOT_ATTACHED");
    let attached = show(&mut client, &pair.gateway.tokens().current()).await.unwrap();
    soon(client.list_models(empty())).await.unwrap();
    // The connection is attached as long as the stream is open, and no longer.
    drop(attached);
    let refused = async {
        while client.list_models(empty()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(refused).await;
}

#[tokio::test]
async fn another_connection_is_not_attached_by_it() {
    let pair = Pair::start().await;
    let (mut one, mut other) = (pair.raw(&pair.gateway).await, pair.raw(&pair.gateway).await);
    let _attached = show(&mut one, &pair.gateway.tokens().current()).await.unwrap();
    assert_eq!(refusal(soon(other.list_models(empty())).await).0, "PEER_NOT_ATTACHED");
}

#[tokio::test]
async fn another_role_is_refused() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.adapter).await;
    let refused = refusal(show(&mut client, &pair.adapter.tokens().current()).await);
    assert_eq!(refused.0, "PEER_NOT_ALLOWED");
    assert_eq!(refusal(soon(client.list_models(empty())).await).0, "PEER_NOT_ALLOWED");
}

#[tokio::test]
async fn a_token_of_another_holder_is_refused() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let refused = refusal(show(&mut client, &pair.adapter.tokens().current()).await);
    assert_eq!(refused.0, "PEER_TOKEN_REFUSED");
    assert!(refused.1.contains("another key"), "{refused:?}");
}

#[tokio::test]
async fn a_token_of_a_revoked_epoch_is_refused_and_what_it_attached_is_void() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let old = pair.gateway.tokens().current();
    let mut attached = show(&mut client, &old).await.unwrap();
    let mut renewed = [pair.gateway.tokens(), pair.adapter.tokens()];
    pair.fake.authority.void_before(2);
    pair.beat(5).await;
    pair.beat(1).await;
    for tokens in &mut renewed {
        soon(tokens.renewed()).await;
    }
    until_open(&pair.adapter.gate(), true).await;
    assert!(soon(attached.answers.message()).await.is_err());
    assert_eq!(refusal(soon(client.list_models(empty())).await).0, "PEER_NOT_ATTACHED");
    let refused = refusal(show(&mut client, &old).await);
    assert!(refused.1.contains("revoked epoch"), "{refused:?}");
    show(&mut client, &pair.gateway.tokens().current()).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_renew_is_cut_off_when_its_token_ends() {
    let pair = Pair::start().await;
    let mut client = pair.raw(&pair.gateway).await;
    let mut attached = show(&mut client, &pair.gateway.tokens().current()).await.unwrap();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap();
    tokio::time::pause();
    for _ in 0..18 {
        pair.beat(5).await;
    }
    assert!(pair.adapter.gate().is_open());
    assert_eq!(refusal(soon(answer.message()).await).0, "PEER_NOT_ATTACHED");
    assert_eq!(refusal(soon(attached.answers.message()).await).0, "PEER_NOT_ATTACHED");
}

#[tokio::test]
async fn renewal_keeps_a_stream_open_beyond_the_life_of_tokens() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap().unwrap();
    tokio::time::pause();
    for _ in 0..40 {
        pair.beat(5).await;
    }
    assert_eq!(*pair.backend.open.borrow(), 1);
    soon(client.list_models(empty())).await.unwrap();
}

#[tokio::test]
async fn a_lapse_cuts_the_stream_and_a_new_lease_attaches_anew() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap().unwrap();
    pair.fake.mute();
    pair.world.advance(15);
    assert_eq!(refusal(soon(answer.message()).await).0, "ATTESTATION_LAPSED");
    soon(pair.backend.open.subscribe().wait_for(|open| *open == 0)).await.unwrap();
    assert!(soon(client.list_models(empty())).await.is_err());
    pair.fake.answer(1000);
    until_open(&pair.gateway.gate(), true).await;
    until_open(&pair.adapter.gate(), true).await;
    soon(client.list_models(empty())).await.unwrap();
}

#[tokio::test]
async fn a_new_trust_epoch_attaches_anew() {
    let mut pair = Pair::start().await;
    let mut client = pair.channel();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap().unwrap();
    let mut epochs = [pair.gateway.epoch_changed(), pair.adapter.epoch_changed()];
    let fake = Fake::start(&pair.world);
    std::mem::replace(&mut pair.fake, fake).kill().await;
    for epoch in &mut epochs {
        soon(epoch.changed()).await.unwrap();
    }
    soon(answer.message()).await.unwrap_err();
    soon(client.list_models(empty())).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_stream() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    let answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap();
    soon(pair.backend.open.subscribe().wait_for(|open| *open == 1)).await.unwrap();
    drop(answer);
    soon(pair.backend.open.subscribe().wait_for(|open| *open == 0)).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_told_to_go_keeps_its_stream_and_gets_a_successor() {
    let pair =
        Pair::with_limits(ConnectionLimits { age: Duration::from_secs(1), ..ConnectionLimits::default() })
            .await;
    let mut client = pair.channel();
    let mut answer = soon(client.generate(empty::<GenerateRequest>())).await.unwrap().into_inner();
    soon(answer.message()).await.unwrap().unwrap();
    // Two connections, each replaced.
    soon(pair.backend.attached.subscribe().wait_for(|count| *count >= 4)).await.unwrap();
    soon(client.list_models(empty())).await.unwrap();
    assert_eq!(*pair.backend.open.borrow(), 1);
    assert!(answer.message().now_or_never().is_none(), "the stream was cut");
}

#[tokio::test]
async fn nobody_at_the_address_is_unavailable_in_bounded_time() {
    let pair = Pair::start().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let channel = AttachedChannel::connect(free, &pair.gateway, Role::Adapter);
    let refused = refusal(soon(BackendServiceClient::new(channel).list_models(empty())).await);
    assert_eq!(refused.0, "ADAPTER_UNAVAILABLE");
}

#[tokio::test]
async fn a_server_of_another_role_is_not_spoken_to() {
    let pair = Pair::start().await;
    let channel = AttachedChannel::connect(pair.address, &pair.gateway, Role::Attestation);
    let refused = refusal(soon(BackendServiceClient::new(channel).list_models(empty())).await);
    assert_eq!(refused.0, "ADAPTER_UNAVAILABLE");
}

#[tokio::test]
async fn the_tasks_end_with_the_last_handle() {
    let pair = Pair::start().await;
    let mut client = pair.channel();
    soon(client.list_models(empty())).await.unwrap();
    drop(client);
    let Pair { world, fake: _fake, gateway, adapter, stop, .. } = pair;
    drop((gateway, adapter, stop));
    world.tracker.close();
    soon(world.tracker.wait()).await;
}
