//! attestation-svc, over mutual TLS.

use bytes::Bytes;
use health_gate::ServingPermit;
use proto::{
    attestation::v1::{
        CollectEvidenceRequest, CollectKeyManifestRequest, evidence_service_client::EvidenceServiceClient,
    },
    reason,
};
use tonic::Status;

use super::{Evidence, mutual::MutualChannel, presentable};

/// The client of attestation-svc; a cheap handle.
#[derive(Clone)]
pub(crate) struct AttestationSvc {
    client: EvidenceServiceClient<MutualChannel>,
}

impl AttestationSvc {
    pub(crate) fn new(channel: MutualChannel) -> Self {
        Self { client: EvidenceServiceClient::new(channel) }
    }
}

#[tonic::async_trait]
impl Evidence for AttestationSvc {
    async fn collect(
        &self,
        permit: &ServingPermit,
        request: CollectEvidenceRequest,
    ) -> Result<Bytes, Status> {
        permit.check()?;
        let answer = self.client.clone().collect_evidence(request).await.map_err(fit)?;
        Ok(answer.into_inner().bundle)
    }

    async fn key_manifest(&self, permit: &ServingPermit) -> Result<Bytes, Status> {
        permit.check()?;
        let answer = self.client.clone().collect_key_manifest(CollectKeyManifestRequest {}).await;
        Ok(answer.map_err(fit)?.into_inner().key_manifest)
    }
}

fn fit(status: Status) -> Status {
    let message = "attestation-svc cannot be reached; retry later";
    presentable(status, reason::EVIDENCE_UNAVAILABLE, message)
}
