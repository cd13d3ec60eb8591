//! Requests in a dialect that the model server speaks itself.

use http_body_util::Full;
use inference_gateway::AnswerLimits;
use proto::backend::v1::{Endpoint, RelayForm};
use serde_json::{Value, json};

use crate::{
    client::{Http, whole},
    fake::{end, failure, head, piece},
    openai::{STREAM, ask},
    world::World,
};

const CHAT: &str = "/v1/chat/completions";
const CHUNK: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

async fn relaying() -> World {
    World::relaying(AnswerLimits::default(), false).await
}

fn failed() -> crate::fake::Piece {
    Err(failure().unwrap_err())
}

#[tokio::test]
async fn streams_go_on_byte_for_byte() {
    let world = relaying().await;
    for mut http in Http::both(&world).await {
        world.fake.relay([head(RelayForm::Events), piece(CHUNK), piece(&format!("{CHUNK}{DONE}")), end()]);
        let answer = whole(http.post(CHAT, &ask(STREAM)).await).await;
        assert_eq!((answer.status, answer.complete), (200, true));
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        assert!(answer.headers.contains_key("cube-request-id"));
        assert_eq!(answer.body, format!("{CHUNK}{CHUNK}{DONE}"));
    }
    let seen = world.fake.relayed.lock().unwrap();
    let body: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!((seen[0].endpoint, seen[0].streamed, seen[0].strip_usage), (Endpoint::OpenaiChat, true, true));
    assert_eq!(body["stream_options"], json!({ "include_usage": true }), "usage is always asked for");
}

