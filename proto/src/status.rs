//! Statuses with a stable reason.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::reason::Reason;

/// `google.rpc.ErrorInfo.domain` of every status Cube makes.
const DOMAIN: &str = "cube";

/// A status whose `ErrorInfo` carries `reason`, one of [`crate::reason`].
///
/// `message` is read by strangers: it names what, where and what to do, and never
/// holds prompt, completion, token or key.
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    status_with(code, reason, message, &[])
}

/// [`status`] with `ErrorInfo` metadata.
pub fn status_with(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: &[(&str, &str)],
) -> Status {
    // What docs/errors.md says of codes is held by every test that makes a status.
    debug_assert!(
        Reason::named(reason).is_some_and(|known| known.codes.contains(&code)),
        "{reason} with {code:?} is not in proto/src/reason.rs"
    );
    let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// The reason a status carries, where it is one of Cube's.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// The reason a status carries or, where that is not one of Cube's, the name of its code.
pub fn reason_or_code(status: &Status) -> String {
    reason_of(status).unwrap_or_else(|| format!("{:?}", status.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_wire() {
        let sent = status_with(Code::Unavailable, crate::reason::ATTESTATION_LAPSED, "shut", &[("k", "v")]);
        let headers = sent.into_http::<()>().into_parts().0.headers;
        let received = Status::from_header_map(&headers).unwrap();
        assert_eq!(reason_of(&received).as_deref(), Some("ATTESTATION_LAPSED"));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "NONCE_INVALID with Internal is not in")]
    fn a_reason_travels_with_the_codes_of_its_entry() {
        status(Code::Internal, crate::reason::NONCE_INVALID, "");
    }

    #[test]
    fn a_strangers_reason_is_not_ours() {
        let details = ErrorDetails::with_error_info("ATTESTATION_LAPSED", "elsewhere", HashMap::new());
        let status = Status::with_error_details(Code::Unavailable, "", details);
        assert_eq!(reason_of(&status), None);
        assert_eq!(reason_or_code(&status), "Unavailable");
    }
}
