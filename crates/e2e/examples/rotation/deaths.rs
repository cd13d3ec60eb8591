//! Each service is killed again and again under load, and nothing is answered that no lease can have covered.
//!
//! What holds a lease is written down by attestation-svc, in the audit log, with `CLOCK_BOOTTIME`: nobody has one
//! between its death and its next enrolment, and nobody has one from 15 s after the death of attestation-svc on, until
//! the enrolments with its successor. Of many enrolments in a minute not each has a record; then the restart, which is
//! earlier, stands for it. What a client asked for, or the model server made, after the beginning of such a gap
//! and the client had before its end was answered without a lease.

use std::{
    process::Command,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dev_stack::Service;
use serde_json::Value;
use service_runtime::{Clock, SystemClock};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    RUN, ensure,
    load::{Answered, Seen, short, streams},
    model_server::ModelServer,
    rig::{Rig, program},
};

const DEATHS: usize = 20;
/// Of the deaths of attestation-svc, so many are left until every lease has lapsed.
const LAPSES: usize = 4;
/// `LAPSE` of docs/spec/lease.md.
const LAPSE: Duration = Duration::from_secs(15);
/// For serving again: generous, nothing is decided by how fast it is.
const LIMIT: Duration = Duration::from_secs(50);
const STREAMS: usize = 20;

/// When a service was gone.
#[derive(Debug, Clone, Copy)]
struct Outage {
    service: Service,
    killed: Duration,
    restarted: Duration,
}

pub(crate) async fn run(rig: &mut Rig, server: &ModelServer) {
    let seen = Arc::new(Seen::default());
    let mut outages = Vec::new();
    for service in [Service::Attestation, Service::Gateway, Service::Adapter] {
        let mut back = Vec::new();
        let mut outcome = Ok(());
        for death in 0..DEATHS {
            streams(rig, STREAMS, STREAMS, &seen).await;
            let lapses = service == Service::Attestation && death < LAPSES;
            let outage = kill(rig, service, lapses, &seen).await;
            outages.push(outage);
            match serving_again(rig, &seen).await {
                Ok(at) => back.push(at.saturating_sub(outage.restarted)),
                Err(error) => outcome = Err(error),
            }
            server.end_answers();
        }
        back.sort();
        let seconds = |at: usize| back.get(at).map_or(f64::NAN, Duration::as_secs_f64);
        eprintln!(
            "{} killed {DEATHS} times: serving again after {:.2} s (median), {:.2} s (longest)",
            service.name(),
            seconds(back.len() / 2),
            seconds(back.len().saturating_sub(1))
        );
        RUN.case(&format!("{}-killed-{DEATHS}-times-serves-again", service.name()), outcome);
    }
    let records = audit_log(rig);
    let answered = seen.answered.lock().unwrap().clone();
    eprintln!("{} answers and pieces, {} refused or broken", answered.len(), seen.failed());
    RUN.case(
        "nothing-without-a-lease",
        records.as_ref().map_err(Clone::clone).and_then(|records| {
            ensure(answered.len() > outages.len(), || format!("only {} answers", answered.len()))?;
            let nexts = outages.iter().skip(1).map(|next| next.killed).chain([Duration::MAX]);
            outages.iter().zip(nexts).try_for_each(|(outage, next)| outage.check(records, &answered, next))
        }),
    );
    RUN.case(
        "audit-chain-is-whole",
        records.and_then(|records| {
            let boots = records.iter().filter(|record| record["event"] == "boot").count();
            ensure(boots == 1 + DEATHS, || format!("{boots} boots"))
        }),
    );
}

/// Kills, goes on asking while leases run out if told to, and starts again.
async fn kill(rig: &mut Rig, service: Service, lapses: bool, seen: &Seen) -> Outage {
    let channel = rig.channel().await;
    rig.blocking(|rig| rig.stack.kill(service)).unwrap();
    let killed = SystemClock.boot();
    while lapses && SystemClock.boot() < killed + LAPSE + Duration::from_secs(2) {
        if let Err(error) = short(channel.clone(), seen).await {
            seen.failures.lock().unwrap().push(error);
        }
        sleep(Duration::from_millis(20)).await;
    }
    let restarted = SystemClock.boot();
    rig.stack.start(service).unwrap();
    Outage { service, killed, restarted }
}

/// When the first request after a restart was answered.
async fn serving_again(rig: &Rig, seen: &Seen) -> Result<Duration, String> {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        let dialled = timeout(Duration::from_secs(5), rig.try_channel()).await;
        if let Ok(Ok(channel)) = dialled
            && short(channel, seen).await.is_ok()
        {
            return Ok(SystemClock.boot());
        }
        seen.requests.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(20)).await;
    }
    Err(format!("not within {LIMIT:?}"))
}

impl Outage {
    /// Nothing that began after the last lease was answered before the next.
    fn check(&self, records: &[Value], answered: &[Answered], next: Duration) -> Result<(), String> {
        let (since, roles) = match self.service {
            Service::Attestation => (self.killed + LAPSE, &["gateway", "adapter"][..]),
            Service::Gateway => (self.killed, &["gateway"][..]),
            Service::Adapter => (self.killed, &["adapter"][..]),
        };
        let enrolled = roles.iter().filter_map(|role| self.enrolled(records, role, next));
        let until = enrolled.max().unwrap_or(self.restarted);
        let without = answered.iter().find(|it| it.begun > since && it.at < until);
        ensure(without.is_none(), || format!("{self:?}: {without:?} without a lease before {until:?}"))
    }

    /// When `role` was enrolled first after the restart, and before the next outage.
    fn enrolled(&self, records: &[Value], role: &str, next: Duration) -> Option<Duration> {
        let enrolled = records.iter().filter(|it| it["event"] == "enrolled" && it["identity"] == role);
        let times = enrolled.filter_map(|it| it["boot_time_ms"].as_u64()).map(Duration::from_millis);
        times.filter(|at| *at >= self.restarted && *at < next).min()
    }
}

/// Every record, once `cube audit verify` has found the chain whole.
fn audit_log(rig: &Rig) -> Result<Vec<Value>, String> {
    let folder = rig.files().folder().join("audit");
    let output = Command::new(program("cube")).args(["audit", "verify"]).arg(&folder).output().unwrap();
    ensure(output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned())?;
    let mut segments: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let text: String = segments.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
}
