//! What one kind of model server has and the other has not.

use proto::inference::v1::{
    Audio, ChatSpec, ContentPart, ExtensionValue, ResponseFormat, content_part::Part, extension_value::Value,
    response_format::Format,
};
use serde_json::json;

use super::spec;
use crate::{backend::Dialect, decode::MAX_FRAME, error::BackendError};

fn body(dialect: Dialect, spec: &ChatSpec) -> serde_json::Value {
    serde_json::from_slice(&dialect.call("req-1", spec, "", MAX_FRAME).unwrap().body).unwrap()
}

/// The field that is refused.
fn refused(dialect: Dialect, spec: &ChatSpec) -> String {
    match dialect.call("req-1", spec, "", MAX_FRAME) {
        Err(BackendError::Unsupported { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn extended<const N: usize>(values: [(&str, Value); N]) -> ChatSpec {
    let values = values.map(|(name, value)| (name.to_owned(), ExtensionValue { value: Some(value) }));
    ChatSpec { extensions: values.into(), ..spec() }
}

fn form(format: Format) -> ChatSpec {
    ChatSpec { response_format: Some(ResponseFormat { format: Some(format) }), ..spec() }
}

fn biased() -> ChatSpec {
    let mut spec = spec();
    spec.sampling.get_or_insert_default().logit_bias.insert(7, -100.0);
    spec
}

fn spoken(media_type: &str) -> ChatSpec {
    let audio = Audio { media_type: media_type.into(), data: vec![1, 2, 255].into() };
    let mut spec = spec();
    spec.messages[0].content = vec![ContentPart { part: Some(Part::Audio(audio)) }];
    spec
}

#[test]
fn what_vllm_has_is_asked_for() {
    let sent = |spec: &ChatSpec| body(Dialect::OpenAi, spec);
    assert_eq!(sent(&ChatSpec { n: Some(3), ..spec() })["n"], 3);
    assert_eq!(sent(&biased())["logit_bias"], json!({"7": -100.0}));
    let regex = sent(&form(Format::Regex("[0-9]+".into())));
    assert_eq!(regex["structured_outputs"], json!({"regex": "[0-9]+"}));
    assert_eq!(regex.get("response_format"), None);
    let grammar = sent(&form(Format::Grammar("root ::= \"a\"".into())));
    assert_eq!(grammar["structured_outputs"], json!({"grammar": "root ::= \"a\""}));
    for (media_type, format) in [("audio/wav", "wav"), ("audio/mpeg", "mp3")] {
        let part = json!({"type": "input_audio", "input_audio": {"data": "AQL/", "format": format}});
        assert_eq!(sent(&spoken(media_type))["messages"][0]["content"], json!([part]));
    }
}

#[test]
fn both_are_asked_how_probable_tokens_were() {
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let sent = body(dialect, &ChatSpec { top_logprobs: Some(2), ..spec() });
        assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(2)));
    }
}

#[test]
fn what_ollama_has_not_is_refused_by_name() {
    for (spec, field) in [
        (ChatSpec { n: Some(2), ..spec() }, "spec.n"),
        (biased(), "spec.sampling.logit_bias"),
        (form(Format::Regex("a".into())), "spec.response_format.regex"),
        (form(Format::Grammar("a".into())), "spec.response_format.grammar"),
        (spoken("audio/wav"), "spec.messages[0]"),
    ] {
        assert_eq!(refused(Dialect::Ollama, &spec), field);
    }
    body(Dialect::Ollama, &ChatSpec { n: Some(1), ..spec() });
}

#[test]
fn extensions_keep_their_kind() {
    let sent = body(
        Dialect::OpenAi,
        &extended([
            ("ignore_eos", Value::Boolean(true)),
            ("min_tokens", Value::Integer(i64::MAX)),
            ("repetition_penalty", Value::Number(1.5)),
            ("bad_words", Value::Json(r#"["a",  "b"]"#.into())),
        ]),
    );
    assert_eq!(sent["ignore_eos"], true);
    assert_eq!(sent["min_tokens"], i64::MAX);
    assert_eq!(sent["repetition_penalty"], 1.5);
    assert_eq!(sent["bad_words"], json!(["a", "b"]));
    let sent = body(Dialect::Ollama, &extended([("num_ctx", Value::Integer(8192))]));
    assert_eq!(sent["options"], json!({"num_ctx": 8192}));
}

/// The others would be dropped in silence, replace what Cube says itself, or name another caller.
#[test]
fn only_known_extensions_are_sent() {
    for (dialect, name) in [
        (Dialect::OpenAi, "num_ctx"),
        (Dialect::OpenAi, "cache_salt"),
        (Dialect::OpenAi, "stream"),
        (Dialect::OpenAi, "priority"),
        (Dialect::OpenAi, "guided_regex"),
        (Dialect::Ollama, "min_tokens"),
        (Dialect::Ollama, "temperature"),
    ] {
        let spec = extended([(name, Value::Integer(1))]);
        assert_eq!(refused(dialect, &spec), format!("spec.extensions[{name}]"));
    }
}
