//! One simulated machine and the evidence bundle it sends, with every part open to forgery.

use std::sync::LazyLock;

use snp_evidence::{
    B64, B64Url, Binder, Bundle, Challenge, DebugStatus, Endorsements, Evidence, EvidenceFormat, KeyManifest,
    KeyUse, ManifestKey, PUBLIC_LISTENER, Policy, Purpose, Refusal, ReportData, RuntimeClaims, TreePosition,
    TrustRoots, UnixTime, Vek, VerifiedBundle, appraise,
};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SigningKey, SimulatedRoot, Tcb};

/// The moment in which these tests happen.
pub(crate) const NOW: UnixTime = UnixTime(1_790_000_000);
pub(crate) const TCB: Tcb = Tcb { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 200 };
const EXPORTER: [u8; 32] = [0x22; 32];
const NONCE: [u8; 32] = [0x23; 32];
const SEED: [u8; 32] = [0x24; 32];

/// Three RSA keys take seconds to make, so all tests share one root.
pub(crate) static ROOT: LazyLock<SimulatedRoot> =
    LazyLock::new(|| SimulatedRoot::generate(Product::Turin, NOW.0 - 60).unwrap());
/// The list of the day: it names a predecessor of the ASK, as AMD's for Genoa does.
static LIST: LazyLock<Vec<u8>> = LazyLock::new(|| list(&[ROOT.ask_serial() + 7], -3_600, 40 * DAY));
static CHIP: LazyLock<SecureProcessor> = LazyLock::new(|| ROOT.make_processor(&chip(1, TCB)).unwrap());

pub(crate) fn chip(id: u8, tcb: Tcb) -> ChipSpec {
    let mut chip_id = [0; 64];
    chip_id[..8].fill(id);
    ChipSpec { chip_id, cpuid: Product::Turin.cpuid(), tcb }
}

/// A list that names these serials, its dates in seconds from [`NOW`].
pub(crate) fn list(revoked: &[u64], from: i64, next: i64) -> Vec<u8> {
    ROOT.crl(revoked, NOW.0 + from, NOW.0 + next).unwrap()
}

pub(crate) const DAY: i64 = 86_400;

pub(crate) fn roots() -> TrustRoots {
    TrustRoots::simulated(ROOT.root_pem().as_bytes()).unwrap()
}

/// What the attester and the verifier each hold; the default is accepted.
pub(crate) struct Case {
    pub(crate) processor: Option<SecureProcessor>,
    pub(crate) guest: Guest,
    /// Last touch to the signed part, before it is signed.
    pub(crate) body: fn(&mut [u8]),
    /// Last touch to the evidence.
    pub(crate) evidence: fn(&mut Evidence),
    pub(crate) manifest: KeyManifest,
    pub(crate) claims: RuntimeClaims,
    pub(crate) tree: TreePosition,
    /// What the attester was asked for.
    pub(crate) asked: Challenge,
    /// Last touch to the bundle's text.
    pub(crate) json: fn(String) -> String,
    /// What the verifier asked for.
    pub(crate) expected: Challenge,
    pub(crate) roots: TrustRoots,
    pub(crate) policy: String,
    pub(crate) now: UnixTime,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self {
            processor: None,
            guest: guest(),
            body: |_| (),
            evidence: |_| (),
            manifest: manifest(),
            claims: claims(),
            tree: TreePosition::single(),
            asked: challenge(),
            json: |json| json,
            expected: challenge(),
            roots: roots(),
            policy: include_str!("demanding.toml").to_owned(),
            now: NOW,
        }
    }

    /// Replaces text of the policy, which must be there.
    pub(crate) fn policy(&mut self, from: &str, to: &str) {
        assert!(self.policy.contains(from), "{from}");
        self.policy = self.policy.replace(from, to);
    }

    pub(crate) fn judge(self) -> Result<VerifiedBundle, Refusal> {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        appraise(&self.bundle(), &self.roots, &policy, &self.expected, self.now)
    }

    pub(crate) fn bundle(&self) -> Vec<u8> {
        let (manifest, claims) = (self.manifest.to_bytes(), self.claims.to_bytes());
        let evidence = self.sign(&self.asked.report_data_alone(&manifest, &claims));
        let bundle = Bundle::new(&self.asked, self.tree.clone(), &evidence, &manifest, &claims);
        (self.json)(String::from_utf8(bundle.to_bytes()).unwrap()).into_bytes()
    }

    pub(crate) fn sign(&self, data: &ReportData) -> Evidence {
        let processor = self.processor.as_ref().unwrap_or(&CHIP);
        let mut body = processor.report(&self.guest, data.as_bytes()).unwrap();
        body.truncate(0x2A0);
        (self.body)(&mut body);
        let mut evidence = evidence_of(processor, processor.sign_body(&body).unwrap());
        (self.evidence)(&mut evidence);
        evidence
    }
}

