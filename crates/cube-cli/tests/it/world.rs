//! One simulated machine for all tests; its RSA keys take seconds to make.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use service_runtime::{Clock, SystemClock};
use snp_evidence::{
    B64, B64Url, Binder, Bundle, Challenge, DebugStatus, Endorsements, Evidence, EvidenceFormat, KeyManifest,
    KeyUse, ManifestKey, Purpose, RuntimeClaims, TreePosition, Vek,
};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SimulatedRoot};

pub(crate) const MEASUREMENT: [u8; 48] = [0x4d; 48];
pub(crate) const HOST_DATA: [u8; 32] = [0x48; 32];

pub(crate) struct World {
    processor: SecureProcessor,
    list: Vec<u8>,
    folder: tempfile::TempDir,
    root_file: PathBuf,
    policy_file: PathBuf,
}

/// The machine, its root and a policy that accepts its guest.
pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let root = SimulatedRoot::generate(Product::Genoa, SystemClock.unix() - 60).unwrap();
        let processor = root.make_processor(&ChipSpec::random(Product::Genoa).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (root_file, policy_file) = (folder.path().join("root.pem"), folder.path().join("policy.toml"));
        std::fs::write(&root_file, root.root_pem()).unwrap();
        std::fs::write(&policy_file, policy(&hex::encode(MEASUREMENT), "covers = \"userspace\"")).unwrap();
        let list = root.empty_crl().unwrap();
        World { processor, list, folder, root_file, policy_file }
    })
}

impl World {
    pub(crate) fn root_file(&self) -> &str {
        self.root_file.to_str().unwrap()
    }

    pub(crate) fn policy_file(&self) -> &str {
        self.policy_file.to_str().unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A policy beside the usual one, for this measurement and coverage.
    pub(crate) fn policy_with(&self, name: &str, measurement: &str, covers: &str) -> String {
        let path = self.folder().join(name);
        std::fs::write(&path, policy(measurement, covers)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A report that is bound to nothing.
    pub(crate) fn stored_report(&self) -> Vec<u8> {
        self.report(&[0; 64])
    }

    pub(crate) fn vcek(&self) -> &[u8] {
        self.processor.vek_der()
    }

    /// The revocation list of its ASK.
    pub(crate) fn list(&self) -> &[u8] {
        &self.list
    }

    /// Where AMD's key server would have the VCEK.
    pub(crate) fn vcek_path(&self) -> String {
        let chip = hex::encode(self.processor.chip().chip_id);
        format!("/vcek/v1/Genoa/{chip}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=84")
    }

    fn report(&self, data: &[u8; 64]) -> Vec<u8> {
        let guest = Guest { measurement: MEASUREMENT, host_data: HOST_DATA, ..Guest::default() };
        self.processor.report(&guest, data).unwrap()
    }

    /// What attestation-svc would make for this challenge, where the manifest lists `listed`.
    pub(crate) fn bundle(&self, nonce: [u8; 32], binder: &Binder, listed: &[u8]) -> Vec<u8> {
        let (manifest, claims) = (manifest(listed).to_bytes(), claims().to_bytes());
        let challenge = Challenge { purpose: Purpose::Fresh, nonce, binder: binder.clone() };
        let data = challenge.report_data_alone(&manifest, &claims);
        let evidence = Evidence {
            format: EvidenceFormat::SimulatedAmdSevSnp,
            report: self.report(data.as_bytes()),
            endorsements: Endorsements {
                vek: Some(Vek::Vcek(self.vcek().to_vec())),
                ..Endorsements::default()
            },
        };
        Bundle::new(&challenge, TreePosition::single(), &evidence, &manifest, &claims).to_bytes()
    }
}

fn manifest(gateway_spki: &[u8]) -> KeyManifest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, gateway_spki);
    KeyManifest {
        v: 1,
        trust_domain: "test.cube.internal".to_owned(),
        instance: "one".to_owned(),
        boot_seed: B64Url([7; 32]),
        version: 1,
        prev: None,
        keys: vec![ManifestKey {
            r#use: KeyUse::Tls,
            alg: "P-256".to_owned(),
            spki: B64(gateway_spki.to_vec()),
            sha256: B64Url(digest.as_ref().try_into().unwrap()),
            owner: "spiffe://test.cube.internal/cvm/one/svc/gateway".to_owned(),
            listener: Some(snp_evidence::PUBLIC_LISTENER.to_owned()),
            seq: 1,
        }],
    }
}

fn claims() -> RuntimeClaims {
    RuntimeClaims {
        eat_profile: snp_evidence::CLAIMS_PROFILE.to_owned(),
        bootseed: B64Url([7; 32]),
        oemid: 3704,
        hwmodel: "genoa".to_owned(),
        dbgstat: DebugStatus::DisabledPermanently,
        swname: "attestation-svc".to_owned(),
        swversion: "0.0.0".to_owned(),
        measured_config_sha256: B64Url(HOST_DATA),
        policy_sha256: B64Url([1; 32]),
        audit_head: B64Url([8; 32]),
        audit_seq: 2,
    }
}

/// Demands what matters here, and leaves off what else can be off.
fn policy(measurement: &str, covers: &str) -> String {
    let host_data = hex::encode(HOST_DATA);
    include_str!("../../../../conformance/policies/cryptographic.toml")
        .lines()
        .map(|line| match line.split(" = ").next() {
            Some("measurement") => format!("measurement = {{ allow = [\"{measurement}\"], {covers} }}"),
            Some("host_data") => format!("host_data = {{ allow = [\"{host_data}\"] }}"),
            Some("report_data") => "report_data = \"require\"".to_owned(),
            Some("debug") => "debug = \"forbid\"".to_owned(),
            Some("identity") => "identity = \"require\"".to_owned(),
            _ => line.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("\n")
}
