//! Clients: streams that stay open, and short requests one after the other.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use attested_client::AttestedChannel;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use proto::inference::v1::{
    ChatRequest, StreamChatRequest, chat_event::Event, inference_service_client::InferenceServiceClient,
};
use service_runtime::{Clock, SystemClock};
use tokio::time::timeout;
use tonic::body::Body;
use tower::Service;

use crate::{
    model_server::ENDLESS,
    rig::{Rig, spec},
};

/// For one short request.
const SHORT: Duration = Duration::from_secs(10);
const SSE: &str = r#"{"model":"fake","stream":true,"messages":[{"role":"user","content":"endless"}]}"#;

/// What was answered, and when it was asked for or made: on `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) begun: Duration,
    pub(crate) at: Duration,
}

/// What all clients of a phase saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) answered: Mutex<Vec<Answered>>,
    pub(crate) failures: Mutex<Vec<String>>,
    /// Streams that have brought a first piece.
    pub(crate) open: AtomicUsize,
    /// Streams that came to their proper end.
    pub(crate) whole: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

impl Seen {
    fn piece(&self, text: &str) {
        let made = text.trim().parse().map_or(Duration::ZERO, Duration::from_nanos);
        self.answered.lock().unwrap().push(Answered { begun: made, at: SystemClock.boot() });
    }

    /// Takes the outcome of a stream in.
    pub(crate) fn stream(&self, ended: Result<(), String>) {
        match ended {
            Ok(()) => drop(self.whole.fetch_add(1, Ordering::SeqCst)),
            Err(error) => self.failures.lock().unwrap().push(error),
        }
    }

    pub(crate) fn failed(&self) -> usize {
        self.failures.lock().unwrap().len()
    }
}

/// One gRPC stream to its end.
pub(crate) async fn grpc(channel: AttestedChannel, seen: &Seen) -> Result<(), String> {
    let request = StreamChatRequest { spec: Some(spec(ENDLESS)) };
    let told = |status: tonic::Status| {
        format!("gRPC stream: {} {}", proto::reason_or_code(&status), status.message())
    };
    let mut events =
        InferenceServiceClient::new(channel).stream_chat(request).await.map_err(told)?.into_inner();
    let (mut first, mut finished) = (true, false);
    while let Some(answer) = events.message().await.map_err(told)? {
        match answer.event.and_then(|event| event.event) {
            Some(Event::Text(delta)) => {
                seen.piece(&delta.text);
                if std::mem::take(&mut first) {
                    seen.open.fetch_add(1, Ordering::SeqCst);
                }
            }
            Some(Event::Finished(_)) => finished = true,
            _ => {}
        }
    }
    if finished { Ok(()) } else { Err("gRPC stream: ended without its end".to_owned()) }
}

/// One stream of OpenAI's dialect to its end.
pub(crate) async fn sse(mut channel: AttestedChannel, seen: &Seen) -> Result<(), String> {
    let request = Request::post("https://localhost/v1/chat/completions")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::new(http_body_util::Full::from(SSE)))
        .unwrap();
    let told = |error: &dyn std::fmt::Display| format!("SSE stream: {error}");
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.map_err(|error| told(&error))?;
    let answer = channel.call(request).await.map_err(|error| told(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(told(&answer.status()));
    }
    let (mut body, mut text, mut first) = (answer.into_body(), String::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| told(&error))?.into_data() else { continue };
        text.push_str(std::str::from_utf8(&data).map_err(|error| told(&error))?);
        while let Some((event, rest)) = text.split_once("\n\n") {
            if event == "data: [DONE]" {
                return Ok(());
            }
            if let Some((piece, _)) =
                event.split_once("\"content\":\"").and_then(|(_, rest)| rest.split_once('"'))
            {
                seen.piece(piece);
                if !piece.is_empty() && std::mem::take(&mut first) {
                    seen.open.fetch_add(1, Ordering::SeqCst);
                }
            }
            text = rest.to_owned();
        }
    }
    Err(told(&"ended without [DONE]"))
}

/// One short request on `channel`.
pub(crate) async fn short(channel: AttestedChannel, seen: &Seen) -> Result<(), String> {
    let begun = SystemClock.boot();
    let request = ChatRequest { spec: Some(spec("short")) };
    let mut client = InferenceServiceClient::new(channel);
    let answer = timeout(SHORT, client.chat(request)).await;
    seen.requests.fetch_add(1, Ordering::SeqCst);
    match answer {
        Ok(Ok(_)) => {
            seen.answered.lock().unwrap().push(Answered { begun, at: SystemClock.boot() });
            Ok(())
        }
        Ok(Err(status)) => Err(format!("request: {} {}", proto::reason_or_code(&status), status.message())),
        Err(_) => Err(format!("request: no answer within {SHORT:?}")),
    }
}

/// Opens `count` streams of each kind, `each` on one verified connection.
pub(crate) async fn streams(rig: &Rig, count: usize, each: usize, seen: &Arc<Seen>) {
    for _ in 0..count.div_ceil(each) {
        let channel = rig.channel().await;
        for _ in 0..each {
            let (one, other, seen) = (channel.clone(), channel.clone(), Arc::clone(seen));
            tokio::spawn({
                let seen = Arc::clone(&seen);
                async move { seen.stream(grpc(one, &seen).await) }
            });
            tokio::spawn(async move { seen.stream(sse(other, &seen).await) });
        }
    }
}
