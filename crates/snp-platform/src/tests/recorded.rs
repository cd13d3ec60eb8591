//! Answers of real machines, and their verdicts, as `../shared/evidence` records them.

use std::{fs, path::Path};

use serde_json::Value;
use snp_evidence::{Evidence, Policy, TrustRoots, UnixTime, examine};
use x509_parser::pem::Pem;

use crate::certificate_table::tests::{ARK, ASK, VCEK, VLEK, table};

/// One machine's report, and a host's certificate table with its certificates.
#[derive(Debug)]
pub(crate) struct Recorded {
    id: String,
    pub(crate) report: Vec<u8>,
    pub(crate) table: Vec<u8>,
    accepted: bool,
    verify_at: UnixTime,
}

impl Recorded {
    pub(crate) fn report_data(&self) -> [u8; 64] {
        self.report[0x50..0x90].try_into().unwrap()
    }

    /// That `evidence` is the recorded one, and gets the recorded verdict.
    pub(crate) fn assert_is(&self, evidence: &Evidence, policy: &Policy) {
        assert_eq!(evidence.report, self.report, "{}", self.id);
        let verdict = examine(evidence, &TrustRoots::amd(), policy, self.verify_at);
        assert_eq!(verdict.is_ok(), self.accepted, "{}: {:?}", self.id, verdict.err());
    }
}

/// All of them, with the policy that their verdicts speak of.
pub(crate) fn recorded() -> Option<(Vec<Recorded>, Policy)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("../shared/evidence");
    let Ok(index) = fs::read(folder.join("index.json")) else {
        println!("skipped: ../shared is absent");
        return None;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let reports =
        index["vectors"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "sev-snp-report");
    let all: Vec<_> = reports.map(|entry| read(&folder.join(entry["id"].as_str().unwrap()))).collect();
    assert!(all.iter().any(|it| it.accepted) && all.iter().any(|it| !it.accepted));
    let policy = fs::read(root.join("conformance/policies/cryptographic.toml")).unwrap();
    Some((all, Policy::parse(&policy).unwrap()))
}

fn read(folder: &Path) -> Recorded {
    let file = |name: &str| fs::read(folder.join(name)).ok();
    let pem = |name| Some(Pem::iter_from_buffer(&file(name)?).next()?.unwrap().contents);
    // Hosts have no name of its own for the ASVK.
    let certificates = [
        (ARK, pem("ark.pem")),
        (ASK, pem("ask.pem").or_else(|| pem("asvk.pem"))),
        (VCEK, file("vcek.der")),
        (VLEK, file("vlek.der")),
    ];
    let entries: Vec<_> =
        certificates.iter().filter_map(|(kind, der)| Some((*kind, &der.as_ref()?[..]))).collect();
    let notes: Value = serde_json::from_slice(&file("notes.json").unwrap()).unwrap();
    Recorded {
        id: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        report: file("report.bin").unwrap(),
        table: table(&entries),
        accepted: notes["expected_verdict"]["cryptographic"] == "accept",
        verify_at: UnixTime::parse_rfc3339(notes["verify_at"].as_str().unwrap_or("2026-11-23T00:00:00Z"))
            .unwrap(),
    }
}
