//! Changes to policies and bundles.

use std::ops::Range;

use crate::rng::Rng;

/// A policy, and whether the change must not even be readable: a rule is gone, there twice, or unknown.
pub(crate) fn policy(text: &str, rng: &mut Rng) -> (Vec<u8>, bool) {
    let mut lines: Vec<&str> = text.lines().collect();
    let rules: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].contains(" = ") && !lines[*at].starts_with('#')).collect();
    let (at, other) = (*rng.one(&rules), *rng.one(&rules));
    let renamed = format!("x{}", lines[at]);
    match rng.below(6) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(at, lines[at]),
        2 => lines[at] = &renamed,
        3 => {
            let value = lines[other].split_once(" = ").map_or("", |(_, value)| value);
            let name = lines[at].split(' ').next().unwrap_or("").to_owned();
            let line = format!("{name} = {value}");
            lines[at] = &line;
            return (lines.join("\n").into_bytes(), false);
        }
        4 => {
            let mut bytes = text.as_bytes().to_vec();
            rng.flip(&mut bytes);
            return (bytes, false);
        }
        _ => {
            let mut bytes = text.as_bytes().to_vec();
            rng.resize(&mut bytes);
            return (bytes, false);
        }
    }
    (lines.join("\n").into_bytes(), true)
}

const VALUES: &[&str] =
    &["null", "0", "1", "-1", "1.5", "\"\"", "\"AAAA\"", "[]", "{}", "true", "4294967296", "[\"\"]"];

/// A bundle with a member gone, doubled, renamed, or with another value; or damaged.
pub(crate) fn bundle(json: &str, rng: &mut Rng) -> Vec<u8> {
    let members = members(json);
    let (place, other) = (rng.one(&members).clone(), rng.one(&members).clone());
    let (member, value) = (&json[place.name.start..place.value.end], &json[other.value.clone()]);
    let mut text = json.to_owned();
    match rng.below(7) {
        0 => text.replace_range(place.name.start..place.value.end, ""),
        1 => text.insert_str(place.name.start, &format!("{member},")),
        2 => text.insert(place.name.start + 1, 'x'),
        3 => text.replace_range(place.value, rng.one::<&str>(VALUES)),
        4 => text.replace_range(place.value, value),
        5 => {
            let mut bytes = text.into_bytes();
            rng.flip(&mut bytes);
            return bytes;
        }
        _ => {
            let mut bytes = text.into_bytes();
            rng.resize(&mut bytes);
            return bytes;
        }
    }
    text.into_bytes()
}

#[derive(Clone)]
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

/// Every member of every object. Our own bundles have neither blanks nor escapes.
fn members(json: &str) -> Vec<Member> {
    let colons = json.match_indices("\":").map(|(at, _)| at);
    let member = |end: usize| {
        let start = json[..end].rfind('"').unwrap_or(0);
        let value = end + 2..end + 2 + value_length(&json[end + 2..]);
        Member { name: start..end + 1, value }
    };
    colons.map(member).collect()
}

fn value_length(json: &str) -> usize {
    let (mut depth, mut quoted) = (0, false);
    for (at, c) in json.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' | ',' if depth == 0 => return at,
            '}' | ']' => depth -= 1,
            _ => {}
        }
    }
    json.len()
}
