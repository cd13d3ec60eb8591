//! A message in Protocol Buffers' JSON form, taken apart key by key.

use std::{collections::BTreeSet, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// One message; what is wrong with it is gathered, and what nobody took is unknown.
pub(super) struct Fields {
    place: &'static str,
    rest: Map<String, Value>,
    problems: Vec<String>,
}

/// The whole file.
pub(super) fn read(json: &[u8]) -> Result<Fields, String> {
    serde_json::from_slice::<NoDuplicates>(json).map_err(|error| format!("not JSON: {error}"))?;
    match serde_json::from_slice(json) {
        Ok(Value::Object(rest)) => Ok(Fields { place: "", rest, problems: Vec::new() }),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

impl Fields {
    /// A key in either spelling; null is as good as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let spellings = BTreeSet::from([name.to_owned(), camel_case(name)]);
        let mut found: Vec<_> = spellings.iter().filter_map(|name| self.rest.remove(name)).collect();
        if found.len() > 1 {
            self.object(name, "stated in both spellings");
        }
        found.pop().filter(|value| !value.is_null())
    }

    /// A message inside; empty where it is absent.
    pub(super) fn message(&mut self, name: &str, place: &'static str) -> Self {
        let rest = match self.take(name) {
            None => Map::new(),
            Some(Value::Object(rest)) => rest,
            Some(_) => {
                self.object(name, "need an object");
                Map::new()
            }
        };
        Self { place, rest, problems: Vec::new() }
    }

    pub(super) fn bytes<const N: usize>(&mut self, name: &str) -> Option<[u8; N]> {
        let found = self.some_bytes(name)?;
        let length = found.len();
        let exact = found.try_into().ok();
        if exact.is_none() {
            self.object(name, &format!("{length} bytes, need {N}"));
        }
        exact
    }

    /// Bytes of any length but none.
    pub(super) fn some_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let value = self.take(name)?;
        self.decoded(name, &value).filter(|bytes| !bytes.is_empty())
    }

    pub(super) fn list(&mut self, name: &str) -> Vec<Vec<u8>> {
        match self.take(name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().filter_map(|item| self.decoded(name, item)).collect(),
            Some(_) => {
                self.object(name, "need a list");
                Vec::new()
            }
        }
    }

    /// An unsigned number, as such or in quotes, in which 64 bits have to stand.
    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.take(name)?;
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        if number.is_none() {
            self.object(name, "need a whole number from 0 on");
        }
        number
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        let value = self.take(name);
        let flag = value.as_ref().is_none_or(Value::is_boolean);
        if !flag {
            self.object(name, "need true or false");
        }
        value.and_then(|value| value.as_bool()).unwrap_or_default()
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        if !value.is_string() {
            self.object(name, "need words in quotes");
        }
        value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub(super) fn object(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{}{name}: {problem}", self.place));
    }

    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.place)
    }

    /// What is wrong, and the keys that nobody took.
    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        let unknown = self.rest.keys().map(|key| format!("{}{key}", self.place)).collect();
        (self.problems, unknown)
    }

    fn decoded(&mut self, name: &str, value: &Value) -> Option<Vec<u8>> {
        let bytes =
            value.as_str().and_then(|text| BASE64.decode(text.replace('-', "+").replace('_', "/")).ok());
        if bytes.is_none() {
            self.object(name, "need base64");
        }
        bytes
    }
}

/// Both alphabets are valid in this form, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        name + &letters.next().map_or_else(String::new, |first| first.to_uppercase().to_string())
            + letters.as_str()
    })
}

/// Of two equal keys a reader would silently take one.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Keys).map(|()| Self)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<NoDuplicates>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            members.next_value::<NoDuplicates>()?;
            if let Some(twice) = keys.replace(key) {
                return Err(A::Error::custom(format!("{twice:?} is stated twice")));
            }
        }
        Ok(())
    }
}
