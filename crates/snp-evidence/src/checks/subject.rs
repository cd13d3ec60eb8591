//! What the checks look at: everything parsed once, nothing judged.

use crate::{
    appraise::Expectation,
    bundle::Bundle,
    chain::{self, Chain, ChainError},
    check::Unjudged,
    claims::{ClaimsError, RuntimeClaims},
    envelope::FormError,
    evidence::{Evidence, Vek},
    manifest::{KeyManifest, ManifestError},
    policy::Policy,
    product::Product,
    report::{Report, StructureError},
    report_data::ReportData,
    revocation::RevocationList,
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
    /// `None` for a processor that we do not know.
    pub(crate) product: Result<Option<Product>, Unjudged>,
    /// Or the check that told what is missing for it.
    pub(crate) chain: Result<Result<Chain<'a>, ChainError>, Unjudged>,
    /// `None` where the policy asks for no list, or none came along.
    pub(crate) list: Option<Result<RevocationList<'a>, FormError>>,
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
        let product = product_of(&report, evidence);
        let chain = known(product).and_then(|product| chain_of(evidence, roots, product));
        let list = list_of(evidence, policy);
        Self { evidence, roots, policy, expected, now, report, product, chain, list, bundle: None }
    }

    pub(crate) fn with_bundle(self, part: BundlePart<'a>) -> Self {
        Self { bundle: Some(part), ..self }
    }

    pub(crate) fn report(&self) -> Result<&Report, Unjudged> {
        self.report.as_ref().map_err(|_| Unjudged("report.structure"))
    }

    pub(crate) fn product(&self) -> Result<Product, Unjudged> {
        known(self.product)
    }

    pub(crate) fn root_set(&self) -> Result<&'a RootSet, Unjudged> {
        self.roots.of(self.product()?).ok_or(Unjudged("chain.pinned_root"))
    }

    pub(crate) fn vek(&self) -> Result<&'a Vek, Unjudged> {
        vek_of(self.evidence)
    }

    pub(crate) fn chain(&self) -> Result<&Chain<'a>, Unjudged> {
        match &self.chain {
            Ok(Ok(chain)) => Ok(chain),
            Ok(Err(_)) => Err(Unjudged("chain.form")),
            Err(missing) => Err(*missing),
        }
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

/// Reports of version 2 do not name their processor: the VEK's issuer does.
fn product_of(
    report: &Result<Report, StructureError>,
    evidence: &Evidence,
) -> Result<Option<Product>, Unjudged> {
    match report.as_ref().map_err(|_| Unjudged("report.structure"))?.cpuid {
        Some((family, model)) => Ok(Product::from_cpuid(family, model)),
        None => vek_of(evidence).map(chain::product_of_issuer),
    }
}

fn known(product: Result<Option<Product>, Unjudged>) -> Result<Product, Unjudged> {
    product?.ok_or(Unjudged("report.product"))
}

fn vek_of(evidence: &Evidence) -> Result<&Vek, Unjudged> {
    evidence.endorsements.vek.as_ref().ok_or(Unjudged("collateral.vek"))
}

fn chain_of<'a>(
    evidence: &'a Evidence,
    roots: &'a TrustRoots,
    product: Product,
) -> Result<Result<Chain<'a>, ChainError>, Unjudged> {
    let roots = roots.of(product).ok_or(Unjudged("chain.pinned_root"))?;
    let vek = vek_of(evidence)?;
    let issuer = match vek {
        Vek::Vcek(_) => &roots.ask,
        Vek::Vlek(_) => evidence.endorsements.asvk.as_ref().ok_or(Unjudged("collateral.asvk"))?,
    };
    Ok(Chain::parse(roots, issuer, vek))
}

/// A list that the policy does not ask for costs nothing.
fn list_of<'a>(evidence: &'a Evidence, policy: &Policy) -> Option<Result<RevocationList<'a>, FormError>> {
    policy.crl.demand()?;
    evidence.endorsements.crl.as_deref().map(RevocationList::parse)
}
