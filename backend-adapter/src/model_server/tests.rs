//! Against a fake model server, over real sockets.

use std::{pin::pin, time::Duration};

use e2e::fake_backend::{FakeBackend, Head, Script, Step};
use futures_util::{StreamExt, future::poll_immediate};
use nix::unistd::geteuid;
use proto::inference::v1::{
    ChatSpec, ContentPart, FinishReason, Message, Role, Usage, chat_event::Event, content_part::Part,
};

use service_runtime::BackendAddress;

use super::*;
use crate::{error::Cause, permit::tests::TestPermit};

const BOTH: [Dialect; 2] = [Dialect::Ollama, Dialect::OpenAi];
const SECRET: &str = "the-secret-prompt";

/// The fake runs as whoever runs this test.
fn mine(address: BackendAddress) -> Endpoint {
    Endpoint { address, uid: geteuid().as_raw() }
}

fn server(dialect: Dialect, backend: &FakeBackend, limits: AnswerLimits) -> Arc<ModelServer> {
    Arc::new(ModelServer::new(dialect, mine(BackendAddress::Tcp(backend.address())), limits))
}

fn call(dialect: Dialect) -> Call {
    let text = ContentPart { part: Some(Part::Text(SECRET.into())) };
    let message = Message { role: Role::User.into(), content: vec![text], ..Message::default() };
    let spec = ChatSpec { model: "fake".into(), messages: vec![message], ..ChatSpec::default() };
    dialect.call("req-1", &spec, "", MAX_FRAME).unwrap()
}

type Answer = Vec<Result<Event, BackendError>>;

async fn ask(dialect: Dialect, script: Script, limits: AnswerLimits) -> (Answer, FakeBackend) {
    let backend = FakeBackend::start().await.unwrap();
    backend.script(script);
    let events = server(dialect, &backend, limits).generate(call(dialect), TestPermit::default());
    let events = events.map(|event| event.map(|event| event.event.unwrap())).collect().await;
    (events, backend)
}

async fn answer(dialect: Dialect, script: Script) -> Answer {
    ask(dialect, script, AnswerLimits::default()).await.0
}

async fn failure(dialect: Dialect, script: Script) -> BackendError {
    let mut events = answer(dialect, script).await;
    let error = events.pop().unwrap().unwrap_err();
    assert!(events.iter().all(Result::is_ok), "something follows the error");
    assert!(!error.to_string().contains(SECRET), "{error}");
    error
}

fn text(answer: &Answer) -> String {
    let text = |event: &Result<Event, _>| match event {
        Ok(Event::Text(delta)) => Some(delta.text.clone()),
        _ => None,
    };
    answer.iter().filter_map(text).collect()
}

