//! Ollama's interface, in front of an Ollama and in front of another model server.

use http_body_util::Full;
use inference_gateway::AnswerLimits;
use proto::{
    backend::v1::{Endpoint, RelayForm},
    inference::v1::{
        FinishReason, Finished, Message, Role, ToolCallDelta, ToolCallStarted, chat_event::Event,
    },
};
use serde_json::{Value, json};

use crate::{
    client::{Answered, Http, whole},
    fake::{end, event, failure, head, hello, piece, started, text, usage},
    world::World,
};

const CHAT: &str = "/api/chat";

fn ask(extra: &str) -> String {
    format!(r#"{{"model":"smollm2","messages":[{{"role":"user","content":"Hello?"}}]{extra}}}"#)
}

async fn translating() -> World {
    World::relaying(AnswerLimits::default(), false).await
}

fn lines(answer: &Answered) -> Vec<Value> {
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn requests_are_passed_on_to_an_ollama() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let body = "{\"message\":{\"content\":\"a\"},\"done\":false}\n{\"done\":true}\n";
    for (path, endpoint) in [(CHAT, Endpoint::OllamaChat), ("/api/generate", Endpoint::OllamaGenerate)] {
        world.fake.relay([head(RelayForm::Lines), piece(body), end()]);
        let answer = whole(http.post(path, &ask(r#","options":{"num_ctx":4096}"#)).await).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
        assert_eq!(answer.headers["content-type"], "application/x-ndjson");
        let seen = world.fake.relayed.lock().unwrap().pop().unwrap();
        assert_eq!(
            (seen.endpoint, seen.streamed),
            (endpoint, true),
            "an Ollama streams unless told otherwise"
        );
    }
    for (path, endpoint) in [("/api/tags", Endpoint::OllamaTags), ("/api/ps", Endpoint::OllamaPs)] {
        world.fake.relay([head(RelayForm::Whole), piece("{\"models\":[]}"), end()]);
        assert_eq!(http.get(path).await.body, "{\"models\":[]}");
        assert_eq!(world.fake.relayed.lock().unwrap().pop().unwrap().endpoint, endpoint);
    }
}

#[tokio::test]
async fn a_failure_in_mid_stream_is_a_line_and_a_broken_body() {
    for world in [World::open().await, translating().await] {
        for mut http in Http::both(&world).await {
            world.fake.relay([
                head(RelayForm::Lines),
                piece("{\"done\":false}\n"),
                Err(failure().unwrap_err()),
            ]);
            world.fake.answer([started(0), text(1, "Hel"), failure()]);
            let answer = whole(http.post(CHAT, &ask("")).await).await;
            assert_eq!((answer.status, answer.complete), (200, false));
            let last = lines(&answer).pop().unwrap();
            assert_eq!((last["code"].as_str().unwrap(), &last["done"]), ("BACKEND_FAILED", &Value::Null));
        }
    }
}

#[tokio::test]
async fn chats_are_translated() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    world.fake.answer(hello());
    let extra =
        r#","options":{"temperature":0.5,"num_predict":-1,"stop":"x"},"keep_alive":"5m","think":false"#;
    let answer = whole(http.post(CHAT, &ask(extra)).await).await;
    assert_eq!((answer.status, answer.complete), (200, true));
    assert_eq!(answer.headers["cube-unrecognised"], "keep_alive");
    let lines = lines(&answer);
    let said: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!((said.as_str(), lines.len()), ("Hello, world.", 3));
    let last = &lines[2];
    assert_eq!((&last["done"], last["done_reason"].as_str().unwrap()), (&json!(true), "stop"));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(3), &json!(2)));
    assert!(last["created_at"].as_str().unwrap().ends_with('Z') && last["total_duration"].is_u64());
    let seen = world.fake.seen.lock().unwrap();
    let sampling = seen[0].spec.sampling.as_ref().unwrap();
    assert_eq!(
        (sampling.temperature, sampling.max_tokens, sampling.stop.as_slice()),
        (Some(0.5), None, &["x".to_owned()][..])
    );
}

#[tokio::test]
async fn generate_is_a_chat_of_one_turn() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    world.fake.answer(hello());
    let asked =
        r#"{"model":"smollm2","system":"Be brief.","prompt":"Hello?","stream":false,"format":"json"}"#;
    let answer = whole(http.post("/api/generate", asked).await).await;
    let body = answer.json();
    assert_eq!((body["response"].as_str().unwrap(), &body["done"]), ("Hello, world.", &json!(true)));
    let seen = world.fake.seen.lock().unwrap().pop().unwrap();
    let roles: Vec<_> = seen.spec.messages.iter().map(Message::role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    assert!(seen.spec.response_format.is_some());
    let loaded = whole(http.post("/api/generate", r#"{"model":"smollm2"}"#).await).await;
    assert_eq!(loaded.json()["done_reason"], "load");
}

#[tokio::test]
async fn tool_calls_come_whole_and_answers_find_their_call() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    let call = |sequence, index, id: &str| {
        event(
            sequence,
            Event::ToolCallStarted(ToolCallStarted { index, id: id.into(), name: "weather".into() }),
        )
    };
    let arguments = |sequence, index, arguments: &str| {
        event(sequence, Event::ToolCallDelta(ToolCallDelta { index, arguments: arguments.into() }))
    };
    let finished = event(6, Event::Finished(Finished { reason: FinishReason::ToolCalls.into() }));
    let events = [
        started(0),
        call(1, 0, "a"),
        arguments(2, 0, "{\"city\":"),
        arguments(3, 0, "\"Paris\"}"),
        call(4, 1, "b"),
        arguments(5, 1, "{}"),
        finished,
        usage(7),
    ];
    world.fake.answer(events);
    let tools =
        r#","tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]"#;
    let answer = whole(http.post(CHAT, &ask(tools)).await).await;
    let told = lines(&answer);
    assert_eq!(told[0]["message"]["tool_calls"][0]["function"]["arguments"], json!({ "city": "Paris" }));
    assert_eq!(told[1]["message"]["tool_calls"][0]["id"], "b");
    assert_eq!(told[2]["done"], true);

    world.fake.answer(hello());
    let call = json!({ "function": { "name": "weather", "arguments": { "city": "Paris" } } });
    let messages = json!([
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": "", "tool_calls": [call, call] },
        { "role": "tool", "tool_name": "weather", "content": "sunny" },
        { "role": "tool", "tool_name": "weather", "content": "rainy" },
    ]);
    let body = json!({ "model": "smollm2", "messages": messages, "stream": false });
    assert_eq!(whole(http.post(CHAT, &body.to_string()).await).await.status, 200);
    let spec = world.fake.seen.lock().unwrap().pop().unwrap().spec;
    let made: Vec<_> = spec.messages[1].tool_calls.iter().map(|call| call.id.clone()).collect();
    let answered: Vec<_> = spec.messages[2..].iter().map(|message| message.tool_call_id.clone()).collect();
    assert_eq!((made.len(), made), (2, answered));
}

#[tokio::test]
async fn embeddings_go_by_openais_endpoint() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    let of_openai =
        r#"{"data":[{"embedding":[0.25,-1]},{"embedding":[1e-3,2]}],"usage":{"prompt_tokens":4}}"#;
    world.fake.relay([head(RelayForm::Whole), piece(of_openai), end()]);
    let answer = whole(http.post("/api/embed", r#"{"model":"m","input":["a","b"]}"#).await).await;
    assert_eq!(answer.body, r#"{"model":"m","embeddings":[[0.25,-1],[1e-3,2]],"prompt_eval_count":4}"#);
    world.fake.relay([head(RelayForm::Whole), piece(of_openai), end()]);
    let answer = whole(http.post("/api/embeddings", r#"{"model":"m","prompt":"a"}"#).await).await;
    assert_eq!(answer.body, r#"{"embedding":[0.25,-1]}"#);
    let seen: Value = serde_json::from_slice(&world.fake.relayed.lock().unwrap()[0].body).unwrap();
    assert_eq!(seen, json!({ "model": "m", "input": ["a", "b"], "encoding_format": "float" }));
}

#[tokio::test]
async fn what_clients_ask_first_is_answered() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    assert_eq!(http.get("/").await.body, "Ollama is running");
    let page = http.request("GET", "/").header("accept", "text/html").body(Full::default()).unwrap();
    assert!(whole(http.send(page).await).await.body.contains("cube verify"));
    assert!(http.get("/api/version").await.json()["version"].is_string());
    let tags = http.get("/api/tags").await.json();
    assert_eq!(tags["models"][1]["name"], "org/large");
    assert_eq!(http.get("/api/ps").await.json(), json!({ "models": [] }));
    let show = whole(http.post("/api/show", r#"{"model":"org/large"}"#).await).await;
    assert_eq!(show.json()["capabilities"], json!(["completion"]));
    let missing = whole(http.post("/api/show", r#"{"model":"none"}"#).await).await;
    assert_eq!((missing.status, missing.json()["code"].as_str().unwrap()), (404, "MODEL_NOT_FOUND"));
}

#[tokio::test]
async fn nobody_manages_models() {
    for world in [World::open().await, translating().await] {
        let mut http = Http::h1(&world).await;
        for path in
            ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/sha256:0"]
        {
            let answer = whole(http.post(path, r#"{"model":"m"}"#).await).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str().unwrap()),
                (403, "MODELS_ARE_FIXED"),
                "{path}"
            );
        }
        assert!(world.fake.relayed.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn curl_needs_no_content_type_and_a_web_page_does() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    world.fake.relay([head(RelayForm::Whole), piece("{\"done\":true}"), end()]);
    let form = "application/x-www-form-urlencoded";
    let request = http.request("POST", CHAT).header("content-type", form);
    let request = request.body(Full::from(ask(r#","stream":false"#))).unwrap();
    assert_eq!(whole(http.send(request).await).await.status, 200);
    let request =
        http.request("POST", CHAT).header("content-type", form).header("origin", "https://example.org");
    let answer = whole(http.send(request.body(Full::from(ask(""))).unwrap()).await).await;
    assert_eq!((answer.status, answer.json()["code"].as_str().unwrap()), (415, "INVALID_REQUEST"));
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_by_name() {
    let world = translating().await;
    let mut http = Http::h1(&world).await;
    for (path, body, what) in [
        (CHAT, ask(r#","options":{"num_ctx":4096}"#), "options.num_ctx"),
        (CHAT, ask(r#","format":"yaml""#), "format"),
        (CHAT, ask(r#","think":"hard""#), "think"),
        ("/api/generate", r#"{"model":"m","prompt":"a","raw":true}"#.to_owned(), "raw"),
        ("/api/generate", r#"{"model":"m","prompt":"a","images":["AAAA"]}"#.to_owned(), "images[0]"),
        (CHAT, r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#.to_owned(), "messages[0]"),
        ("/api/embed", r#"{"model":"m"}"#.to_owned(), "input"),
    ] {
        let answer = whole(http.post(path, &body).await).await;
        let message = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && message.contains(what), "{path}: {message}");
    }
    assert!(world.fake.seen.lock().unwrap().is_empty());
}
