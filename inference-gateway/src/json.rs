//! A strict reader of JSON requests: every member is asked for by name, what is
//! left over is refused by name, and no complaint repeats a value.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, error::Category, value::RawValue};

use crate::openai::error::ApiError;
use proto::spec::MAX_ITEMS;

/// Deepest nesting of arrays and objects.
const MAX_DEPTH: usize = 64;
/// Longest text that may say what is the case anyway: above all such texts, and spaces in them.
const MAX_NEUTRAL: usize = 64;
/// Longest member name that an error repeats.
const MAX_NAME: usize = 64;

/// Reads a whole body as one JSON value.
pub(crate) fn document(body: &[u8]) -> Result<Field<'_>, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| refuse(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    check_depth(text)?;
    let raw = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    Ok(Field { path: String::new(), raw })
}

fn refuse(message: String) -> ApiError {
    ApiError::invalid("", message)
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let what = match error.classify() {
        Category::Eof => "ends in the middle of a value",
        Category::Syntax | Category::Data | Category::Io => "is not valid JSON",
    };
    refuse(format!("the body {what} at line {} column {}", error.line(), error.column()))
}

/// The parser skips raw values without recursion, so that depth is its reader's to bound.
fn check_depth(text: &str) -> Result<(), ApiError> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(refuse(format!("the body is nested deeper than {MAX_DEPTH} levels at byte {at}")));
        }
    }
    Ok(())
}

/// A value and where it stands.
pub(crate) struct Field<'a> {
    path: String,
    raw: &'a RawValue,
}

impl<'a> Field<'a> {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The exact text of the value.
    pub(crate) fn text(&self) -> &'a str {
        self.raw.get()
    }

    pub(crate) fn raw(&self) -> &'a RawValue {
        self.raw
    }

    pub(crate) fn is_string(&self) -> bool {
        self.text().starts_with('"')
    }

    pub(crate) fn string(&self) -> Result<String, ApiError> {
        self.parse("a string")
    }

    /// A string that holds no escapes is borrowed: an image is not copied twice.
    pub(crate) fn long_string(&self) -> Result<Cow<'a, str>, ApiError> {
        match self.raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
            _ => self.string().map(Cow::Owned),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, ApiError> {
        self.parse("true or false")
    }

    pub(crate) fn number(&self) -> Result<f32, ApiError> {
        self.parse("a number")
    }

    pub(crate) fn count(&self) -> Result<u32, ApiError> {
        self.parse("a whole number from 0 to 4294967295")
    }

    pub(crate) fn integer(&self) -> Result<i64, ApiError> {
        self.parse("a whole number of 64 bits")
    }

    pub(crate) fn array(&self) -> Result<Vec<Field<'a>>, ApiError> {
        let items: Items<'a> = self.parse("an array of at most 16384 items")?;
        let field = |(at, raw)| Field { path: format!("{}[{at}]", self.path), raw };
        Ok(items.0.into_iter().enumerate().map(field).collect())
    }

    pub(crate) fn object(self) -> Result<Object<'a>, ApiError> {
        let members: Members<'a> = self.parse("an object")?;
        if let Some(name) = members.twice {
            let path = member_path(&self.path, &name);
            return Err(ApiError::invalid(path.clone(), format!("{path} is given twice")));
        }
        Ok(Object { path: self.path, members: members.once })
    }

    /// An object kept as text, byte for byte.
    pub(crate) fn raw_object(&self) -> Result<String, ApiError> {
        if self.text().starts_with('{') { Ok(self.text().to_owned()) } else { Err(self.must_be("an object")) }
    }

    /// Refuses the value: it must be `what`.
    pub(crate) fn must_be(&self, what: &str) -> ApiError {
        let subject = if self.path.is_empty() { "the body" } else { &self.path };
        ApiError::invalid(self.path.as_str(), format!("{subject} must be {what}"))
    }

    fn parse<T: Deserialize<'a>>(&self, what: &str) -> Result<T, ApiError> {
        // The parser's own message may quote the value.
        serde_json::from_str(self.raw.get()).map_err(|_| self.must_be(what))
    }
}

/// The members of an object that nobody asked for yet.
pub(crate) struct Object<'a> {
    path: String,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    /// A member, which stays; null is the same as none.
    pub(crate) fn get(&self, name: &str) -> Option<Field<'a>> {
        let raw = *self.members.get(name)?;
        (raw.get() != "null").then(|| Field { path: member_path(&self.path, name), raw })
    }

    /// Sets a member to a text that is JSON.
    pub(crate) fn put(&mut self, name: &str, json: &'a str) {
        if let Ok(raw) = serde_json::from_str(json) {
            self.members.insert(name.to_owned(), raw);
        }
    }

    /// The names of the members that are left.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// What is left, as JSON: each member by its exact text.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.members).unwrap_or_default()
    }

    /// A member; null is the same as none, as in OpenAI's API.
    pub(crate) fn take(&mut self, name: &str) -> Option<Field<'a>> {
        let raw = self.members.remove(name)?;
        (raw.get() != "null").then(|| Field { path: member_path(&self.path, name), raw })
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<Field<'a>, ApiError> {
        let path = member_path(&self.path, name);
        self.take(name).ok_or_else(|| ApiError::invalid(path.clone(), format!("{path} is required")))
    }

    /// Takes a string, which must be one of `choices`.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ApiError> {
        self.take(name).map(|field| field.one_of(choices)).transpose()
    }

    /// Members that Cube knows and cannot honour. Each may say what is the case
    /// anyway (one of the JSON texts beside its name); anything else is refused.
    pub(crate) fn only_neutral(&mut self, table: &[(&str, &[&str])]) -> Result<(), ApiError> {
        for (name, neutral) in table {
            let Some(field) = self.take(name) else { continue };
            if !is_one_of(field.text(), neutral) {
                return Err(not_honoured(field.path, neutral));
            }
        }
        Ok(())
    }

    /// Refuses what is left.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.members.into_keys().next() {
            Some(name) => Err(ApiError::unknown(member_path(&self.path, &name))),
            None => Ok(()),
        }
    }
}

