//! Cube's own name for each request.

use std::fmt;

use http::{HeaderName, HeaderValue};

/// Header of every answer; a caller's value is never read.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("cube-request-id");

/// 128 random bits in lower-case hex.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A new one.
    pub(crate) fn random() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes)?;
        HeaderValue::try_from(hex::encode(bytes)).map(Self).map_err(|_| aws_lc_rs::error::Unspecified)
    }

    pub(crate) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
