//! Endpoints that are the model server's own: passed on where it has them, and refused by a clear 501 where not.

use axum::{
    Router,
    body::Body,
    extract::State,
    response::Response,
    routing::{MethodRouter, post},
};
use http::{Request, StatusCode, header};
use memchr::memmem;
use proto::{backend::v1::Endpoint, reason};

use super::{error::ApiError, require_json};
use crate::{
    dialect::Dialect,
    front::{Asked, Front, Route},
    relay::{Subject, request::Form},
    upstream::RelayCall,
};

/// The paths, as told of.
pub(crate) const PATHS: &[&str] = &[
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
    TRANSCRIPTIONS,
];
const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";

/// The routes.
pub(super) fn router() -> Router<Front> {
    Router::new()
        .route("/v1/completions", relayed(COMPLETIONS))
        .route("/v1/embeddings", relayed(EMBEDDINGS))
        .route("/v1/responses", relayed(RESPONSES))
        .route("/v1/messages", relayed(MESSAGES))
        .route("/v1/rerank", relayed(RERANK))
        .route("/tokenize", relayed(TOKENIZE))
        .route("/detokenize", relayed(DETOKENIZE))
        .route(TRANSCRIPTIONS, post(transcriptions))
}

fn relayed(route: Route) -> MethodRouter<Front> {
    post(async move |State(front): State<Front>, request: Request<Body>| {
        let answer = async {
            require_json(&request)?;
            front.pass_on(&route, &Asked::read(request).await?).await
        };
        answer.await.unwrap_or_else(|error| route.dialect.refusal(error))
    })
}

/// A file with form fields. It is passed on unread, but for how the answer is to come: nothing in it can have an effect but on
/// its own transcript.
async fn transcriptions(State(front): State<Front>, request: Request<Body>) -> Result<Response, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let content_type = content_type.filter(|kind| kind.starts_with("multipart/form-data;"));
    let Some(content_type) = content_type.map(str::to_owned) else {
        let message = "content-type must be multipart/form-data with a boundary";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason::INVALID_REQUEST, message));
    };
    let mut asked = Asked::read(request).await?;
    let body = std::mem::take(&mut asked.body);
    let streamed = asks_for_a_stream(&body);
    let call = RelayCall { content_type, streamed, ..asked.call(Endpoint::OpenaiTranscriptions, body) };
    // The model stands among the form's fields, which are not read.
    asked.caller.may_ask("")?;
    let subject = Subject { operation: "transcription", model: "", caller: &asked.caller };
    Ok(front.relay.ask(&asked.permit, call, subject).await?.respond(Dialect::OpenAi).await?)
}

/// Whether a field `stream` of the form says so. A file that holds the same bytes costs its sender an error at most.
fn asks_for_a_stream(form: &[u8]) -> bool {
    const FIELD: &[u8] = b"name=\"stream\"";
    const BLANK: &[u8] = b"\r\n\r\n";
    let Some(at) = memmem::find(form, FIELD) else { return false };
    let rest = form.get(at + FIELD.len()..).unwrap_or_default();
    let value = memmem::find(rest, BLANK).and_then(|at| rest.get(at + BLANK.len()..)).unwrap_or_default();
    let end = value.iter().position(|byte| *byte == b'\r').unwrap_or_default();
    value.get(..end).is_some_and(|value| value.eq_ignore_ascii_case(b"true") || value == b"1")
}

