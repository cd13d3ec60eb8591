//! Callers of the real gateway that show a certificate, with curl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dev_stack::Service;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

use crate::rig::{PATIENCE, Rig};

const WARD: &str = "spiffe://hospital.example/ward";

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_by_its_certificate() {
    let mut rig = Rig::prepared("openai").await;
    let config = rig.files().config(Service::Gateway);
    let folder = config.parent().unwrap().to_owned();
    let issuer = issuer();
    fs::write(folder.join("callers-ca.pem"), issuer.pem()).unwrap();
    let keys =
        format!("[[key]]\nname = \"ward\"\nspiffe_id = \"{WARD}\"\nexpires = \"never\"\nmodels = [\"*\"]\n");
    fs::write(folder.join("keys.toml"), format!("version = 1\n{keys}")).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let listed = "access = \"api-keys\"\nkeys = \"keys.toml\"\ncallers.ca = \"callers-ca.pem\"\n\
                  callers.trust_domain = \"hospital.example\"\n";
    fs::write(&config, text.replace("access = \"anonymous\"\n", listed)).unwrap();
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    let ca = rig.trusted_ca();
    let ask = |rig: &mut Rig, client: Option<PathBuf>| rig.blocking(|rig| curl(rig, &ca, client));

    assert_eq!(ask(&mut rig, None), "401");
    let stranger = client(&folder, "stranger", &issuer, "spiffe://hospital.example/kitchen");
    assert_eq!(ask(&mut rig, Some(stranger)), "401");
    let ward = client(&folder, "ward", &issuer, WARD);
    assert_eq!(ask(&mut rig, Some(ward)), "200");
    let forged = client(&folder, "forged", &self::issuer(), WARD);
    assert_eq!(ask(&mut rig, Some(forged)), "000", "the handshake fails");
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A file with certificate and key.
fn client(folder: &Path, name: &str, issuer: &CertifiedIssuer<'static, KeyPair>, id: &str) -> PathBuf {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    let leaf = params.signed_by(&key, issuer).unwrap();
    let path = folder.join(format!("{name}.pem"));
    fs::write(&path, leaf.pem() + &key.serialize_pem()).unwrap();
    path
}

/// The status of `GET /v1/models`; 000 where there was no answer.
fn curl(rig: &Rig, ca: &Path, client: Option<PathBuf>) -> String {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--write-out", "%{http_code}", "--output", "/dev/null", "--cacert"]).arg(ca);
    if let Some(client) = client {
        curl.arg("--cert").arg(client);
    }
    let output = curl.arg(format!("{}/v1/models", rig.url)).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
