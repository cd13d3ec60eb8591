//! Envoy's secret discovery: certificates of workloads, and whom to believe. Nothing is handed out while this machine is not
//! vouched for; a proxy then keeps what it has until that ends, ten minutes after it was issued at most.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use prost::Message;
use prost_types::Any;
use proto::envoy::secret::secret::Type;
use proto::envoy::secret::secret_discovery_service_server::SecretDiscoveryService;
use proto::envoy::secret::subject_alt_name_matcher::SanType;
use proto::envoy::secret::{
    CertificateValidationContext, DataSource, DiscoveryRequest, DiscoveryResponse, Secret, StringMatcher,
    SubjectAltNameMatcher, TlsCertificate,
};
use rustls_pki_types::CertificateDer;
use service_runtime::{CancellationToken, Connection};
use tokio::time::sleep;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use crate::authority::Authority;
use crate::ca::WORKLOAD_LIFE;
use crate::rpc::{Answers, internal, invalid};

/// As Envoy knows the message.
const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// As Istio and SPIRE name it.
const ROOT_CA: &str = "ROOTCA";
/// Names that one stream may ask for.
const MOST: usize = 64;
/// Between two looks at what time and rotation bring.
const LOOK: Duration = Duration::from_secs(1);

/// On `mesh.sock`.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    pub(crate) authority: Arc<Authority>,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl SecretDiscoveryService for Secrets {
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let pid = request.extensions().get::<Arc<Connection>>();
        let pid = pid.and_then(|connection| connection.unix_peer.as_ref()?.pid);
        let subscription = Subscription {
            authority: Arc::clone(&self.authority),
            requests: request.into_inner(),
            pid,
            names: Vec::new(),
            sent: None,
            version: 0,
        };
        let answers = stream::try_unfold(subscription, |mut subscription| async {
            Ok(subscription.next().await?.map(|answer| (answer, subscription)))
        });
        Ok(Response::new(answers.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }
}

/// One stream.
struct Subscription {
    authority: Arc<Authority>,
    requests: Streaming<DiscoveryRequest>,
    pid: Option<i32>,
    names: Vec<String>,
    /// What the last answer was made of; `None` where one is due.
    sent: Option<Basis>,
    version: u64,
}

/// Another answer is due once this differs.
#[derive(PartialEq, Eq)]
struct Basis {
    bundle: Vec<CertificateDer<'static>>,
    issued: i64,
}

impl Subscription {
    /// The next answer; `None` where the stream is over.
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        loop {
            if self.is_due() {
                return self.answer().await.map(Some);
            }
            tokio::select! {
                request = self.requests.message() => match request? {
                    Some(request) => self.take(request)?,
                    None => return Ok(None),
                },
                () = sleep(LOOK) => {}
            }
        }
    }

    fn take(&mut self, request: DiscoveryRequest) -> Result<(), Status> {
        if !request.type_url.is_empty() && request.type_url != SECRET {
            return Err(invalid(format!("type_url has to be {SECRET}")));
        }
        if request.resource_names.len() > MOST {
            return Err(invalid(format!("at most {MOST} names can be asked for on one stream")));
        }
        if let Some(why) = &request.error_detail {
            warn!(why = why.message, "a proxy did not take its secrets");
        }
        if request.resource_names != self.names {
            self.names = request.resource_names;
            self.sent = None;
        }
        Ok(())
    }

    /// Where the machine is vouched for, and something was asked for and has not been sent, has changed, or is half through
    /// its life.
    fn is_due(&self) -> bool {
        if self.names.is_empty() || self.authority.vouching.check().is_err() {
            return false;
        }
        let Some(sent) = &self.sent else { return true };
        let age = self.authority.clock.unix().saturating_sub(sent.issued);
        !(0..WORKLOAD_LIFE / 2).contains(&age) || sent.bundle != self.authority.keys.trust_bundle()
    }

    async fn answer(&mut self) -> Result<DiscoveryResponse, Status> {
        let first = self.version == 0;
        let (bundle, issued) = (self.authority.keys.trust_bundle(), self.authority.clock.unix());
        let mut resources = Vec::new();
        for name in &self.names {
            let secret = self.secret(name, &bundle, issued, first).await?;
            resources.push(Any { type_url: SECRET.to_owned(), value: secret.encode_to_vec() });
        }
        self.sent = Some(Basis { bundle, issued });
        self.version += 1;
        let version = self.version.to_string();
        Ok(DiscoveryResponse {
            version_info: version.clone(),
            resources,
            type_url: SECRET.to_owned(),
            nonce: version,
        })
    }

    async fn secret(
        &self,
        asked: &str,
        bundle: &[CertificateDer<'static>],
        now: i64,
        first: bool,
    ) -> Result<Secret, Status> {
        let ca = self.authority.keys.ca();
        if asked == ROOT_CA {
            let context = validation(bundle, ca.prefix());
            return Ok(Secret { name: asked.to_owned(), r#type: Some(Type::ValidationContext(context)) });
        }
        let workloads = &self.authority.workloads;
        let name = workloads.find(asked, &ca.prefix()).ok_or_else(|| no_such(asked))?;
        let issued = workloads.issue(name, &ca, now).map_err(internal)?.ok_or_else(|| no_such(asked))?;
        if first {
            self.authority.audit.record(vec![self.handed(name, issued.serial)]).await?;
            info!(target: "audit", workload = name, pid = self.pid, "a proxy was handed the certificate of a workload");
        }
        let certificate = TlsCertificate {
            certificate_chain: Some(inline(issued.certificate)),
            private_key: Some(inline(issued.key)),
        };
        Ok(Secret { name: asked.to_owned(), r#type: Some(Type::TlsCertificate(certificate)) })
    }

    fn handed(&self, name: &str, svid_serial: String) -> audit_log::Event {
        let manifest_version = self.authority.manifests.current().manifest.version;
        let identity = format!("workload/{name}");
        audit_log::Event::Enrolled { identity, pid: self.pid, svid_serial, manifest_version }
    }
}

/// The CAs of this boot, and nobody who is not of this instance.
fn validation(bundle: &[CertificateDer<'static>], prefix: String) -> CertificateValidationContext {
    let of_this_instance =
        SubjectAltNameMatcher { san_type: SanType::Uri.into(), matcher: Some(StringMatcher { prefix }) };
    CertificateValidationContext {
        trusted_ca: Some(inline(bundle.iter().map(|ca| mtls::pem(ca)).collect())),
        match_typed_subject_alt_names: vec![of_this_instance],
    }
}

fn inline(text: String) -> DataSource {
    DataSource { inline_bytes: text.into_bytes().into() }
}

fn no_such(name: &str) -> Status {
    invalid(format!(
        "{name:?} is no secret of this CVM: ask for {ROOT_CA}, or for a workload of mesh.workloads in the measured configuration"
    ))
}
