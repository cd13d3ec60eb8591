//! The paravisor's runtime data: whatever it vouches for, a quote is accepted only under the one key that they name.

use serde_json::Value;

use crate::{
    azure::{AZURE, runtime_data, vouched},
    guest::{Case, hcl_report},
    seeds,
};

pub fn seed() {
    let genuine = runtime_data(&AZURE.genuine.hcl_report).unwrap().to_vec();
    let mut case = Case::new();
    case.second_ak();
    let two_keys = case.runtime_data.to_string().into_bytes();
    seeds::write(seeds::captured("runtime_data.json").into_iter().chain([genuine, two_keys]));
}

pub fn run(data: &[u8]) {
    let hcl = vouched(&hcl_report(&[0; 0x4A0], 1, &data[..data.len().min(8192)])).unwrap();
    if AZURE.judge(&AZURE.with_hcl(hcl)).is_ok() {
        let genuine = runtime_data(&AZURE.genuine.hcl_report).unwrap();
        assert_eq!(attestation_keys(data), attestation_keys(genuine));
    }
}

/// Moduli of all keys called HCLAkPub, as any JSON reader sees them.
fn attestation_keys(json: &[u8]) -> Vec<String> {
    let json: Value = serde_json::from_slice(json).unwrap();
    let keys = json["keys"].as_array().unwrap().iter();
    keys.filter(|key| key["kid"] == "HCLAkPub").map(|key| key["n"].as_str().unwrap().to_owned()).collect()
}
