//! Several answers to one question, and how probable their tokens were.

use std::collections::VecDeque;

use proto::inference::v1::{ChatEvent, ChatSpec, Logprobs, chat_event::Event};

use super::{line, spec};
use crate::{backend::Dialect, decode::MAX_FRAME, error::BackendError, model_server::Reader};

fn read(dialect: Dialect, spec: &ChatSpec, answer: &str) -> Result<VecDeque<ChatEvent>, BackendError> {
    let mut decoder = dialect.call("req-1", spec, "", MAX_FRAME).unwrap().decoder;
    let mut events = VecDeque::new();
    decoder.feed(answer.to_owned().into(), &mut events)?;
    decoder.end(&mut events)?;
    Ok(events)
}

fn chunk(choice: u32, delta: &str, finish: &str) -> String {
    let rest = format!(r#""delta":{delta},"finish_reason":{finish}"#);
    format!("data: {{\"choices\":[{{\"index\":{choice},{rest}}}]}}\n\n")
}

const DONE: &str = "data: [DONE]\n\n";
const CALL: &str = r#"{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{}"}}]}"#;

fn two() -> ChatSpec {
    ChatSpec { n: Some(2), ..spec() }
}

#[test]
fn each_event_says_which_choice_it_is_of() {
    let text = r#"{"content":"a"}"#;
    let stop = r#""stop""#;
    let answer = [
        chunk(1, text, "null"),
        chunk(0, CALL, "null"),
        chunk(1, "{}", stop),
        chunk(0, "{}", stop),
        DONE.to_owned(),
    ];
    let events = read(Dialect::OpenAi, &two(), &answer.concat()).unwrap();
    let told: Vec<_> = events.iter().map(|event| format!("{} {}", event.choice, line(event))).collect();
    let expected = [
        "0 started req-1 asked\n",
        "1 text \"a\"\n",
        "0 call 0 call_req-1_0 f\n",
        "0 arguments 0 {}\n",
        "0 finished FINISH_REASON_TOOL_CALLS\n",
        "1 finished FINISH_REASON_STOP\n",
        "0 usage 4+3 cached None reasoning None estimated\n",
    ];
    assert_eq!(told, expected);
}

#[test]
fn calls_of_all_choices_have_ids_of_their_own() {
    let finished = (0..2).map(|choice| chunk(choice, "{}", r#""tool_calls""#));
    let answer: String = (0..2).map(|choice| chunk(choice, CALL, "null")).chain(finished).collect();
    let events = read(Dialect::OpenAi, &two(), &(answer + DONE)).unwrap();
    let calls: Vec<_> = events.iter().map(line).filter(|line| line.starts_with("call ")).collect();
    assert_eq!(calls, ["call 0 call_req-1_0 f\n", "call 0 call_req-1_1 f\n"]);
}

#[test]
fn a_choice_without_an_end_is_no_answer() {
    let answer = chunk(0, r#"{"content":"a"}"#, r#""stop""#) + DONE;
    let error = read(Dialect::OpenAi, &two(), &answer).unwrap_err();
    assert!(matches!(error, BackendError::Truncated(_)), "{error:?}");
    let beyond = chunk(2, "{}", r#""stop""#);
    let error = read(Dialect::OpenAi, &two(), &beyond).unwrap_err();
    assert!(matches!(error, BackendError::Protocol(_)), "{error:?}");
}

#[test]
fn probabilities_follow_their_text() {
    let token = r#"{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.5,"bytes":null}]}"#;
    let openai = format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}},\"logprobs\":{{\"content\":[{token}]}},\
         \"finish_reason\":\"stop\"}}]}}\n\n{DONE}"
    );
    let ollama = format!(
        "{{\"done\":false,\"message\":{{\"content\":\"a\"}},\"logprobs\":[{token}]}}\n\
         {{\"done\":true,\"done_reason\":\"stop\"}}\n"
    );
    let asking = ChatSpec { top_logprobs: Some(1), ..spec() };
    for (dialect, answer) in [(Dialect::OpenAi, openai), (Dialect::Ollama, ollama)] {
        let events = read(dialect, &asking, &answer).unwrap();
        assert!(matches!(events[1].event, Some(Event::Text(_))));
        let Some(Event::Logprobs(Logprobs { tokens })) = &events[2].event else { panic!("{events:?}") };
        let drawn = tokens[0].drawn.as_ref().unwrap();
        assert_eq!((drawn.text.as_str(), &drawn.utf8[..], drawn.logprob), ("a", &b"a"[..], -0.5));
        let top = &tokens[0].top[0];
        assert_eq!((top.text.as_str(), top.utf8.len(), top.logprob), ("b", 0, -1.5));
    }
}
