//! Who may ask: over every interface, and with what for which model.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use inference_gateway::{Callers, Keys};
use proto::{
    attestation::v1::{GetKeyManifestRequest, attestation_service_client::AttestationServiceClient},
    backend::v1::RelayForm,
    inference::v1::{
        ListModelsRequest, StreamChatRequest, inference_service_client::InferenceServiceClient,
        model_service_client::ModelServiceClient,
    },
};
use serde_json::Value;
use service_runtime::BackendKind;
use tokio::sync::watch;
use tonic::{Code, Request};

use crate::{
    client::{Answered, Grpc, Http, whole},
    fake::{end, head, hello, piece},
    grpc::{reason, spec},
    openai::{STREAM, ask},
    world::World,
};

const CHAT: &str = "/v1/chat/completions";
const ALL: &str = "cube-all";
const ONE: &str = "cube-one";

fn keys(of_one: &str) -> Keys {
    let entry = |name: &str, key: &str, more: &str| {
        let sha256 = hex::encode(digest(&SHA256, key.as_bytes()));
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nexpires = \"never\"\n{more}")
    };
    let all = entry("all", ALL, "models = [\"*\"]\n");
    let text = format!("version = 1\n{all}{}", entry("one", ONE, of_one));
    Keys::parse(text.as_bytes()).unwrap()
}

async fn world(kind: BackendKind) -> (World, watch::Sender<Arc<Keys>>) {
    let (told, callers) = watch::channel(Arc::new(keys("models = [\"smollm2\"]\nconcurrent = 1\n")));
    (World::for_callers(kind, Callers::Keys(callers)).await, told)
}

