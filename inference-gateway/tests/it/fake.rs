//! The services behind the gateway, scripted.

use std::{collections::VecDeque, sync::Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use health_gate::ServingPermit;
use inference_gateway::upstream::{Backend, Call, EventStream, Evidence, PartStream, RelayCall};
use proto::{
    attestation::v1::{CollectCachedEvidenceResponse, EvidenceChallenge},
    backend::v1::{RelayEnd, RelayForm, RelayHead, relay_response::Part},
    inference::v1::{
        ChatEvent, ChatSpec, FinishReason, Finished, Model, Started, TextDelta, Usage, chat_event::Event,
    },
    reason,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

/// One step of the adapter's stream.
pub(crate) type Step = Result<ChatEvent, Status>;

/// What a test says in the adapter's place. `closed()` resolves when the gateway let go.
pub(crate) type Script = mpsc::UnboundedSender<Step>;

/// One call that reached the adapter.
pub(crate) struct Seen {
    pub(crate) request_id: String,
    pub(crate) spec: ChatSpec,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cache_salt: String,
}

/// One step of a relayed answer.
pub(crate) type Piece = Result<Part, Status>;

#[derive(Default)]
pub(crate) struct Fake {
    relays: Mutex<VecDeque<mpsc::UnboundedReceiver<Piece>>>,
    pub(crate) relayed: Mutex<Vec<RelayCall>>,
    answers: Mutex<VecDeque<mpsc::UnboundedReceiver<Step>>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) collected: Mutex<Vec<EvidenceChallenge>>,
    /// While this is locked no report is made.
    pub(crate) device: tokio::sync::Mutex<()>,
    /// Whenever a report is asked for.
    pub(crate) asked: Notify,
}

impl Fake {
    /// The next call will be answered by what is sent here.
    pub(crate) fn next(&self) -> Script {
        let (script, answer) = mpsc::unbounded_channel();
        self.answers.lock().unwrap().push_back(answer);
        script
    }

    /// The next request that is passed on will be answered by what is sent here.
    pub(crate) fn next_relay(&self) -> mpsc::UnboundedSender<Piece> {
        let (script, answer) = mpsc::unbounded_channel();
        self.relays.lock().unwrap().push_back(answer);
        script
    }

    /// The next request that is passed on will be answered by exactly `pieces`.
    pub(crate) fn relay(&self, pieces: impl IntoIterator<Item = Piece>) {
        let script = self.next_relay();
        pieces.into_iter().for_each(|piece| script.send(piece).unwrap());
    }

    /// The next call will be answered by exactly `events`.
    pub(crate) fn answer(&self, events: impl IntoIterator<Item = Step>) {
        let script = self.next();
        events.into_iter().for_each(|event| script.send(event).unwrap());
    }
}

#[tonic::async_trait]
impl Backend for Fake {
    async fn generate(&self, _: &ServingPermit, call: Call) -> Result<EventStream, Status> {
        let request_id = call.request_id.as_str().to_owned();
        let (deadline, cache_salt) = (call.deadline, call.cache_salt().to_owned());
        let seen = Seen { request_id, spec: call.spec.into_inner(), deadline, cache_salt };
        self.seen.lock().unwrap().push(seen);
        let answer = self.answers.lock().unwrap().pop_front();
        let missing = || proto::status(Code::NotFound, reason::MODEL_NOT_FOUND, "no such model");
        Ok(UnboundedReceiverStream::new(answer.ok_or_else(missing)?).boxed())
    }

    async fn relay(&self, _: &ServingPermit, call: RelayCall) -> Result<PartStream, Status> {
        self.relayed.lock().unwrap().push(call);
        let answer = self.relays.lock().unwrap().pop_front();
        let missing =
            || proto::status(Code::Unimplemented, reason::ENDPOINT_NOT_IN_BACKEND, "no such endpoint");
        Ok(UnboundedReceiverStream::new(answer.ok_or_else(missing)?).boxed())
    }

    async fn models(&self, _: &ServingPermit) -> Result<Vec<Model>, Status> {
        let model = |name: &str| Model { name: format!("models/{name}"), backend: 2 };
        Ok(vec![model("smollm2"), model("org/large")])
    }
}

#[tonic::async_trait]
impl Evidence for Fake {
    async fn collect(&self, _: &ServingPermit, request: EvidenceChallenge) -> Result<Bytes, Status> {
        self.collected.lock().unwrap().push(request);
        self.asked.notify_one();
        let _device = self.device.lock().await;
        Ok(Bytes::from_static(b"{\"v\":1}"))
    }

    async fn cached(&self, _: &ServingPermit) -> Result<CollectCachedEvidenceResponse, Status> {
        Ok(CollectCachedEvidenceResponse { bundle: Bytes::from_static(b"{\"v\":1}"), age_seconds: 7 })
    }

    async fn key_manifest(&self, _: &ServingPermit) -> Result<Bytes, Status> {
        Ok(Bytes::from_static(b"manifest"))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a stream")]
pub(crate) fn event(sequence: u64, event: Event) -> Step {
    Ok(ChatEvent { sequence, choice: 0, event: Some(event) })
}

pub(crate) fn started(sequence: u64) -> Step {
    // The gateway puts its own identifier over whatever the adapter says.
    event(sequence, Event::Started(Started { request_id: "adapter's".into(), model: "smollm2".into() }))
}

pub(crate) fn text(sequence: u64, text: &str) -> Step {
    event(sequence, Event::Text(TextDelta { text: text.into() }))
}

pub(crate) fn finished(sequence: u64) -> Step {
    event(sequence, Event::Finished(Finished { reason: FinishReason::Stop.into() }))
}

pub(crate) fn usage(sequence: u64) -> Step {
    let usage = Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() };
    event(sequence, Event::Usage(usage))
}

/// "Hello, world." as a whole answer.
pub(crate) fn hello() -> [Step; 5] {
    [started(0), text(1, "Hello, "), text(2, "world."), finished(3), usage(4)]
}

pub(crate) fn failure() -> Step {
    Err(proto::status(Code::Internal, reason::BACKEND_FAILED, "the model server failed"))
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a stream")]
pub(crate) fn head(form: RelayForm) -> Piece {
    let content_type = match form {
        RelayForm::Events => "text/event-stream; charset=utf-8",
        RelayForm::Lines => "application/x-ndjson",
        RelayForm::Whole | RelayForm::Unspecified => "application/json",
    };
    Ok(Part::Head(RelayHead { form: form.into(), content_type: content_type.to_owned() }))
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a stream")]
pub(crate) fn piece(text: &str) -> Piece {
    Ok(Part::Body(Bytes::copy_from_slice(text.as_bytes())))
}

#[expect(clippy::unnecessary_wraps, reason = "a step of a stream")]
pub(crate) fn end() -> Piece {
    Ok(Part::End(RelayEnd {
        usage: Some(Usage { prompt_tokens: 3, completion_tokens: 2, ..Usage::default() }),
    }))
}
