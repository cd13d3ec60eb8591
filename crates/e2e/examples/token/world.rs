//! What the gate is measured on: a CVM in small, in this process.

use std::{sync::Arc, time::Duration};

use dev_stack::{Options, Service, Stack, new_root, prepare};
use futures_util::{StreamExt, stream::BoxStream};
use health_gate::{
    Gate, Holder, HolderConfig, ServingPermit,
    attach::{AttachedChannel, AttachedPermit, Attachments, PeerAttachment, require, serve_attach},
};
use mtls::Role;
use proto::backend::v1::{
    AttachRequest, AttachResponse, GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse,
    RelayRequest, RelayResponse,
    backend_service_client::BackendServiceClient,
    backend_service_server::{BackendService, BackendServiceServer},
};
use service_runtime::{
    BackendAddress, CancellationToken, ConnectionLimits, Incoming, MeasuredConfig, Observer, Server,
    SystemClock, TaskTracker,
};
use snp_evidence::{Policy, TrustRoots};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::Outcome;

/// For anything to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Two holders of one CVM, attached.
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) permit: ServingPermit,
    pub(crate) attached: AttachedPermit,
    /// The lease and the attachment last as long as these.
    _alive: (TempDir, Stack, Holder, Holder, BackendServiceClient<AttachedChannel>),
}

impl World {
    pub(crate) async fn start() -> Outcome<Self> {
        mtls::install_crypto_provider();
        let folder = tempfile::tempdir()?;
        let backend = BackendAddress::Unix("/nonexistent".into());
        let free = || std::net::TcpListener::bind("127.0.0.1:0")?.local_addr();
        let options =
            Options { attestation: free()?, ..Options::on([127, 0, 0, 1].into(), "openai", backend) };
        let mut stack = Stack::new(prepare(folder.path(), &options, &new_root(&SystemClock)?)?)?;
        stack.start(Service::Attestation)?;
        stack.wait_for(Service::Attestation, "can be enrolled", PATIENCE)?;
        let (gateway, adapter) = (hold(&stack, Role::Gateway).await?, hold(&stack, Role::Adapter).await?);

        let (captured, mut permits) = mpsc::channel(1);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let server = Server {
            router: Routes::new(BackendServiceServer::new(Capture(captured))).into_axum_router(),
            tls: Some(adapter.mutual_tls()),
            scope: Attachments::new(&adapter, Role::Gateway).scope(),
            limits: ConnectionLimits::default(),
            recycle: watch::channel(0).1,
            observer: Observer::default(),
        };
        tokio::spawn(server.serve(Incoming::Tcp(listener), CancellationToken::new()));
        let mut client =
            BackendServiceClient::new(AttachedChannel::connect(address, &gateway, Role::Adapter));
        client.list_models(ListModelsRequest::default()).await?;
        let attached = permits.recv().await.ok_or("no attachment")?;
        let (gate, permit) = (gateway.gate(), gateway.gate().permit()?);
        Ok(Self { gate, permit, attached, _alive: (folder, stack, gateway, adapter, client) })
    }
}

/// Holds an identity in this process, as a service would.
async fn hold(stack: &Stack, role: Role) -> Outcome<Holder> {
    let files = stack.files();
    let config = HolderConfig {
        role,
        run_dir: files.run_dir(),
        measured: MeasuredConfig::load(&files.measured())?,
        policy: Policy::parse(&std::fs::read(files.policy())?)?,
        roots: TrustRoots::simulated(&std::fs::read(files.root())?)?,
        listeners: vec![],
        callers: None,
        start_timeout: PATIENCE,
        drain: Duration::ZERO,
        clock: Arc::new(SystemClock),
    };
    Ok(health_gate::start(config, CancellationToken::new(), &TaskTracker::new()).await?)
}

/// An adapter that hands out the permit of its calls.
#[derive(Clone)]
struct Capture(mpsc::Sender<AttachedPermit>);

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl BackendService for Capture {
    type AttachStream = Answers<AttachResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let peer = request.extensions().get::<PeerAttachment>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("no attachment"))?;
        Ok(Response::new(serve_attach(&peer, request.into_inner()).boxed()))
    }

    type GenerateStream = Answers<GenerateResponse>;

    async fn generate(&self, _: Request<GenerateRequest>) -> Result<Response<Self::GenerateStream>, Status> {
        Err(Status::unimplemented("nothing is generated here"))
    }

    type RelayStream = Answers<RelayResponse>;

    async fn relay(&self, _: Request<RelayRequest>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented("nothing is passed on here"))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let permit = require(request.extensions())?;
        self.0.send(permit).await.map_err(|_| Status::internal("nobody measures"))?;
        Ok(Response::new(ListModelsResponse::default()))
    }
}
