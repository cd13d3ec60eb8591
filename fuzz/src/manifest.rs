//! A key manifest: read as it stands, and where a report vouches for it, accepted only if it lists the key of the channel
//! for this very listener.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use snp_evidence::{Bundle, Challenge, KeyManifest, Policy, TreePosition, VerifiedBundle, appraise};

use crate::{
    json::{Json, strict},
    seeds,
    world::{Case, NOW, challenge, roots, sha256},
};

/// Told from a twin by its HOST_DATA.
pub(crate) static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    Policy::parse(include_bytes!("../../crates/snp-evidence/tests/it/demanding.toml")).unwrap()
});

pub fn seed() {
    LazyLock::force(&POLICY);
    seeds::write([Case::new().manifest.to_bytes()]);
}

pub fn run(data: &[u8]) {
    let Ok(manifest) = KeyManifest::parse(data) else { return };
    let read = strict(data).expect("a name is there twice");
    assert_eq!(strict(&manifest.to_bytes()).unwrap(), read, "something was dropped or changed");
    assert!(has_the_form(&read));
    let case = Case::new();
    let claims = case.claims.to_bytes();
    let evidence = case.sign(&challenge().report_data_alone(data, &claims));
    let bundle = Bundle::new(&challenge(), TreePosition::single(), &evidence, data, &claims).to_bytes();
    if judge(&bundle, &challenge()).is_ok() {
        assert!(lists_the_channel(&read));
        let other = Challenge { nonce: [0; 32], ..challenge() };
        assert!(judge(&bundle, &other).is_err(), "answers another nonce");
    }
}

pub(crate) fn judge(bundle: &[u8], challenge: &Challenge) -> Result<VerifiedBundle, ()> {
    static ROOTS: LazyLock<snp_evidence::TrustRoots> = LazyLock::new(|| roots().remembering(4));
    appraise(bundle, &ROOTS, &POLICY, challenge, NOW).map_err(drop)
}

fn has_the_form(manifest: &Json) -> bool {
    let first = manifest.whole("version") == Some(1);
    let keys = manifest.list("keys").unwrap();
    manifest.whole("v") == Some(1)
        && manifest.whole("version") >= Some(1)
        && first == manifest.get("prev").is_none()
        && keys.len() <= 64
        && keys.iter().all(names_itself)
}

/// The digest that a key is known by is that of its bytes.
fn names_itself(key: &Json) -> bool {
    let spki = STANDARD.decode(key.text("spki").unwrap()).unwrap();
    let tls = key.text("use") == Some("tls");
    key.text("sha256") == Some(&URL_SAFE_NO_PAD.encode(sha256(&spki))) && tls == key.get("listener").is_some()
}

/// As the gateway of this very instance, for the public listener.
pub(crate) fn lists_the_channel(manifest: &Json) -> bool {
    let part = |name| manifest.text(name).unwrap();
    let owner = format!("spiffe://{}/cvm/{}/svc/gateway", part("trust_domain"), part("instance"));
    let leaf = URL_SAFE_NO_PAD.encode(challenge().binder.leaf_spki_sha256);
    manifest.list("keys").unwrap().iter().any(|key| {
        key.text("use") == Some("tls")
            && key.text("owner") == Some(&owner)
            && key.text("listener") == Some("gateway/public")
            && key.text("sha256") == Some(&leaf)
    })
}
