//! `cube.inference.v1` as a generated client sees it.

use std::time::Duration;

use futures_util::TryStreamExt;
use inference_gateway::AnswerLimits;
use proto::inference::v1::{
    ChatRequest, ChatSpec, ContentPart, ListModelsRequest, Message, Role, StreamChatRequest,
    chat_event::Event, content_part::Part, inference_service_client::InferenceServiceClient,
    model_service_client::ModelServiceClient,
};
use tokio::time::{Instant, timeout};
use tonic::{Code, Request, Status};

use crate::{
    client::{Channel, Grpc, PATIENCE},
    fake::{failure, hello, started, text},
    world::World,
};

fn client(grpc: &Grpc) -> InferenceServiceClient<Channel> {
    InferenceServiceClient::new(grpc.channel.clone())
}

pub(crate) fn spec() -> Option<ChatSpec> {
    said("Hello?".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "a field of a request")]
pub(crate) fn said(text: String) -> Option<ChatSpec> {
    let content = vec![ContentPart { part: Some(Part::Text(text)) }];
    let message = Message { role: Role::User.into(), content, ..Message::default() };
    Some(ChatSpec { model: "smollm2".into(), messages: vec![message], ..ChatSpec::default() })
}

pub(crate) fn reason(status: &Status) -> String {
    proto::reason_of(status).unwrap_or_else(|| panic!("no reason: {status:?}"))
}

#[tokio::test]
async fn a_stream_is_relayed_event_by_event() {
    let world = World::open().await;
    let script = world.fake.next();
    let grpc = Grpc::new(&world).await;
    for event in hello() {
        script.send(event).unwrap();
    }
    drop(script);
    let answer = client(&grpc).stream_chat(StreamChatRequest { spec: spec() }).await.unwrap();
    let id = answer.metadata().get("cube-request-id").unwrap().to_str().unwrap().to_owned();
    let events: Vec<_> = answer.into_inner().try_collect().await.unwrap();
    let events: Vec<_> = events.into_iter().map(|it| it.event.unwrap()).collect();
    assert_eq!(events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let Some(Event::Started(started)) = &events[0].event else { panic!("{:?}", events[0]) };
    assert_eq!((started.request_id.as_str(), started.model.as_str()), (id.as_str(), "smollm2"));
    let seen = world.fake.seen.lock().unwrap();
    assert_eq!((seen[0].request_id.as_str(), &seen[0].spec), (id.as_str(), &spec().unwrap()));
}

#[tokio::test]
async fn a_unary_answer_is_gathered() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    world.fake.answer(hello());
    let answer = client(&grpc).chat(ChatRequest { spec: spec() }).await.unwrap().into_inner();
    let content = answer.message.unwrap().content;
    assert_eq!(content[0].part, Some(Part::Text("Hello, world.".into())));
    assert_eq!((answer.usage.unwrap().prompt_tokens, answer.request_id.len()), (3, 32));
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_a_status() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    world.fake.answer([started(0), text(1, "Hel"), failure()]);
    let mut events =
        client(&grpc).stream_chat(StreamChatRequest { spec: spec() }).await.unwrap().into_inner();
    assert!(events.message().await.unwrap().is_some() && events.message().await.unwrap().is_some());
    let status = events.message().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "BACKEND_FAILED"));

    world.fake.answer([started(0), text(1, "Hel"), failure()]);
    let status = client(&grpc).chat(ChatRequest { spec: spec() }).await.unwrap_err();
    assert_eq!(reason(&status), "BACKEND_FAILED");
}

#[tokio::test]
async fn an_end_without_its_marker_is_a_status() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    world.fake.answer([started(0), text(1, "Hel")]);
    let events = client(&grpc).stream_chat(StreamChatRequest { spec: spec() }).await.unwrap().into_inner();
    let status = events.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DataLoss, "BACKEND_TRUNCATED"));
}

