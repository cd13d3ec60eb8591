//! What is left of the service when the lease is over.

use http_body_util::{BodyExt, Full};
use proto::inference::v1::{StreamChatRequest, inference_service_client::InferenceServiceClient};
use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::{Grpc, Http, PATIENCE, whole},
    fake::started,
    grpc::{reason, spec},
    openai::{STREAM, ask},
    world::World,
};

#[tokio::test]
async fn a_lapse_ends_open_streams_and_refuses_the_rest() {
    let world = World::open().await;
    let (grpc, mut http) = (Grpc::new(&world).await, Http::h1(&world).await);
    let (one, two) = (world.fake.next(), world.fake.next());
    one.send(started(0)).unwrap();
    two.send(started(0)).unwrap();
    let mut inference = InferenceServiceClient::new(grpc.channel.clone());
    let asked = inference.stream_chat(StreamChatRequest { spec: spec() }).await;
    let mut events = asked.unwrap().into_inner();
    events.message().await.unwrap();
    let mut streamed = http.post("/v1/chat/completions", &ask(STREAM)).await;
    streamed.body_mut().frame().await.unwrap().unwrap();

    world.lapse().await;

    let status = timeout(PATIENCE, events.message()).await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ATTESTATION_LAPSED"));
    let streamed = whole(streamed).await;
    assert!(streamed.body.contains("ATTESTATION_LAPSED") && !streamed.body.contains("[DONE]"));
    assert!(!streamed.complete);
    for script in [one, two] {
        timeout(PATIENCE, script.closed()).await.unwrap();
    }

    let status = inference.stream_chat(StreamChatRequest { spec: spec() }).await.unwrap_err();
    assert_eq!(reason(&status), "ATTESTATION_LAPSED");
    let mut http = Http::h1(&world).await;
    for path in ["/v1/models", "/attestation/report", "/nothing"] {
        let answer = http.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "ATTESTATION_LAPSED"), "{path}");
    }
    let health = HealthClient::new(grpc.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status, 2);
}

#[tokio::test]
async fn a_lapse_ends_a_request_whose_answer_has_not_begun() {
    let world = World::open().await;
    let mut http = Http::h2(&world).await;
    let script = world.fake.next();
    let asking = tokio::spawn(async move { whole(http.post("/v1/chat/completions", &ask("")).await).await });
    timeout(PATIENCE, async {
        while world.fake.seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    world.lapse().await;
    let answer = timeout(PATIENCE, asking).await.unwrap().unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "ATTESTATION_LAPSED"));
    timeout(PATIENCE, script.closed()).await.unwrap();
}

#[tokio::test]
async fn while_lapsed_no_body_is_read() {
    let world = World::open().await;
    world.lapse().await;
    let mut http = Http::h1(&world).await;
    // Only the head ever arrives: an answer proves that nothing waited for the rest.
    let request = http.request("POST", "/v1/chat/completions").header("content-length", "1000000");
    let answer = http.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status(), 503);
}
