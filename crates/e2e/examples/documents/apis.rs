//! `docs/apis.md`: what becomes of each HTTP path in front of each kind of model server.

use backend_adapter::{known_extensions, passed_on};
use inference_gateway::server;
use service_runtime::BackendKind;

use crate::row;

/// Paths that are translated where they are not passed on, and what shows it.
const TRANSLATED: &[&str] =
    &["/v1/chat/completions", "/api/chat", "/api/generate", "/api/embed", "/api/embeddings"];
/// Paths that the gateway answers from the list of models.
const FROM_MODELS: &[&str] = &["/v1/models", "/v1/models/{*model}", "/api/show", "/api/tags"];
const OWN: &[&str] = &["/", "/api/version"];
const REFUSED: &[&str] =
    &["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}"];

pub(crate) fn page() -> String {
    let paths = server::http_paths();
    let of_models = paths.iter().filter(|path| !path.contains("attestation") && **path != "/openapi.json");
    let line = |path: &&str| {
        let state = |kind| state(path, kind);
        row(&[&format!("`{path}`"), state(BackendKind::Openai), state(BackendKind::Ollama)])
    };
    std::iter::once(INTRODUCTION.to_owned())
        .chain(of_models.map(line))
        .chain([features(), NOTES.to_owned()])
        .collect()
}

/// What a chat over gRPC can ask for and only one kind has, and the extensions that are sent.
fn features() -> String {
    let extensions =
        |kind| known_extensions(kind).iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let (openai, ollama) = (extensions(BackendKind::Openai), extensions(BackendKind::Ollama));
    let head = row(&["chat over gRPC", "`openai`", "`ollama`"]) + &row(&["---", "---", "---"]);
    let refused = "`UNSUPPORTED_BY_BACKEND`";
    let only_openai = ["audio", "`n` above 1", "`logit_bias`", "`regex`, `grammar`", "a forced tool call"];
    let only_openai: String = only_openai.iter().map(|what| row(&[what, "works", refused])).collect();
    let both = row(&["images, tools, JSON schema, reasoning, `top_logprobs`", "works", "works"]);
    let extensions = row(&["`extensions`", &openai, &ollama]);
    format!("\n{head}{both}{only_openai}{extensions}{ABOUT_VLLM}")
}

const ABOUT_VLLM: &str = "
The constraints `regex` and `grammar`, recordings and the extensions are vLLM's forms; another server with OpenAI's interface
may not know them, and some drop what they do not know in silence. `backend-adapter/src/backend/tests` holds each line.
";

fn state(path: &str, kind: BackendKind) -> &'static str {
    // Ollama's own shim is the one place where a path exists and is not used.
    if passed_on(kind).any(|passed| passed == path) {
        "passed on"
    } else if REFUSED.contains(&path) {
        "403 `MODELS_ARE_FIXED`"
    } else if OWN.contains(&path) {
        "answered by the gateway"
    } else if path == "/api/ps" {
        "an empty list"
    } else if FROM_MODELS.contains(&path) {
        "from the list of models"
    } else if TRANSLATED.contains(&path) {
        "translated"
    } else {
        "501 `ENDPOINT_NOT_IN_BACKEND`"
    }
}

const INTRODUCTION: &str = "\
# Interfaces in front of each model server

This page is generated from the tables that gateway and adapter consult; `cargo xtask codegen` renews it. gRPC
(`cube.inference.v1`) serves both kinds: chats are translated, the other methods ask the endpoints of their names below
(`Complete` `/v1/completions`, `Embed` `/v1/embeddings`, `Rerank`, `Tokenize`, `Detokenize`). The paths of evidence are in
[spec/bundle.md](spec/bundle.md). All paths stand in `/openapi.json`, which the gateway serves.

| path | `backend.kind = \"openai\"` (vLLM, llama.cpp) | `backend.kind = \"ollama\"` |
|---|---|---|
";

const NOTES: &str = "
**Passed on**: the request goes to the model server's endpoint of that path, member by member in its exact text, and the answer
comes back byte for byte, in whole events or lines. Looked for on the way are errors, the end marker and token counts. What
the model server lacks, or has only for other models, is 501 `ENDPOINT_NOT_IN_BACKEND`; its own words in a refusal are
withheld, since they can repeat the prompt. Parameters that Cube does not know go on, and the header `cube-unrecognised`
names them; `unknown_parameters = \"refuse\"` refuses them. `cache_salt`, `request_id` and `kv_transfer_params` are not
for callers, and media come inside the request: remote addresses are refused. Usage is always asked for in streams, and
left out again where the caller has not asked for it.

**Translated**: the request is read strictly and asked in the model server's own dialect. What it cannot say is refused by
name; `keep_alive` of Ollama's clients is read over, and `cube-unrecognised` says so. Ollama's own `/v1/chat/completions` is
not used: it loses errors in mid-stream and forces sampling values. Its `/v1/embeddings` and `/v1/completions` are.

**Failures in mid-stream** end every stream so that official clients raise: an error in the dialect's own form, no end marker,
and then the body breaks off.

| shown by | what |
|---|---|
| `cargo xtask conformance openai-python`, `openai-node`, `ollama-python`, `ollama-js` | official clients, unchanged, with the CA of `cube trust`: models, chat, streams, JSON schema, tools, embeddings on llama.cpp with a real model and on both kinds of scripted server; a lapse in mid-stream raises |
| `cargo xtask conformance grpc-clients` | gRPC's own libraries for Python, Node and Go, with stubs that are made as README says: the same, refusals and deadlines by code and reason |
| `cargo xtask conformance vllm` | vLLM 0.32 itself, for processors, with models whose weights it draws: every dialect and gRPC, Responses, Messages, tokens, embeddings and rerank; a client that leaves stops it |
| `cargo xtask conformance ollama` | Ollama 0.17 itself with a real model: both dialects and gRPC; a client that leaves stops it |
| `cargo xtask conformance proxy` | OpenAI's and Ollama's client through `cube proxy` |
| `inference-gateway/tests/it/relay.rs`, `ollama.rs`, `openai.rs` | forms, refusals and failures of each path |
| `backend-adapter/src/relay/tests.rs`, `backend/tests.rs` | answers cut at every byte |

Not shown here: `/v1/audio/transcriptions` and audio parts on a real server, for want of such a model.
";
