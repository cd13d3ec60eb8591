//! What verification costs beyond its cryptography: `cargo xtask bench verify`.
//!
//! `verify` on simulated evidence: with a cold chain against the bare aws-lc-rs operations that it executes on the
//! same bytes, and with a remembered chain against the one signature that is then left. All run in every round, in turn
//! one before the other, and medians are compared.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{collections::BTreeMap, env, error::Error, fs, hint::black_box, path::Path, time::Instant};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey, VerificationAlgorithm,
    },
};
use serde_json::{Value, json};
use snp_evidence::{
    Endorsements, Evidence, EvidenceFormat, Policy, Purpose, ReportData, Root, TrustRoots, UnixTime, Vek,
    verify,
};
use snp_simulator::{ChipSpec, Guest, Product, SimulatedRoot};
use x509_parser::prelude::{FromDer, X509Certificate};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NOW: UnixTime = UnixTime(1_790_000_000);
/// Enough that medians of two runs differ by about a percent.
const ROUNDS: usize = 1_000;
const WARM_UP: usize = 50;
/// The part of a report that is signed, and the slots of R and S behind it, little-endian.
const SIGNED: usize = 0x2A0;
const SLOT: usize = 72;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [commit, file] = arguments.as_slice() else {
        return Err("usage: verify COMMIT FILE; `cargo xtask bench verify` gives both".into());
    };
    let rows = measure(&Subject::new()?)?;
    let of = |name| rows.iter().find(|(row, _)| *row == name).map(|(_, micros)| micros).ok_or("not measured");
    let ratios = [("cold_vs_primitives", of(COLD)? / of(BARE)?), ("warm_vs_p384", of(WARM)? / of(P384)?)];
    for (name, micros) in &rows {
        println!("{name:50} {micros:10.1} µs");
    }
    for (name, ratio) in ratios {
        println!("{name:50} {ratio:10.3}");
    }
    let report = json!({
        "bench": "verify",
        "commit": commit,
        "rows": rows.iter().map(|(name, micros)| row(name, *micros)).collect::<Vec<_>>(),
        "ratios": ratios.into_iter().collect::<BTreeMap<_, _>>(),
    });
    fs::create_dir_all(Path::new(file).parent().unwrap_or(Path::new(".")))?;
    Ok(fs::write(file, serde_json::to_string_pretty(&report)?)?)
}

fn row(name: &str, micros: f64) -> Value {
    json!({ "subject": name, "metric": "median", "value": micros, "unit": "us" })
}

const COLD: &str = "verify, cold";
const WARM: &str = "verify, chain remembered";
const BARE: &str = "its operations, bare";
const P384: &str = "ECDSA P-384 SHA-384: report by VCEK";

