//! gRPC on a verified connection.

use attested_client::AttestedChannel;
use e2e::conformance::Run;
use proto::inference::v1::{
    ChatRequest, ChatResponse, ChatSpec, CompleteRequest, CompletionSpec, ContentPart, DetokenizeRequest,
    EmbedRequest, ExtensionValue, FinishReason, RerankRequest, ResponseFormat, Sampling, StreamChatRequest,
    TokenizeRequest, chat_event::Event, content_part::Part, extension_value::Value,
    inference_service_client::InferenceServiceClient, response_format::Format,
};
use tonic::Status;

use crate::{
    process::Server,
    rig::{self, Rig},
};

type Client = InferenceServiceClient<AttestedChannel>;

const VLLM: Run = Run("vllm");
const OLLAMA: Run = Run("ollama");

/// A question with few words for an answer.
fn spec(model: &str) -> ChatSpec {
    let sampling =
        Sampling { temperature: Some(0.0), seed: Some(1), max_tokens: Some(8), ..Sampling::default() };
    ChatSpec { model: model.into(), sampling: Some(sampling), ..rig::spec("What is gravity?") }
}

/// The question, with a constraint on the answer.
fn constrained(format: Format) -> ChatSpec {
    ChatSpec { response_format: Some(ResponseFormat { format: Some(format) }), ..spec("tiny") }
}

fn extended(spec: ChatSpec, values: &[(&str, Value)]) -> ChatSpec {
    let value = |value: &Value| ExtensionValue { value: Some(value.clone()) };
    let extensions = values.iter().map(|(name, one)| ((*name).to_owned(), value(one))).collect();
    ChatSpec { extensions, ..spec }
}

async fn chat(client: &mut Client, spec: ChatSpec) -> Result<ChatResponse, Status> {
    client.chat(ChatRequest { spec: Some(spec) }).await.map(tonic::Response::into_inner)
}

fn text(answer: &ChatResponse) -> String {
    let parts = answer.message.iter().flat_map(|message| &message.content);
    parts
        .filter_map(|part| if let Some(Part::Text(text)) = &part.part { Some(text.as_str()) } else { None })
        .collect()
}

fn holds(met: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if met { Ok(()) } else { Err(format!("saw {seen:?}")) }
}

/// Whether the refusal has this reason.
fn refused<T: std::fmt::Debug>(seen: Result<T, Status>, reason: &str) -> Result<(), String> {
    let status = seen.map_err(|status| proto::reason_of(&status).unwrap_or_default());
    holds(status.as_ref().is_err_and(|seen| seen == reason), status)
}

pub(crate) async fn vllm(rig: &Rig) {
    let mut client = InferenceServiceClient::new(rig.channel().await);
    let client = &mut client;
    let mut two = ChatSpec { n: Some(2), top_logprobs: Some(1), ..spec("tiny") };
    two.sampling.as_mut().unwrap().temperature = Some(1.0);
    let answer = chat(client, two).await.unwrap();
    VLLM.case("grpc-two-answers", holds(answer.alternatives.len() == 1, &answer));
    let drawn = answer.logprobs.iter().all(|token| token.drawn.is_some() && token.top.len() == 1);
    VLLM.case("grpc-probabilities", holds(drawn && !answer.logprobs.is_empty(), &answer.logprobs));

    let regex = constrained(Format::Regex("[0-9]{3}".into()));
    let seen = text(&chat(client, regex).await.unwrap());
    VLLM.case("grpc-regex", holds(seen.len() == 3 && seen.bytes().all(|byte| byte.is_ascii_digit()), seen));
    let grammar = constrained(Format::Grammar("root ::= \"north\"".into()));
    let seen = text(&chat(client, grammar).await.unwrap());
    VLLM.case("grpc-grammar", holds(seen == "north", seen));

    let exact = [("ignore_eos", Value::Boolean(true)), ("min_tokens", Value::Integer(8))];
    let answer = chat(client, extended(spec("tiny"), &exact)).await.unwrap();
    let length = (answer.finish_reason(), answer.usage.unwrap().completion_tokens);
    VLLM.case("grpc-extensions", holds(length == (FinishReason::Length, 8), length));
    let wrong = extended(spec("tiny"), &[("min_tokens", Value::Text("secret".into()))]);
    VLLM.case("grpc-an-extension-of-the-wrong-kind", refused(chat(client, wrong).await, "BACKEND_REFUSED"));
    let unknown = extended(spec("tiny"), &[("guided_regex", Value::Text("a".into()))]);
    VLLM.case("grpc-an-unknown-extension", refused(chat(client, unknown).await, "UNSUPPORTED_BY_BACKEND"));
    tokens(client).await;
}

