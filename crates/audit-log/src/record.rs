//! One record, and its only spelling.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Longest line, its end included, in bytes; ours have about 500.
pub const MAX_LINE: usize = 4096;

/// Joins what is hashed with the hash.
const HASH: &str = ",\"hash\":\"";
/// Bytes from there to the end of the line.
const TAIL: usize = HASH.len() + 64 + 2;

/// SHA-256; 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// `prev` of the first record of all.
    pub const NONE: Self = Self([0; 32]);

    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or("need 32 bytes: 64 hexadecimal characters")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970.
    pub unix: i64,
    /// Since the machine started, suspend included.
    pub boot: Duration,
}

/// What is recorded: public facts and counts, never a key, token, nonce or prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// attestation-svc started, and has judged nothing yet.
    Boot {
        /// Its version.
        version: String,
        /// SHA-256 of the policy that it will judge by.
        policy_sha256: String,
        /// SHA-256 of the measured configuration.
        measured_config_sha256: String,
    },
    /// The machine was judged.
    Verdict {
        /// Whether the service goes on.
        accepted: bool,
        /// Form of the evidence, which tells simulated hardware from real.
        evidence_format: String,
        /// Launch measurement, where the evidence was accepted.
        measurement: Option<String>,
        /// Name of the instance that then began, where the evidence was accepted.
        instance: Option<String>,
        /// Where it was judged and refused: the first check that failed.
        failed_check: Option<String>,
        /// What it saw.
        observed: Option<String>,
        /// Exit code, where the service does not go on.
        exit: Option<u8>,
    },
    /// The machine was judged anew with another outcome than before, or could not be judged for too long.
    Standing {
        /// Whether identities and tokens are granted from now on.
        accepted: bool,
        /// Why not: `EVIDENCE_REFUSED` or `EVIDENCE_STALE`.
        reason: Option<String>,
        /// Where it was refused: the first check that failed.
        failed_check: Option<String>,
        /// What it saw.
        observed: Option<String>,
        /// Epoch in force afterwards.
        epoch: u64,
        /// Least epoch of valid tokens afterwards.
        min_epoch: u64,
    },
    /// A key of attestation-svc's own is replaced, and this is how far that is.
    Rotation {
        /// `ca` or `token-key`.
        what: String,
        /// `announced`: it is in the key manifest, which a report vouches for. `in-force`: it signs. `retired`: it is gone.
        step: String,
        /// SHA-256 of the key that is now so far.
        key_sha256: String,
        /// Version of the key manifest in force.
        manifest_version: u64,
    },
    /// The clocks of the machine jumped; not more than one record a minute.
    ClockJump {
        /// In words.
        what: String,
    },
    /// A process became the holder of an identity.
    Enrolled {
        /// `gateway` or `adapter`; or `workload/` and its name, where a mesh's proxy was handed its certificate.
        identity: String,
        /// Its process id, where the kernel says it.
        pid: Option<i32>,
        /// Serial number of its SVID.
        svid_serial: String,
        /// Version of the key manifest that it was given.
        manifest_version: u64,
    },
    /// A process was refused enrolment or lease.
    Refused {
        /// `gateway` or `adapter`.
        identity: String,
        /// `Enroll` or `Lease`.
        call: String,
        /// Stable reason.
        reason: String,
    },
    /// Opens a minute in which an identity may be granted tokens, and closes what came before it.
    Grants {
        /// `gateway` or `adapter`.
        identity: String,
        /// Tokens granted since the last record of this kind.
        tokens: u64,
        /// Enrolments granted meanwhile that have no line of their own.
        enrolled: u64,
        /// Refusals meanwhile that have no line of their own.
        refused: u64,
    },
    /// An administrator's order, carried out or refused.
    Admin {
        /// The administrator's user.
        uid: Option<u32>,
        /// The administrator's process.
        pid: Option<i32>,
        /// Name of the method.
        call: String,
        /// What it was about.
        target: Option<String>,
        /// The administrator's words.
        reason: Option<String>,
        /// `done`, or the stable reason of the refusal.
        outcome: String,
        /// Epoch in force afterwards.
        epoch: u64,
        /// Least epoch of valid tokens afterwards.
        min_epoch: u64,
    },
    /// The first of a segment but the first segment.
    Segment {
        /// `seq` of the oldest record that is kept.
        oldest: u64,
    },
    /// An unfinished last line was cut off.
    Repaired {
        /// Its bytes.
        cut_bytes: u64,
    },
    /// attestation-svc was asked to stop, and did.
    Stopped {
        /// Exit code.
        exit: u8,
    },
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// 1, 2, 3 and so on, over all boots.
    pub seq: u64,
    /// When.
    pub stamp: Stamp,
    /// [`Record::hash`] of the one before.
    pub prev: Hash,
    /// What.
    pub event: Event,
    /// SHA-256 of the line up to `,"hash"`.
    pub hash: Hash,
}

/// What is hashed, but for the closing brace.
#[derive(Serialize, Deserialize)]
struct Body {
    seq: u64,
    time: i64,
    boot_time_ms: u64,
    prev: Hash,
    #[serde(flatten)]
    event: Event,
}

impl Record {
    /// The line of a record, its end included, and its hash.
    pub(crate) fn write(
        seq: u64,
        stamp: Stamp,
        prev: Hash,
        event: Event,
    ) -> serde_json::Result<(String, Hash)> {
        let boot_time_ms = u64::try_from(stamp.boot.as_millis()).unwrap_or(u64::MAX);
        let body = serde_json::to_string(&Body { seq, time: stamp.unix, boot_time_ms, prev, event })?;
        let hashed = body.strip_suffix('}').unwrap_or(&body);
        let hash = Hash::of(hashed.as_bytes());
        Ok((format!("{hashed}{HASH}{hash}\"}}\n"), hash))
    }

    /// Reads a line without its end; `None` unless it is spelled as [`Record::write`] spells it, to
    /// the byte, so that nothing in it can change unnoticed.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let hashed = line.get(..line.len().checked_sub(TAIL)?)?;
        let body: Body = serde_json::from_str(&format!("{hashed}}}")).ok()?;
        let Body { seq, time, boot_time_ms, prev, event } = body;
        let stamp = Stamp { unix: time, boot: Duration::from_millis(boot_time_ms) };
        let (written, hash) = Self::write(seq, stamp, prev, event.clone()).ok()?;
        (written.strip_suffix('\n') == Some(line)).then_some(Self { seq, stamp, prev, event, hash })
    }
}
