//! Evidence first: until the policy has accepted it there is no key, no socket, no identity.

use std::sync::Arc;

use audit_log::Hash;
use collateral::Keeper;
use nix::unistd::geteuid;
use service_runtime::Clock;
use snp_evidence::{B64Url, CLAIMS_PROFILE, DebugStatus, Purpose, RuntimeClaims, TrustRoots, VerifiedReport};
use snp_platform::Platform;

use crate::audit::{self, Audit};
use crate::authority::{Accepted, Authority, Machine};
use crate::ca::Ca;
use crate::config::Config;
use crate::error::{BootError, random};
use crate::judge::Judge;
use crate::manifest::Manifests;
use crate::metrics::Metrics;
use crate::mint::Mint;
use crate::prover::{Committed, Prover};
use crate::reattest::Vouching;
use crate::reporters::Reporters;

/// IANA enterprise number of AMD.
const AMD: u32 = 3704;

/// Judges this machine; what comes back may issue identities.
pub(crate) async fn boot(
    config: &Config,
    platform: Box<dyn Platform>,
    collateral: Arc<Keeper>,
    roots: &TrustRoots,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: Arc<Audit>,
) -> Result<Authority, BootError> {
    let format = platform.format();
    let prover = Prover::new(platform, collateral, config.reports.clone());
    let booted = judged(config, prover, roots, clock, metrics, Arc::clone(&audit)).await;
    if let Err(error) = &booted {
        audit.note(audit::refused(format, error)).await;
    }
    booted
}

async fn judged(
    config: &Config,
    prover: Prover,
    roots: &TrustRoots,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: Arc<Audit>,
) -> Result<Authority, BootError> {
    if !prover.simulated() {
        check_uids(config)?;
    }
    Reporters::default().check().await?;
    let format = prover.format();
    let judge = Judge {
        prover,
        roots: roots.clone(),
        policy: config.policy.clone(),
        measured_config_sha256: *config.measured.sha256(),
        clock: Arc::clone(&clock),
    };
    let (report, _) = judge.own_report(Purpose::Boot, Committed::default()).await?;

    let boot_seed = random()?;
    let ca = Ca::generate(&config.measured.trust_domain, &boot_seed, clock.unix())?;
    let mint = Mint::generate()?;
    let manifests = Manifests::first(boot_seed, &ca, &mint);
    audit.record(vec![audit::accepted(format, report.measurement(), ca.instance())]).await?;
    let claims = runtime_claims(config, boot_seed, &report, audit.head()).to_bytes();
    // The keys exist; now the processor vouches for exactly these.
    let (manifest, asked) = (&manifests.current().bytes, clock.boot());
    let committed = Committed { manifest, claims: &claims };
    let (report, bundle) = judge.own_report(Purpose::Boot, committed).await?;

    let machine = Machine {
        product: report.product(),
        measurement: *report.measurement(),
        policy_sha256: config.policy.sha256(),
        measured_config_sha256: *config.measured.sha256(),
    };
    let vouching = Vouching::new(asked, bundle, Arc::clone(&clock));
    Authority::new(
        config,
        Accepted { judge, vouching, ca, mint, manifests, claims, machine, metrics, audit },
        clock,
    )
}

/// Users are what keeps the services' identities apart, and the model server out of them.
fn check_uids(config: &Config) -> Result<(), BootError> {
    let mut uids: Vec<u32> = config.measured.identities.values().map(|identity| identity.uid).collect();
    uids.extend([config.measured.backend.uid, geteuid().as_raw()]);
    uids.extend(config.measured.mesh.as_ref().map(|mesh| mesh.uid));
    uids.sort_unstable();
    match uids.windows(2).find_map(|pair| pair.first().filter(|uid| pair.last() == Some(uid))) {
        Some(uid) => Err(BootError::SharedUid(*uid)),
        None => Ok(()),
    }
}

fn runtime_claims(
    config: &Config,
    boot_seed: [u8; 32],
    report: &VerifiedReport,
    (audit_seq, head): (u64, Hash),
) -> RuntimeClaims {
    let debug = report.debug_allowed();
    RuntimeClaims {
        eat_profile: CLAIMS_PROFILE.to_owned(),
        bootseed: B64Url(boot_seed),
        oemid: AMD,
        hwmodel: report.product().to_string(),
        dbgstat: if debug { DebugStatus::Enabled } else { DebugStatus::DisabledPermanently },
        swname: env!("CARGO_PKG_NAME").to_owned(),
        swversion: env!("CARGO_PKG_VERSION").to_owned(),
        measured_config_sha256: B64Url(*config.measured.sha256()),
        policy_sha256: B64Url(config.policy.sha256()),
        audit_head: B64Url(head.0),
        audit_seq,
    }
}
