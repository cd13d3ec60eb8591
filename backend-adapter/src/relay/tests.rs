use http::StatusCode;

use super::*;

/// What a watch makes of an answer that comes in these pieces: the bytes that went on, the end, and the error.
type Seen = (Vec<u8>, Option<Option<Usage>>, Option<BackendError>);

fn relayed<'a>(endpoint: Endpoint, kind: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let (mut watch, mut parts) = (Watch::new(endpoint, true, 1 << 10), VecDeque::new());
    watch.head(kind, &mut parts);
    assert!(matches!(parts.pop_front(), Some(Part::Head(_))));
    let mut error = None;
    for piece in pieces {
        if watch.is_complete() {
            break;
        }
        if let Err(why) = watch.feed(Bytes::copy_from_slice(piece), &mut parts) {
            error = Some(why);
            break;
        }
    }
    if error.is_none() && !watch.is_complete() {
        error = watch.end(&mut parts).err();
    }
    let (mut bytes, mut end) = (Vec::new(), None);
    for part in parts {
        match part {
            Part::Body(more) => bytes.extend_from_slice(&more),
            Part::End(RelayEnd { usage }) => end = Some(usage),
            Part::Head(_) => panic!("a second head"),
        }
    }
    (bytes, end, error)
}

/// The same however the answer is cut.
fn at_every_split(endpoint: Endpoint, kind: &str, answer: &str) -> Seen {
    let answer = answer.as_bytes();
    let whole = relayed(endpoint, kind, [answer]);
    for at in 0..=answer.len() {
        assert_eq!(relayed(endpoint, kind, [&answer[..at], &answer[at..]]), whole, "split at {at}");
    }
    assert_eq!(relayed(endpoint, kind, answer.chunks(1)), whole, "byte by byte");
    whole
}

fn events(answer: &str) -> Seen {
    at_every_split(Endpoint::OpenaiChat, "text/event-stream; charset=utf-8", answer)
}

fn lines(answer: &str) -> Seen {
    at_every_split(Endpoint::OllamaChat, "application/x-ndjson", answer)
}

const CHUNK: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"the \\\"error\\\" é\"}}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\r\n\r\n";
const DONE: &str = "data: [DONE]\n\n";

fn counts(prompt_tokens: u32, completion_tokens: u32) -> Usage {
    Usage { prompt_tokens, completion_tokens, ..Usage::default() }
}

#[test]
fn events_go_on_byte_for_byte_but_for_usage_that_nobody_asked_for() {
    let answer = format!(": keep-alive\n\n{CHUNK}{CHUNK}{USAGE}{DONE}after the end");
    let (bytes, end, error) = events(&answer);
    assert_eq!(String::from_utf8(bytes).unwrap(), format!(": keep-alive\n\n{CHUNK}{CHUNK}{DONE}"));
    assert_eq!((end, error), (Some(Some(counts(5, 2))), None));
}

