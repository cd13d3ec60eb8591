//! Exit codes of `cube`: scripts branch on them. Its help and `docs/errors.md` show this table.

macro_rules! exits {
    ($($(#[doc = $meaning:literal])+ $name:ident = $code:literal, $verdict:literal, $mend:literal;)*) => {
        /// How a command ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Exit {
            $($(#[doc = $meaning])+ $name = $code,)*
        }

        impl Exit {
            /// Each with its verdict (empty where nothing was judged), its meaning, and what to do.
            pub(crate) const TABLE: &[(Self, &'static str, &'static str, &'static str)] =
                &[$((Self::$name, $verdict, concat!($($meaning),+).trim_ascii(), $mend)),*];
        }
    };
}

exits! {
    /// Genuine hardware, software your policy demands, this very connection.
    Trusted = 0, "trusted",
        "Go on, on this connection.";
    /// The answer failed after the evidence had passed, or the output cannot be written.
    Failed = 1, "",
        "See the reason in the message, and above what it means.";
    /// Wrong usage.
    Usage = 2, "",
        "Mend the flag or file that the message names.";
    /// The evidence is invalid.
    Evidence = 10, "refused",
        "Send nothing there.";
    /// The policy refuses it (policy.absent: there is no policy).
    Policy = 11, "refused",
        "Compare observed and expected in the table; where yours is right, send nothing there.";
    /// A certificate of AMD's is missing or stale.
    Collateral = 12, "unavailable",
        "Supply the file that the table names; until then nothing is known.";
    /// The evidence belongs to another connection, key or nonce.
    Channel = 13, "refused",
        "Send nothing there: something sits in between, or the flags are of another connection.";
    /// Simulated hardware, nothing is proven (0 with --allow-simulated).
    Simulated = 14, "simulated",
        "Use `--allow-simulated` to try Cube out, and for nothing else.";
    /// The gateway cannot be reached, or gives no evidence.
    Unavailable = 15, "unavailable",
        "Retry; where it lasts, tell whoever runs the gateway.";
    /// Real hardware, but software or channel were not judged.
    Genuine = 16, "genuine",
        "Pin a measurement in the policy, and judge a live connection.";
}
