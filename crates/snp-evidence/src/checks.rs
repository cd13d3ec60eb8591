//! Stub.
use crate::{appraise::Expectation, bundle::Bundle, check::*, claims::*, evidence::*, manifest::*, policy::Policy, product::Product, report::*, report_data::ReportData, roots::TrustRoots, time::UnixTime};
pub(crate) struct Subject<'a> {
    pub(crate) evidence: &'a Evidence,
    pub(crate) report: Result<Report, StructureError>,
    pub(crate) product: Option<Product>,
    pub(crate) bundle: Option<BundlePart<'a>>,
    pub(crate) expected: Option<ReportData>,
}
impl<'a> Subject<'a> {
    pub(crate) fn new(evidence: &'a Evidence, _roots: &'a TrustRoots, _policy: &'a Policy, expected: Option<ReportData>, _now: UnixTime) -> Self {
        let report = Report::parse(&evidence.report);
        let product = report.as_ref().ok().and_then(|r| r.cpuid).and_then(|(f, m)| Product::from_cpuid(f, m));
        Self { evidence, report, product, bundle: None, expected }
    }
    pub(crate) fn with_bundle(mut self, part: BundlePart<'a>) -> Self { self.bundle = Some(part); self }
}
pub(crate) struct BundlePart<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) expectation: &'a Expectation,
    pub(crate) manifest: Result<KeyManifest, ManifestError>,
    pub(crate) claims: Result<RuntimeClaims, ClaimsError>,
}
impl<'a> BundlePart<'a> {
    pub(crate) fn new(bundle: &'a Bundle, expectation: &'a Expectation) -> Self {
        Self { bundle, expectation, manifest: KeyManifest::parse(bundle.key_manifest()), claims: RuntimeClaims::parse(bundle.runtime_claims()) }
    }
}
const CHECKS: &[Check] = &[Check { id: "report.structure", class: RefusalClass::Evidence, source: "AMD", fix: "", judge: |s| Ok(Finding::of(s.report.is_ok(), "", "")) }];
pub(crate) fn report() -> impl Iterator<Item = &'static Check> { CHECKS.iter() }
pub(crate) fn bundle() -> impl Iterator<Item = &'static Check> { CHECKS.iter() }
pub(crate) fn missing_report() -> Finding { Finding::of(false, "", "") }
