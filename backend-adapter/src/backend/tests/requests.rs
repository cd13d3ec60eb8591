//! What is sent to the model servers.

use proto::inference::v1::{
    ChatSpec, ContentPart, Image, JsonObject, JsonSchema, Message, ReasoningEffort, ResponseFormat, Role,
    Sampling, Tool, ToolCall, ToolChoice, ToolChoiceMode, content_part::Part, response_format::Format,
    tool_choice::Choice,
};
use serde_json::{Value, json};

use super::spec;
use crate::{backend::Dialect, decode::MAX_FRAME, error::BackendError};

fn body(dialect: Dialect, spec: &ChatSpec) -> Value {
    serde_json::from_slice(&dialect.call("req-1", spec, "", MAX_FRAME).unwrap().body).unwrap()
}

fn refusal(dialect: Dialect, change: impl FnOnce(&mut ChatSpec)) -> BackendError {
    let mut spec = full();
    change(&mut spec);
    dialect.call("req-1", &spec, "", MAX_FRAME).unwrap_err()
}

fn text(text: &str) -> ContentPart {
    ContentPart { part: Some(Part::Text(text.into())) }
}

fn image() -> ContentPart {
    let image = Image { media_type: "image/png".into(), data: vec![1, 2, 255].into() };
    ContentPart { part: Some(Part::Image(image)) }
}

fn message(role: Role, content: Vec<ContentPart>) -> Message {
    Message { role: role.into(), content, ..Message::default() }
}

fn mode(mode: ToolChoiceMode) -> ToolChoice {
    ToolChoice { choice: Some(Choice::Mode(mode.into())) }
}