/// Medians in microseconds: `verify` in both ways, its operations together, then each operation.
fn measure(subject: &Subject) -> Outcome<Vec<(&'static str, f64)>> {
    let operations = subject.operations()?;
    let warm_roots = subject.roots.clone().remembering(1);
    let (mut cold, mut warm, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut each = vec![Vec::new(); operations.len()];
    let both = |cold: &mut Vec<f64>, warm: &mut Vec<f64>| -> Outcome<()> {
        cold.push(micros(|| subject.verify(&subject.roots))?);
        warm.push(micros(|| subject.verify(&warm_roots))?);
        Ok(())
    };
    for round in 0..WARM_UP + ROUNDS {
        if round % 2 == 0 {
            both(&mut cold, &mut warm)?;
        }
        let mut together = 0.0;
        for (operation, times) in operations.iter().zip(&mut each) {
            let time = micros(|| operation.run())?;
            together += time;
            times.push(time);
        }
        bare.push(together);
        if round % 2 == 1 {
            both(&mut cold, &mut warm)?;
        }
    }
    let totals = [(COLD, cold), (WARM, warm), (BARE, bare)];
    let named = operations.iter().map(Operation::name).zip(each);
    Ok(totals.into_iter().chain(named).map(|(name, times)| (name, median(times))).collect())
}

fn micros(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

fn median(mut times: Vec<f64>) -> f64 {
    let mut measured = times.split_off(WARM_UP);
    measured.sort_by(f64::total_cmp);
    measured.get(measured.len() / 2).copied().unwrap_or_default()
}

/// Evidence and all that it is judged by.
struct Subject {
    evidence: Evidence,
    roots: TrustRoots,
    policy: Policy,
    expected: ReportData,
}

/// One operation of aws-lc-rs on the bytes that `verify` gives it.
enum Operation {
    Verify { name: &'static str, by: &'static dyn VerificationAlgorithm, parts: [Vec<u8>; 3] },
    Hash { name: &'static str, bytes: Vec<u8> },
}

impl Subject {
    fn new() -> Outcome<Self> {
        let root = SimulatedRoot::generate(Product::Genoa, NOW.0 - 60)?;
        let chip = root.make_processor(&ChipSpec::random(Product::Genoa)?)?;
        let tree = Root::from_path(&[1; 48], 1, 0, &[]).ok_or("no tree")?;
        let expected = ReportData::compute(Purpose::Fresh, &tree, b"manifest", b"claims");
        let endorsements = Endorsements {
            vek: Some(Vek::Vcek(chip.vek_der().to_vec())),
            ask: Some(chip.ask_der().to_vec()),
            ark: Some(chip.ark_der().to_vec()),
            ..Endorsements::default()
        };
        let report = chip.report(&Guest::default(), expected.as_bytes())?;
        Ok(Self {
            evidence: Evidence { format: EvidenceFormat::SimulatedAmdSevSnp, report, endorsements },
            roots: TrustRoots::simulated(root.root_pem().as_bytes())?,
            policy: Policy::parse(include_bytes!("../../../conformance/policies/strict.toml"))?,
            expected,
        })
    }

    fn verify(&self, roots: &TrustRoots) -> Outcome<()> {
        black_box(verify(black_box(&self.evidence), roots, &self.policy, &self.expected, NOW)?);
        Ok(())
    }

    fn operations(&self) -> Outcome<Vec<Operation>> {
        let Evidence { report, endorsements, .. } = &self.evidence;
        let ark = endorsements.ark.clone().unwrap_or_default();
        let ask = endorsements.ask.clone().unwrap_or_default();
        let vek = endorsements.vek.as_ref().map(Vek::der).unwrap_or_default();
        let hash = |name, bytes: &[u8]| Operation::Hash { name, bytes: bytes.to_vec() };
        Ok(vec![
            hash("SHA-256 of the pinned ARK", &ark),
            hash("SHA-256 of the pinned ASK", &ask),
            hash("SHA-256 of the offered ARK", &ark),
            hash("SHA-256 of the offered ASK", &ask),
            issued("RSA-4096 PSS SHA-384: ARK by ARK", &ark, &ark)?,
            issued("RSA-4096 PSS SHA-384: ASK by ARK", &ask, &ark)?,
            issued("RSA-4096 PSS SHA-384: VCEK by ASK", vek, &ask)?,
            reported(report, vek)?,
            hash("SHA-256 of the report", report),
        ])
    }
}

fn issued(name: &'static str, certificate: &[u8], issuer: &[u8]) -> Outcome<Operation> {
    let (certificate, issuer) = (parsed(certificate)?, parsed(issuer)?);
    let parts = [
        issuer.public_key().subject_public_key.data.to_vec(),
        certificate.tbs_certificate.as_ref().to_vec(),
        certificate.signature_value.data.to_vec(),
    ];
    Ok(Operation::Verify { name, by: &RSA_PSS_2048_8192_SHA384, parts })
}

fn reported(report: &[u8], vek: &[u8]) -> Outcome<Operation> {
    let key = parsed(vek)?.public_key().subject_public_key.data.to_vec();
    let (signed, slots) = report.split_at(SIGNED);
    let numbers = slots.chunks(SLOT).take(2);
    let signature = numbers.flat_map(|slot| slot.iter().take(48).rev().copied()).collect();
    let parts = [key, signed.to_vec(), signature];
    Ok(Operation::Verify { name: P384, by: &ECDSA_P384_SHA384_FIXED, parts })
}

fn parsed(der: &[u8]) -> Outcome<X509Certificate<'_>> {
    Ok(X509Certificate::from_der(der)?.1)
}

impl Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::Verify { name, .. } | Self::Hash { name, .. } => name,
        }
    }

    fn run(&self) -> Outcome<()> {
        match self {
            Self::Verify { by, parts: [key, message, signature], .. } => {
                Ok(UnparsedPublicKey::new(*by, key).verify(black_box(message), signature)?)
            }
            Self::Hash { bytes, .. } => {
                black_box(digest(&SHA256, black_box(bytes)));
                Ok(())
            }
        }
    }
}
