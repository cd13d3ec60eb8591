//! JSON objects read strictly: an object and nothing else, no member twice, each kept as the text it is.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members by name, each for its own reader.
pub(crate) struct Object(BTreeMap<String, Box<RawValue>>);

/// What is wrong with a JSON text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct JsonError(pub(crate) String);

impl Object {
    /// Takes a member out.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, JsonError> {
        self.take_if_any(name)?.ok_or_else(|| JsonError(format!("{name} is missing")))
    }

    /// Takes a member out that may be absent; a written `null` is not.
    pub(crate) fn take_if_any<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, JsonError> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        let read = serde_json::from_str(text.get());
        read.map(Some).map_err(|error| JsonError(format!("{name}: {error}")))
    }

    /// Nothing is left that nobody took.
    pub(crate) fn finish(self) -> Result<(), JsonError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(unknown) => Err(JsonError(format!("unknown member {unknown:?}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, Box<RawValue>>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("member {name:?} stands twice")));
            }
            object.insert(name, value);
        }
        Ok(Object(object))
    }
}
