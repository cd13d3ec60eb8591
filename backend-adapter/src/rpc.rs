//! `cube.backend.v1.BackendService`: each method takes the permit of its connection, or refuses.

use std::sync::Arc;

use futures_util::{StreamExt, stream::BoxStream};
use health_gate::attach::{AttachedPermit, PeerAttachment, require, serve_attach};
use proto::{
    backend::v1::{
        AttachRequest, AttachResponse, GenerateRequest, GenerateResponse, ListModelsRequest,
        ListModelsResponse, RelayRequest, RelayResponse, backend_service_server::BackendService,
    },
    reason,
};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::warn;

use crate::{error::BackendError, model_server::ModelServer, wire};

/// The methods, in front of one model server.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) server: Arc<ModelServer>,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl BackendService for Rpc {
    type AttachStream = Answers<AttachResponse>;
    type GenerateStream = Answers<GenerateResponse>;
    type RelayStream = Answers<RelayResponse>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let attachment = request.extensions().get::<PeerAttachment>().cloned();
        let attachment = attachment.ok_or_else(|| {
            proto::status(Code::Internal, reason::INTERNAL, "the connection has no attachment")
        })?;
        Ok(Response::new(Box::pin(serve_attach(&attachment, request.into_inner()))))
    }

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let permit = require(request.extensions())?;
        let request = request.into_inner();
        let call = wire::call(&self.server, &request)?;
        let events = self.server.clone().generate(call, permit.clone());
        let answers = events.map(move |event| match event {
            Ok(event) => Ok(GenerateResponse { event: Some(event) }),
            Err(error) => Err(refusal(error, &permit, &request.request_id)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn relay(&self, request: Request<RelayRequest>) -> Result<Response<Self::RelayStream>, Status> {
        let permit = require(request.extensions())?;
        let request = request.into_inner();
        let request_id = request.request_id.clone();
        let relayed = wire::relayed(&self.server, request)?;
        let parts = self.server.clone().relay(relayed, permit.clone());
        let answers = parts.map(move |part| match part {
            Ok(part) => Ok(RelayResponse { part: Some(part) }),
            Err(error) => Err(refusal(error, &permit, &request_id)),
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let permit = require(request.extensions())?;
        match self.server.models(permit.clone()).await {
            Ok(models) => Ok(Response::new(ListModelsResponse { models })),
            Err(error) => Err(refusal(error, &permit, "")),
        }
    }
}

/// The status of a failed request; a permit that is over says itself why.
fn refusal(error: BackendError, permit: &AttachedPermit, request_id: &str) -> Status {
    if error == BackendError::Lapsed
        && let Err(status) = permit.check()
    {
        return status;
    }
    warn!(request_id, %error, "no whole answer");
    error.into()
}