impl Field<'_> {
    /// A string, which must be one of `choices`.
    pub(crate) fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ApiError> {
        let text = self.long_string()?;
        let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.must_be(&format!("one of {}", names.join(", ")))
        })
    }
}

/// Compares as values, not as texts. A long text is not read: as a value it takes a hundred times its size.
fn is_one_of(text: &str, neutral: &[&str]) -> bool {
    let value = |text| serde_json::from_str::<Value>(text).ok();
    let Some(found) = (text.len() <= MAX_NEUTRAL).then(|| value(text)).flatten() else { return false };
    neutral.iter().any(|it| value(it).as_ref() == Some(&found))
}

fn not_honoured(path: String, neutral: &[&str]) -> ApiError {
    let mend = match neutral.first() {
        Some(value) => format!("{path} is not supported but as {value}"),
        None => format!("{path} is not supported; remove it"),
    };
    ApiError::unsupported(path, mend)
}

/// `name` within `path`. A name that no parameter could have is not repeated: it
/// may be a prompt that lost its quotes.
pub(crate) fn member_path(path: &str, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let name = if name.len() <= MAX_NAME && name.bytes().all(plain) { name } else { "(unprintable name)" };
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Items<'de>, A::Error> {
                let mut found = Vec::new();
                while let Some(item) = items.next_element()? {
                    found.push(item);
                    within_bound(found.len())?;
                }
                Ok(Items(found))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

struct Members<'a> {
    once: BTreeMap<String, &'a RawValue>,
    twice: Option<String>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
                let mut found = Members { once: BTreeMap::new(), twice: None };
                while let Some((name, raw)) = members.next_entry::<String, &RawValue>()? {
                    if found.once.insert(name.clone(), raw).is_some() {
                        found.twice = Some(name);
                    }
                    within_bound(found.once.len())?;
                }
                Ok(found)
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn within_bound<E: serde::de::Error>(items: usize) -> Result<(), E> {
    if items > MAX_ITEMS { Err(E::custom("too many items")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &[u8]) -> ApiError {
        document(body).and_then(Field::object).map(|_| ()).unwrap_err()
    }

    #[test]
    fn syntax_errors_say_where_and_quote_nothing() {
        let cases: [(&[u8], &str); 6] = [
            (b"", "the body ends in the middle of a value at line 1 column 0"),
            (b"{\"a\": 1", "the body ends in the middle of a value at line 1 column 7"),
            (b"{\"a\": secret}", "the body is not valid JSON at line 1 column 7"),
            (b"{}\nsecret", "the body is not valid JSON at line 2 column 1"),
            (b"{\"a\": \"\xff\"}", "the body is not UTF-8 at byte 7"),
            (b"[\"secret\"]", "the body must be an object"),
        ];
        for (body, message) in cases {
            assert_eq!(refusal(body).message, message);
        }
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(document(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert!(refusal(nested(MAX_DEPTH).as_bytes()).message.contains("deeper than 64 levels at byte 68"));
        let quoted = format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(100));
        assert!(document(quoted.as_bytes()).is_ok());
    }

    #[test]
    fn a_member_given_twice_is_refused() {
        let error = refusal(br#"{"model":"a","model":"b"}"#);
        assert_eq!((error.message.as_str(), error.param.as_deref()), ("model is given twice", Some("model")));
    }

    #[test]
    fn arrays_are_bounded() {
        let body = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_ITEMS));
        let field = document(body.as_bytes()).unwrap().object().unwrap().take("a").unwrap();
        assert!(field.array().is_err());
    }

    #[test]
    fn what_is_not_honoured_is_read_only_where_it_is_short() {
        let neutral = |text: &str| {
            let body = format!("{{\"a\":{text}}}");
            document(body.as_bytes()).unwrap().object().unwrap().only_neutral(&[("a", &["[1]"])])
        };
        let spaced = |spaces: usize| format!("[1{}]", " ".repeat(spaces));
        assert!(neutral(&spaced(MAX_NEUTRAL - 3)).is_ok());
        assert_eq!(neutral(&spaced(MAX_NEUTRAL - 2)).unwrap_err().reason, "UNSUPPORTED_BY_BACKEND");
        assert!(neutral("[2]").is_err());
    }

    #[test]
    fn a_name_that_looks_like_content_is_not_repeated() {
        let error = document(br#"{"my secret prompt":1}"#).unwrap().object().unwrap().finish().unwrap_err();
        assert!(!error.message.contains("secret") && error.reason == "UNKNOWN_PARAMETER");
    }

    #[test]
    fn a_lone_surrogate_is_not_a_string() {
        let field = document(br#"{"a":"\ud800"}"#).unwrap().object().unwrap().take("a").unwrap();
        assert_eq!(field.string().unwrap_err().message, "a must be a string");
        assert!(field.long_string().is_err());
    }
}
