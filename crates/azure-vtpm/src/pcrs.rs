//! The PCR values behind a quote.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};

use crate::object::JsonError;

/// The 24 PCRs of the SHA-256 bank. Only those that the quote selects are vouched for.
pub(crate) struct PcrValues(Vec<[u8; 32]>);

impl PcrValues {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JsonError> {
        let texts: Vec<String> =
            serde_json::from_slice(json).map_err(|error| JsonError(error.to_string()))?;
        let values = texts.iter().map(value).collect::<Option<Vec<_>>>();
        match values {
            Some(values) if values.len() == 24 => Ok(Self(values)),
            _ => Err(JsonError("not 24 strings of 64 hex digits".to_owned())),
        }
    }

    /// `TPMS_QUOTE_INFO.pcrDigest`: SHA-256 over the values in ascending order.
    pub(crate) fn digest_of(&self, pcrs: &[usize]) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        pcrs.iter().filter_map(|pcr| self.0.get(*pcr)).for_each(|value| context.update(value));
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        out
    }

    pub(crate) fn of(&self, pcrs: &[usize]) -> BTreeMap<usize, [u8; 32]> {
        pcrs.iter().filter_map(|pcr| Some((*pcr, *self.0.get(*pcr)?))).collect()
    }
}

fn value(text: &String) -> Option<[u8; 32]> {
    let mut value = [0; 32];
    hex::decode_to_slice(text, &mut value).ok().map(|()| value)
}
