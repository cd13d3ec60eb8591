use crate::inference::v1::{ContentPart, JsonSchema};

use super::*;

fn text(role: Role, text: &str) -> Message {
    let part = ContentPart { part: Some(Part::Text(text.into())) };
    Message { role: role.into(), content: vec![part], ..Message::default() }
}

fn spec() -> ChatSpec {
    ChatSpec { model: "m".into(), messages: vec![text(Role::User, "secret")], ..ChatSpec::default() }
}

/// The refusal after `change` to a good request.
fn refusal(change: impl FnOnce(&mut ChatSpec)) -> String {
    let mut spec = spec();
    assert!(check(&spec).is_ok());
    change(&mut spec);
    check(&spec).unwrap_err().to_string()
}

fn sampled(change: impl FnOnce(&mut Sampling)) -> String {
    refusal(|spec| change(spec.sampling.get_or_insert_default()))
}

fn image(media_type: &str, data: &'static [u8]) -> ContentPart {
    let image = Image { media_type: media_type.into(), data: data.into() };
    ContentPart { part: Some(Part::Image(image)) }
}

#[test]
fn models_and_messages_are_required() {
    assert_eq!(refusal(|spec| spec.model.clear()), "model is required");
    assert_eq!(refusal(|spec| spec.messages.clear()), "messages must hold at least one message");
}

#[test]
fn lists_are_bounded() {
    let many = |spec: &mut ChatSpec| spec.messages = vec![Message::default(); MAX_ITEMS + 1];
    assert_eq!(refusal(many), "messages holds more than 16384 items");
    let many = |spec: &mut ChatSpec| spec.tools = vec![Tool::default(); MAX_ITEMS + 1];
    assert_eq!(refusal(many), "tools holds more than 16384 items");
    let many = |spec: &mut ChatSpec| spec.messages[0].content = vec![ContentPart::default(); MAX_ITEMS + 1];
    assert_eq!(refusal(many), "messages[0].content holds more than 16384 items");
    let many = |spec: &mut ChatSpec| spec.messages[0].tool_calls = vec![ToolCall::default(); MAX_ITEMS + 1];
    assert_eq!(refusal(many), "messages[0].tool_calls holds more than 16384 items");
}

#[test]
fn each_message_must_make_sense() {
    let first = |change: fn(&mut Message)| refusal(|spec| change(&mut spec.messages[0]));
    assert_eq!(first(|it| it.role = 0), "messages[0].role must be one of the known roles");
    assert_eq!(first(|it| it.role = 77), "messages[0].role must be one of the known roles");
    assert_eq!(first(|it| it.content.clear()), "messages[0].content is required");
    assert_eq!(
        first(|it| it.role = Role::Tool.into()),
        "messages[0].tool_call_id is required in a tool message"
    );
    assert_eq!(
        first(|it| it.tool_call_id = "x".into()),
        "messages[0].tool_call_id belongs to tool messages only"
    );
    assert_eq!(
        first(|it| it.tool_calls.push(ToolCall::default())),
        "messages[0].tool_calls belongs to assistant messages only"
    );
    assert_eq!(
        first(|it| it.content.push(ContentPart::default())),
        "messages[0].content[1] holds neither text nor image nor audio"
    );
}

#[test]
fn images_are_checked() {
    let pushed = |part: ContentPart| refusal(|spec| spec.messages[0].content.push(part));
    assert!(pushed(image("text/html", b"x")).starts_with("messages[0].content[1].image.media_type"));
    assert!(pushed(image("image/", b"x")).contains("media_type"));
    assert_eq!(pushed(image("image/png", b"")), "messages[0].content[1].image.data is empty");
    let by_assistant = refusal(|spec| {
        spec.messages[0].role = Role::Assistant.into();
        spec.messages[0].content.push(image("image/png", b"x"));
    });
    assert_eq!(by_assistant, "messages[0].content[1].image belongs to user messages only");
}

type Change = fn(&mut Sampling);

#[test]
fn sampling_has_ranges() {
    let cases: [(&str, Change); 13] = [
        ("temperature", |it| it.temperature = Some(2.1)),
        ("temperature", |it| it.temperature = Some(f32::NAN)),
        ("temperature", |it| it.temperature = Some(-0.1)),
        ("top_p", |it| it.top_p = Some(0.0)),
        ("top_p", |it| it.top_p = Some(f32::INFINITY)),
        ("min_p", |it| it.min_p = Some(1.5)),
        ("presence_penalty", |it| it.presence_penalty = Some(-3.0)),
        ("frequency_penalty", |it| it.frequency_penalty = Some(3.0)),
        ("top_k", |it| it.top_k = Some(0)),
        ("max_tokens", |it| it.max_tokens = Some(0)),
        ("stop", |it| it.stop = vec!["x".into(); 17]),
        ("stop", |it| it.stop = vec![String::new()]),
        ("top_p", |it| it.top_p = Some(-1.0)),
    ];
    for (field, change) in cases {
        assert!(sampled(change).starts_with(&format!("sampling.{field} ")), "{field}");
    }
    let mut greedy = spec();
    greedy.sampling = Some(Sampling { temperature: Some(0.0), top_p: Some(1.0), ..Sampling::default() });
    assert!(check(&greedy).is_ok());
}

