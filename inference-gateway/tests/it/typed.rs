//! The methods whose work is one of the model server's own endpoints.

use inference_gateway::Callers;
use proto::{
    backend::v1::{Endpoint, RelayForm},
    inference::v1::{
        CompleteRequest, CompletionSpec, DetokenizeRequest, EmbedRequest, FinishReason, GetModelRequest,
        RerankRequest, Sampling, StreamCompleteRequest, TokenizeRequest, chat_event::Event,
        inference_service_client::InferenceServiceClient, model_service_client::ModelServiceClient,
    },
};
use serde_json::{Value, json};
use service_runtime::BackendKind;
use tonic::Code;

use crate::{
    client::{Channel, Grpc},
    fake::{end, failure, head, piece},
    grpc::reason,
    world::World,
};

async fn client(world: &World) -> (Grpc, InferenceServiceClient<Channel>) {
    let grpc = Grpc::new(world).await;
    let client = InferenceServiceClient::new(grpc.channel.clone());
    (grpc, client)
}

fn answers(world: &World, body: &Value) {
    world.fake.relay([head(RelayForm::Whole), piece(&body.to_string()), end()]);
}

fn asked(world: &World) -> (Endpoint, Value) {
    let call = world.fake.relayed.lock().unwrap().pop().unwrap();
    (call.endpoint, serde_json::from_slice(&call.body).unwrap())
}

fn spec() -> CompletionSpec {
    let sampling = Sampling { seed: Some(1), max_tokens: Some(8), ..Sampling::default() };
    CompletionSpec {
        model: "m".into(),
        prompt: "Gravity is".into(),
        sampling: Some(sampling),
        ..CompletionSpec::default()
    }
}

#[tokio::test]
async fn texts_are_continued() {
    let world = World::open().await;
    let (_grpc, mut client) = client(&world).await;
    let choice = json!({ "text": " a force", "finish_reason": "length" });
    answers(
        &world,
        &json!({ "model": "m:1", "choices": [choice], "usage": { "prompt_tokens": 3, "completion_tokens": 8 } }),
    );
    let answer = client.complete(CompleteRequest { spec: Some(spec()) }).await.unwrap().into_inner();
    assert_eq!((answer.text.as_str(), answer.model.as_str()), (" a force", "m:1"));
    assert_eq!((answer.finish_reason(), answer.usage.unwrap().completion_tokens), (FinishReason::Length, 8));
    let (endpoint, body) = asked(&world);
    assert_eq!(
        (endpoint, &body["prompt"], &body["seed"]),
        (Endpoint::OpenaiCompletions, &json!("Gravity is"), &json!(1))
    );
    assert!(body.get("temperature").is_none() && body["cache_salt"].is_string());
}

#[tokio::test]
async fn what_a_continuation_cannot_have_is_refused_by_name() {
    type Change = fn(&mut Sampling);
    let biased: Change = |own| own.logit_bias.extend([(7, 5.0)]);
    let ollama = World::open().await;
    let (_grpc, mut client) = client(&ollama).await;
    let changes: [(Change, &str); 5] = [
        (biased, "UNSUPPORTED_BY_BACKEND"),
        (|own| own.top_k = Some(4), "UNSUPPORTED_BY_BACKEND"),
        (|own| own.min_p = Some(0.5), "UNSUPPORTED_BY_BACKEND"),
        (|own| own.logit_bias.extend([(7, f32::NAN)]), "INVALID_REQUEST"),
        (|own| own.temperature = Some(3.0), "INVALID_REQUEST"),
    ];
    for (change, expected) in changes {
        let mut spec = spec();
        change(spec.sampling.as_mut().unwrap());
        let streamed = StreamCompleteRequest { spec: Some(spec.clone()) };
        let refused = client.stream_complete(streamed).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
        let refused = client.complete(CompleteRequest { spec: Some(spec) }).await.unwrap_err();
        assert_eq!(reason(&refused), expected);
        assert!(refused.message().contains("spec.sampling."), "{refused:?}");
    }
    assert!(ollama.fake.relayed.lock().unwrap().is_empty());

    let openai = World::for_callers(BackendKind::Openai, Callers::Anonymous).await;
    let (_grpc, mut client) = self::client(&openai).await;
    answers(&openai, &json!({ "choices": [{ "text": "a" }] }));
    let mut spec = spec();
    biased(spec.sampling.as_mut().unwrap());
    client.complete(CompleteRequest { spec: Some(spec) }).await.unwrap();
    assert_eq!(asked(&openai).1["logit_bias"], json!({ "7": 5.0 }));
}

