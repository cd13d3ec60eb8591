//! docs/spec/vectors/health-token.json: the same judgement for implementations elsewhere.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize)]
struct Vectors {
    about: String,
    expected: Known,
    cases: Vec<Case>,
}

/// [`Expected`], and the nonce of the holder's own request.
#[derive(Serialize, Deserialize)]
struct Known {
    /// SPKI in DER, base64url.
    token_keys: Vec<String>,
    boot_seed: B64Url<32>,
    min_epoch: u64,
    issuer: String,
    subject: String,
    /// SPKI in DER, base64url.
    peer_spki: String,
    nonce: B64Url<32>,
    now: i64,
}

#[derive(Serialize, Deserialize)]
struct Case {
    id: String,
    /// `accepted`, or the reason of the first failed check.
    result: String,
    token: String,
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../docs/spec/vectors/health-token.json"].iter().collect()
}

fn judge(vectors: &Vectors, token: &str) -> &'static str {
    let known = &vectors.expected;
    let key = |text: &String| TokenKey::from_spki(&decode(text).unwrap()).unwrap();
    let keys: Vec<_> = known.token_keys.iter().map(key).collect();
    let expected = Expected {
        keys: &keys,
        boot_seed: &known.boot_seed.0,
        min_epoch: known.min_epoch,
        issuer: &known.issuer,
        subject: &known.subject,
        peer_spki: &decode(&known.peer_spki).unwrap(),
        now: known.now,
    };
    verify_own(token, &expected, &known.nonce.0).map_or_else(TokenError::reason, |_| "accepted")
}

#[test]
fn the_published_vectors_hold() {
    let vectors: Vectors = serde_json::from_slice(&fs::read(path()).unwrap()).unwrap();
    assert!(vectors.cases.len() >= 30);
    for case in &vectors.cases {
        assert_eq!(judge(&vectors, &case.token), case.result, "{}", case.id);
    }
}

#[test]
#[ignore = "writes docs/spec/vectors/health-token.json anew, with keys that are then thrown away"]
fn write_vectors() {
    let world = World::new();
    let mut vectors = Vectors {
        about: "Health tokens and what verify_own makes of them; see docs/spec/health-token.md. \
                Binary values are unpadded base64url."
            .into(),
        expected: Known {
            token_keys: vec![encode(&spki(&world.signer))],
            boot_seed: B64Url(SEED),
            min_epoch: EPOCH,
            issuer: ISSUER.into(),
            subject: HOLDER.into(),
            peer_spki: encode(&world.holder_spki),
            nonce: B64Url(NONCE),
            now: NOW,
        },
        cases: vec![],
    };
    for (id, token) in tokens(&world) {
        let result = judge(&vectors, &token).to_owned();
        vectors.cases.push(Case { id: id.into(), result, token });
    }
    fs::write(path(), serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
}

fn tokens(world: &World) -> Vec<(&'static str, String)> {
    let (header, payload, good) = (world.header(), world.payload(), world.good());
    let other = World::new();
    let altered = |from: &str, to: &str| world.signed(&header.replacen(from, to, 1), &payload);
    let stranger = || Jwk::from_spki(&other.holder_spki).unwrap();
    let exp = format!("\"exp\":{}", NOW + MAX_LIFE);
    vec![
        ("good", good.clone()),
        ("renewed-certificate", world.with(|c| c.cnf.x5t_s256 = B64Url([0xee; 32]))),
        ("later-epoch", world.with(|c| c.hep += 1)),
        ("last-second", world.with(|c| (c.iat, c.exp) = (NOW - 89, NOW + 1))),
        ("header-other-order", world.signed(&reordered(world), &payload)),
        ("over-4096-bytes", format!("{good}{}", "A".repeat(MAX_SIZE))),
        ("two-parts", good.rsplit_once('.').unwrap().0.into()),
        ("four-parts", format!("{good}.AA")),
        ("padded", format!("{good}=")),
        ("alg-none", altered("ES384", "none")),
        ("alg-hs384", altered("ES384", "HS384")),
        ("alg-es256", altered("ES384", "ES256")),
        ("typ-jwt", altered(TYP, "JWT")),
        ("header-crit", altered("{", r#"{"crit":["b64"],"#)),
        ("header-jwk", altered("{", r#"{"jwk":{},"#)),
        ("header-duplicate-alg", altered("{", r#"{"alg":"ES384","#)),
        ("unknown-kid", other.good()),
        ("wrong-key-right-kid", other.sign(&signing_input(&world.claims(), world.key.kid()))),
        ("no-signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
        ("exp-string", world.with_text(&exp, "\"exp\":\"1767225690\"")),
        ("exp-float", world.with_text(&exp, "\"exp\":1767225690.0")),
        ("exp-absent", world.with_text(&format!("{exp},"), "")),
        ("duplicate-member", world.with_text("\"hep\":3", "\"hep\":3,\"hep\":3")),
        ("unknown-member", world.with_text("\"hep\":3", "\"hep\":3,\"aud\":\"x\"")),
        ("other-profile", world.with(|c| c.eat_profile = "urn:uuid:0".into())),
        ("other-issuer", world.with(|c| c.iss = HOLDER.into())),
        ("issued-3s-ahead", world.with(|c| c.iat = NOW + 3)),
        ("valid-in-3s", world.with(|c| c.nbf = NOW + 3)),
        ("life-91s", world.with(|c| c.exp = NOW + 91)),
        ("expired-now", world.with(|c| (c.iat, c.exp) = (NOW - 90, NOW))),
        ("earlier-boot", world.with(|c| c.bootseed = B64Url([8; 32]))),
        ("revoked-epoch", world.with(|c| c.hep -= 1)),
        ("other-key", world.with(|c| c.cnf.jwk = stranger())),
        ("other-service", world.with(|c| c.sub = HOLDER.replace("gateway", "adapter"))),
        ("status-warning", world.with(|c| c.ear_status = "warning".into())),
        ("old-grant", world.with(|c| c.eat_nonce = B64Url([0; 32]))),
    ]
}

fn reordered(world: &World) -> String {
    format!(r#"{{"typ":"wit+jwt","kid":"{}","alg":"ES384"}}"#, world.key.kid())
}
