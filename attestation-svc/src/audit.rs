//! What goes into the audit log (docs/spec/audit.md): each grant is on disk before it is answered, and
//! nobody decides how long the log gets.

mod minute;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit_log::{AuditLog, Event, Hash, OpenError, Stamp};
use mtls::Role;
use proto::reason;
use service_runtime::{Clock, Counter, Exit};
use snp_evidence::EvidenceFormat;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::error;

use crate::config::Config;
use crate::error::BootError;
use minute::Minute;

/// For one write, and those before it. Holders wait up to 15 s for a heartbeat.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest text of others in a record, in characters.
const MAX_TEXT: usize = 256;

/// The log of this process.
#[derive(Debug)]
pub(crate) struct Audit {
    log: Arc<tokio::sync::Mutex<AuditLog>>,
    head: Arc<Mutex<(u64, Hash)>>,
    minutes: Mutex<BTreeMap<Role, Minute>>,
    clock: Arc<dyn Clock>,
    failures: Counter<0>,
}

/// Nothing that needs a record is granted.
#[derive(Debug, thiserror::Error)]
#[error("audit.dir: cannot write to the audit log: {0}")]
pub(crate) struct Unwritten(#[from] io::Error);

impl From<Unwritten> for Status {
    fn from(_: Unwritten) -> Self {
        let message = "the audit log cannot be written right now, and nothing is granted unrecorded";
        proto::status(Code::Unavailable, reason::AUDIT_UNAVAILABLE, message)
    }
}

impl Audit {
    /// Opens the log, and records the start in it.
    pub(crate) async fn open(
        config: &Config,
        clock: Arc<dyn Clock>,
        failures: Counter<0>,
    ) -> Result<Self, BootError> {
        let (folder, limits, now) = (config.audit.folder.clone(), config.audit.limits, stamp(&*clock));
        let opened = spawn_blocking(move || AuditLog::open(&folder, limits, now)).await;
        let log = opened.map_err(|stopped| Unwritten(stopped.into()))?.map_err(AuditError)?;
        let head = Arc::new(Mutex::new(log.head()));
        let log = Arc::new(tokio::sync::Mutex::new(log));
        let audit = Self { log, head, minutes: Mutex::default(), clock, failures };
        audit.record(vec![boot(config)]).await?;
        Ok(audit)
    }

    /// `seq` and hash of the last record.
    pub(crate) fn head(&self) -> (u64, Hash) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once `events` are on disk.
    pub(crate) async fn record(&self, events: Vec<Event>) -> Result<(), Unwritten> {
        let (now, head) = (stamp(&*self.clock), Arc::clone(&self.head));
        let written = timeout(LIMIT, async {
            let mut log = Arc::clone(&self.log).lock_owned().await;
            let written = spawn_blocking(move || {
                log.append(&events, now)?;
                *head.lock().unwrap_or_else(PoisonError::into_inner) = log.head();
                Ok(())
            });
            written.await.unwrap_or_else(|stopped| Err(stopped.into()))
        });
        let written = written.await.unwrap_or_else(|late| Err(late.into()));
        Ok(written.inspect_err(|error: &io::Error| {
            self.failures.add([], 1);
            error!(%error, "the audit log cannot be written: enrolments and tokens are refused");
        })?)
    }

    /// Records what has happened already, whether or not that can be written.
    pub(crate) async fn note(&self, event: Event) {
        // The failure is in the logs.
        drop(self.record(vec![event]).await);
    }

    /// A token may be granted to the holder of `role`: its minute is open on disk.
    pub(crate) async fn token(&self, role: Role) -> Result<(), Unwritten> {
        let now = self.clock.boot();
        if let Some(counts) = self.minute(role, |minute| minute.token(now)) {
            self.record(vec![counts.record(role)]).await?;
            self.minute(role, |minute| minute.opened(now, &counts));
        }
        Ok(())
    }

    /// An enrolment may be granted: it is on disk, or one of many in this minute.
    pub(crate) async fn enrolled(&self, role: Role, enrolled: Event) -> Result<(), Unwritten> {
        let now = self.clock.boot();
        if self.minute(role, |minute| minute.enrolled(now)) {
            self.record(vec![enrolled]).await?;
        }
        Ok(())
    }

    /// A call on the socket of `role` was refused.
    pub(crate) async fn refused(&self, role: Role, call: &str, refusal: &Status) {
        // Without a reason of ours it is a connection that ended.
        let Some(reason) = proto::reason_of(refusal) else { return };
        let now = self.clock.boot();
        if reason != reason::AUDIT_UNAVAILABLE && self.minute(role, |minute| minute.refused(now)) {
            self.note(Event::Refused { identity: role.to_string(), call: call.to_owned(), reason }).await;
        }
    }

    /// The service was asked to stop; counts that no record has yet get theirs.
    pub(crate) async fn stopped(&self, exit: Exit) {
        let minutes = std::mem::take(&mut *self.minutes.lock().unwrap_or_else(PoisonError::into_inner));
        let left = minutes.iter().filter_map(|(role, minute)| Some(minute.left()?.record(*role)));
        let events = left.chain([Event::Stopped { exit: exit as u8 }]).collect();
        // The failure is in the logs.
        drop(self.record(events).await);
    }

    fn minute<T>(&self, role: Role, ask: impl FnOnce(&mut Minute) -> T) -> T {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        ask(minutes.entry(role).or_default())
    }
}

/// The audit log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("audit.dir: {0}")]
pub(crate) struct AuditError(OpenError);

fn stamp(clock: &dyn Clock) -> Stamp {
    Stamp { unix: clock.unix(), boot: clock.boot() }
}

fn boot(config: &Config) -> Event {
    Event::Boot {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        policy_sha256: hex::encode(config.policy.sha256()),
        measured_config_sha256: hex::encode(config.measured.sha256()),
    }
}

/// As much of what a check saw as a record takes.
pub(crate) fn cut(observed: &str) -> String {
    observed.chars().take(MAX_TEXT).collect()
}

/// The machine was judged, and `instance` begins.
pub(crate) fn accepted(format: EvidenceFormat, measurement: &[u8; 48], instance: &str) -> Event {
    Event::Verdict {
        accepted: true,
        evidence_format: format.to_string(),
        measurement: Some(hex::encode(measurement)),
        instance: Some(instance.to_owned()),
        failed_check: None,
        observed: None,
        exit: None,
    }
}

/// The service does not go on.
pub(crate) fn refused(format: EvidenceFormat, error: &BootError) -> Event {
    let (failed_check, observed) = error.failed_check().unzip();
    Event::Verdict {
        accepted: false,
        evidence_format: format.to_string(),
        measurement: None,
        instance: None,
        failed_check: failed_check.map(str::to_owned),
        observed: observed.as_deref().map(cut),
        exit: Some(error.exit() as u8),
    }
}