/// A request that uses everything both dialects can do.
fn full() -> ChatSpec {
    let call = ToolCall { id: "c1".into(), name: "weather".into(), arguments: r#"{"city": "Paris"}"#.into() };
    let schema = JsonSchema { name: String::new(), schema: r#"{"type":  "object"}"#.into() };
    ChatSpec {
        messages: vec![
            message(Role::System, vec![text("Be brief.")]),
            message(Role::User, vec![text("Look: "), image(), text("Weather?")]),
            Message { tool_calls: vec![call], ..message(Role::Assistant, vec![]) },
            Message { tool_call_id: "c1".into(), ..message(Role::Tool, vec![text("sunny")]) },
        ],
        sampling: Some(Sampling {
            temperature: Some(0.0),
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.05),
            presence_penalty: Some(-0.5),
            frequency_penalty: Some(0.25),
            seed: Some(7),
            max_tokens: Some(64),
            stop: vec!["END".into()],
            ..Sampling::default()
        }),
        tools: vec![Tool {
            name: "weather".into(),
            description: "Tells it.".into(),
            parameters_json_schema: r#"{"type":"object",  "properties":{"city":{"type":"string"}}}"#.into(),
        }],
        tool_choice: Some(mode(ToolChoiceMode::Auto)),
        response_format: Some(ResponseFormat { format: Some(Format::JsonSchema(schema)) }),
        reasoning_effort: ReasoningEffort::Low.into(),
        ..spec()
    }
}

#[test]
fn openai_is_asked_for_everything() {
    assert_eq!(
        body(Dialect::OpenAi, &full()),
        json!({
            "model": "asked",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [
                    {"type": "text", "text": "Look: "},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AQL/"}},
                    {"type": "text", "text": "Weather?"},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Paris\"}"}},
                ]},
                {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.0, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
            "presence_penalty": -0.5, "frequency_penalty": 0.25,
            "seed": 7, "max_completion_tokens": 64, "stop": ["END"],
            "tools": [{"type": "function", "function": {
                "name": "weather", "description": "Tells it.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            }}],
            "tool_choice": "auto",
            "response_format": {"type": "json_schema", "json_schema":
                {"name": "answer", "strict": true, "schema": {"type": "object"}}},
            "reasoning_effort": "low",
        })
    );
}

#[test]
fn ollama_is_asked_for_everything() {
    assert_eq!(
        body(Dialect::Ollama, &full()),
        json!({
            "model": "asked",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Look: "},
                {"role": "user", "content": "Weather?", "images": ["AQL/"]},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Paris"}}},
                ]},
                {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "c1"},
            ],
            "stream": true, "truncate": false, "shift": false,
            "tools": [{"type": "function", "function": {
                "name": "weather", "description": "Tells it.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            }}],
            "format": {"type": "object"},
            "think": "low",
            "options": {
                "temperature": 0.0, "top_p": 0.9, "top_k": 40, "min_p": 0.05,
                "presence_penalty": -0.5, "frequency_penalty": 0.25,
                "seed": 7, "num_predict": 64, "stop": ["END"],
            },
        })
    );
}

#[test]
fn what_is_absent_is_left_to_the_server() {
    assert_eq!(
        body(Dialect::OpenAi, &spec()),
        json!({
            "model": "asked", "messages": [{"role": "user", "content": "What is gravity?"}],
            "stream": true, "stream_options": {"include_usage": true},
        })
    );
    assert_eq!(
        body(Dialect::Ollama, &spec()),
        json!({
            "model": "asked", "messages": [{"role": "user", "content": "What is gravity?"}],
            "stream": true, "truncate": false, "shift": false, "options": {},
        })
    );
}

#[test]
fn schemas_go_out_byte_for_byte() {
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let body = dialect.call("req-1", &full(), "", MAX_FRAME).unwrap().body;
        let body = std::str::from_utf8(&body).unwrap();
        for part in
            [r#"{"type":  "object"}"#, r#"{"type":"object",  "properties":{"city":{"type":"string"}}}"#]
        {
            assert!(body.contains(part), "{body}");
        }
    }
}

#[test]
fn choices_of_tools_and_forms_are_mapped() {
    let function = Some(ToolChoice { choice: Some(Choice::Function("weather".into())) });
    for (choice, sent) in [
        (Some(mode(ToolChoiceMode::None)), json!("none")),
        (Some(mode(ToolChoiceMode::Required)), json!("required")),
        (function, json!({"type": "function", "function": {"name": "weather"}})),
    ] {
        let spec = ChatSpec { tool_choice: choice, ..full() };
        assert_eq!(body(Dialect::OpenAi, &spec)["tool_choice"], sent);
    }
    let none = ChatSpec { tool_choice: Some(mode(ToolChoiceMode::None)), ..full() };
    assert_eq!(body(Dialect::Ollama, &none).get("tools"), None);
    let json_object = Some(ResponseFormat { format: Some(Format::JsonObject(JsonObject {})) });
    let spec = ChatSpec { response_format: json_object, ..full() };
    assert_eq!(body(Dialect::OpenAi, &spec)["response_format"], json!({"type": "json_object"}));
    assert_eq!(body(Dialect::Ollama, &spec)["format"], json!("json"));
    let spec = ChatSpec { reasoning_effort: ReasoningEffort::None.into(), ..full() };
    assert_eq!(body(Dialect::OpenAi, &spec)["reasoning_effort"], json!("none"));
    assert_eq!(body(Dialect::Ollama, &spec)["think"], json!(false));
}

#[test]
fn what_ollama_cannot_do_is_refused_by_name() {
    let unsupported = |change: fn(&mut ChatSpec)| {
        let BackendError::Unsupported { field, .. } = refusal(Dialect::Ollama, change) else { panic!() };
        field
    };
    assert_eq!(unsupported(|spec| spec.sampling.as_mut().unwrap().seed = Some(-1)), "spec.sampling.seed");
    assert_eq!(
        unsupported(|spec| spec.sampling.as_mut().unwrap().seed = Some(1 << 32)),
        "spec.sampling.seed"
    );
    assert_eq!(
        unsupported(|spec| spec.tool_choice = Some(mode(ToolChoiceMode::Required))),
        "spec.tool_choice.mode"
    );
    let named = |spec: &mut ChatSpec| {
        spec.tool_choice = Some(ToolChoice { choice: Some(Choice::Function("weather".into())) });
    };
    assert_eq!(unsupported(named), "spec.tool_choice.function");
    assert_eq!(unsupported(|spec| spec.messages[1].name = "alice".into()), "spec.messages[1].name");
}

#[test]
fn ollama_needs_whole_arguments_and_known_tools() {
    let invalid = |change: fn(&mut ChatSpec)| {
        let BackendError::InvalidField { field, .. } = refusal(Dialect::Ollama, change) else { panic!() };
        field
    };
    let arguments = |spec: &mut ChatSpec| spec.messages[2].tool_calls[0].arguments = "{\"ci".into();
    assert_eq!(invalid(arguments), "spec.messages[2].tool_calls[0].arguments");
    assert_eq!(
        invalid(|spec| spec.messages[3].tool_call_id = "other".into()),
        "spec.messages[3].tool_call_id"
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    type Change = fn(&mut ChatSpec);
    fn sampling(spec: &mut ChatSpec) -> &mut Sampling {
        spec.sampling.as_mut().unwrap()
    }
    let cases: [(&str, Change); 26] = [
        ("spec.model", |spec| spec.model.clear()),
        ("spec.messages", |spec| spec.messages.clear()),
        ("spec.messages[0].role", |spec| spec.messages[0].role = 0),
        ("spec.messages[0].role", |spec| spec.messages[0].role = 9),
        ("spec.messages[1].content[0]", |spec| spec.messages[1].content[0].part = None),
        ("spec.messages[0].content[1].image", |spec| spec.messages[0].content.push(image())),
        ("spec.messages[1].content[1].image.media_type", |spec| spec.messages[1].content[1] = html()),
        ("spec.messages[1].tool_call_id", |spec| spec.messages[1].tool_call_id = "c1".into()),
        ("spec.messages[3].tool_call_id", |spec| spec.messages[3].tool_call_id.clear()),
        ("spec.messages[1].tool_calls", |spec| {
            spec.messages[1].tool_calls = spec.messages[2].tool_calls.clone();
        }),
        ("spec.messages[2].tool_calls[0].id", |spec| spec.messages[2].tool_calls[0].id.clear()),
        ("spec.sampling.temperature", |spec| sampling(spec).temperature = Some(2.1)),
        ("spec.sampling.temperature", |spec| sampling(spec).temperature = Some(f32::NAN)),
        ("spec.sampling.top_p", |spec| sampling(spec).top_p = Some(0.0)),
        ("spec.sampling.min_p", |spec| sampling(spec).min_p = Some(-0.1)),
        ("spec.sampling.presence_penalty", |spec| sampling(spec).presence_penalty = Some(3.0)),
        ("spec.sampling.frequency_penalty", |spec| sampling(spec).frequency_penalty = Some(f32::INFINITY)),
        ("spec.sampling.max_tokens", |spec| sampling(spec).max_tokens = Some(0)),
        ("spec.sampling.stop", |spec| sampling(spec).stop = vec!["x".into(); 17]),
        ("spec.sampling.stop", |spec| sampling(spec).stop = vec![String::new()]),
        ("spec.tools[0].name", |spec| spec.tools[0].name.clear()),
        ("spec.tools[0].parameters_json_schema", |spec| spec.tools[0].parameters_json_schema = "[]".into()),
        ("spec.tool_choice", |spec| spec.tool_choice = Some(mode(ToolChoiceMode::Unspecified))),
        ("spec.tool_choice", |spec| {
            spec.tool_choice = Some(ToolChoice { choice: Some(Choice::Function("x".into())) });
        }),
        ("spec.response_format", |spec| spec.response_format = Some(ResponseFormat { format: None })),
        ("spec.reasoning_effort", |spec| spec.reasoning_effort = 99),
    ];
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        for (expected, change) in cases {
            let BackendError::InvalidField { field, .. } = refusal(dialect, change) else {
                panic!("{expected}")
            };
            assert_eq!(field, expected);
        }
    }
}

fn html() -> ContentPart {
    let image = Image { media_type: "text/html".into(), data: vec![1].into() };
    ContentPart { part: Some(Part::Image(image)) }
}