const fn form(known: &'static [&'static [&'static str]]) -> Form {
    Form { known, streams: false, generates: false, names_model: true }
}

const fn route(endpoint: Endpoint, operation: &'static str, form: Form) -> Route {
    Route { endpoint, dialect: Dialect::OpenAi, operation, form }
}

const SAMPLING: &[&str] = &[
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "n",
    "seed",
    "stop",
    "max_tokens",
    "user",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
];
/// Parameters of vLLM and llama.cpp beside OpenAI's.
const OF_SERVERS: &[&str] = &[
    "top_k",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_penalty",
    "repeat_last_n",
    "length_penalty",
    "min_tokens",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "bad_words",
    "allowed_token_ids",
    "prompt_logprobs",
    "truncate_prompt_tokens",
    "add_special_tokens",
    "structured_outputs",
    "grammar",
    "json_schema",
    "priority",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "cache_prompt",
    "id_slot",
    "samplers",
    "n_predict",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "dry_multiplier",
    "xtc_probability",
    "xtc_threshold",
    "timings_per_token",
    "response_fields",
];
const OF_CHAT: &[&str] = &[
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "top_logprobs",
    "max_completion_tokens",
    "chat_template_kwargs",
    "echo",
    "add_generation_prompt",
    "continue_final_message",
    "documents",
    "include_reasoning",
    "thinking_token_budget",
    "metadata",
    "store",
    "service_tier",
    "modalities",
    "prompt_cache_key",
    "safety_identifier",
    "verbosity",
    "reasoning_format",
];

pub(super) const CHAT: Route =
    route(Endpoint::OpenaiChat, "chat", Form { generates: true, ..form(&[SAMPLING, OF_SERVERS, OF_CHAT]) });
const COMPLETIONS: Route = route(
    Endpoint::OpenaiCompletions,
    "text_completion",
    Form {
        generates: true,
        ..form(&[SAMPLING, OF_SERVERS, &["prompt", "suffix", "best_of", "echo", "response_format"]])
    },
);
const EMBEDDINGS: Route = route(
    Endpoint::OpenaiEmbeddings,
    "embeddings",
    form(&[&[
        "model",
        "input",
        "messages",
        "dimensions",
        "encoding_format",
        "user",
        "truncate_prompt_tokens",
        "priority",
        "add_special_tokens",
        "embed_dtype",
        "endianness",
        "normalize",
    ]]),
);
const RESPONSES: Route = Route {
    dialect: Dialect::Responses,
    ..route(
        Endpoint::OpenaiResponses,
        "chat",
        form(&[
            SAMPLING,
            OF_SERVERS,
            OF_CHAT,
            &[
                "input",
                "instructions",
                "max_output_tokens",
                "max_tool_calls",
                "previous_response_id",
                "prompt",
                "reasoning",
                "text",
                "truncation",
                "background",
                "include",
                "conversation",
            ],
        ]),
    )
};
const MESSAGES: Route = Route {
    dialect: Dialect::Anthropic,
    ..route(
        Endpoint::AnthropicMessages,
        "chat",
        form(&[&[
            "model",
            "messages",
            "max_tokens",
            "metadata",
            "stop_sequences",
            "stream",
            "system",
            "temperature",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
            "thinking",
            "service_tier",
        ]]),
    )
};
const RERANK: Route = route(
    Endpoint::Rerank,
    "rerank",
    form(&[&[
        "model",
        "query",
        "documents",
        "top_n",
        "return_documents",
        "truncate_prompt_tokens",
        "priority",
    ]]),
);
const TOKENIZE: Route = route(
    Endpoint::Tokenize,
    "tokenize",
    Form {
        names_model: false,
        ..form(&[&[
            "model",
            "prompt",
            "messages",
            "content",
            "tools",
            "add_special_tokens",
            "add_generation_prompt",
            "continue_final_message",
            "return_token_strs",
            "with_pieces",
            "parse_special",
            "chat_template_kwargs",
        ]])
    },
);
const DETOKENIZE: Route =
    route(Endpoint::Detokenize, "detokenize", Form { names_model: false, ..form(&[&["model", "tokens"]]) });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_whether_its_answer_is_streamed() {
        let form = |value: &str| {
            format!("--x\r\ncontent-disposition: form-data; name=\"stream\"\r\n\r\n{value}\r\n--x--\r\n")
                .into_bytes()
        };
        assert!(
            asks_for_a_stream(&form("true"))
                && asks_for_a_stream(&form("True"))
                && asks_for_a_stream(&form("1"))
        );
        for other in [form("false"), form(""), form("truer"), b"name=\"stream\"".to_vec(), Vec::new()] {
            assert!(!asks_for_a_stream(&other));
        }
    }
}
