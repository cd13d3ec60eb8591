//! What is looked at where the user has no policy yet.

use snp_evidence::Policy;

use crate::failure::Failure;

/// Asks for nothing beyond the core checks, so that the observed values can be
/// shown. No verdict that rests on it is better than `policy.absent`.
pub(crate) fn policy() -> Result<Policy, Failure> {
    Policy::parse(include_bytes!("../../../conformance/policies/cryptographic.toml"))
        .map_err(|problems| Failure::Usage(format!("defect: the built-in policy is unusable: {problems}")))
}
