use bytes::Bytes;
use proptest::prelude::*;

use super::{FrameError, MAX_FRAME, ndjson::Ndjson, sse::Sse};

type Frames = (Vec<Bytes>, Option<FrameError>);

/// One of the two decoders, behind one face.
enum Decoder {
    Ndjson(Ndjson),
    Sse(Sse),
}

impl Decoder {
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, FrameError> {
        match self {
            Self::Ndjson(decoder) => decoder.next(input),
            Self::Sse(decoder) => decoder.next(input),
        }
    }

    fn finish(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self {
            Self::Ndjson(decoder) => decoder.finish(),
            Self::Sse(_) => Ok(None),
        }
    }
}

fn ndjson(limit: usize) -> Decoder {
    Decoder::Ndjson(Ndjson::new(limit))
}

fn sse(limit: usize) -> Decoder {
    Decoder::Sse(Sse::new(limit))
}

fn frames<'a>(mut decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Frames {
    let mut found = Vec::new();
    for piece in pieces {
        let mut input = Bytes::copy_from_slice(piece);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
        assert!(input.is_empty(), "the decoder left input behind");
    }
    match decoder.finish() {
        Ok(last) => found.extend(last),
        Err(error) => return (found, Some(error)),
    }
    (found, None)
}

fn texts(found: &Frames) -> Vec<&str> {
    found.0.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect()
}

fn same_at_every_split(make: fn(usize) -> Decoder, input: &[u8]) {
    let whole = frames(make(64), [input]);
    for first in 0..=input.len() {
        for second in first..=input.len() {
            let pieces = [&input[..first], &input[first..second], &input[second..]];
            assert_eq!(frames(make(64), pieces), whole, "split at {first} and {second}");
        }
    }
    assert_eq!(frames(make(64), input.chunks(1)), whole, "byte by byte");
}

const NDJSON: &[u8] = "{\"a\":\"é\"}\r\n\n  \r\n{\"b\":\"🦀\"}\n{\"last\":1}".as_bytes();
const SSE: &[u8] = "\u{feff}data: {\"a\":\"é\"}\r\n\r\n: keep-alive\n\nevent: x\nid: 1\ndata:two\ndata: lines 🦀\n\nretry: 5\n\n\
    data\n\ndata: [DONE]\n\ndata: no blank line"
    .as_bytes();

#[test]
fn ndjson_gives_the_lines_wherever_it_is_split() {
    let found = frames(ndjson(64), [NDJSON]);
    assert_eq!(texts(&found), ["{\"a\":\"é\"}", "{\"b\":\"🦀\"}", "{\"last\":1}"]);
    same_at_every_split(ndjson, NDJSON);
}

#[test]
fn sse_gives_the_data_wherever_it_is_split() {
    let found = frames(sse(64), [SSE]);
    assert_eq!(texts(&found), ["{\"a\":\"é\"}", "two\nlines 🦀", "", "[DONE]"]);
    same_at_every_split(sse, SSE);
}

#[test]
fn a_frame_inside_one_read_is_not_copied() {
    for (mut decoder, input) in [(ndjson(64), "{\"a\":1}\n"), (sse(64), "data: {\"a\":1}\n\n")] {
        let mut input = Bytes::from_static(input.as_bytes());
        let range = input.as_ptr_range();
        let frame = decoder.next(&mut input).unwrap().unwrap();
        assert!(range.contains(&frame.as_ptr()));
    }
}

#[test]
fn a_frame_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
    for (make, prefix, end) in [(ndjson as fn(usize) -> Decoder, "", "\r\n"), (sse, "data:", "\r\n\r\n")] {
        for (length, fits) in [(64, true), (65, false)] {
            let line = format!("{prefix}{}{end}", "x".repeat(length - prefix.len()));
            let found = frames(make(64), line.as_bytes().chunks(7));
            assert_eq!(found.1.is_none(), fits, "{length} bytes: {found:?}");
        }
    }
}

#[test]
fn a_line_without_end_is_refused_before_it_ends() {
    for mut decoder in [ndjson(MAX_FRAME), sse(MAX_FRAME)] {
        let mut read = 0;
        let error = loop {
            read += 4096;
            match decoder.next(&mut Bytes::from_static(&[b'x'; 4096])) {
                Ok(None) => assert!(read <= MAX_FRAME + 4096),
                other => break other,
            }
        };
        assert_eq!(error, Err(FrameError::TooLarge { limit: MAX_FRAME }));
    }
}

#[test]
fn many_data_lines_count_as_one_event() {
    let input = "data: 0123456789\n".repeat(6);
    assert_eq!(frames(sse(64), [input.as_bytes()]).1, Some(FrameError::TooLarge { limit: 64 }));
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    assert_eq!(frames(ndjson(64), [&b"{\"a\":\"\xff\"}\n"[..]]).1, Some(FrameError::NotUtf8));
    assert_eq!(frames(sse(64), [&b"data: \xc3\n\n"[..]]).1, Some(FrameError::NotUtf8));
    assert_eq!(frames(sse(64), [&b": \xff\n\n"[..]]).1, Some(FrameError::NotUtf8));
}

fn input() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let token = prop_oneof![
        Just(b"data: ".to_vec()),
        Just(b"data".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b":".to_vec()),
        Just("é".as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(token, 0..40)
}

proptest! {
    #[test]
    fn no_input_panics_and_no_split_matters(pieces in input()) {
        let whole: Vec<u8> = pieces.concat();
        for make in [ndjson as fn(usize) -> Decoder, sse] {
            let split = frames(make(16), pieces.iter().map(Vec::as_slice));
            prop_assert_eq!(&split, &frames(make(16), [whole.as_slice()]));
            prop_assert!(split.0.iter().all(|frame| frame.len() <= 16));
        }
    }
}
