//! `Complete` and `StreamComplete`, by the endpoint that every model server has.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use proto::{
    backend::v1::Endpoint,
    inference::v1::{
        ChatEvent, CompleteRequest, CompleteResponse, CompletionSpec, FinishReason, Finished, Sampling,
        Started, StreamCompleteResponse, TextDelta, Usage, chat_event::Event,
    },
    reason,
    spec::check_sampling,
    status_with,
};
use serde::{Deserialize, Serialize};
use service_runtime::BackendKind;
use tonic::{Code, Status};

use super::typed::{Asked, Counts, read, required};
use crate::{
    chat::broken,
    relay::{Relay, Relayed},
    streamed::Pieces,
};

const COMPLETIONS: (Endpoint, &str) = (Endpoint::OpenaiCompletions, "text_completion");

#[derive(Serialize)]
struct CompletionBody<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    suffix: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    sampling: SamplingBody<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    cache_salt: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Default, Serialize)]
struct SamplingBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logit_bias: Option<&'a HashMap<u32, f32>>,
}

#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
    finish_reason: Option<String>,
}

fn finish(reason: Option<&str>) -> FinishReason {
    if reason == Some("length") { FinishReason::Length } else { FinishReason::Stop }
}

/// What Ollama's endpoint of this name drops in silence.
fn only_elsewhere(kind: BackendKind, own: &Sampling) -> Result<(), Status> {
    let absent = [
        ("spec.sampling.top_k", own.top_k.is_some()),
        ("spec.sampling.min_p", own.min_p.is_some()),
        ("spec.sampling.logit_bias", !own.logit_bias.is_empty()),
    ];
    match absent.into_iter().find(|(_, asked)| *asked && kind == BackendKind::Ollama) {
        None => Ok(()),
        Some((field, _)) => {
            let message = format!("{field}: Ollama's completions have no such parameter; leave it out");
            let named = [("field", field)];
            Err(status_with(Code::Unimplemented, reason::UNSUPPORTED_BY_BACKEND, message, &named))
        }
    }
}

async fn completed<T>(
    asked: &Asked<T>,
    (relay, kind): (&Relay, BackendKind),
    spec: &CompletionSpec,
    stream: bool,
) -> Result<Relayed, Status> {
    required("spec.model", !spec.model.is_empty(), "is missing")?;
    required("spec.prompt", !spec.prompt.is_empty(), "is missing")?;
    if let Some(own) = &spec.sampling {
        check_sampling(own)?;
        only_elsewhere(kind, own)?;
    }
    let sampling = spec.sampling.as_ref().map_or_else(SamplingBody::default, |own| SamplingBody {
        temperature: own.temperature,
        top_p: own.top_p,
        top_k: own.top_k,
        min_p: own.min_p,
        presence_penalty: own.presence_penalty,
        frequency_penalty: own.frequency_penalty,
        seed: own.seed,
        max_tokens: own.max_tokens,
        stop: &own.stop,
        logit_bias: Some(&own.logit_bias).filter(|bias| !bias.is_empty()),
    });
    let body = CompletionBody {
        model: &spec.model,
        prompt: &spec.prompt,
        suffix: &spec.suffix,
        stream,
        stream_options: stream.then_some(StreamOptions { include_usage: true }),
        sampling,
        cache_salt: asked.caller.salt(),
    };
    asked.ask(relay, COMPLETIONS, &spec.model, stream, &body).await
}

pub(super) async fn complete(
    at: (&Relay, BackendKind),
    asked: Asked<CompleteRequest>,
) -> Result<CompleteResponse, Status> {
    let spec = asked.request.spec.clone().unwrap_or_default();
    let answer: Completion = read(completed(&asked, at, &spec, false).await?).await?;
    let choice = answer.choices.into_iter().next().ok_or_else(|| broken("it has no choice"))?;
    Ok(CompleteResponse {
        request_id: asked.request_id.as_str().to_owned(),
        model: answer.model.unwrap_or(spec.model),
        finish_reason: finish(choice.finish_reason.as_deref()).into(),
        text: choice.text,
        usage: answer.usage.map(Usage::from),
    })
}

/// Events of a completion, as those of a chat.
pub(super) async fn stream_complete<T>(
    at: (&Relay, BackendKind),
    asked: Asked<T>,
    spec: CompletionSpec,
) -> Result<BoxStream<'static, Result<StreamCompleteResponse, Status>>, Status> {
    let answer = completed(&asked, at, &spec, true).await?;
    let started = Started { request_id: asked.request_id.as_str().to_owned(), model: spec.model };
    let events = Events { answer: Some(answer), finish: FinishReason::Stop, usage: None };
    let rest = stream::try_unfold(events, |mut events| async move {
        Ok::<_, Status>(events.next().await?.map(|batch| (batch, events)))
    });
    let first = stream::iter([Ok(vec![Event::Started(started)])]);
    let mut sequence = 0;
    let numbered = first.chain(rest).flat_map(move |batch| {
        let responses: Vec<_> = match batch {
            Ok(events) => events.into_iter().map(|event| Ok(response(event, &mut sequence))).collect(),
            Err(status) => vec![Err(status)],
        };
        stream::iter(responses)
    });
    Ok(numbered.boxed())
}

fn response(event: Event, sequence: &mut u64) -> StreamCompleteResponse {
    let event = ChatEvent { sequence: *sequence, choice: 0, event: Some(event) };
    *sequence += 1;
    StreamCompleteResponse { event: Some(event) }
}

struct Events {
    /// None once the end is told.
    answer: Option<Relayed>,
    finish: FinishReason,
    usage: Option<Usage>,
}

impl Events {
    /// What the next piece of the answer, which is whole events, tells; `None` after the end.
    async fn next(&mut self) -> Result<Option<Vec<Event>>, Status> {
        let Some(answer) = &mut self.answer else { return Ok(None) };
        let Some(piece) = answer.next().await? else {
            self.answer = None;
            let finished = Event::Finished(Finished { reason: self.finish.into() });
            return Ok(Some([Some(finished), self.usage.map(Event::Usage)].into_iter().flatten().collect()));
        };
        self.read(&piece).map(Some)
    }

    fn read(&mut self, piece: &Bytes) -> Result<Vec<Event>, Status> {
        let text = str::from_utf8(piece).map_err(|_| broken("it is not UTF-8"))?;
        let data = text.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        let mut events = Vec::new();
        for data in data.filter(|data| *data != "[DONE]") {
            let chunk: Completion = serde_json::from_str(data)
                .map_err(|_| broken("an event has not the form of its endpoint"))?;
            self.usage = chunk.usage.map(Usage::from).or(self.usage);
            for choice in chunk.choices {
                if let Some(reason) = &choice.finish_reason {
                    self.finish = finish(Some(reason));
                }
                if !choice.text.is_empty() {
                    events.push(Event::Text(TextDelta { text: choice.text }));
                }
            }
        }
        Ok(events)
    }
}