/// Tokens of a text and back, one of them preferred to all others, and a continuation.
async fn tokens(client: &mut Client) {
    let asked = TokenizeRequest { model: "tiny".into(), text: "a".into(), add_special_tokens: None };
    let tokens = client.tokenize(asked).await.unwrap().into_inner().tokens;
    let mut biased = spec("tiny");
    biased.sampling.as_mut().unwrap().logit_bias.insert(tokens[0], 100.0);
    let seen = text(&chat(client, biased).await.unwrap());
    VLLM.case("grpc-logit-bias", holds(seen == "aaaaaaaa", seen));
    let asked = DetokenizeRequest { model: "tiny".into(), tokens };
    let seen = client.detokenize(asked).await.unwrap().into_inner().text;
    VLLM.case("grpc-tokens-and-back", holds(seen == "a", seen));
    let completion =
        CompletionSpec { model: "tiny".into(), prompt: "Gravity".into(), ..CompletionSpec::default() };
    let answer = client.complete(CompleteRequest { spec: Some(completion) }).await.unwrap().into_inner();
    VLLM.case("grpc-complete", holds(answer.usage.is_some(), answer));
}

pub(crate) async fn vllm_pooling(rig: &Rig) {
    let mut client = InferenceServiceClient::new(rig.channel().await);
    let inputs = vec!["gravity".to_owned(), "light".to_owned()];
    let asked = EmbedRequest { model: "tiny".into(), inputs: inputs.clone(), dimensions: None };
    let found = client.embed(asked).await.unwrap().into_inner().embeddings;
    VLLM.case("grpc-embed", holds(found.len() == 2 && !found[0].values.is_empty(), found.len()));
    let asked =
        RerankRequest { model: "tiny".into(), query: "gravity".into(), documents: inputs, top_n: None };
    let found = client.rerank(asked).await.unwrap().into_inner().results;
    VLLM.case("grpc-rerank", holds(found.len() == 2, found));
    VLLM.case(
        "grpc-chat-of-another-model",
        refused(chat(&mut client, spec("tiny")).await, "ENDPOINT_NOT_IN_BACKEND"),
    );
}

pub(crate) async fn ollama(rig: &Rig, server: &Server) {
    const MODEL: &str = "smollm2:135m";
    let mut client = InferenceServiceClient::new(rig.channel().await);
    let client = &mut client;
    let asked = ChatSpec { top_logprobs: Some(1), ..spec(MODEL) };
    let answer = chat(client, extended(asked, &[("num_ctx", Value::Integer(512))])).await.unwrap();
    OLLAMA.case("grpc-chat", holds(text(&answer).to_lowercase().contains("gravity"), &answer));
    OLLAMA.case("grpc-probabilities", holds(answer.logprobs.len() == 8, answer.logprobs.len()));
    let two = ChatSpec { n: Some(2), ..spec(MODEL) };
    OLLAMA.case("grpc-two-answers", refused(chat(client, two).await, "UNSUPPORTED_BY_BACKEND"));
    let asked = TokenizeRequest { model: MODEL.into(), text: "a".into(), add_special_tokens: None };
    OLLAMA.case("grpc-tokenize", refused(client.tokenize(asked).await, "ENDPOINT_NOT_IN_BACKEND"));
    OLLAMA.case("grpc-leaving-in-mid-stream-stops-it", leaves(client, server).await);
}

/// Ollama logs a request at its end; by itself, this one would go on for minutes after our patience.
async fn leaves(client: &mut Client, server: &Server) -> Result<(), String> {
    let mut endless = spec("smollm2:135m");
    endless.messages[0].content[0] = ContentPart { part: Some(Part::Text("Tell a long story.".into())) };
    endless.sampling.as_mut().unwrap().max_tokens = Some(1_000_000);
    server.forget();
    let mut events =
        client.stream_chat(StreamChatRequest { spec: Some(endless) }).await.unwrap().into_inner();
    while !matches!(events.message().await.unwrap().unwrap().event.unwrap().event, Some(Event::Text(_))) {}
    drop(events);
    tokio::task::block_in_place(|| server.wait_for("/api/chat", rig::PATIENCE));
    Ok(())
}