fn usage(answer: &Answer) -> Usage {
    match answer.last() {
        Some(Ok(Event::Usage(usage))) => *usage,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_whole() {
    for dialect in BOTH {
        let (events, backend) = ask(dialect, Script::hello(), AnswerLimits::default()).await;
        assert!(matches!(&events[0], Ok(Event::Started(started)) if started.model == "fake"), "{events:?}");
        assert_eq!(text(&events), "Hello from the fake.");
        assert_eq!(usage(&events), Usage { prompt_tokens: 5, completion_tokens: 3, ..Usage::default() });
        assert_eq!(backend.received(0).await.unwrap().body["model"], "fake");
    }
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.sock");
    let _backend = FakeBackend::start_unix(&path).unwrap();
    let endpoint = mine(BackendAddress::Unix(path));
    let server = ModelServer::new(Dialect::Ollama, endpoint, AnswerLimits::default());
    let events = Arc::new(server).generate(call(Dialect::Ollama), TestPermit::default());
    assert!(events.all(|event| std::future::ready(event.is_ok())).await);
}

#[tokio::test]
async fn reasoning_tools_and_missing_counts_come_through() {
    for dialect in BOTH {
        let call = Step::ToolCall { name: "weather".into(), arguments: r#"{"city":"Paris"}"#.into() };
        let end = Step::End { reason: "stop".into(), usage: None };
        let events = answer(dialect, Script::answer([Step::Reasoning("hm".into()), call, end])).await;
        let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        assert!(matches!(&events[1], Event::Reasoning(delta) if delta.text == "hm"));
        assert!(
            matches!(&events[2], Event::ToolCallStarted(call) if call.name == "weather" && !call.id.is_empty())
        );
        assert!(
            matches!(&events[3], Event::ToolCallDelta(delta) if delta.arguments == r#"{"city":"Paris"}"#)
        );
        assert!(matches!(&events[4], Event::Finished(end) if end.reason() == FinishReason::ToolCalls));
        assert!(matches!(&events[5], Event::Usage(usage) if usage.estimated));
    }
}

#[tokio::test]
async fn each_piece_is_handed_on_when_it_comes() {
    for dialect in BOTH {
        let backend = FakeBackend::start().await.unwrap();
        backend.script(Script::paced(3));
        let server = server(dialect, &backend, AnswerLimits::default());
        let mut events = pin!(server.generate(call(dialect), TestPermit::default()));
        for piece in 0..3 {
            backend.go_on(1);
            let mut event = events.next().await.unwrap().unwrap().event.unwrap();
            if matches!(event, Event::Started(_)) {
                event = events.next().await.unwrap().unwrap().event.unwrap();
            }
            assert!(
                matches!(&event, Event::Text(delta) if delta.text == format!("piece{piece} ")),
                "{event:?}"
            );
        }
        assert_eq!(events.count().await, 2);
    }
}

/// Polls the answer, as a client that waits does, until the model server has its request.
async fn waiting(
    events: &mut (impl Stream<Item = Result<ChatEvent, BackendError>> + Unpin),
    backend: &FakeBackend,
    pieces: usize,
) {
    for _ in 0..pieces {
        events.next().await.unwrap().unwrap();
    }
    tokio::select! {
        event = events.next() => panic!("{event:?}"),
        received = backend.received(0) => drop(received.unwrap()),
    }
    assert!(poll_immediate(events.next()).await.is_none());
}

fn silences() -> [(Script, usize); 3] {
    [
        (Script::head(Head::Never), 0),
        (Script::answer([Step::Stall]), 0),
        (Script::answer([Step::text("a"), Step::Stall]), 2),
    ]
}

#[tokio::test]
async fn a_client_that_goes_takes_the_connection_with_it() {
    for dialect in BOTH {
        for (script, pieces) in silences() {
            let backend = FakeBackend::start().await.unwrap();
            backend.script(script);
            let server = server(dialect, &backend, AnswerLimits::default());
            let mut events = Box::pin(server.generate(call(dialect), TestPermit::default()));
            waiting(&mut events, &backend, pieces).await;
            drop(events);
            backend.closed(0).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_lapse_cuts_the_answer_and_the_connection() {
    for dialect in BOTH {
        for (script, pieces) in silences() {
            let (backend, permit) = (FakeBackend::start().await.unwrap(), TestPermit::default());
            backend.script(script);
            let server = server(dialect, &backend, AnswerLimits::default());
            let mut events = Box::pin(server.generate(call(dialect), permit.clone()));
            waiting(&mut events, &backend, pieces).await;
            permit.0.cancel();
            assert_eq!(events.next().await.unwrap().unwrap_err(), BackendError::Lapsed);
            backend.closed(0).await.unwrap();
            assert!(events.next().await.is_none());
        }
    }
}

#[tokio::test]
async fn what_was_decoded_before_a_lapse_is_not_handed_on_after_it() {
    let (backend, permit) = (FakeBackend::start().await.unwrap(), TestPermit::default());
    let server = server(Dialect::Ollama, &backend, AnswerLimits::default());
    let mut events = Box::pin(server.generate(call(Dialect::Ollama), permit.clone()));
    assert!(events.next().await.unwrap().is_ok());
    permit.0.cancel();
    assert_eq!(events.next().await.unwrap().unwrap_err(), BackendError::Lapsed);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn without_leave_no_connection_is_made() {
    let (backend, permit) = (FakeBackend::start().await.unwrap(), TestPermit::default());
    permit.0.cancel();
    let server = server(Dialect::OpenAi, &backend, AnswerLimits::default());
    let mut events = Box::pin(server.clone().generate(call(Dialect::OpenAi), permit.clone()));
    assert_eq!(events.next().await.unwrap().unwrap_err(), BackendError::Lapsed);
    assert_eq!(server.models(permit).await.unwrap_err(), BackendError::Lapsed);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn silence_has_a_limit_in_every_phase() {
    let short = Duration::from_millis(50);
    let first_token = AnswerLimits { first_token: short, ..AnswerLimits::default() };
    let stream_idle = AnswerLimits { stream_idle: short, ..AnswerLimits::default() };
    let scripts = [
        (Script::head(Head::Never), first_token, Phase::FirstToken),
        (Script::answer([Step::KeepAlive, Step::Stall]), first_token, Phase::FirstToken),
        (Script::answer([Step::text("a"), Step::Stall]), stream_idle, Phase::Idle),
        (Script::answer([Step::text("a"), Step::KeepAlive, Step::Stall]), stream_idle, Phase::Idle),
    ];
    for dialect in BOTH {
        for (script, limits, phase) in scripts.clone() {
            let (mut events, backend) = ask(dialect, script, limits).await;
            assert_eq!(events.pop().unwrap().unwrap_err(), BackendError::Timeout(phase));
            backend.closed(0).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_broken_answer_is_never_a_success() {
    type Check = fn(&BackendError) -> bool;
    let truncated: Check = |error| matches!(error, BackendError::Truncated(_));
    let protocol: Check = |error| matches!(error, BackendError::Protocol(_));
    let part = || Step::text("part");
    let cases: [(Script, Check); 8] = [
        (Script::head(Head::Die), |error| matches!(error, BackendError::Unreachable(_))),
        (Script::answer([]), truncated),
        (Script::answer([part()]), truncated),
        (Script::answer([part(), Step::EndWithoutMarker]), truncated),
        (Script::answer([part(), Step::Die]), truncated),
        (Script::answer([part(), Step::Malformed]), protocol),
        (Script::answer([part(), Step::Oversized]), |error| matches!(error, BackendError::Frame(_))),
        (Script::answer([part(), Step::Error(SECRET.into())]), |error| {
            matches!(error, BackendError::Failed(_))
        }),
    ];
    for dialect in BOTH {
        for (script, expected) in cases.clone() {
            let what = format!("{script:?}");
            let what: String = what.chars().take(200).collect();
            let error = failure(dialect, script).await;
            assert!(expected(&error), "{dialect:?} {what}: {error:?}");
        }
    }
}

#[tokio::test]
async fn refusals_are_told_in_our_words() {
    for dialect in BOTH {
        for (status, expected) in [
            (400, BackendError::Refused(Cause::Status(400))),
            (404, BackendError::ModelNotFound),
            (500, BackendError::Failed(Cause::Status(500))),
            (503, BackendError::Overloaded),
        ] {
            let script = Script::refuse(StatusCode::from_u16(status).unwrap());
            assert_eq!(failure(dialect, script).await, expected);
        }
    }
}

#[tokio::test]
async fn what_is_no_http_server_breaks_the_protocol() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = mine(BackendAddress::Tcp(listener.local_addr().unwrap()));
    let server = ModelServer::new(Dialect::Ollama, endpoint, AnswerLimits::default());
    let speak = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"+OK hello, this is no HTTP\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let (models, _stream) = tokio::join!(server.models(TestPermit::default()), speak);
    assert!(matches!(models.unwrap_err(), BackendError::Protocol(_)));
}

#[tokio::test]
async fn models_are_listed_in_both_dialects() {
    let backend = FakeBackend::start().await.unwrap();
    for dialect in BOTH {
        let models =
            server(dialect, &backend, AnswerLimits::default()).models(TestPermit::default()).await.unwrap();
        assert_eq!(models[0].name, "models/fake");
    }
    assert_eq!(backend.connections(), 2, "one connection for each request");
    let narrow = server(Dialect::Ollama, &backend, AnswerLimits { frame: 9, ..AnswerLimits::default() });
    let error = narrow.models(TestPermit::default()).await.unwrap_err();
    assert_eq!(error, BackendError::Protocol("a short answer longer than the limit"));
}