#[tokio::test]
async fn refusals_have_their_reason() {
    let limits = AnswerLimits { body: 10_000, ..AnswerLimits::default() };
    let world = World::with(limits).await;
    let grpc = Grpc::new(&world).await;
    let refusal = async |spec| client(&grpc).chat(ChatRequest { spec }).await.unwrap_err();
    assert_eq!(reason(&refusal(spec()).await), "MODEL_NOT_FOUND");
    let status = refusal(None).await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "spec.model is required"));
    let status = refusal(said("x".repeat(20_000))).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "REQUEST_TOO_LARGE"));

    let mut timed = Request::new(ChatRequest { spec: spec() });
    timed.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(reason(&client(&grpc).chat(timed).await.unwrap_err()), "INVALID_REQUEST");

    let mut compressed = Request::new(ChatRequest { spec: spec() });
    compressed.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    let status = client(&grpc).chat(compressed).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert!(status.message().contains("compressed"), "{status}");
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    for path in ["/cube.inference.v1.InferenceService/Nothing", "/cube.backend.v1.BackendService/Generate"] {
        let mut client = tonic::client::Grpc::new(grpc.channel.clone());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ChatRequest, ChatRequest>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client.unary(Request::new(ChatRequest::default()), path, codec).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
    }
}

#[tokio::test]
async fn the_callers_deadline_is_passed_on_and_kept() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let script = world.fake.next();
    let mut request = Request::new(StreamChatRequest { spec: spec() });
    request.set_timeout(Duration::from_millis(300));
    let before = Instant::now();
    let status = client(&grpc).stream_chat(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "BACKEND_TIMEOUT"));
    let deadline = world.fake.seen.lock().unwrap()[0].deadline.unwrap();
    assert!(deadline < before + Duration::from_secs(5), "the caller's, not a default");
    timeout(PATIENCE, script.closed()).await.unwrap();
}

#[tokio::test]
async fn silence_has_a_bound() {
    let short = Duration::from_millis(100);
    let world = World::with(AnswerLimits { stream_idle: short, ..AnswerLimits::default() }).await;
    let grpc = Grpc::new(&world).await;
    let script = world.fake.next();
    script.send(started(0)).unwrap();
    script.send(text(1, "Hel")).unwrap();
    let events = client(&grpc).stream_chat(StreamChatRequest { spec: spec() }).await.unwrap().into_inner();
    let status = events.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "BACKEND_TIMEOUT"));
    timeout(PATIENCE, script.closed()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_takes_the_work_with_it() {
    let world = World::open().await;
    // In mid-stream, one stream of a connection that lives on.
    let grpc = Grpc::new(&world).await;
    let script = world.fake.next();
    script.send(started(0)).unwrap();
    let mut events =
        client(&grpc).stream_chat(StreamChatRequest { spec: spec() }).await.unwrap().into_inner();
    events.message().await.unwrap();
    drop(events);
    timeout(PATIENCE, script.closed()).await.unwrap();
    // While the backend is silent, streamed and not; the whole connection goes.
    for unary in [false, true] {
        let grpc = Grpc::new(&world).await;
        let (script, mut client) = (world.fake.next(), client(&grpc));
        let calls = world.fake.seen.lock().unwrap().len();
        let asking = tokio::spawn(async move {
            if unary {
                drop(client.chat(ChatRequest { spec: spec() }).await);
            } else {
                drop(client.stream_chat(StreamChatRequest { spec: spec() }).await);
            }
        });
        timeout(PATIENCE, async {
            while world.fake.seen.lock().unwrap().len() == calls {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        drop(grpc);
        asking.abort();
        timeout(PATIENCE, script.closed()).await.unwrap();
    }
}

#[tokio::test]
async fn models_come_in_pages() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let mut models = ModelServiceClient::new(grpc.channel.clone());
    let first = models
        .list_models(ListModelsRequest { page_size: 1, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((first.models.len(), first.models[0].name.as_str()), (1, "models/smollm2"));
    let page_token = first.next_page_token;
    let last = models.list_models(ListModelsRequest { page_size: 1, page_token }).await.unwrap().into_inner();
    assert_eq!((last.models[0].name.as_str(), last.next_page_token.as_str()), ("models/org/large", ""));
}
