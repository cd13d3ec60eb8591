//! The methods whose work is an endpoint that every model server has in the same form: JSON out, JSON back.

use health_gate::ServingPermit;
use proto::{
    backend::v1::Endpoint,
    inference::v1::{
        DetokenizeRequest, DetokenizeResponse, EmbedRequest, EmbedResponse, Embedding, RerankRequest,
        RerankResponse, RerankResult, TokenizeRequest, TokenizeResponse, Usage,
    },
    reason,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::Instant;
use tonic::{Code, Request, Status};

use crate::{
    callers::Caller,
    chat::broken,
    incoming,
    relay::{Relay, Relayed, Subject},
    request_id::RequestId,
    upstream::RelayCall,
};

/// Most texts that one request may hold.
const MAX_TEXTS: usize = 2_048;

/// A request, and what the layers know of it.
pub(super) struct Asked<T> {
    pub(super) request: T,
    permit: ServingPermit,
    pub(super) caller: Caller,
    pub(super) request_id: RequestId,
    deadline: Option<Instant>,
}

impl<T> Asked<T> {
    pub(super) fn of(request: Request<T>) -> Result<Self, Status> {
        let deadline = incoming::deadline(request.metadata())?;
        let permit = incoming::permit(request.extensions())?.clone();
        let caller = incoming::caller(request.extensions())?.clone();
        let request_id = incoming::id(request.extensions())?;
        Ok(Self { request: request.into_inner(), permit, caller, request_id, deadline })
    }

    pub(super) async fn ask(
        &self,
        relay: &Relay,
        (endpoint, operation): (Endpoint, &'static str),
        model: &str,
        streamed: bool,
        body: &impl Serialize,
    ) -> Result<Relayed, Status> {
        self.caller.may_ask(model)?;
        let body = serde_json::to_vec(body)
            .map_err(|_| incoming::defect("the request cannot be written as JSON"))?;
        let call = RelayCall {
            request_id: self.request_id.clone(),
            endpoint,
            content_type: String::new(),
            body: body.into(),
            strip_usage: false,
            streamed,
            deadline: self.deadline,
        };
        relay.ask(&self.permit, call, Subject { operation, model, caller: &self.caller }).await
    }
}

/// The model server's answer, as far as it is asked for.
pub(super) async fn read<T: DeserializeOwned>(answer: Relayed) -> Result<T, Status> {
    serde_json::from_slice(&answer.whole().await?).map_err(|_| broken("it has not the form of its endpoint"))
}

#[derive(Deserialize)]
pub(super) struct Counts {
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        Self {
            prompt_tokens: counts.prompt_tokens.unwrap_or_default(),
            completion_tokens: counts.completion_tokens.unwrap_or_default(),
            estimated: counts.prompt_tokens.is_none(),
            ..Self::default()
        }
    }
}

pub(super) fn required(field: &'static str, holds: bool, what: &str) -> Result<(), Status> {
    if holds {
        return Ok(());
    }
    let metadata = [("field", field)];
    Err(proto::status_with(
        Code::InvalidArgument,
        reason::INVALID_REQUEST,
        format!("{field} {what}"),
        &metadata,
    ))
}

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Embeddings {
    model: Option<String>,
    data: Vec<Values>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Values {
    embedding: Vec<f32>,
}

pub(super) async fn embed(relay: &Relay, asked: Asked<EmbedRequest>) -> Result<EmbedResponse, Status> {
    let EmbedRequest { model, inputs, dimensions } = &asked.request;
    required("model", !model.is_empty(), "is missing")?;
    required("inputs", (1..=MAX_TEXTS).contains(&inputs.len()), "has to hold 1 to 2048 texts")?;
    let body = EmbedBody { model, input: inputs, encoding_format: "float", dimensions: *dimensions };
    let about = (Endpoint::OpenaiEmbeddings, "embeddings");
    let answer: Embeddings = read(asked.ask(relay, about, model, false, &body).await?).await?;
    if answer.data.len() != inputs.len() {
        return Err(broken("it has another number of embeddings than was asked for"));
    }
    Ok(EmbedResponse {
        request_id: asked.request_id.as_str().to_owned(),
        model: answer.model.unwrap_or_else(|| model.clone()),
        embeddings: answer.data.into_iter().map(|one| Embedding { values: one.embedding }).collect(),
        usage: answer.usage.map(Usage::from),
    })
}

#[derive(Serialize)]
struct RerankBody<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    top_n: Option<u32>,
}

#[derive(Deserialize)]
struct Ranking {
    results: Vec<Ranked>,
}

#[derive(Deserialize)]
struct Ranked {
    index: u32,
    relevance_score: f32,
}

pub(super) async fn rerank(relay: &Relay, asked: Asked<RerankRequest>) -> Result<RerankResponse, Status> {
    let RerankRequest { model, query, documents, top_n } = &asked.request;
    required("model", !model.is_empty(), "is missing")?;
    required("query", !query.is_empty(), "is missing")?;
    required("documents", (1..=MAX_TEXTS).contains(&documents.len()), "has to hold 1 to 2048 texts")?;
    let body = RerankBody { model, query, documents, top_n: *top_n };
    let answer: Ranking =
        read(asked.ask(relay, (Endpoint::Rerank, "rerank"), model, false, &body).await?).await?;
    let result = |one: Ranked| RerankResult { index: one.index, relevance_score: one.relevance_score };
    let results = answer.results.into_iter().map(result).collect();
    Ok(RerankResponse { request_id: asked.request_id.as_str().to_owned(), results })
}

/// vLLM's name of the text, and llama.cpp's.
#[derive(Serialize)]
struct TokenizeBody<'a> {
    model: &'a str,
    prompt: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_special_tokens: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_special: Option<bool>,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<u32>,
}

pub(super) async fn tokenize(
    relay: &Relay,
    asked: Asked<TokenizeRequest>,
) -> Result<TokenizeResponse, Status> {
    let TokenizeRequest { model, text, add_special_tokens } = &asked.request;
    required("model", !model.is_empty(), "is missing")?;
    let special = *add_special_tokens;
    let body = TokenizeBody {
        model,
        prompt: text,
        content: text,
        add_special_tokens: special,
        add_special: special,
    };
    let answer: Tokens =
        read(asked.ask(relay, (Endpoint::Tokenize, "tokenize"), model, false, &body).await?).await?;
    Ok(TokenizeResponse { tokens: answer.tokens })
}

#[derive(Serialize)]
struct DetokenizeBody<'a> {
    model: &'a str,
    tokens: &'a [u32],
}

#[derive(Deserialize)]
struct Text {
    prompt: Option<String>,
    content: Option<String>,
}

pub(super) async fn detokenize(
    relay: &Relay,
    asked: Asked<DetokenizeRequest>,
) -> Result<DetokenizeResponse, Status> {
    let DetokenizeRequest { model, tokens } = &asked.request;
    required("model", !model.is_empty(), "is missing")?;
    let body = DetokenizeBody { model, tokens };
    let about = (Endpoint::Detokenize, "detokenize");
    let answer: Text = read(asked.ask(relay, about, model, false, &body).await?).await?;
    let text = answer.prompt.or(answer.content).ok_or_else(|| broken("it has no text"))?;
    Ok(DetokenizeResponse { text })
}
