use http::StatusCode;
use proto::inference::v1::{
    JsonSchema, Role, ToolChoiceMode, content_part::Part, response_format::Format, tool_choice::Choice,
};

use super::*;

/// A good request, with `extra` members put into it.
fn request(extra: &str) -> String {
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"secret"}}]{extra}}}"#)
}

/// A good request whose only message is `message`.
fn said(message: &str) -> String {
    format!(r#"{{"model":"m","messages":[{message}]}}"#)
}

fn read(body: &str) -> ChatSpec {
    parse(body.as_bytes()).unwrap_or_else(|error| panic!("{error:?}")).spec.into_inner()
}

fn refusal(body: &str) -> ApiError {
    let error = parse(body.as_bytes()).err().unwrap_or_else(|| panic!("taken: {body}"));
    assert_eq!(error.status, StatusCode::BAD_REQUEST);
    assert!(!error.message.contains("secret"), "{}", error.message);
    error
}

/// Each body is refused, with this reason, about this parameter.
fn all_refused(reason: &str, cases: &[(&str, String)]) {
    for (param, body) in cases {
        let error = refusal(body);
        let found = (error.reason.as_str(), error.param.as_deref().unwrap_or_default());
        assert_eq!(found, (reason, *param), "{body}: {}", error.message);
    }
}

#[test]
fn everything_that_can_be_honoured_arrives() {
    let golden = include_bytes!("../../../tests/golden/request.json");
    let read = parse(golden).unwrap_or_else(|error| panic!("{error:?}"));
    assert!(read.stream && read.include_usage);
    assert_eq!(read.left_out, Some("messages.reasoning"));
    let spec = read.spec.into_inner();
    assert_eq!(format!("{spec:#?}\n"), include_str!("../../../tests/golden/request.spec"));
}

#[test]
fn schemas_travel_byte_for_byte() {
    let spec = read(&String::from_utf8_lossy(include_bytes!("../../../tests/golden/request.json")));
    let schema = r#"{"type": "object",  "properties": {"b": {}, "a": {"const": 1.0}}}"#;
    assert_eq!(spec.tools[0].parameters_json_schema, schema);
    let format = spec.response_format.and_then(|format| format.format);
    let expected = JsonSchema { name: "out".into(), schema: r#"{"z": 1, "a": 2}"#.into() };
    assert_eq!(format, Some(Format::JsonSchema(expected)));
}

#[test]
fn what_is_not_said_stays_unsaid() {
    let spec = read(&request(""));
    assert_eq!(spec.sampling, Some(Sampling::default()));
    assert!(spec.tools.is_empty() && spec.tool_choice.is_none() && spec.response_format.is_none());
    let nulls = r#","temperature":null,"stop":null,"tools":null,"tool_choice":null,"stream":null,"n":null"#;
    assert_eq!(read(&request(nulls)), spec);
}

#[test]
fn short_forms_are_read() {
    assert_eq!(read(&request(r#","stop":"END""#)).sampling.unwrap().stop, ["END"]);
    assert_eq!(read(&request(r#","max_tokens":5"#)).sampling.unwrap().max_tokens, Some(5));
    let choice = read(&request(r#","tool_choice":"none""#)).tool_choice.unwrap().choice;
    assert_eq!(choice, Some(Choice::Mode(ToolChoiceMode::None.into())));
    assert_eq!(read(&request(r#","response_format":{"type":"text"}"#)).response_format, None);
    assert!(read(&request(r#","response_format":{"type":"json_object"}"#)).response_format.is_some());
    assert_eq!(read(&request(r#","reasoning_effort":"minimal""#)).reasoning_effort(), ReasoningEffort::Low);
    assert_eq!(read(&said(r#"{"role":"developer","content":"x"}"#)).messages[0].role(), Role::System);
    let escaped = read(&said(
        r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image\/png;base64,AA=="}}]}"#,
    ));
    assert!(
        matches!(&escaped.messages[0].content[0].part, Some(Part::Image(image)) if image.data.as_ref() == [0])
    );
}

#[test]
fn unknown_parameters_are_named() {
    all_refused(
        "UNKNOWN_PARAMETER",
        &[
            ("temprature", request(r#","temprature":1"#)),
            ("guided_json", request(r#","guided_json":{}"#)),
            ("cache_salt", request(r#","cache_salt":"secret""#)),
            ("stream_options.x", request(r#","stream":true,"stream_options":{"x":1}"#)),
            ("messages[0].x", said(r#"{"role":"user","content":"secret","x":1}"#)),
            ("messages[0].reasoning", said(r#"{"role":"user","content":"secret","reasoning":"secret"}"#)),
            (
                "messages[0].content[0].x",
                said(r#"{"role":"user","content":[{"type":"text","text":"secret","x":1}]}"#),
            ),
            ("tools[0].x", request(r#","tools":[{"type":"function","function":{"name":"f"},"x":1}]"#)),
            (
                "tools[0].function.x",
                request(r#","tools":[{"type":"function","function":{"name":"f","x":1}}]"#),
            ),
            (
                "tool_choice.function.x",
                request(r#","tool_choice":{"type":"function","function":{"name":"f","x":1}}"#),
            ),
            ("response_format.x", request(r#","response_format":{"type":"text","x":1}"#)),
            (
                "response_format.json_schema.x",
                request(
                    r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"x":1}}"#,
                ),
            ),
        ],
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    let values = [
        ("audio", "{}"),
        ("function_call", "\"auto\""),
        ("functions", "[]"),
        ("logit_bias", r#"{"1":1}"#),
        ("logprobs", "true"),
        ("metadata", r#"{"a":"secret"}"#),
        ("modalities", r#"["audio"]"#),
        ("n", "2"),
        ("n", "1.5"),
        ("parallel_tool_calls", "false"),
        ("prediction", "{}"),
        ("prompt_cache_key", "\"secret\""),
        ("safety_identifier", "\"secret\""),
        ("service_tier", "\"flex\""),
        ("store", "true"),
        ("top_logprobs", "5"),
        ("user", "\"secret\""),
        ("verbosity", "\"low\""),
        ("web_search_options", "{}"),
    ];
    let cases: Vec<_> =
        values.iter().map(|(name, value)| (*name, request(&format!(r#","{name}":{value}"#)))).collect();
    all_refused("UNSUPPORTED_BY_BACKEND", &cases);
    let url = |url: &str| {
        said(&format!(
            r#"{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}"#
        ))
    };
    let path = "messages[0].content[0].image_url.url";
    all_refused(
        "UNSUPPORTED_BY_BACKEND",
        &[
            (path, url("https://secret.example/a.png")),
            (path, url("file:///secret")),
            ("messages[0].content[0].type", said(r#"{"role":"user","content":[{"type":"input_audio"}]}"#)),
            ("messages[0].function_call", said(r#"{"role":"assistant","content":"","function_call":{}}"#)),
            ("messages[0].refusal", said(r#"{"role":"assistant","content":"","refusal":"secret"}"#)),
            ("tools[0].type", request(r#","tools":[{"type":"custom"}]"#)),
            (
                "tools[0].function.strict",
                request(r#","tools":[{"type":"function","function":{"name":"f","strict":true}}]"#),
            ),
            ("tool_choice.type", request(r#","tool_choice":{"type":"allowed_tools"}"#)),
            (
                "response_format.json_schema.description",
                request(
                    r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"description":"secret"}}"#,
                ),
            ),
            (
                "stream_options.include_obfuscation",
                request(r#","stream":true,"stream_options":{"include_obfuscation":true}"#),
            ),
        ],
    );
}

#[test]
fn what_is_malformed_is_refused_by_place() {
    let image = |url: &str| {
        said(&format!(
            r#"{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}"#
        ))
    };
    let path = "messages[0].content[0].image_url.url";
    all_refused(
        "INVALID_REQUEST",
        &[
            ("", "[]".into()),
            ("", "{".into()),
            ("model", r#"{"messages":[]}"#.into()),
            ("model", r#"{"model":"","messages":[{"role":"user","content":"x"}]}"#.into()),
            ("model", r#"{"model":7,"messages":[]}"#.into()),
            ("messages", r#"{"model":"m"}"#.into()),
            ("messages", r#"{"model":"m","messages":[]}"#.into()),
            ("messages", r#"{"model":"m","messages":{}}"#.into()),
            ("messages[0]", said("3")),
            ("messages[0].role", said(r#"{"content":"x"}"#)),
            ("messages[0].role", said(r#"{"role":"secret","content":"x"}"#)),
            ("messages[0].content", said(r#"{"role":"user"}"#)),
            ("messages[0].content", said(r#"{"role":"user","content":7}"#)),
            ("messages[0].content[0].type", said(r#"{"role":"user","content":[{}]}"#)),
            ("messages[0].content[0].type", said(r#"{"role":"user","content":[{"type":"secret"}]}"#)),
            ("messages[0].tool_call_id", said(r#"{"role":"tool","content":"x"}"#)),
            ("messages[0].tool_calls[0].type", said(r#"{"role":"assistant","tool_calls":[{}]}"#)),
            (
                "messages[0].tool_calls[0].id",
                said(
                    r#"{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":""}}]}"#,
                ),
            ),
            (path, image("data:image/png,secret")),
            (path, image("data:image/png;base64,AA")),
            (path, image("data:image/png;base64,s e c")),
            ("messages[0].content[0].image.media_type", image("data:text/plain;base64,AA==")),
            ("temperature", request(r#","temperature":"hot""#)),
            ("temperature", request(r#","temperature":3"#)),
            ("max_tokens", request(r#","max_tokens":-1"#)),
            ("max_tokens", request(r#","max_tokens":5,"max_completion_tokens":6"#)),
            ("seed", request(r#","seed":1.5"#)),
            ("stop", request(r#","stop":{}"#)),
            ("stop[1]", request(r#","stop":["a",1]"#)),
            ("stream", request(r#","stream":"yes""#)),
            ("stream_options", request(r#","stream_options":{"include_usage":true}"#)),
            ("reasoning_effort", request(r#","reasoning_effort":"xhigh""#)),
            (
                "tools[0].function.parameters",
                request(r#","tools":[{"type":"function","function":{"name":"f","parameters":[]}}]"#),
            ),
            ("tool_choice", request(r#","tool_choice":"required""#)),
            ("tool_choice", request(r#","tool_choice":"secret""#)),
            ("tool_choice", request(r#","tool_choice":{"type":"function","function":{"name":"secret"}}"#)),
            ("response_format.type", request(r#","response_format":{"type":"grammar"}"#)),
            ("response_format.json_schema", request(r#","response_format":{"type":"json_schema"}"#)),
            ("model", r#"{"model":"a","model":"b","messages":[]}"#.into()),
        ],
    );
}