/// A report with every certificate that belongs to its signer.
pub(crate) fn evidence_of(processor: &SecureProcessor, report: Vec<u8>) -> Evidence {
    let der = processor.vek_der().to_vec();
    let (vek, asvk) = match processor.signing_key() {
        SigningKey::Vcek => (Vek::Vcek(der), None),
        SigningKey::Vlek => (Vek::Vlek(der), Some(processor.asvk_der().to_vec())),
    };
    let endorsements = Endorsements {
        vek: Some(vek),
        ask: Some(processor.ask_der().to_vec()),
        asvk,
        ark: Some(processor.ark_der().to_vec()),
        crl: Some(LIST.clone()),
    };
    Evidence { format: EvidenceFormat::SimulatedAmdSevSnp, report, endorsements }
}

fn guest() -> Guest {
    Guest {
        guest_svn: 3,
        policy: 1 << 24 | 1 << 20 | 1 << 17 | 0x0137,
        family_id: [1; 16],
        image_id: [2; 16],
        vmpl: 1,
        measurement: [5; 48],
        host_data: [6; 32],
        id_key_digest: [3; 48],
        author_key_digest: [4; 48],
        launch_mit_vector: 3,
        current_mit_vector: 7,
        ..Guest::default()
    }
}

pub(crate) fn challenge() -> Challenge {
    let binder = Binder::tls_exporter(sha256(b"tls"), EXPORTER, PUBLIC_LISTENER);
    Challenge { purpose: Purpose::Fresh, nonce: NONCE, binder }
}

fn manifest() -> KeyManifest {
    let owner = |role: &str| format!("spiffe://test.example/cvm/one/svc/{role}");
    let key = |r#use, digest: [u8; 32], spki: &[u8], owner, listener: Option<&str>| ManifestKey {
        r#use,
        alg: "P-384".to_owned(),
        spki: B64(spki.to_vec()),
        sha256: B64Url(digest),
        owner,
        listener: listener.map(str::to_owned),
        seq: 1,
    };
    let spki = |name: &[u8]| (sha256(name), name.to_vec());
    let (ca, tls) = (spki(b"ca"), spki(b"tls"));
    KeyManifest {
        v: 1,
        trust_domain: "test.example".to_owned(),
        instance: "one".to_owned(),
        boot_seed: B64Url(SEED),
        version: 1,
        prev: None,
        keys: vec![
            key(KeyUse::Ca, ca.0, &ca.1, owner("attestation"), None),
            key(KeyUse::Tls, tls.0, &tls.1, owner("gateway"), Some(PUBLIC_LISTENER)),
        ],
    }
}

fn claims() -> RuntimeClaims {
    RuntimeClaims {
        eat_profile: snp_evidence::CLAIMS_PROFILE.to_owned(),
        bootseed: B64Url(SEED),
        oemid: 3704,
        hwmodel: "turin".to_owned(),
        dbgstat: DebugStatus::DisabledPermanently,
        swname: "attestation-svc".to_owned(),
        swversion: "0.0.0".to_owned(),
        measured_config_sha256: B64Url([6; 32]),
        policy_sha256: B64Url([7; 32]),
        audit_head: B64Url([8; 32]),
        audit_seq: 2,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().try_into().unwrap()
}