#[test]
fn tools_and_choice_fit_together() {
    let choose = |choice| refusal(|spec| spec.tool_choice = Some(ToolChoice { choice }));
    assert_eq!(choose(None), "tool_choice holds neither mode nor function");
    assert_eq!(choose(Some(Choice::Mode(0))), "tool_choice is not a known mode");
    assert!(choose(Some(Choice::Mode(3))).contains("tools is empty"));
    assert!(choose(Some(Choice::Function("f".into()))).contains("not in tools"));
    let tool = |name: &str, schema: &str| {
        refusal(|spec| {
            let (name, parameters_json_schema) = (name.into(), schema.into());
            spec.tools.push(Tool { name, parameters_json_schema, ..Tool::default() });
        })
    };
    assert_eq!(tool("", ""), "tools[0].name is required");
    for schema in ["[]", "{", "{}x"] {
        assert_eq!(tool("f", schema), "tools[0].parameters_json_schema must be a JSON object");
    }
}

#[test]
fn formats_and_effort_are_known() {
    let formatted = |format| refusal(|spec| spec.response_format = Some(ResponseFormat { format }));
    assert_eq!(formatted(None), "response_format holds no format");
    let schema = JsonSchema { name: "n".into(), schema: "3".into() };
    assert!(formatted(Some(Format::JsonSchema(schema))).contains("must be a JSON object"));
    assert!(refusal(|spec| spec.reasoning_effort = 99).starts_with("reasoning_effort"));
}

#[test]
fn the_status_names_the_field() {
    let status = Status::from(SpecError { field: "model".into(), problem: "is required" });
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "spec.model is required"));
    assert_eq!(crate::reason_of(&status).as_deref(), Some("INVALID_REQUEST"));
}

#[test]
fn answers_and_probabilities_are_bounded() {
    assert_eq!(refusal(|spec| spec.n = Some(0)), "n must be from 1 to 16");
    assert_eq!(refusal(|spec| spec.n = Some(17)), "n must be from 1 to 16");
    assert_eq!(refusal(|spec| spec.top_logprobs = Some(21)), "top_logprobs must be at most 20");
    let bias = |bias: f32| sampled(move |sampling| sampling.logit_bias = [(7, bias)].into());
    assert_eq!(bias(100.5), "sampling.logit_bias must be from -100 to 100");
    assert_eq!(bias(f32::NAN), "sampling.logit_bias must be from -100 to 100");
    let many = |sampling: &mut Sampling| sampling.logit_bias = (0..1025).map(|token| (token, 0.0)).collect();
    assert_eq!(sampled(many), "sampling.logit_bias holds more than 1024 tokens");
}

#[test]
fn recordings_are_checked() {
    let pushed = |role: Role, media_type: &str, data: &'static [u8]| {
        let audio = Audio { media_type: media_type.into(), data: data.into() };
        let part = ContentPart { part: Some(Part::Audio(audio)) };
        refusal(|spec| {
            spec.messages[0].role = role.into();
            spec.messages[0].content.push(part);
        })
    };
    let at = "messages[0].content[1].audio";
    assert_eq!(
        pushed(Role::User, "audio/x", b"x"),
        format!("{at}.media_type must be audio/wav or audio/mpeg")
    );
    assert_eq!(pushed(Role::User, "audio/wav", b""), format!("{at}.data is empty"));
    assert_eq!(pushed(Role::System, "audio/wav", b"x"), format!("{at} belongs to user messages only"));
}

#[test]
fn constraints_say_something() {
    let form = |format| refusal(|spec| spec.response_format = Some(ResponseFormat { format: Some(format) }));
    assert_eq!(form(Format::Regex(String::new())), "response_format.regex is empty");
    assert_eq!(form(Format::Grammar(String::new())), "response_format.grammar is empty");
}

#[test]
fn extensions_are_named_and_valued() {
    let held = |name: &str, value: Option<Value>| {
        refusal(|spec| drop(spec.extensions.insert(name.to_owned(), ExtensionValue { value })))
    };
    for name in ["", "Secret prompt", &"x".repeat(65)] {
        let refused = held(name, Some(Value::Boolean(true)));
        assert_eq!(refused, "extensions holds a name that is not 1 to 64 of a-z, 0-9 and _");
    }
    assert_eq!(held("min_tokens", None), "extensions[min_tokens] holds no value");
    assert_eq!(held("x", Some(Value::Number(f64::NAN))), "extensions[x] must be finite");
    assert_eq!(held("x", Some(Value::Json("{".into()))), "extensions[x] must be JSON");
    let many = |spec: &mut ChatSpec| {
        let names = (0..65).map(|at| format!("x{at}"));
        spec.extensions =
            names.map(|name| (name, ExtensionValue { value: Some(Value::Integer(1)) })).collect();
    };
    assert_eq!(refusal(many), "extensions holds more than 64 items");
}
