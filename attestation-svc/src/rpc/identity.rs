//! `IdentityService`: from a proven key to an SVID, and evidence that its issuer may be believed.

use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use health_token::{B64Url, Confirmation, Jwk};
use mtls::{CertificateRequest, Role, serial_of};
use proto::attestation::v1::identity_service_server::IdentityService;
use proto::attestation::v1::{
    EnrollRequest, EnrollResponse, ListenerKey, WatchBundleRequest, WatchBundleResponse,
};
use proto::reason;
use rustls_pki_types::CertificateDer;
use service_runtime::CancellationToken;
use snp_evidence::{Binder, Challenge, PUBLIC_LISTENER, Purpose};
use tonic::{Code, Request, Response, Status};
use tracing::{info, warn};

use crate::authority::Authority;
use crate::enrolment::{Holder, Session};
use crate::manifest::hash;
use crate::rpc::{Answers, internal, invalid, nonce, session, unavailable};

/// On an enrolment socket.
#[derive(Debug, Clone)]
pub(crate) struct Identities {
    pub(crate) authority: Arc<Authority>,
    pub(crate) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl IdentityService for Identities {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let session = session(&request)?;
        let enrolled = self.enrolment(&session, &request.into_inner()).await;
        if let Err(refused) = &enrolled {
            self.authority.audit.refused(session.identity.role, "Enroll", refused).await;
        }
        enrolled.map(Response::new)
    }

    type WatchBundleStream = Answers<WatchBundleResponse>;

    /// Another one whenever a CA comes or goes.
    async fn watch_bundle(
        &self,
        request: Request<WatchBundleRequest>,
    ) -> Result<Response<Self::WatchBundleStream>, Status> {
        let session = session(&request)?;
        session.holder()?;
        let start = (self.clone(), session.identity.changes(), None);
        let answers = stream::unfold(start, |(identities, mut changes, told)| async move {
            loop {
                let now = identities.trust_bundle();
                if told.as_ref() != Some(&now) {
                    let answer = WatchBundleResponse { trust_bundle: now.clone() };
                    return Some((Ok(answer), (identities, changes, Some(now))));
                }
                changes.changed().await.ok()?;
            }
        });
        let lost = stream::once(session.lost()).map(Err);
        let answers = stream::select(answers, lost).take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(answers.boxed()))
    }
}

impl Identities {
    /// Nothing of it holds before it is recorded.
    async fn enrolment(&self, session: &Session, request: &EnrollRequest) -> Result<EnrollResponse, Status> {
        let role = session.identity.role;
        session.check_unit()?;
        self.check_config(&request.measured_config_sha256)?;
        let nonce = nonce(&request.nonce)?;
        let key = verified(&request.csr)?;
        let listeners = listeners(role, &key, &request.listeners)?;
        let authority = &self.authority;
        authority.vouching.check()?;
        let place = session.identity.take().await?;

        let id = authority.identity(role);
        let listed: Vec<_> =
            listeners.iter().map(|(name, key)| (name.clone(), key.spki_der().to_vec())).collect();
        let manifest = authority.manifests.set_listener_keys(&id, &listed);
        let binder = Binder::enrolment(key.spki_sha256(), &format!("enrol/{role}"));
        let challenge = Challenge { purpose: Purpose::Peer, nonce, binder };
        let proof = authority.prove(&challenge, &manifest).await;
        let proof = proof
            .inspect_err(|error| warn!(%error, identity = %id, "no evidence for an enrolment"))
            .map_err(|error| unavailable(&error))?;

        let now = authority.clock.unix();
        let svid = authority.keys.ca().issue_svid(role, &key, now).map_err(internal)?;
        let listener_certificates = self.listener_certificates(&listeners, now)?;
        let confirmation = confirmation(&key, &svid)?;
        let attested = authority.attested(&proof, &manifest);
        let serial = hex::encode(serial_of(&svid).map_err(internal)?);
        let recorded = session.recorded(serial.clone(), manifest.manifest.version);
        authority.audit.enrolled(role, recorded).await?;
        authority.vouching.check()?;
        let holder = Holder { id: id.clone(), confirmation, attested, place };
        session.enrol(holder, authority.clock.boot(), serial, key.spki_sha256())?;
        info!(target: "audit", identity = %id, manifest = manifest.manifest.version, "enrolled");
        Ok(EnrollResponse {
            svid: der(&svid),
            listener_certificates,
            trust_bundle: self.trust_bundle(),
            evidence_bundle: proof.bundle.into(),
        })
    }

    /// A process can say here what it likes. It is an honest one, started with another file, that is told in time.
    fn check_config(&self, sha256: &[u8]) -> Result<(), Status> {
        if sha256 == self.authority.machine.measured_config_sha256 {
            return Ok(());
        }
        let message =
            "measured_config_sha256 is not the digest of the measured configuration that is in force here";
        Err(proto::status(Code::FailedPrecondition, reason::ENROLMENT_WRONG_CONFIG, message))
    }

    fn trust_bundle(&self) -> Vec<Bytes> {
        self.authority.keys.trust_bundle().iter().map(der).collect()
    }

    fn listener_certificates(
        &self,
        listeners: &[(String, CertificateRequest)],
        now: i64,
    ) -> Result<Vec<Bytes>, Status> {
        let (ca, public_names) = (self.authority.keys.ca(), &self.authority.public_names);
        let one = |(name, key): &(String, CertificateRequest)| {
            ca.issue_listener(name, public_names, key, now).map(|leaf| der(&leaf)).map_err(internal)
        };
        listeners.iter().map(one).collect()
    }
}

fn verified(csr: &Bytes) -> Result<CertificateRequest, Status> {
    CertificateRequest::verify(csr)
        .map_err(|error| proto::status(Code::InvalidArgument, reason::CSR_INVALID, error.to_string()))
}

/// Only the gateway terminates TLS for outsiders, on one listener, with a key of its own.
fn listeners(
    role: Role,
    svid_key: &CertificateRequest,
    asked: &[ListenerKey],
) -> Result<Vec<(String, CertificateRequest)>, Status> {
    match (role, asked) {
        (_, []) => Ok(vec![]),
        (Role::Gateway, [ListenerKey { listener, csr }]) if listener == PUBLIC_LISTENER => {
            let key = verified(csr)?;
            if key.spki_der() == svid_key.spki_der() {
                return Err(invalid("the listener's key is the service's own; make one for each"));
            }
            Ok(vec![(listener.clone(), key)])
        }
        _ => Err(invalid("listeners: only the gateway has one, gateway/public")),
    }
}

fn confirmation(key: &CertificateRequest, svid: &CertificateDer<'_>) -> Result<Confirmation, Status> {
    let jwk = Jwk::from_spki(key.spki_der()).ok_or_else(|| internal("a verified request is not P-256"))?;
    Ok(Confirmation { jwk, x5t_s256: B64Url(hash(&SHA256, svid)) })
}

fn der(certificate: &CertificateDer<'_>) -> Bytes {
    Bytes::copy_from_slice(certificate)
}
