//! `cube chat` over a verified connection, and what it does where there is none.

use std::pin::Pin;

use futures_util::{Stream, stream};
use proto::inference::v1::{
    self as v1, ChatEvent, ChatRequest, ChatResponse, FinishReason, Finished, ListModelsRequest,
    ListModelsResponse, Started, StreamChatRequest, StreamChatResponse, TextDelta, chat_event::Event,
    content_part::Part, inference_service_server::InferenceService, model_service_server::ModelService,
};
use tonic::{Code, Request, Response, Status};

use crate::{
    gateway::{Behaviour, Gateway},
    tool::{Run, cube, cube_reading},
    world::world,
};

/// How the model behind the gateway answers; it repeats the prompt.
#[derive(Clone, Copy)]
pub(crate) enum Model {
    Speaks,
    /// Fails after the first words.
    Lapses,
    /// Ends without `finished`.
    BreaksOff,
}

type Events = Pin<Box<dyn Stream<Item = Result<StreamChatResponse, Status>> + Send>>;

#[tonic::async_trait]
impl InferenceService for Model {
    type StreamChatStream = Events;

    async fn chat(&self, _: Request<ChatRequest>) -> Result<Response<ChatResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn stream_chat(&self, request: Request<StreamChatRequest>) -> Result<Response<Events>, Status> {
        let spec = request.into_inner().spec.unwrap();
        assert_eq!(spec.model, "first:1b");
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Image(_) | Part::Audio(_) => panic!("no image was sent"),
        };
        let said = spec.messages.iter().map(|m| text(m.content[0].part.as_ref().unwrap()));
        let mut events = vec![Event::Started(Started::default())];
        events.extend(said.map(|text| Event::Text(TextDelta { text })));
        if matches!(self, Self::Speaks) {
            events.push(Event::Finished(Finished { reason: FinishReason::Stop.into() }));
        }
        let mut items: Vec<Result<_, Status>> =
            (0..).zip(events).map(|(n, event)| Ok(numbered(n, event))).collect();
        if matches!(self, Self::Lapses) {
            let lapsed = proto::reason::ATTESTATION_LAPSED;
            items.push(Err(proto::status(Code::Unavailable, lapsed, "the lease lapsed")));
        }
        Ok(Response::new(Box::pin(stream::iter(items))))
    }

    async fn complete(
        &self,
        _: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn embed(&self, _: Request<v1::EmbedRequest>) -> Result<Response<v1::EmbedResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn rerank(&self, _: Request<v1::RerankRequest>) -> Result<Response<v1::RerankResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn tokenize(
        &self,
        _: Request<v1::TokenizeRequest>,
    ) -> Result<Response<v1::TokenizeResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn detokenize(
        &self,
        _: Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    type StreamCompleteStream = stream::Empty<Result<v1::StreamCompleteResponse, Status>>;

    async fn stream_complete(
        &self,
        _: Request<v1::StreamCompleteRequest>,
    ) -> Result<Response<Self::StreamCompleteStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

fn numbered(sequence: u64, event: Event) -> StreamChatResponse {
    StreamChatResponse { event: Some(ChatEvent { sequence, choice: 0, event: Some(event) }) }
}

#[tonic::async_trait]
impl ModelService for Model {
    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let named = |name: &str| v1::Model { name: name.to_owned(), backend: 1 };
        let models = vec![named("models/first:1b"), named("models/second:8b")];
        Ok(Response::new(ListModelsResponse { models, next_page_token: String::new() }))
    }

    async fn get_model(
        &self,
        _: Request<v1::GetModelRequest>,
    ) -> Result<Response<v1::GetModelResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

async fn chat(model: Model, prompt: &str) -> Run {
    chat_with(&Gateway::start(Behaviour::Honest, model).await, &[prompt], "").await
}

/// With the simulator's root allowed.
async fn chat_with(gateway: &Gateway, more: &[&str], stdin: &str) -> Run {
    let (url, world) = (gateway.url(), world());
    let args = ["chat", &url, "--policy", world.policy_file(), "--allow-simulated", world.root_file()];
    cube_reading(&[&args, more].concat(), stdin).await
}

#[tokio::test]
async fn words_arrive_over_the_verified_connection() {
    let run = chat(Model::Speaks, "What is gravity?").await;
    assert_eq!((run.code, run.stdout.trim()), (0, "What is gravity?"), "{}", run.stderr);
    assert!(run.stderr.contains("SIMULATED HARDWARE"), "{}", run.stderr);
}

#[tokio::test]
async fn the_prompt_may_come_from_stdin_and_instructions_before_it() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let run = chat_with(&gateway, &["--system", "Be brief. "], "Why?").await;
    assert_eq!((run.code, run.stdout.trim()), (0, "Be brief. Why?"), "{}", run.stderr);
}

#[tokio::test]
async fn an_answer_that_fails_in_mid_stream_fails_the_command() {
    let run = chat(Model::Lapses, "words").await;
    assert_eq!((run.code, run.stdout.trim()), (1, "words"), "{}", run.stderr);
    assert!(run.stderr.contains("ATTESTATION_LAPSED"), "{}", run.stderr);
    let run = chat(Model::BreaksOff, "words").await;
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("broke off"), "{}", run.stderr);
}

#[tokio::test]
async fn no_prompt_leaves_where_the_evidence_is_refused() {
    let gateway = Gateway::behaving(Behaviour::OtherNonce).await;
    let run = chat_with(&gateway, &["secret"], "").await;
    assert_eq!((run.code, run.stdout.as_str()), (13, ""), "{}", run.stderr);
    let run = cube(&["chat", &gateway.url(), "--policy", world().policy_file(), "secret"]).await;
    assert_eq!((run.code, run.stdout.as_str()), (14, ""), "{}", run.stderr);
}
