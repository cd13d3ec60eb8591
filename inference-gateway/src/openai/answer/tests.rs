use proto::inference::v1::{
    ContentPart, Finished, Message, ReasoningDelta, Role, Started, TextDelta, ToolCallDelta, ToolCallStarted,
};

use super::*;

const CREATED: i64 = 1_764_000_000;

fn usage() -> Usage {
    let (prompt_tokens, completion_tokens) = (12, 34);
    Usage {
        prompt_tokens,
        completion_tokens,
        cached_tokens: Some(8),
        reasoning_tokens: Some(3),
        estimated: false,
    }
}

fn events() -> Vec<Event> {
    vec![
        Event::Started(Started { request_id: "0123abcd".into(), model: "smollm2".into() }),
        Event::Reasoning(ReasoningDelta { text: "hm".into() }),
        Event::Text(TextDelta { text: "A \"quote\"\nand a line".into() }),
        Event::ToolCallStarted(ToolCallStarted { index: 0, id: "call_1".into(), name: "look".into() }),
        Event::ToolCallDelta(ToolCallDelta { index: 0, arguments: "{\"at\":".into() }),
        Event::ToolCallDelta(ToolCallDelta { index: 0, arguments: "1}".into() }),
        Event::Finished(Finished { reason: FinishReason::ToolCalls.into() }),
        Event::Usage(usage()),
    ]
}

fn streamed(include_usage: bool) -> String {
    let mut chunks = Chunks::new(CREATED, include_usage);
    let frame = |event| chunks.frame(ChatEvent { event: Some(event), ..ChatEvent::default() });
    let frames: Vec<Bytes> = events().into_iter().filter_map(frame).chain([DONE]).collect();
    String::from_utf8(frames.concat()).unwrap()
}

#[test]
fn chunks_are_openais() {
    assert_eq!(streamed(false), include_str!("../../../tests/golden/chunks.sse"));
}

#[test]
fn usage_comes_where_it_was_asked_for() {
    assert_eq!(streamed(true), include_str!("../../../tests/golden/chunks-usage.sse"));
}

fn answer(text: &str) -> ChatResponse {
    let part = ContentPart { part: Some(Part::Text(text.into())) };
    let content = if text.is_empty() { Vec::new() } else { vec![part] };
    ChatResponse {
        request_id: "0123abcd".into(),
        model: "smollm2".into(),
        message: Some(Message { role: Role::Assistant.into(), content, ..Message::default() }),
        finish_reason: FinishReason::Length.into(),
        usage: Some(usage()),
        ..ChatResponse::default()
    }
}

fn body(answer: &ChatResponse) -> String {
    String::from_utf8(completion(answer, CREATED)).unwrap() + "\n"
}

#[test]
fn a_completion_is_openais() {
    assert_eq!(body(&answer("A stone.")), include_str!("../../../tests/golden/completion.json"));
}

#[test]
fn an_answer_of_calls_has_no_content() {
    let mut answer = answer("");
    answer.reasoning = "hm".into();
    answer.finish_reason = FinishReason::ToolCalls.into();
    let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{\"at\":1}".into() };
    answer.message.as_mut().unwrap().tool_calls.push(call);
    assert_eq!(body(&answer), include_str!("../../../tests/golden/completion-calls.json"));
}

#[test]
fn an_empty_answer_has_the_empty_content() {
    assert!(body(&answer("")).contains(r#""content":"""#));
}