async fn post(http: &mut Http, key: Option<&str>, path: &str, body: &str) -> Answered {
    let mut request = http.request("POST", path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    whole(http.send(request.body(body.to_owned().into()).unwrap()).await).await
}

#[tokio::test]
async fn nothing_is_asked_without_a_key_and_every_dialect_says_so_in_its_way() {
    let (world, _keys) = world(BackendKind::Openai).await;
    let mut http = Http::h1(&world).await;
    for key in [None, Some("cube-another")] {
        for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/models", "/tokenize", "/nothing"] {
            let answer = post(&mut http, key, path, &ask("")).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "CREDENTIAL_REFUSED"), "{path}");
            assert_eq!(answer.json()["error"]["type"], "authentication_error");
        }
        for path in ["/api/chat", "/api/tags", "/api/pull"] {
            let answer = post(&mut http, key, path, &ask("")).await;
            assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (401, "CREDENTIAL_REFUSED"));
        }
        let answer = post(&mut http, key, "/v1/messages", &ask("")).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["type"].as_str().unwrap()),
            (401, "authentication_error")
        );
    }
    let grpc = Grpc::new(&world).await;
    let status = InferenceServiceClient::new(grpc.channel.clone())
        .stream_chat(StreamChatRequest { spec: spec() })
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, "CREDENTIAL_REFUSED"));
    assert!(world.fake.seen.lock().unwrap().is_empty() && world.fake.relayed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn evidence_and_health_are_for_everybody() {
    let (world, _keys) = world(BackendKind::Openai).await;
    let mut http = Http::h1(&world).await;
    for path in [
        "/.well-known/cube-attestation",
        "/openapi.json",
        "/attestation/bundle.schema.json",
        "/",
        "/api/version",
    ] {
        assert_eq!(http.get(path).await.status, 200, "{path}");
    }
    let grpc = Grpc::new(&world).await;
    let mut evidence = AttestationServiceClient::new(grpc.channel.clone());
    assert!(evidence.get_key_manifest(GetKeyManifestRequest {}).await.is_ok());
    let mut health = tonic_health::pb::health_client::HealthClient::new(grpc.channel.clone());
    assert!(health.check(tonic_health::pb::HealthCheckRequest::default()).await.is_ok());
}

#[tokio::test]
async fn a_key_asks_its_own_models_over_every_interface() {
    for kind in [BackendKind::Openai, BackendKind::Ollama] {
        let (world, _keys) = world(kind).await;
        let mut http = Http::h1(&world).await;
        let large = ask("").replace("smollm2", "org/large");
        for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"] {
            let answer = post(&mut http, Some(ONE), path, &large).await;
            assert_eq!(
                (answer.status, answer.json()["error"]["code"].as_str().unwrap()),
                (403, "MODEL_NOT_ALLOWED"),
                "{path}"
            );
        }
        for (path, body) in [
            ("/api/chat", large.as_str()),
            ("/api/generate", r#"{"model":"org/large","prompt":"a"}"#),
            ("/api/embed", r#"{"model":"org/large","input":"a"}"#),
            ("/api/show", r#"{"model":"org/large"}"#),
        ] {
            let answer = post(&mut http, Some(ONE), path, body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str().unwrap()),
                (403, "MODEL_NOT_ALLOWED"),
                "{path}"
            );
        }
        // Where no model is named there is none to allow.
        assert_eq!(post(&mut http, Some(ONE), "/tokenize", r#"{"prompt":"a"}"#).await.status, 403);
        assert!(world.fake.seen.lock().unwrap().is_empty() && world.fake.relayed.lock().unwrap().is_empty());

        let names = async |http: &mut Http, path: &str, key: &str| {
            let request = http.request("GET", path).header("authorization", format!("Bearer {key}"));
            whole(http.send(request.body(String::new().into()).unwrap()).await).await.body
        };
        for path in ["/v1/models", "/api/tags"] {
            assert!(!names(&mut http, path, ONE).await.contains("org/large"), "{path}");
        }
        assert!(names(&mut http, "/v1/models", ALL).await.contains("org/large"));
        let grpc = Grpc::new(&world).await;
        let mut request = Request::new(ListModelsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {ONE}").parse().unwrap());
        let models = ModelServiceClient::new(grpc.channel.clone()).list_models(request).await.unwrap();
        assert_eq!(models.into_inner().models.len(), 1);
    }
}

#[tokio::test]
async fn a_key_holds_its_place_until_the_answer_has_ended_and_gets_it_back() {
    let (world, _keys) = world(BackendKind::Openai).await;
    let mut http = Http::h2(&world).await;
    let script = world.fake.next_relay();
    script.send(head(RelayForm::Events)).unwrap();
    let request = http.request("POST", CHAT).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {ONE}"));
    let open = http.send(request.body(ask(STREAM).into()).unwrap()).await;
    let answer = post(&mut http, Some(ONE), CHAT, &ask("")).await;
    assert_eq!((answer.status, answer.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(answer.headers["retry-after"], "1");
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    assert_eq!(
        post(&mut http, Some(ALL), CHAT, &ask("")).await.status,
        200,
        "others have places of their own"
    );
    script.send(piece("data: [DONE]\n\n")).unwrap();
    script.send(end()).unwrap();
    drop(script);
    whole(open).await;
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    assert_eq!(post(&mut http, Some(ONE), CHAT, &ask("")).await.status, 200);
}

#[tokio::test]
async fn keys_come_and_go_while_the_gateway_runs() {
    let (world, told) = world(BackendKind::Ollama).await;
    let mut http = Http::h1(&world).await;
    world.fake.answer(hello());
    assert_eq!(post(&mut http, Some(ONE), CHAT, &ask("")).await.status, 200);
    told.send_replace(Arc::new(Keys::parse(b"version = 1\n").unwrap()));
    assert_eq!(post(&mut http, Some(ONE), CHAT, &ask("")).await.status, 401);
}

#[tokio::test]
async fn each_caller_has_a_salt_of_its_own_in_both_lanes() {
    let (world, _keys) = world(BackendKind::Openai).await;
    let mut http = Http::h1(&world).await;
    for key in [ONE, ALL, ONE] {
        world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
        post(&mut http, Some(key), CHAT, &ask("")).await;
    }
    let salts: Vec<_> = {
        let seen = world.fake.relayed.lock().unwrap();
        let salt = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["cache_salt"].to_string();
        seen.iter().map(|call| salt(&call.body)).collect()
    };
    assert!(salts[0] == salts[2] && salts[0] != salts[1], "{salts:?}");
    world.fake.answer(hello());
    let grpc = Grpc::new(&world).await;
    let mut request = Request::new(StreamChatRequest { spec: spec() });
    request.metadata_mut().insert("authorization", format!("Bearer {ONE}").parse().unwrap());
    InferenceServiceClient::new(grpc.channel.clone()).stream_chat(request).await.unwrap();
    let seen = world.fake.seen.lock().unwrap();
    assert_eq!(format!("\"{}\"", seen[0].cache_salt), salts[0]);
}

const WARD: &str = "spiffe://hospital.example/ns/ward/sa/notes";

fn by_certificate() -> Keys {
    let sha256 = hex::encode(digest(&SHA256, ALL.as_bytes()));
    let text = format!(
        "version = 1\n[[key]]\nname = \"all\"\nsha256 = \"{sha256}\"\nexpires = \"never\"\nmodels = [\"*\"]\n\
         [[key]]\nname = \"ward\"\nspiffe_id = \"{WARD}\"\nexpires = \"never\"\nmodels = [\"smollm2\"]\n"
    );
    Keys::parse(text.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_certificate_is_as_good_as_a_key_and_a_known_key_decides() {
    let (_told, callers) = watch::channel(Arc::new(by_certificate()));
    let world = World::for_callers(BackendKind::Openai, Callers::Keys(callers)).await;
    let mut ward = Http::h1_of(&world, Some(WARD)).await;
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    assert_eq!(post(&mut ward, None, CHAT, &ask("")).await.status, 200);
    let large = ask("").replace("smollm2", "org/large");
    assert_eq!(post(&mut ward, None, CHAT, &large).await.code(), "MODEL_NOT_ALLOWED", "as the entry says");
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    let answer = post(&mut ward, Some("unused"), CHAT, &ask("")).await;
    assert_eq!(answer.status, 200, "as SDKs do that insist on a key");
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    assert_eq!(post(&mut ward, Some(ALL), CHAT, &large).await.status, 200, "a key that is known decides");

    let grpc = Grpc::of(&world, Some(WARD)).await;
    let models =
        ModelServiceClient::new(grpc.channel.clone()).list_models(ListModelsRequest::default()).await;
    assert_eq!(models.unwrap().into_inner().models.len(), 1);

    let mut stranger = Http::h1_of(&world, Some("spiffe://hospital.example/ns/ward/sa/other")).await;
    for key in [None, Some("unused")] {
        let answer = post(&mut stranger, key, CHAT, &ask("")).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "CREDENTIAL_REFUSED"));
    }
    assert_eq!(stranger.get("/.well-known/cube-attestation").await.status, 200);
    let answer = post(&mut Http::h1(&world).await, None, CHAT, &ask("")).await;
    assert_eq!(answer.status, 401, "nothing is shown");
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_callers_certificate() {
    let (_told, callers) = watch::channel(Arc::new(by_certificate()));
    let world = World::for_callers(BackendKind::Openai, Callers::Keys(callers)).await;
    let ward = Grpc::of(&world, Some(WARD)).await;
    let models = async || {
        ModelServiceClient::new(ward.channel.clone()).list_models(ListModelsRequest::default()).await
    };
    assert!(models().await.is_ok());
    world.advance(Duration::from_secs(6));
    let refused = models().await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIAL_REFUSED");
    assert!(refused.message().contains("has expired"));
}