/// vLLM sends `[DONE]` after an error.
#[test]
fn an_error_ends_the_answer_and_is_not_passed_on() {
    let failed = "data: {\"error\":{\"message\":\"secret\",\"code\":500}}\n\n";
    let (bytes, end, error) = events(&format!("{CHUNK}{failed}{DONE}"));
    assert_eq!((String::from_utf8(bytes).unwrap().as_str(), end), (CHUNK, None));
    let error = error.unwrap();
    assert!(matches!(error, BackendError::Failed(_)) && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn an_end_without_its_marker_is_truncation() {
    for (kind, answer) in [
        ("text/event-stream", CHUNK),
        ("text/event-stream", ""),
        ("text/event-stream", "data: [DONE]"),
        ("application/x-ndjson", "{\"done\":false}\n"),
    ] {
        let (_, end, error) = at_every_split(Endpoint::OllamaChat, kind, answer);
        assert!(end.is_none() && matches!(error, Some(BackendError::Truncated(_))), "{answer}: {error:?}");
    }
}

#[test]
fn lines_end_with_done_and_fail_with_error() {
    let answer = "{\"message\":{\"content\":\"a\"},\"done\":false}\n\n{\"done\":true,\"eval_count\":3}";
    let (bytes, end, error) = lines(answer);
    assert_eq!((String::from_utf8(bytes).unwrap().as_str(), error), (answer, None));
    assert_eq!(end, Some(Some(Usage { estimated: true, ..counts(0, 3) })));
    let (bytes, end, error) = lines("{\"done\":false}\n{\"error\":\"secret\"}\n");
    assert_eq!((bytes.as_slice(), end), (&b"{\"done\":false}\n"[..], None));
    assert!(matches!(error, Some(BackendError::Failed(_))), "{error:?}");
}

#[test]
fn responses_and_messages_end_in_their_own_way() {
    let typed = |endpoint, answer: &str| at_every_split(endpoint, "text/event-stream", answer);
    let created =
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n";
    let completed = "event: response.completed\ndata: {\"type\":\"response.completed\",\
                     \"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\n";
    let (bytes, end, error) = typed(Endpoint::OpenaiResponses, &format!("{created}{completed}"));
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{created}{completed}"));
    assert_eq!((end, error), (Some(Some(counts(7, 1))), None));
    let failed = "data: {\"type\":\"response.failed\",\"response\":{}}\n\n";
    assert!(typed(Endpoint::OpenaiResponses, failed).2.is_some());
    let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(typed(Endpoint::AnthropicMessages, stop).1, Some(None));
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    assert!(typed(Endpoint::AnthropicMessages, error).2.is_some());
}

#[test]
fn what_is_no_frame_of_its_form_is_refused() {
    for answer in [
        "data: {\"text\":\"no choices\"}\n\n",
        "data: {\"choices\":\n\n",
        "data: words\n\n",
        "data: \u{1}\n\n",
        "data: {\"usage\":5}\n\n",
    ] {
        assert!(matches!(events(answer).2, Some(BackendError::Protocol(_))), "{answer}");
    }
    assert!(matches!(lines("words\n").2, Some(BackendError::Protocol(_))));
    let bytes = relayed(Endpoint::OpenaiChat, "text/event-stream", [&b"data: {\"a\":\"\xff\"}\n\n"[..]]);
    assert_eq!(bytes.2, Some(FrameError::NotUtf8.into()));
}

#[test]
fn a_frame_without_end_is_refused_before_it_ends() {
    for kind in ["text/event-stream", "application/x-ndjson"] {
        let endless = std::iter::repeat_n(&[b'x'; 100][..], 100);
        let error = relayed(Endpoint::OpenaiChat, kind, endless).2;
        assert_eq!(error, Some(FrameError::TooLarge { limit: 1 << 10 }.into()));
    }
}

#[test]
fn a_whole_answer_is_passed_on_unread() {
    let (bytes, end, error) = at_every_split(Endpoint::OpenaiEmbeddings, "application/json", "{\"error\":1}");
    assert_eq!((bytes.as_slice(), end, error), (&b"{\"error\":1}"[..], Some(None), None));
}

#[test]
fn every_endpoint_has_a_place_and_none_manages_the_server() {
    for number in 1.. {
        let Ok(endpoint) = Endpoint::try_from(number) else { break };
        let places = [Dialect::OpenAi, Dialect::Ollama].map(|dialect| place(endpoint, dialect));
        assert!(places.iter().any(Result::is_ok), "{endpoint:?}");
    }
    assert_eq!(place(Endpoint::Unspecified, Dialect::OpenAi).unwrap_err(), BackendError::NoEndpoint);
    assert_eq!(place(Endpoint::OpenaiChat, Dialect::Ollama).unwrap_err(), BackendError::NoEndpoint);
    let managing =
        ["pull", "push", "create", "copy", "delete", "sleep", "load", "reset", "metrics", "collective"];
    for (_, place) in PLACES {
        assert!(!managing.iter().any(|word| place.path.contains(word)), "{}", place.path);
    }
    assert_eq!(crate::backend::by_status(StatusCode::NOT_FOUND, b"{}"), BackendError::NoEndpoint);
}

#[test]
fn a_streamed_transcript_ends_with_its_last_event_or_the_marker() {
    let see = |answer: &str| at_every_split(Endpoint::OpenaiTranscriptions, "text/event-stream", answer);
    let delta = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n";
    let done = "data: {\"type\":\"transcript.text.done\",\"text\":\"a\"}\n\n";
    assert_eq!(see(&[delta, done].concat()).1, Some(None));
    let chunk =
        "data: {\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    assert_eq!(see(&[chunk, DONE].concat()).1, Some(None));
    assert!(see(delta).2.is_some(), "cut");
}
