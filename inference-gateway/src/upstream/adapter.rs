//! backend-adapter, over connections on which both sides hold the other's live token.

use futures_util::{StreamExt, TryStreamExt, future::ready};
use health_gate::{ServingPermit, attach::AttachedChannel};
use proto::{
    backend::v1::{
        GenerateRequest, GenerateResponse, ListModelsRequest, RelayRequest, RelayResponse,
        backend_service_client::BackendServiceClient, relay_response::Part,
    },
    inference::v1::{ChatEvent, Model},
    reason,
};
use tonic::Status;

use super::{Backend, Call, EventStream, PartStream, RelayCall, presentable};

/// The client of backend-adapter; a cheap handle.
#[derive(Clone)]
pub(crate) struct Adapter {
    client: BackendServiceClient<AttachedChannel>,
}

impl Adapter {
    /// Takes events of at most `frame` bytes.
    pub(crate) fn new(channel: AttachedChannel, frame: usize) -> Self {
        let client = BackendServiceClient::new(channel);
        Self { client: client.max_decoding_message_size(frame) }
    }
}

#[tonic::async_trait]
impl Backend for Adapter {
    async fn generate(&self, permit: &ServingPermit, call: Call) -> Result<EventStream, Status> {
        permit.check()?;
        let request_id = call.request_id.as_str().to_owned();
        let cache_salt = call.cache_salt().to_owned();
        let request = GenerateRequest { request_id, spec: Some(call.spec.into_inner()), cache_salt };
        let events = self.client.clone().generate(request).await.map_err(fit)?.into_inner();
        Ok(events.map_err(fit).and_then(|response| ready(event(response))).boxed())
    }

    async fn relay(&self, permit: &ServingPermit, call: RelayCall) -> Result<PartStream, Status> {
        permit.check()?;
        let request = RelayRequest {
            request_id: call.request_id.as_str().to_owned(),
            endpoint: call.endpoint.into(),
            content_type: call.content_type,
            body: call.body,
            strip_usage: call.strip_usage,
            streamed: call.streamed,
        };
        let parts = self.client.clone().relay(request).await.map_err(fit)?.into_inner();
        Ok(parts.map_err(fit).and_then(|response| ready(part(response))).boxed())
    }

    async fn models(&self, permit: &ServingPermit) -> Result<Vec<Model>, Status> {
        permit.check()?;
        let answer = self.client.clone().list_models(ListModelsRequest {}).await.map_err(fit)?;
        Ok(answer.into_inner().models)
    }
}

fn part(response: RelayResponse) -> Result<Part, Status> {
    response.part.ok_or_else(|| {
        let message = "the adapter sent an empty part";
        proto::status(tonic::Code::Internal, reason::BACKEND_PROTOCOL, message)
    })
}

fn event(response: GenerateResponse) -> Result<ChatEvent, Status> {
    response.event.ok_or_else(|| {
        let message = "the adapter sent an empty event";
        proto::status(tonic::Code::Internal, reason::BACKEND_PROTOCOL, message)
    })
}

fn fit(status: Status) -> Status {
    presentable(status, reason::ADAPTER_UNAVAILABLE, "the backend-adapter cannot be reached; retry later")
}
