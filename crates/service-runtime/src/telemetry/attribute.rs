//! What a span says beyond its name.

use opentelemetry::Value;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A value of an attribute. Texts are the code's own: none can be a caller's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Count(i64),
    /// Any number.
    Number(f64),
    /// One of a few words.
    Word(&'static str),
}

impl From<Attribute> for Value {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Count(count) => count.into(),
            Attribute::Number(number) => number.into(),
            Attribute::Word(word) => word.into(),
        }
    }
}

/// Adds an attribute to the present span, where spans are exported.
pub fn describe(name: &'static str, value: Attribute) {
    Span::current().set_attribute(name, value);
}
