//! A reader of JSON that shares nothing with the verifier's: every name once, nothing dropped.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// What a text says; `None` where it is no JSON, or a name is there twice.
pub(crate) fn strict(text: &[u8]) -> Option<Json> {
    serde_json::from_slice(text).ok()
}

#[derive(Debug, PartialEq)]
pub(crate) enum Json {
    Text(String),
    Whole(i128),
    /// What none of our forms has.
    Other,
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        if let Self::Object(members) = self { members.get(name) } else { None }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        if let Self::Text(text) = self.get(name)? { Some(text) } else { None }
    }

    pub(crate) fn whole(&self, name: &str) -> Option<i128> {
        if let Self::Whole(number) = self.get(name)? { Some(*number) } else { None }
    }

    pub(crate) fn list(&self, name: &str) -> Option<&[Json]> {
        if let Self::List(list) = self.get(name)? { Some(list) } else { None }
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        if let Self::Object(members) = self {
            members.keys().map(String::as_str).collect()
        } else {
            Vec::new()
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Whole(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Whole(number.into()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((name, value)) = members.next_entry::<String, Json>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        Ok(Json::Object(object))
    }
}
