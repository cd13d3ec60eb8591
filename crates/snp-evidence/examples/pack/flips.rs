//! One bit of accepted evidence is another: every bit is tried here, and a sample goes into the pack.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use snp_evidence::RefusalClass;

use crate::{Question, valid::of_five};

/// How many go into the pack.
const SAMPLE: usize = 2_000;

/// Where bytes stand in a bundle, as JSON pointers.
const PARTS: [&str; 10] = [
    "/evidence/report",
    "/key_manifest",
    "/runtime_claims",
    "/tree/path/0",
    "/tree/path/1",
    "/tree/path/2",
    "/endorsements/vek",
    "/endorsements/ask",
    "/endorsements/ark",
    "/endorsements/crl",
];

/// Tries every bit, and gives as many as [`SAMPLE`], evenly spread.
pub(crate) fn sampled() -> impl Iterator<Item = Value> {
    let mut question = of_five(3);
    question.roots = question.roots.remembering(1);
    let genuine: Value = serde_json::from_slice(&question.bundle).unwrap();
    let places: Vec<_> = PARTS.iter().flat_map(|part| places(&genuine, part)).collect();
    let every = places.len() / SAMPLE;
    places.into_iter().enumerate().filter_map(move |(number, place)| {
        let reason = try_flip(&mut question, &genuine, &place);
        let id = format!("flip{}/{}", place.part, place.bit);
        number.is_multiple_of(every).then(|| question.case(&id, Some(reason)))
    })
}

struct Place {
    part: &'static str,
    bit: usize,
}

fn places(genuine: &Value, part: &'static str) -> impl Iterator<Item = Place> {
    (0..8 * bytes(genuine, part).len()).map(move |bit| Place { part, bit })
}

/// Asks with that bit flipped; who accepts it ends the run.
fn try_flip(question: &mut Question, genuine: &Value, place: &Place) -> (&'static str, RefusalClass) {
    let Place { part, bit } = *place;
    let mut flipped = bytes(genuine, part);
    flipped[bit / 8] ^= 1 << (bit % 8);
    let mut bundle = genuine.clone();
    *bundle.pointer_mut(part).unwrap() = Value::String(text(part, &flipped));
    question.bundle = bundle.to_string().into_bytes();
    question.judge().err().unwrap_or_else(|| panic!("bit {bit} of {part} may be flipped"))
}

fn bytes(bundle: &Value, part: &str) -> Vec<u8> {
    let text = bundle.pointer(part).unwrap().as_str().unwrap();
    if in_path(part) { URL_SAFE_NO_PAD.decode(text) } else { STANDARD.decode(text) }.unwrap()
}

fn text(part: &str, bytes: &[u8]) -> String {
    if in_path(part) { URL_SAFE_NO_PAD.encode(bytes) } else { STANDARD.encode(bytes) }
}

/// Digests stand there, in the other alphabet.
fn in_path(part: &str) -> bool {
    part.starts_with("/tree")
}
