//! Exit codes, the same for the three services.

use std::process::ExitCode;

/// Why a service ended. The numbers are part of the product: units and operators branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped because it was asked to.
    Clean = 0,
    /// A configuration file cannot be used, or the port cannot be bound.
    Config = 2,
    /// The evidence is invalid.
    Evidence = 3,
    /// The evidence is valid, and the policy refuses it.
    Policy = 4,
    /// No SEV-SNP guest device that this process may use.
    NoTee = 5,
    /// AMD's certificates for this chip cannot be had.
    Collateral = 6,
    /// No identity or lease within `start_timeout`.
    NoLease = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
