use std::{
    collections::VecDeque,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use proptest::prelude::*;
use proto::inference::v1::{
    ChatEvent, ChatSpec, ContentPart, FinishReason, Message, Role, chat_event::Event, content_part::Part,
};

use super::{ChatDecoder, Dialect};
use crate::{decode::MAX_FRAME, model_server::Reader};

mod choices;
mod extensions;
mod requests;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");

fn spec() -> ChatSpec {
    let text = ContentPart { part: Some(Part::Text("What is gravity?".into())) };
    let message = Message { role: Role::User.into(), content: vec![text], ..Message::default() };
    ChatSpec { model: "asked".into(), messages: vec![message], ..ChatSpec::default() }
}

fn decoder(dialect: Dialect) -> ChatDecoder {
    dialect.call("req-1", &spec(), "", MAX_FRAME).unwrap().decoder
}

/// Everything that a reader of the answer sees, a line an event.
fn reading<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let (mut decoder, mut events) = (decoder(dialect), VecDeque::new());
    let mut fed = Ok(false);
    for piece in pieces {
        fed = decoder.feed(Bytes::copy_from_slice(piece), &mut events);
        if fed.is_err() || decoder.is_complete() {
            break;
        }
    }
    let result = fed.and_then(|_| decoder.end(&mut events));
    assert!(events.iter().enumerate().all(|(at, event)| event.sequence == at as u64), "{events:?}");
    let mut text: String = events.iter().map(line).collect();
    if let Err(error) = result {
        writeln!(text, "error {error}").unwrap();
    }
    text
}

fn line(event: &ChatEvent) -> String {
    match event.event.clone().unwrap() {
        Event::Started(started) => format!("started {} {}\n", started.request_id, started.model),
        Event::Text(delta) => format!("text {:?}\n", delta.text),
        Event::Reasoning(delta) => format!("reasoning {:?}\n", delta.text),
        Event::ToolCallStarted(call) => format!("call {} {} {}\n", call.index, call.id, call.name),
        Event::ToolCallDelta(delta) => format!("arguments {} {}\n", delta.index, delta.arguments),
        Event::Finished(finished) => {
            format!("finished {}\n", FinishReason::try_from(finished.reason).unwrap().as_str_name())
        }
        Event::Logprobs(logprobs) => format!("logprobs {}\n", logprobs.tokens.len()),
        Event::Usage(usage) => format!(
            "usage {}+{} cached {:?} reasoning {:?}{}\n",
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.reasoning_tokens,
            if usage.estimated { " estimated" } else { "" }
        ),
    }
}

/// The recorded answers of a dialect, without the line that says where they are from.
fn corpus(dialect: Dialect) -> Vec<(PathBuf, Vec<u8>)> {
    let (folder, extension) = match dialect {
        Dialect::Ollama => ("ollama", "ndjson"),
        Dialect::OpenAi => ("openai", "sse"),
    };
    let folder = fs::read_dir(Path::new(CORPUS).join(folder)).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let answers = paths.filter(|path| path.extension().is_some_and(|found| found == extension)).map(|path| {
        let bytes = fs::read(&path).unwrap();
        let note = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        assert!(bytes.starts_with(b"# Recorded from ") || bytes.starts_with(b"# Written from "), "{path:?}");
        (path, bytes[note + 1..].to_vec())
    });
    let mut answers: Vec<_> = answers.collect();
    answers.sort();
    answers
}

/// Beside each answer lies what it must be read as.
fn reads_as_written_down(dialect: Dialect) {
    let answers = corpus(dialect);
    assert!(answers.len() >= 15, "the corpus is gone");
    for (path, bytes) in answers {
        let whole = reading(dialect, [bytes.as_slice()]);
        let expected = fs::read_to_string(path.with_extension("events")).unwrap_or_default();
        assert_eq!(whole, expected, "{}", path.display());
        assert!(!whole.contains("secret"), "{}", path.display());
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            assert_eq!(reading(dialect, [first, second]), whole, "{} split at {at}", path.display());
        }
        assert_eq!(reading(dialect, bytes.chunks(1)), whole, "{} byte by byte", path.display());
    }
}

#[test]
fn every_openai_answer_reads_as_written_down() {
    reads_as_written_down(Dialect::OpenAi);
}

#[test]
fn every_ollama_answer_reads_as_written_down() {
    reads_as_written_down(Dialect::Ollama);
}

/// An answer is a success only if its end marker came: every proper prefix is an error.
#[test]
fn no_prefix_of_an_answer_is_a_success() {
    for (dialect, name) in
        [(Dialect::Ollama, "ollama/text.ndjson"), (Dialect::OpenAi, "openai/vllm-reasoning-and-tools.sse")]
    {
        let path = Path::new(CORPUS).join(name);
        let (_, bytes) = corpus(dialect).into_iter().find(|(found, _)| *found == path).unwrap();
        let needed = bytes.len() - usize::from(dialect == Dialect::Ollama);
        for end in 0..needed {
            assert!(reading(dialect, [&bytes[..end]]).contains("error "), "{name} cut at {end}");
        }
    }
}

#[test]
fn an_oversized_frame_is_refused() {
    for (dialect, start) in
        [(Dialect::Ollama, &b"{\"message\":\""[..]), (Dialect::OpenAi, b"data: {\"x\":\"")]
    {
        let frame = [start, &vec![b'x'; MAX_FRAME]].concat();
        let read = reading(dialect, frame.chunks(8192));
        assert!(read.contains("a frame is longer than 1048576 bytes"), "{read}");
    }
}

#[test]
fn what_follows_the_end_marker_is_not_read() {
    let answer = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\ndata: nonsense\n\n";
    assert!(!reading(Dialect::OpenAi, [answer.as_bytes()]).contains("error"));
}

#[test]
fn the_number_of_tool_calls_is_bounded() {
    let call = "{\"done\":false,\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}}\n";
    let read = reading(Dialect::Ollama, [call.repeat(129).as_bytes()]);
    assert!(read.contains("call 127 ") && read.contains("error "), "{read}");
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..200, swap in any::<u8>()) {
        for dialect in [Dialect::Ollama, Dialect::OpenAi] {
            reading(dialect, [bytes.as_slice()]);
            for (_, mut answer) in corpus(dialect) {
                let index = at * 7 % answer.len();
                answer[index] = swap;
                reading(dialect, [answer.as_slice()]);
            }
        }
    }
}

#[test]
fn models_are_listed_in_the_servers_order() {
    let names = |dialect: Dialect, body: &str| -> Result<Vec<String>, _> {
        dialect.models(body.as_bytes()).map(|models| models.into_iter().map(|model| model.name).collect())
    };
    let openai = r#"{"object":"list","data":[{"id":"b","object":"model"},{"id":"a"}]}"#;
    assert_eq!(names(Dialect::OpenAi, openai).unwrap(), ["models/b", "models/a"]);
    let ollama = r#"{"models":[{"name":"qwen3:0.6b","model":"qwen3:0.6b","size":1}]}"#;
    assert_eq!(names(Dialect::Ollama, ollama).unwrap(), ["models/qwen3:0.6b"]);
    assert!(names(Dialect::OpenAi, ollama).is_err() && names(Dialect::Ollama, "{").is_err());
}
