//! What the checks look at: everything parsed once, but a VEK that a report of version 2 leaves its product to twice;
//! nothing judged.

use std::sync::Arc;

use crate::{
    bundle::Bundle,
    chain::{self, Chain, ChainError},
    challenge::Challenge,
    check::Unjudged,
    claims::{ClaimsError, RuntimeClaims},
    envelope::FormError,
    evidence::{Evidence, Vek},
    manifest::{KeyManifest, ManifestError},
    nonce_tree::Root,
    policy::Policy,
    product::Product,
    report::{Report, StructureError},
    report_data::ReportData,
    revocation::RevocationList,
    roots::{RootSet, TrustRoots},
    tcb::{RawTcb, Tcb},
    time::UnixTime,
    vek::VekFacts,
};

pub(crate) struct Subject<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) roots: &'a TrustRoots,
    pub(crate) policy: &'a Policy,
    pub(crate) expected: Expected,
    pub(crate) now: UnixTime,
    pub(crate) report: Result<Report, StructureError>,
    /// `None` for a processor that we do not know.
    pub(crate) product: Result<Option<Product>, Unjudged>,
    /// DER of ARK, ASK or ASVK, and VEK; or the check that told what is missing for them.
    pub(crate) ders: Result<[&'a [u8]; 3], Unjudged>,
    /// What they say.
    pub(crate) chain: Result<Result<Arc<Chain>, ChainError>, Unjudged>,
    /// `None` where the policy asks for no list, or none came along.
    pub(crate) list: Option<Result<RevocationList<'a>, FormError>>,
    pub(crate) bundle: Option<BundlePart<'a>>,
}

/// What `report_data` has to be.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    /// Nothing is known: a stored report.
    Stored,
    /// No value is right: the bundle's tree has no such place.
    Impossible,
    Exactly(ReportData),
}

/// What a bundle adds to its report.
pub(crate) struct BundlePart<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) challenge: &'a Challenge,
    /// Of the nonce tree in which the challenge's own leaf stands where the bundle says, if there is such a place.
    pub(crate) root: Option<Root>,
    pub(crate) manifest: Result<KeyManifest, ManifestError>,
    pub(crate) claims: Result<RuntimeClaims, ClaimsError>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        evidence: &'a Evidence,
        roots: &'a TrustRoots,
        policy: &'a Policy,
        expected: Expected,
        now: UnixTime,
    ) -> Self {
        let report = Report::parse(&evidence.report);
        let product = product_of(&report, evidence);
        let ders = known(product).and_then(|product| ders_of(evidence, roots, product));
        let chain = ders.map(|ders| roots.memory.chain(ders));
        let list = list_of(evidence, policy);
        Self { evidence, roots, policy, expected, now, report, product, ders, chain, list, bundle: None }
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

    pub(crate) fn chain(&self) -> Result<&Arc<Chain>, Unjudged> {
        match &self.chain {
            Ok(Ok(chain)) => Ok(chain),
            Ok(Err(_)) => Err(Unjudged("chain.form")),
            Err(missing) => Err(*missing),
        }
    }

    /// What the VEK says.
    pub(crate) fn facts(&self) -> Result<&VekFacts, Unjudged> {
        self.chain()?.facts.as_ref().map_err(|_| Unjudged("vek.form"))
    }

    pub(crate) fn tcb(&self, raw: fn(&Report) -> RawTcb) -> Result<Tcb, Unjudged> {
        Ok(raw(self.report()?).of(self.product()?))
    }

    pub(crate) fn bundle(&self) -> Result<&BundlePart<'a>, Unjudged> {
        self.bundle.as_ref().ok_or(Unjudged("bundle.structure"))
    }
}

impl<'a> BundlePart<'a> {
    pub(crate) fn new(bundle: &'a Bundle, challenge: &'a Challenge) -> Self {
        let manifest = KeyManifest::parse(bundle.key_manifest());
        let claims = RuntimeClaims::parse(bundle.runtime_claims());
        let (tree, path) = (&bundle.tree, bundle.tree.path());
        let root = Root::from_path(&challenge.leaf(), tree.n, tree.index, &path);
        Self { bundle, challenge, root, manifest, claims }
    }

    pub(crate) fn expected(&self) -> Expected {
        let (bundle, purpose) = (self.bundle, self.challenge.purpose);
        self.root.map_or(Expected::Impossible, |root| {
            let (manifest, claims) = (bundle.key_manifest(), bundle.runtime_claims());
            Expected::Exactly(ReportData::compute(purpose, &root, manifest, claims))
        })
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

fn ders_of<'a>(
    evidence: &'a Evidence,
    roots: &'a TrustRoots,
    product: Product,
) -> Result<[&'a [u8]; 3], Unjudged> {
    let set = roots.of(product).ok_or(Unjudged("chain.pinned_root"))?;
    let vek = vek_of(evidence)?;
    let issuer = match vek {
        Vek::Vcek(_) => &set.ask,
        Vek::Vlek(_) => evidence.endorsements.asvk.as_ref().ok_or(Unjudged("collateral.asvk"))?,
    };
    Ok([set.ark.as_slice(), issuer, vek.der()])
}

/// A list that the policy does not ask for costs nothing.
fn list_of<'a>(evidence: &'a Evidence, policy: &Policy) -> Option<Result<RevocationList<'a>, FormError>> {
    policy.crl.demand()?;
    evidence.endorsements.crl.as_deref().map(RevocationList::parse)
}
