//! What is changed: real and simulated evidence that is accepted as it stands.

use std::{fs, path::Path};

use snp_evidence::{
    Bundle, Challenge, Endorsements, Evidence, Policy, TrustRoots, UnixTime, Vek, appraise, examine,
};
use snp_simulator::SecureProcessor;
use x509_parser::pem::Pem;

use crate::{
    support,
    world::{self, Case, NOW, ROOT, TCB, chip},
};

/// Evidence with all that it is judged by.
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) evidence: Evidence,
    roots: TrustRoots,
    policy: Policy,
    now: UnixTime,
}

impl Subject {
    pub(crate) fn accepts(&self, evidence: &Evidence) -> bool {
        examine(evidence, &self.roots, &self.policy, self.now).is_ok()
    }

    fn accepts_under(&self, evidence: &Evidence, policy: &Policy) -> bool {
        examine(evidence, &self.roots, policy, self.now).is_ok()
    }
}

/// Every captured report that is accepted at its date, also with its VEK's other certificate where there are two, and
/// each of AMD's lists in its time.
pub(crate) fn real() -> Vec<Subject> {
    let (Some(folder), Some(all)) = (support::captured(), support::recorded()) else { return Vec::new() };
    let roots = TrustRoots::amd().remembering(256);
    let subject = |id: &str, now: UnixTime, list: &str| captured(&folder, &roots, id, now, list);
    let lists_day = support::at("2026-09-01T00:00:00Z");
    let mut subjects = vec![subject("genoa-v2-vcek-oak", support::at("2025-01-01T00:00:00Z"), "20241023")];
    for entry in all {
        let list = if entry.verify_at == lists_day { "20260819" } else { "of no such day" };
        subjects.push(subject(&entry.id, entry.verify_at, list));
        if let Ok(vek) = fs::read(folder.join(&entry.id).join("vcek-alt.der")) {
            let mut other = subject(&entry.id, entry.verify_at, list);
            other.evidence.endorsements.vek = Some(Vek::Vcek(vek));
            subjects.push(Subject { id: format!("{}:vcek-alt", other.id), ..other });
        }
    }
    subjects.retain(|subject| subject.accepts(&subject.evidence));
    subjects
}

/// A captured report with the certificates that were published with it, its product's ASVK, and a list if there is one.
fn captured(folder: &Path, roots: &TrustRoots, id: &str, now: UnixTime, list: &str) -> Subject {
    let mut evidence = support::load(&folder.join(id));
    let product = id.split('-').next().unwrap_or_default();
    let authorities = folder.join("amd-ca");
    let asvk = fs::read(authorities.join(format!("{product}-asvk.pem"))).ok();
    let der = |pem: Vec<u8>| Some(Pem::iter_from_buffer(&pem).next()?.ok()?.contents);
    let Endorsements { asvk: issuer, crl, .. } = &mut evidence.endorsements;
    *issuer = issuer.take().or_else(|| asvk.and_then(der));
    *crl = fs::read(authorities.join(format!("{product}-{list}.crl"))).ok();
    let rule = if crl.is_some() { "\"require\"" } else { "{ off = \"no list of that day\" }" };
    let policy = support::edited("cryptographic.toml", &[("crl", rule)]);
    Subject { id: format!("real:{id}"), evidence, roots: roots.clone(), policy, now }
}

/// One simulated machine, under a policy with every rule on.
pub(crate) struct Machine {
    pub(crate) processor: SecureProcessor,
    pub(crate) subject: Subject,
    pub(crate) bundle: String,
    pub(crate) policy: String,
    roots: TrustRoots,
    demanding: Policy,
    expected: Challenge,
    forged: Evidence,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let mut case = Case::new();
        // What may be left away without harm is left away, so that every change is for the worse.
        case.evidence = |e| (e.endorsements.ask, e.endorsements.ark) = (None, None);
        let roots = case.roots.clone().remembering(16);
        let evidence = case.sign(&case.asked.report_data_alone(b"", b""));
        let mut forged = evidence.clone();
        forged.report[0x2A0] ^= 1;
        case.policy("report_data = \"require\"", "report_data = { off = \"stored\" }");
        let parse = |text: &str| Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let policy = parse(&case.policy);
        Self {
            processor: ROOT.make_processor(&chip(1, TCB)).unwrap(),
            subject: Subject {
                id: "fixture:simulated".to_owned(),
                evidence,
                roots: roots.clone(),
                policy,
                now: NOW,
            },
            bundle: String::from_utf8(case.bundle()).unwrap(),
            roots,
            demanding: parse(include_str!("../../tests/it/demanding.toml")),
            expected: world::challenge(),
            policy: case.policy,
            forged,
        }
    }

    /// This machine's report signed anew, with the certificate that belongs to the signature.
    pub(crate) fn evidence_of(&self, report: Vec<u8>) -> Evidence {
        let vek = Some(Vek::Vcek(self.processor.vek_der().to_vec()));
        let endorsements = Endorsements { vek, ..self.subject.evidence.endorsements.clone() };
        Evidence { report, endorsements, ..self.subject.evidence.clone() }
    }

    /// Whether the bundle is taken although it does not mean the same as the genuine one.
    pub(crate) fn accepts_bundle(&self, json: &[u8]) -> bool {
        appraise(json, &self.roots, &self.demanding, &self.expected, NOW).is_ok()
            && Bundle::parse(json).ok() != Bundle::parse(self.bundle.as_bytes()).ok()
    }

    /// Whether a changed policy is read although it must not be, or lets a forged report pass.
    pub(crate) fn accepts_policy(&self, text: &[u8], must_fail: bool) -> bool {
        match Policy::parse(text) {
            Ok(_) if must_fail => true,
            Ok(policy) => self.subject.accepts_under(&self.forged, &policy),
            Err(_) => false,
        }
    }
}
