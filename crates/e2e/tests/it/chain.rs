//! The chain as it should be: evidence, then words.

use dev_stack::Service;
use e2e::fake_backend::Script;
use http_body_util::BodyExt;
use proto::inference::v1::{
    ChatRequest, FinishReason, ListModelsRequest, chat_event::Event,
    inference_service_client::InferenceServiceClient, model_service_client::ModelServiceClient,
};
use tower::{Service as _, ServiceExt};

use crate::rig::{Rig, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_streams_over_a_verified_connection_from_either_backend() {
    for kind in ["openai", "ollama"] {
        let rig = Rig::serving(kind).await;
        let mut stream = rig.stream_chat().await.unwrap();
        let (mut text, mut sequence, mut last) = (String::new(), 0, None);
        while let Some(response) = stream.message().await.unwrap() {
            let event = response.event.unwrap();
            assert_eq!(event.sequence, sequence);
            sequence += 1;
            if let Some(Event::Text(delta)) = &event.event {
                text.push_str(&delta.text);
            }
            last = event.event;
        }
        assert_eq!(text, "Hello from the fake.", "{kind}");
        let Some(Event::Usage(usage)) = last else { panic!("the last event is the usage") };
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unary_chat_and_models_answer_over_the_same_connection() {
    let rig = Rig::serving("openai").await;
    let channel = rig.channel().await;
    let models = ModelServiceClient::new(channel.clone())
        .list_models(ListModelsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .models;
    assert_eq!(models.first().unwrap().name, "models/fake");
    let answer = InferenceServiceClient::new(channel)
        .chat(ChatRequest { spec: Some(spec("hello")) })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.finish_reason(), FinishReason::Stop);
    assert_eq!(answer.request_id.len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_http_answers_on_the_same_port() {
    let rig = Rig::serving("ollama").await;
    let (status, body) = post(&rig, false).await;
    assert_eq!(status, 200, "{body}");
    let json: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json.pointer("/choices/0/message/content").unwrap(), "Hello from the fake.");
    let (status, body) = post(&rig, true).await;
    assert_eq!(status, 200);
    assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_answer_is_an_error_in_both_dialects() {
    use e2e::fake_backend::Step;
    let rig = Rig::serving("openai").await;
    let broken = [
        (Step::Malformed, "BACKEND_PROTOCOL"),
        (Step::EndWithoutMarker, "BACKEND_TRUNCATED"),
        (Step::Die, "BACKEND_TRUNCATED"),
        (Step::Oversized, "BACKEND_PROTOCOL"),
        (Step::Error("secret".into()), "BACKEND_FAILED"),
    ];
    for (step, reason) in broken {
        for _ in 0..2 {
            rig.backend.script(Script::answer([Step::text("part"), step.clone()]));
        }
        let mut stream = rig.stream_chat().await.unwrap();
        let failed = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{step:?} counted as a whole answer"),
                Err(status) => break status,
            }
        };
        assert_eq!(proto::reason_of(&failed).as_deref(), Some(reason), "{step:?}: {failed}");
        assert!(!failed.message().contains("secret"), "the backend's own words stay inside");
        let (_, body) = post(&rig, true).await;
        assert!(body.contains(reason) && !body.contains("[DONE]") && !body.contains("secret"), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_down_is_named() {
    let mut rig = Rig::serving("openai").await;
    let gone = std::mem::replace(&mut rig.backend, e2e::fake_backend::FakeBackend::start().await.unwrap());
    drop(gone);
    let failed = rig.stream_chat().await.err().unwrap();
    assert_eq!(failed.code(), tonic::Code::Unavailable);
    assert_eq!(proto::reason_of(&failed).as_deref(), Some("BACKEND_UNAVAILABLE"));
    assert!(rig.stack.pid(Service::Adapter).is_some());
}

/// POST /v1/chat/completions; the status and all of the body that came.
pub(crate) async fn post(rig: &Rig, stream: bool) -> (u16, String) {
    let body = serde_json::json!({
        "model": "fake", "stream": stream, "messages": [{"role": "user", "content": "hello"}]
    });
    let request = http::Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(tonic::body::Body::new(
            http_body_util::Full::from(body.to_string()).map_err(|never| match never {}),
        ))
        .unwrap();
    let mut channel = rig.channel().await;
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    let status = response.status().as_u16();
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(Ok(frame)) = body.frame().await {
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    (status, String::from_utf8(text).unwrap())
}
