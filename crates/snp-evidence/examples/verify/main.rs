//! What verification costs beyond its cryptography: `cargo xtask bench verify`.
//!
//! `verify` on simulated evidence: with a cold chain against the bare aws-lc-rs operations that it executes on the
//! same bytes, and with a remembered chain against the one signature that is then left. Beside it other verifiers on
//! the same bytes, and whole processes. All run in every round, in turn one before the other, and medians are compared.
#![expect(clippy::print_stdout, reason = "the table is the result")]

mod peers;

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

use peers::{Peers, Program};

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
    let [commit, file, programs @ ..] = arguments.as_slice() else {
        return Err("usage: verify COMMIT FILE [NAME=PROGRAM…]; `cargo xtask bench verify` gives them".into());
    };
    let programs = programs.iter().map(|text| Program::parse(text)).collect::<Outcome<Vec<_>>>()?;
    let folder = Path::new(file).with_extension("evidence");
    let subject = Subject::new()?;
    subject.write(&folder)?;
    let rows = measure(&subject, Peers::start(&programs, &folder)?)?;
    let ratios = ratios(&rows);
    for (name, micros) in &rows {
        println!("{name:50} {micros:10.1} µs");
    }
    for (name, ratio) in &ratios {
        println!("{name:50} {ratio:10.3}");
    }
    let report = json!({
        "bench": "verify",
        "commit": commit,
        "rows": rows.iter().map(|(name, micros)| row(name, *micros)).collect::<Vec<_>>(),
        "ratios": ratios,
    });
    Ok(fs::write(file, serde_json::to_string_pretty(&report)?)?)
}

/// Those of which both sides were measured. Of crate `sev` the faster backend counts.
fn ratios(rows: &[(&'static str, f64)]) -> BTreeMap<&'static str, f64> {
    let of = |name| rows.iter().find(|(row, _)| *row == name).map(|(_, micros)| *micros);
    let sev = [of(peers::SEV_OPENSSL), of(peers::SEV_NOSSL)].into_iter().flatten().min_by(f64::total_cmp);
    let snpguest = of(peers::SNPGUEST_REPORT);
    let both = snpguest.zip(of(peers::SNPGUEST_CHAIN)).map(|(report, chain)| report + chain);
    let ratios = [
        ("cold_vs_primitives", of(COLD), of(BARE)),
        ("warm_vs_p384", of(WARM), of(P384)),
        ("sev_vs_cold", sev, of(COLD)),
        ("snpguest_process_vs_ours", both, of(peers::CUBE)),
        ("snpguest_report_only_process_vs_ours", snpguest, of(peers::CUBE)),
    ];
    ratios.into_iter().filter_map(|(name, above, below)| Some((name, above? / below?))).collect()
}

fn row(name: &str, micros: f64) -> Value {
    json!({ "subject": name, "metric": "median", "value": micros, "unit": "us" })
}

const COLD: &str = "verify, cold";
const WARM: &str = "verify, chain remembered";
const BARE: &str = "its operations, bare";
const P384: &str = "ECDSA P-384 SHA-384: report by VCEK";

/// Medians in microseconds: `verify` in both ways, its operations together, then each operation.
fn measure(subject: &Subject, mut peers: Peers) -> Outcome<Vec<(&'static str, f64)>> {
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
        peers.run(round)?;
        if round % 2 == 1 {
            both(&mut cold, &mut warm)?;
        }
    }
    let totals = [(COLD, cold), (WARM, warm), (BARE, bare)];
    let named = operations.iter().map(Operation::name).zip(each);
    let ours = totals.into_iter().chain(named).map(|(name, times)| (name, median(times)));
    Ok(ours.chain(peers.medians()).collect())
}

fn micros(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

/// Of what comes after the warm-up.
fn median(mut times: Vec<f64>) -> f64 {
    middle(times.split_off(WARM_UP))
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Evidence and all that it is judged by.
struct Subject {
    root: SimulatedRoot,
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
        // snpguest takes an id that begins with 2 or 4 for DER.
        let chip = ChipSpec { chip_id: [0x77; 64], ..ChipSpec::random(Product::Genoa)? };
        let chip = root.make_processor(&chip)?;
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
            policy: Policy::parse(include_bytes!("../../../../conformance/policies/strict.toml"))?,
            expected,
            root,
        })
    }

    /// As files, for the others.
    fn write(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        let pem = self.root.root_pem();
        let blocks: Vec<_> = pem.split_inclusive("-----END CERTIFICATE-----\n").collect();
        let [ark, ask, _asvk] = blocks[..] else { return Err("not three certificates".into()) };
        let vek = self.evidence.endorsements.vek.as_ref().map(Vek::der).unwrap_or_default();
        for (name, bytes) in [
            ("report.bin", self.evidence.report.as_slice()),
            ("vcek.der", vek),
            ("ark.pem", ark.as_bytes()),
            ("ask.pem", ask.as_bytes()),
            ("root.pem", pem.as_bytes()),
            ("policy.toml", include_bytes!("../../../../conformance/policies/strict.toml")),
        ] {
            fs::write(folder.join(name), bytes)?;
        }
        Ok(())
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
