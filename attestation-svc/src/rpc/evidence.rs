//! `EvidenceService`: reports for the gateway's clients. Purpose, role and listener follow from the
//! caller's certificate and the manifest; the caller brings what it saw on its client's connection.

use std::sync::Arc;

use bytes::Bytes;
use mtls::{Role, SpiffeId, peer_of};
use proto::attestation::v1::evidence_service_server::EvidenceService;
use proto::attestation::v1::{
    Binding, CollectCachedEvidenceRequest, CollectCachedEvidenceResponse, CollectEvidenceRequest,
    CollectEvidenceResponse, CollectKeyManifestRequest, CollectKeyManifestResponse, EvidenceChallenge,
};
use proto::reason;
use service_runtime::Connection;
use snp_evidence::{Binder, Challenge, Purpose};
use tonic::{Code, Request, Response, Status};

use crate::authority::Authority;
use crate::batch::{Batches, Bundles};
use crate::enrolment;
use crate::manifest::Published;
use crate::refusals::Refusals;
use crate::rpc::{exactly_32, internal, invalid, nonce, unavailable};

/// Challenges of one call.
const MOST_TOGETHER: usize = 512;

/// On the mutual TLS listener.
#[derive(Debug, Clone)]
pub(crate) struct EvidenceRequests {
    pub(crate) authority: Arc<Authority>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) batches: Batches,
}

#[tonic::async_trait]
impl EvidenceService for EvidenceRequests {
    async fn collect_evidence(
        &self,
        request: Request<CollectEvidenceRequest>,
    ) -> Result<Response<CollectEvidenceResponse>, Status> {
        let caller = self.caller(&request)?;
        let challenges = request.into_inner().challenges;
        if !(1..=MOST_TOGETHER).contains(&challenges.len()) {
            return Err(invalid(format!("challenges: {}, need 1 to {MOST_TOGETHER}", challenges.len())));
        }
        let manifest = self.authority.manifests.current();
        let challenges = challenges.iter().map(|asked| challenge(asked, &caller, &manifest));
        let bundles = self.batches.bundles(&challenges.collect::<Result<Vec<_>, _>>()?).await;
        let Bundles { own, shared } =
            bundles.inspect_err(|error| self.refusals.log(error)).map_err(|error| unavailable(&error))?;
        Ok(Response::new(CollectEvidenceResponse { own, shared }))
    }

    async fn collect_cached_evidence(
        &self,
        request: Request<CollectCachedEvidenceRequest>,
    ) -> Result<Response<CollectCachedEvidenceResponse>, Status> {
        self.caller(&request)?;
        let (bundle, age) = self.authority.vouching.newest();
        Ok(Response::new(CollectCachedEvidenceResponse { bundle, age_seconds: age.as_secs() }))
    }

    async fn collect_key_manifest(
        &self,
        request: Request<CollectKeyManifestRequest>,
    ) -> Result<Response<CollectKeyManifestResponse>, Status> {
        self.caller(&request)?;
        let key_manifest = Bytes::copy_from_slice(&self.authority.manifests.current().bytes);
        Ok(Response::new(CollectKeyManifestResponse { key_manifest }))
    }
}

impl EvidenceRequests {
    /// Whose keys the request may speak of. That it is the gateway, the guard has seen to; but its
    /// certificate outlives a revocation.
    fn caller<T>(&self, request: &Request<T>) -> Result<SpiffeId, Status> {
        let revoked = self.authority.roster.borrow().standing(Role::Gateway).is_none_or(|it| it.revoked);
        if revoked {
            return Err(enrolment::revoked(Role::Gateway));
        }
        let connection = request.extensions().get::<Arc<Connection>>();
        let connection = connection.ok_or_else(|| internal("a request without connection"))?;
        peer_of(connection).map_err(internal)
    }
}

fn challenge(
    asked: &EvidenceChallenge,
    caller: &SpiffeId,
    manifest: &Published,
) -> Result<Challenge, Status> {
    let nonce = nonce(&asked.nonce)?;
    let leaf = exactly_32(&asked.leaf_spki_sha256).ok_or_else(unknown_key)?;
    let listener = manifest.listener_of(caller, &leaf).ok_or_else(unknown_key)?;
    let binder = binder(asked.binding(), &asked.exporter, leaf, listener)?;
    Ok(Challenge { purpose: Purpose::Fresh, nonce, binder })
}

fn binder(binding: Binding, exporter: &Bytes, leaf: [u8; 32], listener: &str) -> Result<Binder, Status> {
    let unsupported = |code, message| Err(proto::status(code, reason::BINDING_UNSUPPORTED, message));
    match (binding, exactly_32(exporter)) {
        (Binding::TlsExporter, Some(exporter)) => Ok(Binder::tls_exporter(leaf, exporter, listener)),
        (Binding::TlsSpki, None) if exporter.is_empty() => Ok(Binder::tls_spki(leaf, listener)),
        (Binding::TlsExporter | Binding::TlsSpki, _) => unsupported(
            Code::InvalidArgument,
            format!("exporter is {} bytes; need 32 for tls-exporter and none for tls-spki", exporter.len()),
        ),
        (Binding::Hpke, _) => unsupported(Code::Unimplemented, "binding hpke cannot be had yet".to_owned()),
        (Binding::Unspecified, _) => {
            unsupported(Code::InvalidArgument, "binding must be tls-exporter or tls-spki".to_owned())
        }
    }
}

fn unknown_key() -> Status {
    let message = "leaf_spki_sha256 is no TLS key of the caller in the key manifest; enrol it first";
    proto::status(Code::PermissionDenied, reason::LISTENER_KEY_UNKNOWN, message)
}
