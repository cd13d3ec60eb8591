//! A simulated Azure guest: processor, paravisor and vTPM, with every part open to forgery.

use std::sync::LazyLock;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use azure_vtpm::{AzureEvidence, Nonce, Refusal, VerifiedQuote, appraise};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use snp_evidence::{Endorsements, Policy, TrustRoots, UnixTime, Vek};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SimulatedRoot};

/// The moment in which these tests happen.
pub(crate) const NOW: UnixTime = UnixTime(1_790_000_000);
pub(crate) const NONCE: &[u8] = b"a challenge of our own";

/// RSA keys take seconds to make, so all tests share them.
static ROOT: LazyLock<SimulatedRoot> =
    LazyLock::new(|| SimulatedRoot::generate(Product::Genoa, NOW.0 - 60).unwrap());
pub(crate) static CHIP: LazyLock<SecureProcessor> =
    LazyLock::new(|| ROOT.make_processor(&ChipSpec::random(Product::Genoa).unwrap()).unwrap());
pub(crate) static AK: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_AK: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

pub(crate) fn roots() -> TrustRoots {
    TrustRoots::simulated(ROOT.root_pem().as_bytes()).unwrap()
}

/// What the paravisor, the vTPM and the verifier each hold; the default is accepted.
pub(crate) struct Case {
    pub(crate) guest: Guest,
    pub(crate) runtime_data: Value,
    /// Last touch to the runtime data's text, before it is hashed.
    pub(crate) json: fn(String) -> String,
    /// Last touch to what is hashed, so that the report commits to something else.
    pub(crate) vouched: fn(&mut Vec<u8>),
    pub(crate) data_version: u32,
    /// Last touch to the paravisor's report.
    pub(crate) hcl: fn(&mut Vec<u8>),
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) extra_data: Vec<u8>,
    /// Bank and bit map.
    pub(crate) selections: Vec<(u16, Vec<u8>)>,
    /// Last touch to the quote, before it is signed.
    pub(crate) quote: fn(&mut Vec<u8>),
    pub(crate) signer: &'static LazyLock<KeyPair>,
    /// Last touch to the evidence.
    pub(crate) evidence: fn(&mut AzureEvidence),
    pub(crate) nonce: Vec<u8>,
    pub(crate) policy: String,
}

impl Case {
    pub(crate) fn new() -> Self {
        Self {
            guest: Guest::default(),
            runtime_data: json!({
                "keys": [jwk(&AK, "HCLAkPub", "sign"), jwk(&OTHER_AK, "HCLEkPub", "encrypt")],
                "vm-configuration": {"secure-boot": true, "tpm-enabled": true, "vmUniqueId": "one"},
                "user-data": "00",
            }),
            json: |json| json,
            vouched: |_| (),
            data_version: 1,
            hcl: |_| (),
            magic: 0xFF54_4347,
            kind: 0x8018,
            extra_data: NONCE.to_vec(),
            selections: vec![(0x000B, vec![0xFF, 0, 0x81])],
            quote: |_| (),
            signer: &AK,
            evidence: |_| (),
            nonce: NONCE.to_vec(),
            policy: include_str!("../../../../conformance/policies/cryptographic.toml").to_owned(),
        }
    }

    /// Signed by a key that the runtime data do not name.
    pub(crate) fn signed_by_another_key(&mut self) {
        self.signer = &OTHER_AK;
    }

    /// Another key under the same name.
    pub(crate) fn second_ak(&mut self) {
        let keys = self.runtime_data["keys"].as_array_mut().unwrap();
        keys.insert(0, jwk(&OTHER_AK, "HCLAkPub", "sign"));
    }

    pub(crate) fn judge(&self) -> Result<VerifiedQuote, Refusal> {
        let policy = Policy::parse(self.policy.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let nonce = Nonce::new(&self.nonce).unwrap();
        appraise(&self.make(), &roots(), &policy, &nonce, NOW)
    }

    pub(crate) fn make(&self) -> AzureEvidence {
        let runtime_data = (self.json)(self.runtime_data.to_string()).into_bytes();
        let mut vouched = runtime_data.clone();
        (self.vouched)(&mut vouched);
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(digest(&SHA256, &vouched).as_ref());
        let report = CHIP.report(&self.guest, &report_data).unwrap();
        let mut hcl_report = hcl_report(&report, self.data_version, &runtime_data);
        (self.hcl)(&mut hcl_report);
        let quote = self.quote();
        let mut evidence = AzureEvidence {
            hcl_report,
            runtime_data: Some(runtime_data),
            signature: sign(self.signer, &quote),
            quote,
            pcrs: Some(json!(pcrs().map(hex::encode)).to_string().into_bytes()),
            endorsements: Endorsements {
                vek: Some(Vek::Vcek(CHIP.vek_der().to_vec())),
                ..Endorsements::default()
            },
        };
        (self.evidence)(&mut evidence);
        evidence
    }

    fn quote(&self) -> Vec<u8> {
        let mut quote = [&self.magic.to_be_bytes()[..], &self.kind.to_be_bytes()].concat();
        put_sized(&mut quote, &[b"\x00\x0B", &[7; 32][..]].concat());
        put_sized(&mut quote, &self.extra_data);
        quote.extend([0x11; 8 + 4 + 4]);
        quote.extend([1; 1 + 8]);
        quote.extend(u32::try_from(self.selections.len()).unwrap().to_be_bytes());
        for (bank, map) in &self.selections {
            quote.extend(bank.to_be_bytes());
            quote.push(u8::try_from(map.len()).unwrap());
            quote.extend(map);
        }
        let selected = self
            .selections
            .iter()
            .flat_map(|(_, map)| (0..8 * map.len()).filter(move |pcr| map[pcr / 8] >> (pcr % 8) & 1 == 1));
        let values: Vec<u8> = selected.flat_map(|pcr| pcrs()[pcr]).collect();
        put_sized(&mut quote, digest(&SHA256, &values).as_ref());
        (self.quote)(&mut quote);
        quote
    }
}

/// PCR n holds n everywhere.
fn pcrs() -> [[u8; 32]; 24] {
    std::array::from_fn(|pcr| [u8::try_from(pcr).unwrap(); 32])
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

/// Padded to the size of Azure's NV index.
pub(crate) fn hcl_report(report: &[u8], data_version: u32, runtime_data: &[u8]) -> Vec<u8> {
    let capabilities: &[u8] = if data_version == 2 { &[0x0F, 0, 0, 0] } else { &[] };
    let runtime_size = u32::try_from(runtime_data.len()).unwrap();
    let data_size = 20 + u32::try_from(capabilities.len()).unwrap() + runtime_size;
    let le = |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let mut hcl = b"HCLA".to_vec();
    hcl.extend(le(&[2, 32 + 1184 + data_size, 2, 0, 0, 0, 0]));
    hcl.extend(report);
    hcl.extend(le(&[data_size, data_version, 2, 1, runtime_size]));
    hcl.extend(capabilities);
    hcl.extend(runtime_data);
    hcl.resize(2600, 0);
    hcl
}

pub(crate) fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// The modulus out of the DER of an RSA-2048 `RSAPublicKey`, whose exponent is 65537.
fn jwk(key: &KeyPair, kid: &str, operation: &str) -> Value {
    let der = key.public_key().as_ref();
    let (n, e) = (&der[9..265], &der[267..]);
    assert_eq!((der.len(), e), (270, &[1, 0, 1][..]));
    let b64 = |number| URL_SAFE_NO_PAD.encode(number);
    json!({"kid": kid, "key_ops": [operation], "kty": "RSA", "e": b64(e), "n": b64(n)})
}
