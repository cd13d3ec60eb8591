//! What attestation-svc counts.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use mtls::Role;
use service_runtime::{Buckets, Counter, Histogram, Metric, MetricFact, Registry, RequestMetrics};

use crate::authority::Authority;
use crate::clock_watch::Jump;
use crate::judge::JudgeError;
use crate::keys::Kind;
use crate::prover::Lane;
use crate::rotation::Phase;

const REPORTS: Metric<2> = Metric {
    name: "cube_reports_total",
    help: "Reports asked of the secure processor, for services inside and for the public, by outcome",
    labels: ["caller", "outcome"],
};
const REPORT_SECONDS: Metric<1> = Metric {
    name: "cube_report_seconds",
    help: "From asking for a report to having it, waiting for a turn included",
    labels: ["caller"],
};
const TOGETHER: Metric<0> = Metric {
    name: "cube_report_challenges_total",
    help: "Challenges from outside that were answered, many of them by one report",
    labels: [],
};
const TOKENS: Metric<1> = Metric {
    name: "cube_health_tokens_total",
    help: "Health tokens minted, by role of the holder",
    labels: ["role"],
};
const MANIFEST: Metric<0> = Metric {
    name: "cube_key_manifests_total",
    help: "Versions of the key manifest in this boot",
    labels: [],
};

const VERDICTS: Metric<1> = Metric {
    name: "cube_reattestations_total",
    help: "Verdicts on this machine while the service runs; `none` where no report or certificate could be had",
    labels: ["verdict"],
};
const AGE: Metric<0> = Metric {
    name: "cube_evidence_age_seconds",
    help: "Since the newest report that was accepted was asked for; at 900 nothing is vouched for",
    labels: [],
};
const JUMPS: Metric<1> = Metric {
    name: "cube_clock_jumps_total",
    help: "Times that time did not pass evenly, by what happened",
    labels: ["what"],
};

const ROTATIONS: Metric<2> = Metric {
    name: "cube_key_rotations_total",
    help: "Steps of the replacement of attestation-svc's own keys, by key",
    labels: ["key", "step"],
};
const UNRECORDED: Metric<0> = Metric {
    name: "cube_audit_failures_total",
    help: "Records that could not be written to the audit log; nothing was granted without its record",
    labels: [],
};

/// A report takes 10 ms to some seconds where others wait.
const SECONDS: Buckets = Buckets(&[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0]);

/// All of them; a cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) requests: RequestMetrics,
    pub(crate) collateral: collateral::Metrics,
    tokens: Counter<1>,
    reports: Counter<2>,
    report_seconds: Histogram<1>,
    together: Counter<0>,
    pub(crate) unrecorded: Counter<0>,
    rotations: Counter<2>,
    verdicts: Counter<1>,
    jumps: Counter<1>,
    /// Weak, because the authority counts here, and takes its keys with it when it goes.
    authority: Arc<OnceLock<Weak<Authority>>>,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let authority = Arc::new(OnceLock::<Weak<Authority>>::new());
        let told = Arc::clone(&authority);
        let version = move || {
            let authority = told.get().and_then(Weak::upgrade);
            authority.map_or(0, |authority| authority.manifests.current().manifest.version)
        };
        registry.read_counter(&MANIFEST, version);
        let told = Arc::clone(&authority);
        let age =
            move || told.get().and_then(Weak::upgrade).map_or(0.0, |it| it.vouching.age().as_secs_f64());
        registry.read_gauge(&AGE, age);
        Self {
            requests: RequestMetrics::register(registry),
            collateral: collateral::Metrics::register(registry),
            tokens: registry.counter(&TOKENS),
            reports: registry.counter(&REPORTS),
            report_seconds: registry.histogram(&REPORT_SECONDS, SECONDS),
            together: registry.counter(&TOGETHER),
            unrecorded: registry.counter(&UNRECORDED),
            rotations: registry.counter(&ROTATIONS),
            verdicts: registry.counter(&VERDICTS),
            jumps: registry.counter(&JUMPS),
            authority,
        }
    }

    /// From now on they are those of `authority`.
    pub(crate) fn of(&self, authority: &Arc<Authority>) {
        // There is one for the life of the process.
        drop(self.authority.set(Arc::downgrade(authority)));
    }

    /// A report was asked for in `lane`.
    pub(crate) fn report(&self, lane: Lane, made: bool, took: Duration) {
        let caller = match lane {
            Lane::Own | Lane::Inside => "inside",
            Lane::Public => "public",
        };
        self.reports.add([caller, if made { "ok" } else { "failed" }], 1);
        self.report_seconds.observe([caller], took.as_secs_f64());
    }

    /// One report answered so many challenges.
    pub(crate) fn answered_together(&self, challenges: u32) {
        self.together.add([], challenges.into());
    }

    /// This machine was judged anew.
    pub(crate) fn reattested(&self, judged: &Result<(), JudgeError>) {
        let verdict = match judged {
            Ok(()) => "accepted",
            Err(error) if error.is_refusal() => "refused",
            Err(_) => "none",
        };
        self.verdicts.add([verdict], 1);
    }

    /// A rotation has come this far.
    pub(crate) fn rotated(&self, kind: Kind, phase: Phase) {
        self.rotations.add([kind.name(), phase.name()], 1);
    }

    /// Time did not pass evenly.
    pub(crate) fn clock_jump(&self, jump: Jump) {
        let what = match jump {
            Jump::WallClock(_) => "wall_clock",
            Jump::Suspended(_) => "suspended",
        };
        self.jumps.add([what], 1);
    }

    /// A token was minted for the holder of `role`.
    pub(crate) fn token(&self, role: Role) {
        self.tokens.add([role.as_str()], 1);
    }
}

/// What this service counts, for documents.
pub fn metrics() -> Vec<MetricFact> {
    let mut registry = Registry::default();
    drop(Metrics::register(&mut registry));
    registry.facts().to_vec()
}
