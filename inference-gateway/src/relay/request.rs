//! What is read of a request before it is passed on: who is asked, how the answer comes, and what nobody may ask.
//!
//! Members are passed on as their exact texts; those that Cube has never heard of too, and then the answer names them.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use proto::reason;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{
    json::{self, Object},
    openai::error::ApiError,
};

/// A request that may be passed on.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) body: Bytes,
    /// Empty where the endpoint needs none.
    pub(crate) model: String,
    pub(crate) streamed: bool,
    /// The caller has not asked for the usage that is asked for here.
    pub(crate) strip_usage: bool,
    /// Members that Cube does not know, comma-separated.
    pub(crate) unrecognised: String,
}

/// How requests of an endpoint are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Members that Cube knows of.
    pub(crate) known: &'static [&'static [&'static str]],
    /// What `stream` is where it is absent.
    pub(crate) streams: bool,
    /// Whether it is text that is generated as OpenAI first had it: token counts of a stream have to be asked for, and the
    /// model server takes a salt for what it remembers of prompts.
    pub(crate) generates: bool,
    /// Whether a model has to be named.
    pub(crate) names_model: bool,
}

/// Members that would reach into the model server, or into another caller's requests.
const REFUSED: &[(&str, &str)] = &[
    ("cache_salt", "Cube sets it by itself, to keep callers apart"),
    ("request_id", "Cube gives each request its own"),
    ("kv_transfer_params", "it steers the model server's own traffic"),
];

/// Members in which the model server would be told to fetch something.
const WITH_MEDIA: &[&str] = &["messages", "input", "system"];

impl Form {
    /// Reads `body`; with `strict`, what Cube does not know is refused by name.
    pub(crate) fn read(&self, body: &[u8], strict: bool, salt: &str) -> Result<Prepared, ApiError> {
        // Before the object, which may hold it.
        let salt = format!("\"{salt}\"");
        let mut object = json::document(body)?.object()?;
        refuse(&object)?;
        let unrecognised = self.unrecognised(&object, strict)?;
        let model = self.model(&object)?;
        let streamed = match object.get("stream") {
            Some(field) => field.boolean()?,
            None => self.streams,
        };
        let strip_usage = streamed && self.generates && ask_for_usage(&mut object)?;
        if self.generates {
            object.put("cache_salt", &salt);
        }
        Ok(Prepared { body: object.to_json().into(), model, streamed, strip_usage, unrecognised })
    }

    fn model(&self, object: &Object<'_>) -> Result<String, ApiError> {
        match object.get("model") {
            Some(field) => field.string(),
            None if self.names_model => Err(ApiError::invalid("model", "model is required")),
            None => Ok(String::new()),
        }
    }

    fn unrecognised(&self, object: &Object<'_>, strict: bool) -> Result<String, ApiError> {
        let known = |name: &str| self.known.iter().any(|names| names.contains(&name));
        let mut unknown = object.names().filter(|name| !known(name)).map(|name| json::member_path("", name));
        if strict && let Some(name) = unknown.next() {
            return Err(ApiError::unknown(name));
        }
        Ok(unknown.take(MAX_NAMED).collect::<Vec<_>>().join(", "))
    }
}

fn refuse(object: &Object<'_>) -> Result<(), ApiError> {
    for (name, why) in REFUSED {
        if object.get(name).is_some() {
            return Err(ApiError::unsupported(*name, format!("{name} is not for callers: {why}")));
        }
    }
    for name in WITH_MEDIA {
        if let Some(field) = object.get(name) {
            no_remote_media(field.text(), name)?;
        }
    }
    Ok(())
}

/// Most names that an answer's header repeats.
const MAX_NAMED: usize = 16;

/// Whether that was Cube's wish alone.
fn ask_for_usage(object: &mut Object<'_>) -> Result<bool, ApiError> {
    const ASKED: &str = r#"{"include_usage":true}"#;
    let wanted = match object.get("stream_options") {
        Some(field) => field.object()?.get("include_usage").map_or(Ok(false), |field| field.boolean())?,
        None => false,
    };
    if !wanted {
        object.put("stream_options", ASKED);
    }
    Ok(!wanted)
}

/// Nothing is fetched on a caller's behalf: media come inside the request.
fn no_remote_media(text: &str, name: &'static str) -> Result<(), ApiError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let scan = Scan { is_address: false }.deserialize(&mut reader);
    scan.map_err(|_| {
        let message = format!("{name} holds a remote address, which Cube does not fetch; send a data: URL");
        ApiError { reason: reason::UNSUPPORTED_BY_BACKEND.to_owned(), ..ApiError::invalid(name, message) }
    })
}

/// Members whose texts are addresses.
const ADDRESSES: &[&str] =
    &["url", "image_url", "video_url", "audio_url", "file_url", "image", "video", "audio", "input_image"];

/// Walks a value, and fails at an address that leads elsewhere.
struct Scan {
    is_address: bool,
}

impl<'de> DeserializeSeed<'de> for Scan {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scan {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value without remote addresses")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let inside =
            text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) || !text.contains(':');
        if self.is_address && !inside { Err(E::custom("remote")) } else { Ok(()) }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(name) = members.next_key::<Cow<'_, str>>()? {
            members.next_value_seed(Scan { is_address: ADDRESSES.contains(&name.as_ref()) })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let is_address = self.is_address;
        while items.next_element_seed(Scan { is_address })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        IgnoredAny::deserialize(from).map(drop)
    }
}