#[tokio::test]
async fn continuations_stream_as_events_and_fail_as_statuses() {
    let world = World::open().await;
    let (_grpc, mut client) = client(&world).await;
    let chunk = |text: &str, reason: Option<&str>| {
        format!(
            "data: {}\n\n",
            json!({ "choices": [{ "text": text, "finish_reason": reason }], "usage": null })
        )
    };
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let pieces = || [head(RelayForm::Events), piece(&(chunk(" a", None) + &chunk(" force", Some("stop"))))];
    let last = [piece(&format!("{usage}data: [DONE]\n\n")), end()];
    world.fake.relay(pieces().into_iter().chain(last));
    let mut stream =
        client.stream_complete(StreamCompleteRequest { spec: Some(spec()) }).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        let event = response.event.unwrap();
        assert_eq!(event.sequence, u64::try_from(events.len()).unwrap());
        events.push(event.event.unwrap());
    }
    assert!(matches!(&events[0], Event::Started(started) if !started.request_id.is_empty()));
    let text = |event: &Event| if let Event::Text(delta) = event { Some(delta.text.clone()) } else { None };
    assert_eq!(events.iter().filter_map(text).collect::<String>(), " a force");
    assert!(matches!(&events[3], Event::Finished(finished) if finished.reason() == FinishReason::Stop));
    assert!(matches!(&events[4], Event::Usage(usage) if usage.completion_tokens == 2));

    world.fake.relay(pieces().into_iter().chain([Err(failure().unwrap_err())]));
    let mut stream =
        client.stream_complete(StreamCompleteRequest { spec: Some(spec()) }).await.unwrap().into_inner();
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a failure counted as the end"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&status), "BACKEND_FAILED");
}

#[tokio::test]
async fn texts_become_vectors() {
    let world = World::open().await;
    let (_grpc, mut client) = client(&world).await;
    let request =
        || EmbedRequest { model: "m".into(), inputs: vec!["a".into(), "b".into()], dimensions: Some(2) };
    let vectors = json!([{ "embedding": [0.5, -1.0] }, { "embedding": [0.25, 2.0] }]);
    answers(&world, &json!({ "data": vectors, "usage": { "prompt_tokens": 2 } }));
    let answer = client.embed(request()).await.unwrap().into_inner();
    assert_eq!(
        (answer.embeddings[1].values.as_slice(), answer.usage.unwrap().prompt_tokens),
        (&[0.25, 2.0][..], 2)
    );
    assert_eq!(asked(&world).1["dimensions"], 2);
    answers(&world, &json!({ "data": [{ "embedding": [1.0] }] }));
    assert_eq!(reason(&client.embed(request()).await.unwrap_err()), "BACKEND_PROTOCOL");
}

#[tokio::test]
async fn documents_are_ordered_and_texts_are_tokens() {
    let world = World::open().await;
    let (_grpc, mut client) = client(&world).await;
    answers(&world, &json!({ "results": [{ "index": 1, "relevance_score": 0.75 }] }));
    let request = RerankRequest {
        model: "m".into(),
        query: "q".into(),
        documents: vec!["a".into(), "b".into()],
        top_n: Some(1),
    };
    let answer = client.rerank(request).await.unwrap().into_inner();
    assert_eq!((answer.results[0].index, answer.results[0].relevance_score), (1, 0.75));
    answers(&world, &json!({ "count": 2, "tokens": [5, 7] }));
    let request = TokenizeRequest { model: "m".into(), text: "ab".into(), add_special_tokens: Some(false) };
    assert_eq!(client.tokenize(request).await.unwrap().into_inner().tokens, [5, 7]);
    for name in ["prompt", "content"] {
        answers(&world, &json!({ name: "ab" }));
        let request = DetokenizeRequest { model: "m".into(), tokens: vec![5, 7] };
        assert_eq!(client.detokenize(request).await.unwrap().into_inner().text, "ab", "{name}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named_and_what_the_model_server_lacks_is_unimplemented() {
    let world = World::open().await;
    let (grpc, mut client) = client(&world).await;
    let status = client.complete(CompleteRequest { spec: None }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    let status =
        client.embed(EmbedRequest { model: "m".into(), ..EmbedRequest::default() }).await.unwrap_err();
    assert!(status.message().starts_with("inputs "), "{}", status.message());
    assert!(world.fake.relayed.lock().unwrap().is_empty());
    let request = TokenizeRequest { model: "m".into(), ..TokenizeRequest::default() };
    let status = client.tokenize(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "ENDPOINT_NOT_IN_BACKEND"));

    let mut models = ModelServiceClient::new(grpc.channel.clone());
    let found =
        models.get_model(GetModelRequest { name: "models/org/large".into() }).await.unwrap().into_inner();
    assert_eq!(found.model.unwrap().name, "models/org/large");
    let status = models.get_model(GetModelRequest { name: "org/large".into() }).await.unwrap_err();
    assert_eq!(reason(&status), "MODEL_NOT_FOUND");
}
