//! The gRPC methods, thin: what is asked, and what [`Chat`] answers.

use futures_util::stream::{self, BoxStream};
use proto::{
    inference::v1::{
        ChatRequest, ChatResponse, ChatSpec, ListModelsRequest, ListModelsResponse, Model, StreamChatRequest,
        StreamChatResponse, inference_service_server::InferenceService, model_service_server::ModelService,
    },
    reason,
};
use tonic::{Code, Request, Response, Status};

use crate::{
    chat::{Answer, Chat},
    incoming::{caller, deadline, id, permit},
    spec::ValidSpec,
    upstream::Call,
};

/// Most models on one page, and how many where the caller does not say.
const MAX_PAGE: u32 = 100;

/// `cube.inference.v1.InferenceService`.
#[derive(Clone)]
pub(crate) struct Inference(pub(crate) Chat);

#[tonic::async_trait]
impl InferenceService for Inference {
    async fn chat(&self, request: Request<ChatRequest>) -> Result<Response<ChatResponse>, Status> {
        let permit = permit(request.extensions())?.clone();
        let call = call(request, |request| request.spec)?;
        Ok(Response::new(self.0.whole(&permit, call).await?))
    }

    type StreamChatStream = BoxStream<'static, Result<StreamChatResponse, Status>>;

    async fn stream_chat(
        &self,
        request: Request<StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        let permit = permit(request.extensions())?.clone();
        let call = call(request, |request| request.spec)?;
        let answer = self.0.stream(&permit, call).await?;
        Ok(Response::new(Box::pin(stream::try_unfold(answer, next))))
    }
}

async fn next(mut answer: Answer) -> Result<Option<(StreamChatResponse, Answer)>, Status> {
    let event = answer.next().await?;
    Ok(event.map(|event| (StreamChatResponse { event: Some(event) }, answer)))
}

fn call<T>(request: Request<T>, spec: impl FnOnce(T) -> Option<ChatSpec>) -> Result<Call, Status> {
    let (deadline, request_id) = (deadline(request.metadata())?, id(request.extensions())?);
    let caller = caller(request.extensions())?.clone();
    let spec = ValidSpec::check(spec(request.into_inner()).unwrap_or_default())?;
    Call::of(&caller, request_id, spec, deadline)
}

/// `cube.inference.v1.ModelService`.
#[derive(Clone)]
pub(crate) struct Models(pub(crate) Chat);

#[tonic::async_trait]
impl ModelService for Models {
    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let from = page_start(&request.get_ref().page_token)?;
        let size = match request.get_ref().page_size {
            0 => MAX_PAGE,
            size => size.min(MAX_PAGE),
        };
        let deadline = deadline(request.metadata())?;
        let caller = caller(request.extensions())?;
        let mut models = self.0.models(permit(request.extensions())?, deadline).await?;
        models.retain(|model| caller.knows(model.name.trim_start_matches("models/")));
        Ok(Response::new(page(models, from, usize::try_from(size).unwrap_or(usize::MAX))))
    }
}

/// A page token is the place of its first model, in decimal.
fn page_start(token: &str) -> Result<usize, Status> {
    if token.is_empty() {
        return Ok(0);
    }
    token.parse().map_err(|_| {
        let message = "page_token must be a next_page_token of this method";
        let metadata = [("field", "page_token")];
        proto::status_with(Code::InvalidArgument, reason::INVALID_REQUEST, message, &metadata)
    })
}

fn page(models: Vec<Model>, from: usize, size: usize) -> ListModelsResponse {
    let end = from.saturating_add(size);
    let next_page_token = if end < models.len() { end.to_string() } else { String::new() };
    ListModelsResponse { models: models.into_iter().skip(from).take(size).collect(), next_page_token }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<Model> {
        (0..count).map(|at| Model { name: format!("models/{at}"), backend: 0 }).collect()
    }

    #[test]
    fn pages_follow_one_another() {
        let first = page(names(5), 0, 2);
        assert_eq!((first.models.len(), first.next_page_token.as_str()), (2, "2"));
        let last = page(names(5), page_start("4").unwrap(), 2);
        assert_eq!((last.models[0].name.as_str(), last.next_page_token.as_str()), ("models/4", ""));
        assert!(page(names(5), 9, usize::MAX).models.is_empty());
    }

    #[test]
    fn a_made_up_page_token_is_refused() {
        let status = page_start("x").unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}
