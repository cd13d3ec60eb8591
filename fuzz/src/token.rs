//! A health token: accepted only where the claims, properly signed, say what the receiver knows, by a reader of this crate;
//! and no letter of it can be another afterwards.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use health_token::{AFFIRMING, Expected, PROFILE, TokenKey, inspect, verify};
use serde_json::json;

use crate::{
    json::{Json, strict},
    machine::somewhere,
    seeds,
};

const NOW: i64 = 1_790_000_000;
const ISSUER: &str = "spiffe://test.example/cvm/one/svc/attestation";
const HOLDER: &str = "spiffe://test.example/cvm/one/svc/gateway";
const SEED: [u8; 32] = [7; 32];
const EPOCH: u64 = 3;
/// Of a P-256 key, as far as a token looks at one.
const HOLDERS_KEY: [u8; 64] = [9; 64];

static ISSUERS_KEY: LazyLock<(EcdsaKeyPair, TokenKey)> = LazyLock::new(|| {
    let signer = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let key = TokenKey::from_spki(signer.public_key().as_der().unwrap().as_ref()).unwrap();
    (signer, key)
});

pub fn seed() {
    let (encoded, (x, y)) = (|bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes), HOLDERS_KEY.split_at(32));
    let claims = json!({
        "iss": ISSUER, "sub": HOLDER, "iat": NOW, "nbf": NOW, "exp": NOW + 90, "jti": encoded(&[1; 16]),
        "cnf": {
            "jwk": { "kty": "EC", "crv": "P-256", "alg": "ES256", "x": encoded(x), "y": encoded(y) },
            "x5t#S256": encoded(&[2; 32]),
        },
        "eat_profile": PROFILE, "eat_nonce": encoded(&[3; 32]), "bootseed": encoded(&SEED), "hep": EPOCH,
        "att": {
            "report_sha256": encoded(&[4; 32]), "measurement": encoded(&[5; 48]),
            "policy_sha256": encoded(&[6; 32]), "key_manifest_sha384": encoded(&[7; 48]),
        },
        "ear_status": AFFIRMING,
    });
    let claims = claims.to_string();
    assert!(judge(&signed(claims.as_bytes())), "the seed is no token");
    seeds::write([claims.into_bytes()]);
}

pub fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        assert!(!judge(text), "nobody signed this");
        drop(inspect(text));
    }
    let token = signed(data);
    if !judge(&token) {
        return;
    }
    let claims = strict(data).expect("a name is there twice");
    assert!(says_what_is_known(&claims), "{claims:?}");
    let mut other = token.into_bytes();
    let place = somewhere(data, other.len());
    other[place] ^= 1;
    assert!(!str::from_utf8(&other).is_ok_and(judge), "letter {place} may be another");
}

/// A token with these claims, as the issuer signs them.
fn signed(claims: &[u8]) -> String {
    let (signer, key) = &*ISSUERS_KEY;
    let header = json!({ "alg": "ES384", "kid": key.kid(), "typ": "wit+jwt" }).to_string();
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = signer.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn judge(token: &str) -> bool {
    const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    let expected = Expected {
        keys: std::slice::from_ref(&ISSUERS_KEY.1),
        boot_seed: &SEED,
        min_epoch: EPOCH,
        issuer: ISSUER,
        subject: HOLDER,
        peer_spki: &[P256, &HOLDERS_KEY].concat(),
        now: NOW,
    };
    verify(token, &expected).is_ok()
}

fn says_what_is_known(claims: &Json) -> bool {
    let (iat, nbf, exp) = (claims.whole("iat"), claims.whole("nbf"), claims.whole("exp"));
    let (Some(iat), Some(nbf), Some(exp)) = (iat, nbf, exp) else { return false };
    let (now, key) = (i128::from(NOW), claims.get("cnf").and_then(|cnf| cnf.get("jwk")).unwrap());
    let names = [
        "att",
        "bootseed",
        "cnf",
        "ear_status",
        "eat_nonce",
        "eat_profile",
        "exp",
        "hep",
        "iat",
        "iss",
        "jti",
        "nbf",
        "sub",
    ];
    claims.names() == names
        && claims.text("iss") == Some(ISSUER)
        && claims.text("sub") == Some(HOLDER)
        && claims.text("eat_profile") == Some(PROFILE)
        && claims.text("ear_status") == Some("affirming")
        && claims.text("bootseed") == Some(&URL_SAFE_NO_PAD.encode(SEED))
        && claims.whole("hep") >= Some(EPOCH.into())
        && (1..=90).contains(&(exp - iat))
        && iat <= now + 2
        && nbf <= now + 2
        && now < exp
        && key.text("x") == Some(&URL_SAFE_NO_PAD.encode(&HOLDERS_KEY[..32]))
        && key.text("y") == Some(&URL_SAFE_NO_PAD.encode(&HOLDERS_KEY[32..]))
}
