//! What a command judges with.

use snp_evidence::{Bundle, EvidenceFormat, Policy, TrustRoots, UnixTime};

use crate::{
    args::VerifyArgs,
    failure::Failure,
    input,
    verdict::{Context, Scope},
};

/// Roots, policy and time.
pub(crate) struct Yardstick {
    pub(crate) roots: TrustRoots,
    pub(crate) policy: Policy,
    pub(crate) policy_given: bool,
    pub(crate) now: UnixTime,
}

impl Yardstick {
    /// As the command line has it.
    pub(crate) fn of(args: &VerifyArgs) -> Result<Self, Failure> {
        Ok(Self {
            roots: input::roots(&args.roots)?,
            policy: args.policy.as_deref().map_or_else(observing, input::policy)?,
            policy_given: args.policy.is_some(),
            now: args.at.unwrap_or_else(input::now),
        })
    }

    pub(crate) fn context(&self, scope: Scope, simulated: bool) -> Context {
        let simulated_allowed = self.roots.is_simulated();
        Context { scope, simulated, simulated_allowed, policy_given: self.policy_given }
    }
}

/// Asks for nothing beyond the core checks, so that the observed values can be
/// shown. No verdict that rests on it is better than `policy.absent`.
pub(crate) fn observing() -> Result<Policy, Failure> {
    Policy::parse(include_bytes!("../../../conformance/policies/cryptographic.toml"))
        .map_err(|problems| Failure::Usage(format!("defect: the built-in policy is unusable: {problems}")))
}

/// Whether the bundle says of itself that a simulator made it. Only ever lowers a verdict.
pub(crate) fn says_simulated(bundle: &[u8]) -> bool {
    Bundle::parse(bundle).is_ok_and(|bundle| bundle.evidence().format == EvidenceFormat::SimulatedAmdSevSnp)
}
