//! What the layer stack knows of a request, for its handlers.

use std::{sync::Arc, time::Duration};

use health_gate::{Lapsed, ServingPermit};
use http::Extensions;
use proto::reason;
use service_runtime::{Connection, TlsFacts};
use tokio::time::Instant;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{callers::Caller, request_id::RequestId};

/// Leave to serve this request. A handler that the gate does not stand before has none.
pub(crate) fn permit(extensions: &Extensions) -> Result<&ServingPermit, Status> {
    extensions.get().ok_or_else(|| Lapsed.into())
}

/// Whose request it is. A handler that the caller's layer does not stand before has none.
pub(crate) fn caller(extensions: &Extensions) -> Result<&Caller, Status> {
    extensions.get().ok_or_else(|| defect("the request has no caller"))
}

/// The request's identifier.
pub(crate) fn id(extensions: &Extensions) -> Result<RequestId, Status> {
    extensions.get().cloned().ok_or_else(|| defect("the request has no identifier"))
}

/// TLS facts of the very connection that carries this request.
pub(crate) fn tls(extensions: &Extensions) -> Result<&TlsFacts, Status> {
    let connection = extensions.get::<Arc<Connection>>();
    connection
        .and_then(|connection| connection.tls.as_ref())
        .ok_or_else(|| defect("the connection is not TLS"))
}

pub(crate) fn defect(what: &str) -> Status {
    proto::status(Code::Internal, reason::INTERNAL, what)
}

/// When the caller gives up, by the `grpc-timeout` header.
pub(crate) fn deadline(metadata: &MetadataMap) -> Result<Option<Instant>, Status> {
    let Some(value) = metadata.get("grpc-timeout") else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(timeout).ok_or_else(|| {
        let message = "grpc-timeout must be up to 8 digits and one of H M S m u n";
        proto::status(Code::InvalidArgument, reason::INVALID_REQUEST, message)
    })?;
    Ok(Instant::now().checked_add(timeout))
}

/// gRPC over HTTP/2, "Timeout".
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_strictly() {
        assert_eq!(timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(timeout("5M"), Some(Duration::from_mins(5)));
        assert_eq!(timeout("7S"), Some(Duration::from_secs(7)));
        assert_eq!(timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(timeout("1u"), Some(Duration::from_micros(1)));
        assert_eq!(timeout("1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "S", "123456789S", "1", "1s", "-1S", "+1S", "1.5S", "1é"] {
            assert_eq!(timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_no_layer_put_there_is_refused() {
        let bare = Extensions::new();
        let reason = proto::reason_of(&permit(&bare).unwrap_err());
        assert_eq!(reason.as_deref(), Some("ATTESTATION_LAPSED"));
        assert!(id(&bare).is_err() && tls(&bare).is_err());
    }
}
