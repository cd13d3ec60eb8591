//! A whole bundle, judged for one challenge on one channel.

use crate::{
    bundle::Bundle,
    challenge::Challenge,
    check::{self, CheckOutcome, Finding, Refusal},
    checks::{self, BundlePart, Subject},
    claims::RuntimeClaims,
    manifest::KeyManifest,
    policy::Policy,
    roots::TrustRoots,
    time::UnixTime,
    verify::{VerifiedReport, judge},
};

/// A bundle whose report, manifest and claims belong together and to this challenge. Only [`appraise`]
/// makes one.
#[derive(Debug)]
pub struct VerifiedBundle {
    report: VerifiedReport,
    manifest: KeyManifest,
    manifest_bytes: Vec<u8>,
    claims: RuntimeClaims,
}

/// Judges a bundle: its report as [`crate::verify`] does, with `report_data` recomputed from the verifier's
/// own nonce and binder and the exact manifest and claims bytes; for TLS binders also that the manifest
/// lists the leaf key for this very listener, and that the policy tells this instance from a twin.
pub fn appraise(
    bundle_json: &[u8],
    roots: &TrustRoots,
    policy: &Policy,
    challenge: &Challenge,
    now: UnixTime,
) -> Result<VerifiedBundle, Refusal> {
    let bundle = Bundle::parse(bundle_json).map_err(|error| {
        check::unreadable(checks::bundle(), Finding::of(false, error, "a bundle of version 1"))
    })?;
    let evidence = bundle.evidence();
    let part = BundlePart::new(&bundle, challenge);
    let subject = Subject::new(&evidence, roots, policy, part.expected(), now).with_bundle(part);
    let facts = judge(&subject, checks::bundle())?;
    match subject.bundle {
        Some(BundlePart { manifest: Ok(manifest), claims: Ok(claims), .. }) => Ok(VerifiedBundle {
            report: VerifiedReport::new(facts),
            manifest,
            manifest_bytes: bundle.key_manifest().to_vec(),
            claims,
        }),
        // Manifest and claims have checks of their own, so this is out of reach; it refuses all the same.
        Some(_) | None => {
            Err(check::unreadable(checks::bundle(), Finding::of(false, "nothing", "manifest and claims")))
        }
    }
}

impl VerifiedBundle {
    /// The report.
    pub fn report(&self) -> &VerifiedReport {
        &self.report
    }

    /// The keys that the report vouches for.
    pub fn manifest(&self) -> &KeyManifest {
        &self.manifest
    }

    /// The manifest's exact bytes.
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.manifest_bytes
    }

    /// The runtime claims.
    pub fn claims(&self) -> &RuntimeClaims {
        &self.claims
    }

    /// Every check, in order; none failed.
    pub fn checks(&self) -> &[CheckOutcome] {
        self.report.checks()
    }
}