#[tokio::test]
async fn usage_that_the_caller_asked_for_is_left_in() {
    let world = relaying().await;
    let mut http = Http::h1(&world).await;
    world.fake.relay([head(RelayForm::Events), piece(DONE), end()]);
    let asked =
        ask(r#","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}"#);
    whole(http.post(CHAT, &asked).await).await;
    let seen = world.fake.relayed.lock().unwrap();
    assert!(
        !seen[0].strip_usage && String::from_utf8_lossy(&seen[0].body).contains("continuous_usage_stats")
    );
}

#[tokio::test]
async fn a_failure_in_mid_stream_cannot_be_taken_for_an_end() {
    let world = relaying().await;
    let begun = || [head(RelayForm::Events), piece(CHUNK)];
    for (pieces, code) in [
        (begun().into_iter().chain([failed()]).collect::<Vec<_>>(), "BACKEND_FAILED"),
        (begun().to_vec(), "BACKEND_TRUNCATED"),
    ] {
        for (path, last) in [
            (CHAT, "data: {\"error\":{"),
            ("/v1/responses", "event: error\ndata: {\"code\":"),
            ("/v1/messages", "event: error\ndata: {\"error\":{\"code\":"),
        ] {
            for mut http in Http::both(&world).await {
                world.fake.relay(pieces.clone());
                let answer = whole(http.post(path, &ask(STREAM)).await).await;
                assert_eq!((answer.status, answer.complete), (200, false));
                let words = answer.body.split_terminator("\n\n").last().unwrap();
                assert!(words.starts_with(last) && words.contains(code), "{path}: {words}");
            }
        }
    }
}

#[tokio::test]
async fn whole_answers_are_whole_or_none() {
    let world = relaying().await;
    let mut http = Http::h1(&world).await;
    let body = r#"{"data":[{"embedding":[0.25]}],"usage":{"prompt_tokens":3}}"#;
    let (first, rest) = body.split_at(20);
    let asked = r#"{"model":"smollm2","input":"Hello"}"#;
    world.fake.relay([head(RelayForm::Whole), piece(first), piece(rest), end()]);
    let answer = whole(http.post("/v1/embeddings", asked).await).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, body));
    for (pieces, status, code) in [
        (vec![head(RelayForm::Whole), piece(first), end()], 500, "BACKEND_PROTOCOL"),
        (vec![head(RelayForm::Whole), piece(first)], 500, "BACKEND_TRUNCATED"),
        (vec![head(RelayForm::Whole), piece(body), failed()], 500, "BACKEND_FAILED"),
        (vec![piece(body)], 500, "BACKEND_PROTOCOL"),
        (vec![head(RelayForm::Events), piece(DONE), end()], 500, "BACKEND_PROTOCOL"),
        (vec![failed()], 500, "BACKEND_FAILED"),
    ] {
        world.fake.relay(pieces);
        let answer = whole(http.post("/v1/embeddings", asked).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn what_the_model_server_does_not_have_is_501_in_each_dialect() {
    let world = relaying().await;
    let mut http = Http::h1(&world).await;
    for path in [
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/rerank",
        "/tokenize",
        "/detokenize",
    ] {
        let answer = whole(http.post(path, r#"{"model":"m"}"#).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (501, "ENDPOINT_NOT_IN_BACKEND"), "{path}");
    }
    let form = http
        .request("POST", "/v1/audio/transcriptions")
        .header("content-type", "multipart/form-data; boundary=x");
    let answer = whole(http.send(form.body(Full::from("--x--")).unwrap()).await).await;
    assert_eq!((answer.status, answer.code().as_str()), (501, "ENDPOINT_NOT_IN_BACKEND"));
    let seen = world.fake.relayed.lock().unwrap();
    assert_eq!(seen.last().unwrap().content_type, "multipart/form-data; boundary=x");
}

#[tokio::test]
async fn a_transcript_is_streamed_where_its_form_says_so() {
    let world = relaying().await;
    let mut http = Http::h1(&world).await;
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n";
    let mut ask = async |stream: &str| {
        world.fake.relay([head(RelayForm::Events), piece(delta), end()]);
        let form = format!(
            "--x\r\ncontent-disposition: form-data; name=\"stream\"\r\n\r\n{stream}\r\n--x\r\n\
             content-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x--\r\n"
        );
        let request = http
            .request("POST", "/v1/audio/transcriptions")
            .header("content-type", "multipart/form-data; boundary=x");
        whole(http.send(request.body(form.into()).unwrap()).await).await
    };
    let answer = ask("true").await;
    assert_eq!((answer.status, answer.body.as_str(), answer.complete), (200, delta, true));
    assert_eq!(ask("false").await.code(), "BACKEND_PROTOCOL", "a server that streams unasked");
}

#[tokio::test]
async fn unknown_parameters_are_passed_on_and_named_or_refused() {
    for strict in [false, true] {
        let world = World::relaying(AnswerLimits::default(), strict).await;
        let mut http = Http::h1(&world).await;
        world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
        let answer = whole(http.post(CHAT, &ask(r#","temprature":0.5,"top_k":5"#)).await).await;
        if strict {
            assert_eq!((answer.status, answer.code().as_str()), (400, "UNKNOWN_PARAMETER"));
            assert!(world.fake.relayed.lock().unwrap().is_empty());
        } else {
            assert_eq!(
                (answer.status, answer.headers["cube-unrecognised"].to_str().unwrap()),
                (200, "temprature")
            );
            let seen = world.fake.relayed.lock().unwrap();
            assert!(String::from_utf8_lossy(&seen[0].body).contains(r#""temprature":0.5"#));
        }
    }
}

#[tokio::test]
async fn nobody_is_let_into_the_model_servers_own_affairs() {
    let world = relaying().await;
    let mut http = Http::h1(&world).await;
    for (extra, param) in [
        (r#","cache_salt":"theirs""#, "cache_salt"),
        (r#","request_id":"theirs""#, "request_id"),
        (r#","kv_transfer_params":{}"#, "kv_transfer_params"),
    ] {
        let answer = whole(http.post(CHAT, &ask(extra)).await).await;
        assert_eq!((answer.status, answer.json()["error"]["param"].as_str().unwrap()), (400, param));
    }
    for url in
        ["https://example.org/cat.png", "http://169.254.169.254/", "file:///etc/passwd", "//example.org/a:b"]
    {
        let image = json!({ "type": "image_url", "image_url": { "url": url } });
        let body = json!({ "model": "m", "messages": [{ "role": "user", "content": [image] }] });
        let answer = whole(http.post(CHAT, &body.to_string()).await).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "UNSUPPORTED_BY_BACKEND"), "{url}");
    }
    assert!(world.fake.relayed.lock().unwrap().is_empty());
    world.fake.relay([head(RelayForm::Whole), piece("{}"), end()]);
    let text = json!({ "type": "text", "text": "see https://example.org" });
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } });
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": [text, image] }] });
    assert_eq!(whole(http.post(CHAT, &body.to_string()).await).await.status, 200);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_work_along() {
    let world = relaying().await;
    let mut http = Http::h2(&world).await;
    let script = world.fake.next_relay();
    script.send(head(RelayForm::Events)).unwrap();
    script.send(piece(CHUNK)).unwrap();
    drop(http.post(CHAT, &ask(STREAM)).await);
    tokio::time::timeout(crate::client::PATIENCE, script.closed()).await.unwrap();
}
