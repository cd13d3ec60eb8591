//! What attestation-svc makes of its own machine: a report of its own, held to the policy.

use std::sync::Arc;

use service_runtime::{Clock, Exit};
use snp_evidence::{
    Binder, Challenge, CheckResult, Policy, Purpose, Refusal, RefusalClass, TrustRoots, UnixTime,
    VerifiedReport, verify,
};
use tracing::error;

use crate::error::{NoRandom, random};
use crate::prover::{Committed, Lane, Prover, ProverError};

/// The comparison of HOST_DATA with the measured configuration.
const HOST_DATA: &str = "measured_config.host_data";

/// Judges this machine, by the policy and for the deployment that were configured at the start.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) prover: Prover,
    pub(crate) roots: TrustRoots,
    pub(crate) policy: Policy,
    /// SHA-256 of the measured configuration.
    pub(crate) measured_config_sha256: [u8; 32],
    pub(crate) clock: Arc<dyn Clock>,
}

impl Judge {
    /// A fresh report over `committed`, accepted, and the bundle of it. Its nonce is our own, so that `purpose` has to say
    /// that it proves no freshness to others.
    pub(crate) async fn own_report(
        &self,
        purpose: Purpose,
        committed: Committed<'_>,
    ) -> Result<(VerifiedReport, Vec<u8>), JudgeError> {
        let challenge = Challenge { purpose, nonce: random()?, binder: Binder::none() };
        let expected = committed.report_data(&challenge);
        let evidence = self.prover.evidence(Lane::Own, expected, self.prover.limits.boot).await?;
        let now = UnixTime(self.clock.unix());
        let report = verify(&evidence, &self.roots, &self.policy, &expected, now).map_err(Box::new)?;
        self.check_host_data(&report)?;
        Ok((report, committed.bundle(&challenge, &evidence)))
    }

    /// The policy cannot pin HOST_DATA, since the measured configuration names the policy: the digest is compared here.
    fn check_host_data(&self, report: &VerifiedReport) -> Result<(), JudgeError> {
        let (observed, expected) = (*report.host_data(), self.measured_config_sha256);
        if observed == expected { Ok(()) } else { Err(JudgeError::HostData { observed, expected }) }
    }
}

/// Why the machine was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JudgeError {
    /// There is no evidence to judge.
    #[error("no evidence can be had: {0}")]
    Prover(#[from] ProverError),
    /// The evidence was judged and refused.
    #[error("{0}")]
    Refused(#[from] Box<Refusal>),
    /// The CVM was launched for another measured configuration.
    #[error(
        "check {HOST_DATA} failed: observed {}, expected {}; launch the CVM with the SHA-256 of the \
         measured configuration as HOST_DATA",
        hex::encode(observed),
        hex::encode(expected)
    )]
    HostData {
        /// `HOST_DATA` of the report.
        observed: [u8; 32],
        /// Digest of the measured configuration.
        expected: [u8; 32],
    },
    /// AWS-LC gave no randomness.
    #[error(transparent)]
    Random(#[from] NoRandom),
}

impl JudgeError {
    /// The check that refused the machine, and what it saw.
    pub(crate) fn failed_check(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Refused(refusal) => {
                let failed = refusal.checks().iter().find(|check| check.id == refusal.reason());
                Some((refusal.reason(), failed.map_or_else(String::new, |check| check.observed.clone())))
            }
            Self::HostData { observed, .. } => Some((HOST_DATA, hex::encode(observed))),
            Self::Prover(_) | Self::Random(_) => None,
        }
    }

    /// Whether this is a verdict on the machine, and not the lack of one.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::HostData { .. } => true,
            Self::Refused(refusal) => {
                !matches!(refusal.class(), RefusalClass::Stale | RefusalClass::Unavailable)
            }
            Self::Prover(_) | Self::Random(_) => false,
        }
    }

    /// The exit code of its class.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::HostData { .. } => Exit::Policy,
            Self::Prover(ProverError::Collateral(_)) => Exit::Collateral,
            Self::Prover(_) => Exit::NoTee,
            Self::Refused(refusal) => match refusal.class() {
                RefusalClass::Malformed | RefusalClass::Untrusted | RefusalClass::Channel => Exit::Evidence,
                RefusalClass::OutOfPolicy => Exit::Policy,
                RefusalClass::Stale | RefusalClass::Unavailable => Exit::Collateral,
            },
            // AWS-LC failing to make a random number has no exit code of its own.
            Self::Random(_) => Exit::Config,
        }
    }

    /// Tells the operator every failed check.
    pub(crate) fn log_checks(&self) {
        let Self::Refused(refusal) = self else { return };
        for check in refusal.checks().iter().filter(|check| check.result == CheckResult::Fail) {
            let (observed, expected) = (&check.observed, &check.expected);
            error!(check = check.id, %observed, %expected, fix = check.fix, "check failed");
        }
    }
}
