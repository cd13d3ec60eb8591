//! OpenAI's interface as HTTP/1.1 and HTTP/2 clients see it.

use http_body_util::{BodyExt, Full};
use inference_gateway::AnswerLimits;
use proto::inference::v1::{ChatRequest, inference_service_client::InferenceServiceClient};
use tokio::time::timeout;
use tonic::Code;

use crate::{
    client::{Grpc, Http, PATIENCE, whole},
    fake::{failure, hello, started, text},
    grpc::{reason, said},
    world::World,
};

const CHAT: &str = "/v1/chat/completions";

pub(crate) fn ask(extra: &str) -> String {
    format!(r#"{{"model":"smollm2","messages":[{{"role":"user","content":"Hello?"}}]{extra}}}"#)
}

pub(crate) const STREAM: &str = r#","stream":true"#;

#[tokio::test]
async fn answers_stream() {
    let world = World::open().await;
    for mut http in Http::both(&world).await {
        world.fake.answer(hello());
        let answer =
            whole(http.post(CHAT, &ask(r#","stream":true,"stream_options":{"include_usage":true}"#)).await)
                .await;
        assert_eq!((answer.status, answer.complete), (200, true));
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        let id = answer.headers["cube-request-id"].to_str().unwrap();
        let frames: Vec<_> = answer.body.split_terminator("\n\n").collect();
        assert_eq!(frames.len(), 6, "{}", answer.body);
        assert!(frames[0].contains(&format!("\"id\":\"{id}\"")));
        assert!(frames[2].contains(r#""delta":{"content":"world."}"#));
        assert!(frames[4].contains(r#""choices":[],"usage":{"prompt_tokens":3"#));
        assert_eq!(frames[5], "data: [DONE]");
    }
}

#[tokio::test]
async fn answers_come_whole() {
    let world = World::open().await;
    for mut http in Http::both(&world).await {
        world.fake.answer(hello());
        let answer = whole(http.post(CHAT, &ask("")).await).await;
        assert_eq!((answer.status, answer.complete), (200, true));
        let body = answer.json();
        assert_eq!(body["choices"][0]["message"]["content"], "Hello, world.");
        assert_eq!(body["usage"]["total_tokens"], 5);
        assert_eq!(body["id"], answer.headers["cube-request-id"].to_str().unwrap());
    }
}

#[tokio::test]
async fn a_failure_in_mid_stream_cannot_be_taken_for_an_end() {
    let world = World::open().await;
    for (events, code) in [
        (vec![started(0), text(1, "Hel"), failure()], "BACKEND_FAILED"),
        (vec![started(0), text(1, "Hel")], "BACKEND_TRUNCATED"),
    ] {
        // Each time anew: a connection that broke off serves no other request.
        for mut http in Http::both(&world).await {
            world.fake.answer(events.clone());
            let answer = whole(http.post(CHAT, &ask(STREAM)).await).await;
            assert_eq!((answer.status, answer.complete), (200, false));
            assert!(!answer.body.contains("[DONE]"));
            let last = answer.body.split_terminator("\n\n").last().unwrap();
            assert!(last.starts_with("data: {\"error\":{") && last.contains(code), "{last}");
        }
    }
}

#[tokio::test]
async fn a_failure_before_the_first_event_is_a_status() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    for extra in ["", STREAM] {
        let answer = whole(http.post(CHAT, &ask(extra)).await).await;
        assert_eq!((answer.status, answer.code().as_str(), answer.complete), (404, "MODEL_NOT_FOUND", true));
        world.fake.answer([failure()]);
        let answer = whole(http.post(CHAT, &ask(extra)).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "BACKEND_FAILED"));
    }
    world.fake.answer([started(0), text(1, "Hel"), failure()]);
    let answer = whole(http.post(CHAT, &ask("")).await).await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "BACKEND_FAILED"));
}

#[tokio::test]
async fn bad_requests_are_refused_in_openais_form() {
    let world = World::with(AnswerLimits { body: 1000, ..AnswerLimits::default() }).await;
    for mut http in Http::both(&world).await {
        let answer = whole(http.post(CHAT, &ask(r#","temprature":1"#)).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "UNKNOWN_PARAMETER"));
        assert_eq!(answer.json()["error"]["param"], "temprature");
        let answer = whole(http.post(CHAT, "{\"model\": ").await).await;
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains("line 1 column"));
        let answer = whole(http.post(CHAT, &ask(&" ".repeat(1000))).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (413, "REQUEST_TOO_LARGE"));
    }
    let mut http = Http::h2(&world).await;
    let plain = http.request("POST", CHAT).header("content-type", "text/plain");
    let plain = plain.body(Full::from(ask(""))).unwrap();
    assert_eq!(whole(http.send(plain).await).await.status, 415);
    assert!(world.fake.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_that_wait_have_a_bound_together() {
    let world = World::with(AnswerLimits { bodies: 1000, ..AnswerLimits::default() }).await;
    let (mut waiting, mut http) = (Http::h2(&world).await, Http::h2(&world).await);
    let script = world.fake.next();
    let large = ask(&" ".repeat(600));
    let asking = {
        let large = large.clone();
        tokio::spawn(async move { waiting.post(CHAT, &large).await.status() })
    };
    timeout(PATIENCE, async {
        while world.fake.seen.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let refused = whole(http.post(CHAT, &large).await).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "OVERLOADED"));
    assert_eq!(refused.headers["retry-after"], "1");
    let grpc = Grpc::new(&world).await;
    let mut inference = InferenceServiceClient::new(grpc.channel.clone());
    let status = inference.chat(ChatRequest { spec: said("x".repeat(600)) }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));

    for event in hello() {
        script.send(event).unwrap();
    }
    drop(script);
    assert_eq!(timeout(PATIENCE, asking).await.unwrap().unwrap(), 200);
    // An answer gives its bytes back, a refusal too.
    for _ in 0..3 {
        assert_eq!(whole(http.post(CHAT, &large).await).await.status, 404);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_openais_form() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    for (path, status) in [("/nothing", 404), ("/healthz", 404), ("/v1/completions", 405), (CHAT, 405)] {
        let answer = http.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, "UNKNOWN_METHOD"), "{path}");
        assert_eq!(answer.headers["cube-request-id"].len(), 32);
    }
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let list = http.get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&"list".into(), &"smollm2".into()));
    assert_eq!(http.get("/v1/models/org/large").await.json()["object"], "model");
    let missing = http.get("/v1/models/none").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "MODEL_NOT_FOUND"));
}

#[tokio::test]
async fn a_callers_request_id_is_not_used() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let request = http.request("GET", "/v1/models").header("cube-request-id", "mine");
    let answer = whole(http.send(request.body(Full::default()).unwrap()).await).await;
    let id = answer.headers["cube-request-id"].to_str().unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[tokio::test]
async fn what_is_left_out_is_named() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    world.fake.answer(hello());
    let turn = r#"{"role":"assistant","content":"Hi.","reasoning":"hm"},{"role":"user","content":"Go on."}"#;
    let answer = whole(http.post(CHAT, &format!(r#"{{"model":"m","messages":[{turn}]}}"#)).await).await;
    assert_eq!(
        (answer.status, &answer.headers["cube-unrecognised"]),
        (200, &"messages.reasoning".parse().unwrap())
    );
}

#[tokio::test]
async fn a_client_that_goes_takes_the_work_with_it() {
    let world = World::open().await;
    for mut http in Http::both(&world).await {
        let script = world.fake.next();
        script.send(started(0)).unwrap();
        let mut body = http.post(CHAT, &ask(STREAM)).await.into_body();
        body.frame().await.unwrap().unwrap();
        drop((body, http));
        timeout(PATIENCE, script.closed()).await.unwrap();
    }
    for mut http in Http::both(&world).await {
        let (script, calls) = (world.fake.next(), world.fake.seen.lock().unwrap().len());
        let asking = tokio::spawn(async move { drop(http.post(CHAT, &ask("")).await) });
        timeout(PATIENCE, async {
            while world.fake.seen.lock().unwrap().len() == calls {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        asking.abort();
        timeout(PATIENCE, script.closed()).await.unwrap();
    }
}
