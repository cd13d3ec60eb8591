//! What the checks look at: everything parsed once, nothing judged.

use crate::{
    appraise::Expectation,
    bundle::Bundle,
    chain::{self, Chain, ChainError},
    check::Unjudged,
    claims::{ClaimsError, RuntimeClaims},
    evidence::{Evidence, Vek},
    manifest::{KeyManifest, ManifestError},
    policy::Policy,
    product::Product,
    report::{Report, StructureError},
    report_data::ReportData,
    roots::{RootSet, TrustRoots},
    tcb::{RawTcb, Tcb},
    time::UnixTime,
};

pub(crate) struct Subject<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) roots: &'a TrustRoots,
    pub(crate) policy: &'a Policy,
    /// `None` for a stored report, or where a bundle's tree position is impossible.
    pub(crate) expected: Option<ReportData>,
    pub(crate) now: UnixTime,
    pub(crate) report: Result<Report, StructureError>,
    pub(crate) product: Option<Product>,
    /// `None` as long as the product, its roots, the VEK or the VEK's issuer is missing.
    pub(crate) chain: Option<Result<Chain<'a>, ChainError>>,
    pub(crate) bundle: Option<BundlePart<'a>>,
}

/// What a bundle adds to its report.
pub(crate) struct BundlePart<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) expectation: &'a Expectation,
    pub(crate) manifest: Result<KeyManifest, ManifestError>,
    pub(crate) claims: Result<RuntimeClaims, ClaimsError>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        evidence: &'a Evidence,
        roots: &'a TrustRoots,
        policy: &'a Policy,
        expected: Option<ReportData>,
        now: UnixTime,
    ) -> Self {
        let report = Report::parse(&evidence.report);
        let product = report.as_ref().ok().and_then(|report| product_of(report, evidence, policy));
        let chain = product.and_then(|product| roots.of(product)).and_then(|roots| chain_of(evidence, roots));
        Self { evidence, roots, policy, expected, now, report, product, chain, bundle: None }
    }

    pub(crate) fn with_bundle(self, part: BundlePart<'a>) -> Self {
        Self { bundle: Some(part), ..self }
    }

    pub(crate) fn report(&self) -> Result<&Report, Unjudged> {
        self.report.as_ref().map_err(|_| Unjudged("report.structure"))
    }

    pub(crate) fn product(&self) -> Result<Product, Unjudged> {
        self.product.ok_or(Unjudged("report.product"))
    }

    pub(crate) fn root_set(&self) -> Result<&'a RootSet, Unjudged> {
        self.roots.of(self.product()?).ok_or(Unjudged("chain.pinned_root"))
    }

    pub(crate) fn vek(&self) -> Result<&'a Vek, Unjudged> {
        self.evidence.endorsements.vek.as_ref().ok_or(Unjudged("collateral.vek"))
    }

    pub(crate) fn chain(&self) -> Result<&Chain<'a>, Unjudged> {
        self.chain.as_ref().and_then(|chain| chain.as_ref().ok()).ok_or(Unjudged("chain.form"))
    }

    pub(crate) fn tcb(&self, raw: fn(&Report) -> RawTcb) -> Result<Tcb, Unjudged> {
        Ok(raw(self.report()?).of(self.product()?))
    }

    pub(crate) fn bundle(&self) -> Result<&BundlePart<'a>, Unjudged> {
        self.bundle.as_ref().ok_or(Unjudged("bundle.structure"))
    }
}

impl<'a> BundlePart<'a> {
    pub(crate) fn new(bundle: &'a Bundle, expectation: &'a Expectation) -> Self {
        let manifest = KeyManifest::parse(bundle.key_manifest());
        let claims = RuntimeClaims::parse(bundle.runtime_claims());
        Self { bundle, expectation, manifest, claims }
    }

    pub(crate) fn manifest(&self) -> Result<&KeyManifest, Unjudged> {
        self.manifest.as_ref().map_err(|_| Unjudged("manifest.structure"))
    }
}

/// Reports of version 2 do not name their processor: the VEK's issuer does, if the policy accepts such
/// reports at all.
fn product_of(report: &Report, evidence: &Evidence, policy: &Policy) -> Option<Product> {
    if let Some((family, model)) = report.cpuid {
        return Product::from_cpuid(family, model);
    }
    let accepted = policy.report_version.demand().is_some_and(|versions| versions.has(&report.version));
    evidence.endorsements.vek.as_ref().filter(|_| accepted).and_then(chain::product_of_issuer)
}

fn chain_of<'a>(evidence: &'a Evidence, roots: &'a RootSet) -> Option<Result<Chain<'a>, ChainError>> {
    let vek = evidence.endorsements.vek.as_ref()?;
    let issuer = match vek {
        Vek::Vcek(_) => &roots.ask,
        Vek::Vlek(_) => evidence.endorsements.asvk.as_ref()?,
    };
    Some(Chain::parse(roots, issuer, vek))
}
