//! The gRPC methods, thin: what is asked, and what [`Chat`] answers, or one of the model server's own endpoints
//! ([`complete`], [`typed`]).

mod complete;
mod typed;

use futures_util::stream::{self, BoxStream};
use proto::{
    inference::v1::{
        ChatRequest, ChatResponse, ChatSpec, CompleteRequest, CompleteResponse, DetokenizeRequest,
        DetokenizeResponse, EmbedRequest, EmbedResponse, GetModelRequest, GetModelResponse,
        ListModelsRequest, ListModelsResponse, Model, RerankRequest, RerankResponse, StreamChatRequest,
        StreamChatResponse, StreamCompleteRequest, StreamCompleteResponse, TokenizeRequest, TokenizeResponse,
        inference_service_server::InferenceService, model_service_server::ModelService,
    },
    reason,
};
use service_runtime::BackendKind;
use tonic::{Code, Request, Response, Status};

use crate::{
    chat::{Answer, Chat},
    incoming::{caller, deadline, id, permit},
    relay::Relay,
    spec::ValidSpec,
    upstream::Call,
};
use typed::Asked;

/// Most models on one page, and how many where the caller does not say.
const MAX_PAGE: u32 = 100;

/// `cube.inference.v1.InferenceService`.
#[derive(Clone)]
pub(crate) struct Inference {
    pub(crate) chat: Chat,
    pub(crate) relay: Relay,
    pub(crate) kind: BackendKind,
}

#[tonic::async_trait]
impl InferenceService for Inference {
    async fn chat(&self, request: Request<ChatRequest>) -> Result<Response<ChatResponse>, Status> {
        let permit = permit(request.extensions())?.clone();
        let call = call(request, |request| request.spec)?;
        Ok(Response::new(self.chat.whole(&permit, call).await?))
    }

    type StreamChatStream = BoxStream<'static, Result<StreamChatResponse, Status>>;

    async fn stream_chat(
        &self,
        request: Request<StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        let permit = permit(request.extensions())?.clone();
        let call = call(request, |request| request.spec)?;
        let answer = self.chat.stream(&permit, call).await?;
        // In a box, which each event moves in and out of the stream.
        Ok(Response::new(Box::pin(stream::try_unfold(Box::new(answer), next))))
    }

    async fn complete(
        &self,
        request: Request<CompleteRequest>,
    ) -> Result<Response<CompleteResponse>, Status> {
        complete::complete((&self.relay, self.kind), Asked::of(request)?).await.map(Response::new)
    }

    type StreamCompleteStream = BoxStream<'static, Result<StreamCompleteResponse, Status>>;

    async fn stream_complete(
        &self,
        request: Request<StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        let mut asked = Asked::of(request)?;
        let spec = asked.request.spec.take().unwrap_or_default();
        complete::stream_complete((&self.relay, self.kind), asked, spec).await.map(Response::new)
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        typed::embed(&self.relay, Asked::of(request)?).await.map(Response::new)
    }

    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        typed::rerank(&self.relay, Asked::of(request)?).await.map(Response::new)
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        typed::tokenize(&self.relay, Asked::of(request)?).await.map(Response::new)
    }

    async fn detokenize(
        &self,
        request: Request<DetokenizeRequest>,
    ) -> Result<Response<DetokenizeResponse>, Status> {
        typed::detokenize(&self.relay, Asked::of(request)?).await.map(Response::new)
    }
}

async fn next(mut answer: Box<Answer>) -> Result<Option<(StreamChatResponse, Box<Answer>)>, Status> {
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

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        let deadline = deadline(request.metadata())?;
        let name = &request.get_ref().name;
        let bare = name.strip_prefix("models/").unwrap_or_default();
        caller(request.extensions())?.may_ask(bare)?;
        let models = self.0.models(permit(request.extensions())?, deadline).await?;
        let found = models.into_iter().find(|model| model.name == *name);
        let missing =
            || proto::status(Code::NotFound, reason::MODEL_NOT_FOUND, "the backend has no such model");
        Ok(Response::new(GetModelResponse { model: Some(found.ok_or_else(missing)?) }))
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
