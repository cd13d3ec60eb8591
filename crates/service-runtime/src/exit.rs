//! Exit codes, the same for the three services. `docs/errors.md` is this table.

use std::process::ExitCode;

macro_rules! exits {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal, $mend:literal;)*) => {
        /// Why a service ended. The numbers are part of the product: units and operators branch on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit {
            $($(#[doc = $meaning])+ $name = $code,)*
        }

        impl Exit {
            /// Every exit code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What has happened.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($meaning),+).trim_ascii(),)*
                }
            }

            /// What the operator should do.
            pub fn mend(self) -> &'static str {
                match self {
                    $(Self::$name => $mend,)*
                }
            }
        }
    };
}

exits! {
    /// Stopped because it was asked to.
    Clean = 0,
        "Nothing.";
    /// A configuration file cannot be used, or the port or a socket cannot be bound.
    Config = 2,
        "Mend what stderr names; of the files it names every problem at once, as `--check-config` does without starting.";
    /// The evidence is invalid.
    Evidence = 3,
        "Trust nothing on this machine: the log names each check that failed, and what to do about it.";
    /// The evidence is valid, and the policy or the measured configuration refuses it.
    Policy = 4,
        "Launch the CVM as policy and measured configuration demand, or change these together with the relying \
         parties' policies; the log names each check that failed.";
    /// No SEV-SNP guest device that this process may use, or none that makes a report in time.
    NoTee = 5,
        "Run it in an SEV-SNP guest, as the user who may open the device that the log names.";
    /// AMD's certificates for this chip, or a revocation list that the policy requires, cannot be had in time.
    Collateral = 6,
        "The log says where they were looked for: have the host offer them, reach AMD's key server or a mirror \
         (`kds.urls`), or put the files that the log names into `collateral.directory`.";
    /// No identity or lease within `start_timeout_seconds`.
    NoLease = 7,
        "Look whether attestation-svc runs and has accepted its evidence; the log names the socket and the last refusal.";
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
