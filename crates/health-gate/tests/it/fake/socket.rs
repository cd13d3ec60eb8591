//! One enrolment socket of the fake: what it answers, and when.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use mtls::{CertificateRequest, Role};
use proto::attestation::v1::{
    EnrollRequest, EnrollResponse, LeaseRequest, LeaseResponse, WatchBundleRequest, WatchBundleResponse,
    health_service_server::{HealthService, HealthServiceServer},
    identity_service_server::{IdentityService, IdentityServiceServer},
};
use service_runtime::{CancellationToken, ConnectionLimits, Incoming, Observer, Server, no_scope};
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};

use super::{Authority, Lie};

/// One enrolment socket.
#[derive(Clone)]
pub(super) struct Socket {
    role: Role,
    authority: Arc<Authority>,
    /// The key that was enrolled last.
    key: Arc<Mutex<Vec<u8>>>,
}

impl Socket {
    pub(super) fn new(role: Role, authority: Arc<Authority>) -> Self {
        Self { role, authority, key: Arc::default() }
    }

    pub(super) async fn serve(self, path: PathBuf, stop: CancellationToken) {
        let routes =
            Routes::new(IdentityServiceServer::new(self.clone())).add_service(HealthServiceServer::new(self));
        let server = Server {
            router: routes.into_axum_router(),
            tls: None,
            scope: no_scope(),
            limits: ConnectionLimits { drain: Duration::ZERO, ..ConnectionLimits::default() },
            recycle: watch::channel(0).1,
            observer: Observer::default(),
        };
        server.serve(Incoming::Unix(UnixListener::bind(path).unwrap()), stop).await;
    }
}

#[tonic::async_trait]
impl IdentityService for Socket {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let (authority, request) = (&self.authority, request.into_inner());
        if authority.tells(Lie::InUse) {
            authority.refused.send_modify(|count| *count += 1);
            return Err(proto::status(Code::AlreadyExists, proto::reason::IDENTITY_IN_USE, "held by pid 1"));
        }
        if authority.tells(Lie::RevokedAtEnrol) {
            authority.refused.send_modify(|count| *count += 1);
            return Err(withdrawn(proto::reason::IDENTITY_REVOKED));
        }
        let other = request.measured_config_sha256 != authority.measured_sha256.as_slice();
        if other || authority.tells(Lie::WrongConfig) {
            let reason = proto::reason::ENROLMENT_WRONG_CONFIG;
            return Err(proto::status(Code::FailedPrecondition, reason, "another measured config"));
        }
        let key = CertificateRequest::verify(&request.csr).unwrap();
        *self.key.lock().unwrap() = key.spki_der().to_vec();
        let listeners = request.listeners.into_iter();
        let listeners: Vec<_> = listeners
            .map(|asked| (asked.listener, CertificateRequest::verify(&asked.csr).unwrap()))
            .collect();
        let manifest = authority.manifest(&authority.identity(self.role), &listeners).to_bytes();
        let nonce = request.nonce.as_ref().try_into().unwrap();
        authority.enrolled.send_modify(|count| *count += 1);
        Ok(Response::new(EnrollResponse {
            svid: authority.svid(self.role, &key),
            listener_certificates: authority.listener_certificates(&listeners),
            trust_bundle: authority.trusted(),
            evidence_bundle: authority.evidence(nonce, &key, self.role, &manifest).into(),
        }))
    }

    type WatchBundleStream = stream::Pending<Result<WatchBundleResponse, Status>>;

    async fn watch_bundle(
        &self,
        _: Request<WatchBundleRequest>,
    ) -> Result<Response<Self::WatchBundleStream>, Status> {
        Ok(Response::new(stream::pending()))
    }
}

#[tonic::async_trait]
impl HealthService for Socket {
    type LeaseStream = Pin<Box<dyn Stream<Item = Result<LeaseResponse, Status>> + Send>>;

    async fn lease(
        &self,
        request: Request<Streaming<LeaseRequest>>,
    ) -> Result<Response<Self::LeaseStream>, Status> {
        let socket = self.clone();
        let mut hang_up = self.authority.hang_up.subscribe();
        let answers = request.into_inner().then(move |beat| {
            let socket = socket.clone();
            async move { Ok(socket.answer(&beat?).await) }
        });
        let (noticing, ending) = (self.clone(), self.authority.clone());
        let notices = WatchStream::from_changes(self.authority.notice.subscribe());
        let notices = notices.map(move |()| Ok(noticing.message(0, String::new())));
        let messages = stream::select(answers, notices).take_until(async move { hang_up.changed().await });
        let last = async move { Some(Err(withdrawn(ending.withdrawn()?))) };
        Ok(Response::new(messages.chain(stream::once(last).filter_map(std::future::ready)).boxed()))
    }
}

impl Socket {
    async fn answer(&self, beat: &LeaseRequest) -> LeaseResponse {
        let authority = &self.authority;
        authority.heard.send_modify(|heard| *heard += 1);
        authority.answers.acquire().await.unwrap().forget();
        let token =
            |nonce: &[u8]| authority.token(self.role, &self.key.lock().unwrap(), nonce.try_into().unwrap());
        let token = if beat.token_nonce.is_empty() { String::new() } else { token(&beat.token_nonce) };
        self.message(beat.sequence + u64::from(authority.tells(Lie::Sequence)), token)
    }

    fn message(&self, sequence: u64, health_token: String) -> LeaseResponse {
        let [epoch, min_epoch] =
            [&self.authority.epoch, &self.authority.min_epoch].map(|epoch| epoch.load(Ordering::SeqCst));
        let revocations = self.authority.revocations.lock().unwrap().clone();
        LeaseResponse { sequence, epoch, min_epoch, health_token, revocations }
    }
}

fn withdrawn(reason: &str) -> Status {
    let codes = proto::reason::Reason::named(reason).unwrap().codes;
    proto::status(*codes.first().unwrap(), reason, "withdrawn")
}
