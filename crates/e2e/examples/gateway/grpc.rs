//! A client with generated stubs on a connection that evidence has proven, which all its calls share.

use std::time::Instant;

use attested_client::AttestedChannel;
use proto::inference::v1::{
    ChatEvent, ChatRequest, ChatSpec, ContentPart, Message, Role, StreamChatRequest, StreamChatResponse,
    chat_event::Event, content_part::Part, inference_service_client::InferenceServiceClient,
};
use tonic::Streaming;

use crate::{
    Outcome,
    way::{since, whole},
};

/// One of those who share the connection.
pub(crate) struct Grpc {
    stub: InferenceServiceClient<AttestedChannel>,
    started: Instant,
}

impl Grpc {
    pub(crate) fn new(channel: AttestedChannel, started: Instant) -> Self {
        Self { stub: InferenceServiceClient::new(channel), started }
    }

    /// One answer that is not streamed, in microseconds.
    pub(crate) async fn unary(&mut self) -> Outcome<f64> {
        let begun = Instant::now();
        let answer = self.stub.chat(ChatRequest { spec: Some(spec()) }).await?.into_inner();
        if answer.message.is_none() { Err("an answer without a message".into()) } else { Ok(since(begun)) }
    }

    /// One stream to its proper end; anything else is an error. The delays of its pieces, in microseconds.
    pub(crate) async fn stream(&mut self) -> Outcome<Vec<f64>> {
        let (mut events, mut delays) = (self.begin().await?, Vec::new());
        while let Some(answer) = events.message().await? {
            if let Some(made) = made(answer.event.as_ref()) {
                delays.push(since(self.started) - made / 1e3);
            }
        }
        whole(delays)
    }

    /// A stream whose first piece has come.
    pub(crate) async fn idle(mut self) -> Outcome<Streaming<StreamChatResponse>> {
        let mut events = self.begin().await?;
        while let Some(answer) = events.message().await? {
            if made(answer.event.as_ref()).is_some() {
                return Ok(events);
            }
        }
        Err("a stream that ended before its first piece".into())
    }

    async fn begin(&mut self) -> Outcome<Streaming<StreamChatResponse>> {
        Ok(self.stub.stream_chat(StreamChatRequest { spec: Some(spec()) }).await?.into_inner())
    }
}

fn spec() -> ChatSpec {
    let part = ContentPart { part: Some(Part::Text("What is gravity?".to_owned())) };
    let message = Message { role: Role::User.into(), content: vec![part], ..Message::default() };
    ChatSpec { model: "bench".to_owned(), messages: vec![message], ..ChatSpec::default() }
}

/// When the text of `event` was made, in nanoseconds; `None` where it holds none.
fn made(event: Option<&ChatEvent>) -> Option<f64> {
    let Some(Event::Text(delta)) = &event?.event else { return None };
    delta.text.trim_end().parse().ok()
}
