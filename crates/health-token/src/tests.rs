//! One good token, and everything that must not pass for one.

mod vectors;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::encoding::{decode, encode};
use crate::*;

const NOW: i64 = 1_767_225_600;
const ISSUER: &str = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/attestation";
const HOLDER: &str = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/gateway";
const SEED: [u8; 32] = [7; 32];
const NONCE: [u8; 32] = [9; 32];
const EPOCH: u64 = 3;

/// What attestation-svc and the holder have, and what the receiver knows of them.
struct World {
    signer: EcdsaKeyPair,
    key: TokenKey,
    holder_spki: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let signer = new_key(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let key = TokenKey::from_spki(&spki(&signer)).unwrap();
        Self { signer, key, holder_spki: spki(&new_key(&ECDSA_P256_SHA256_FIXED_SIGNING)) }
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            keys: std::slice::from_ref(&self.key),
            boot_seed: &SEED,
            min_epoch: EPOCH,
            issuer: ISSUER,
            subject: HOLDER,
            peer_spki: &self.holder_spki,
            now: NOW,
        }
    }

    fn claims(&self) -> Claims {
        Claims {
            iss: ISSUER.into(),
            sub: HOLDER.into(),
            iat: NOW,
            nbf: NOW,
            exp: NOW + MAX_LIFE,
            jti: B64Url([1; 16]),
            cnf: Confirmation { jwk: Jwk::from_spki(&self.holder_spki).unwrap(), x5t_s256: B64Url([2; 32]) },
            eat_profile: PROFILE.into(),
            eat_nonce: B64Url(NONCE),
            bootseed: B64Url(SEED),
            hep: EPOCH,
            att: Attested {
                report_sha256: B64Url([3; 32]),
                measurement: B64Url([4; 48]),
                policy_sha256: B64Url([5; 32]),
                key_manifest_sha384: B64Url([6; 48]),
            },
            ear_status: AFFIRMING.into(),
        }
    }

    fn header(&self) -> String {
        json!({"alg": ALG, "kid": self.key.kid(), "typ": TYP}).to_string()
    }

    fn payload(&self) -> String {
        serde_json::to_string(&self.claims()).unwrap()
    }

    fn signed(&self, header: &str, payload: &str) -> String {
        self.sign(&format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes())))
    }

    fn sign(&self, input: &str) -> String {
        let signature = self.signer.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", encode(signature.as_ref()))
    }

    fn good(&self) -> String {
        self.sign(&signing_input(&self.claims(), self.key.kid()))
    }

    /// A properly signed token whose claims went through `change`.
    fn with(&self, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = self.claims();
        change(&mut claims);
        self.sign(&signing_input(&claims, self.key.kid()))
    }

    /// A properly signed token with one text replaced in its claims.
    fn with_text(&self, from: &str, to: &str) -> String {
        let payload = self.payload();
        assert!(payload.contains(from), "{from} is not in the claims");
        self.signed(&self.header(), &payload.replacen(from, to, 1))
    }

    fn refused(&self, token: &str, why: TokenError) {
        assert_eq!(verify(token, &self.expected()), Err(why), "{}", why.reason());
    }
}

fn new_key(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    key.public_key().as_der().unwrap().as_ref().to_vec()
}

#[test]
fn a_token_is_read_without_its_key_and_held_against_its_issuer() {
    let world = World::new();
    let token = world.good();
    let read = inspect(&token).unwrap();
    assert_eq!((read.kid.as_str(), &read.claims), (world.key.kid(), &world.claims()));
    let keys = std::slice::from_ref(&world.key);
    let issuer = || Issuer { keys, id: ISSUER, boot_seed: &SEED };
    assert_eq!(check_signed(&token, &issuer(), NOW), Ok(()));

    let refused = |token: &str, issuer: Issuer<'_>, now| check_signed(token, &issuer, now).unwrap_err();
    assert_eq!(refused(&token, Issuer { keys: &[], ..issuer() }, NOW), TokenError::UnknownKey);
    assert_eq!(refused(&token, Issuer { id: HOLDER, ..issuer() }, NOW), TokenError::Issuer);
    assert_eq!(refused(&token, Issuer { boot_seed: &[0; 32], ..issuer() }, NOW), TokenError::BootSeed);
    assert_eq!(refused(&token, issuer(), NOW + MAX_LIFE), TokenError::Expired);
    let (input, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}", encode(&[1; 96]));
    assert_eq!(inspect(&forged).unwrap(), read, "reading proves nothing");
    assert_eq!(refused(&forged, issuer(), NOW), TokenError::Signature);
    let denying = world.with(|claims| claims.ear_status = "none".into());
    assert_eq!(refused(&denying, issuer(), NOW), TokenError::Status);
    assert_eq!(inspect("a.b").unwrap_err(), TokenError::Form);
}

#[test]
fn a_good_token_is_accepted() {
    let world = World::new();
    let token = verify(&world.good(), &world.expected()).unwrap();
    assert_eq!(token.claims(), &world.claims());
    assert_eq!(token.remaining(NOW + 30).as_secs(), 60);
    assert_eq!(token.remaining(NOW + 1000).as_secs(), 0);
    verify_own(&world.good(), &world.expected(), &NONCE).unwrap();
}

#[test]
fn members_may_come_in_any_order() {
    let world = World::new();
    let header = format!(r#"{{"typ":"wit+jwt","alg":"ES384","kid":"{}"}}"#, world.key.kid());
    verify(&world.signed(&header, &world.payload()), &world.expected()).unwrap();
}

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    let world = World::new();
    let der = spki(&world.signer);
    let (x, y) = (encode(&der[24..72]), encode(&der[72..]));
    let jwk = format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.as_bytes());
    assert_eq!(world.key.kid(), encode(hash.as_ref()));
}

#[test]
fn other_algorithms_are_refused() {
    let world = World::new();
    for alg in ["none", "HS384", "ES256", "es384", "ES384 "] {
        let header = world.header().replace("ES384", alg);
        world.refused(&world.signed(&header, &world.payload()), TokenError::Algorithm);
    }
    let unsigned = world.signed(&world.header(), &world.payload());
    let unsigned = unsigned.rsplit_once('.').unwrap().0;
    world.refused(&format!("{unsigned}."), TokenError::Signature);
}

#[test]
fn keys_of_other_curves_are_no_token_keys() {
    let p256 = spki(&new_key(&ECDSA_P256_SHA256_FIXED_SIGNING));
    assert_eq!(TokenKey::from_spki(&p256).unwrap_err(), KeyError::Type);
    let mut off_curve = spki(&new_key(&ECDSA_P384_SHA384_FIXED_SIGNING));
    off_curve[60] ^= 1;
    assert_eq!(TokenKey::from_spki(&off_curve).unwrap_err(), KeyError::Point);
}

#[test]
fn a_key_that_is_not_listed_is_refused() {
    let (world, other) = (World::new(), World::new());
    let expected = Expected { keys: &[], ..world.expected() };
    assert_eq!(verify(&world.good(), &expected), Err(TokenError::UnknownKey), "rotated out");
    world.refused(&other.good(), TokenError::UnknownKey);
    let stolen_kid = other.sign(&signing_input(&world.claims(), world.key.kid()));
    world.refused(&stolen_kid, TokenError::Signature);
}

#[test]
fn headers_with_other_members_are_refused() {
    let world = World::new();
    let header = world.header();
    for extra in [
        r#""crit":["b64"]"#,
        r#""jwk":{}"#,
        r#""jku":"https://x""#,
        r#""x5c":[]"#,
        r#""x5u":"https://x""#,
        r#""alg":"ES384""#,
        r#""cty":null"#,
    ] {
        let header = format!("{},{extra}}}", header.trim_end_matches('}'));
        world.refused(&world.signed(&header, &world.payload()), TokenError::Header);
    }
    let array = format!(r#"["ES384","{}","wit+jwt"]"#, world.key.kid());
    for header in [&array, r#"{"alg":"ES384","typ":"wit+jwt"}"#, "{}", "", "null", &format!("{header} x")] {
        world.refused(&world.signed(header, &world.payload()), TokenError::Header);
    }
}

#[test]
fn other_types_and_profiles_are_refused() {
    let world = World::new();
    for typ in ["JWT", "WIT+JWT", "application/wit+jwt", ""] {
        let header = world.header().replace(TYP, typ);
        world.refused(&world.signed(&header, &world.payload()), TokenError::Type);
    }
    world.refused(&world.with(|claims| claims.eat_profile = "urn:x".into()), TokenError::Profile);
    let plain_wit = world.with_text(&format!("\"eat_profile\":\"{PROFILE}\","), "");
    world.refused(&plain_wit, TokenError::Claims);
}

#[test]
fn times_are_integers_and_there() {
    let world = World::new();
    let exp = format!("\"exp\":{}", NOW + MAX_LIFE);
    for other in ["\"exp\":\"1767225690\"", "\"exp\":1767225690.0", "\"exp\":1.76722569e9", "\"exp\":null"] {
        world.refused(&world.with_text(&exp, other), TokenError::Claims);
    }
    world.refused(&world.with_text(&format!("{exp},"), ""), TokenError::Claims);
}

#[test]
fn times_are_bounded() {
    let world = World::new();
    let ahead = MAX_AHEAD;
    verify(&world.with(|c| (c.iat, c.nbf) = (NOW + ahead, NOW + ahead)), &world.expected()).unwrap();
    world.refused(&world.with(|c| c.iat = NOW + ahead + 1), TokenError::IssuedAhead);
    world.refused(&world.with(|c| c.nbf = NOW + ahead + 1), TokenError::NotYetValid);
    world.refused(&world.with(|c| c.exp = NOW + MAX_LIFE + 1), TokenError::Span);
    world.refused(&world.with(|c| c.exp = NOW), TokenError::Span);
    world.refused(&world.with(|c| (c.iat, c.exp) = (i64::MIN, i64::MAX)), TokenError::Span);
    world.refused(&world.with(|c| (c.iat, c.exp) = (NOW - 90, NOW)), TokenError::Expired);
    verify(&world.with(|c| (c.iat, c.exp) = (NOW - 89, NOW + 1)), &world.expected()).unwrap();
}

#[test]
fn members_that_are_twice_there_or_unknown_are_refused() {
    let world = World::new();
    world.refused(&world.with_text("\"hep\":3", "\"hep\":3,\"hep\":3"), TokenError::Claims);
    world.refused(&world.with_text("\"kty\":\"EC\"", "\"kty\":\"EC\",\"kty\":\"EC\""), TokenError::Claims);
    world.refused(&world.with_text("\"hep\":3", "\"hep\":3,\"aud\":\"x\""), TokenError::Claims);
    world.refused(&world.with_text("\"hep\":3", "\"hep\":-3"), TokenError::Claims);
    let claims: Value = serde_json::from_str(&world.payload()).unwrap();
    let array = Value::Array(claims.as_object().unwrap().values().cloned().collect());
    world.refused(&world.signed(&world.header(), &array.to_string()), TokenError::Claims);
}

#[test]
fn tokens_of_another_boot_epoch_issuer_or_verdict_are_refused() {
    let world = World::new();
    world.refused(&world.with(|claims| claims.bootseed = B64Url([8; 32])), TokenError::BootSeed);
    world.refused(&world.with(|claims| claims.hep = EPOCH - 1), TokenError::Epoch);
    verify(&world.with(|claims| claims.hep = EPOCH + 1), &world.expected()).unwrap();
    world.refused(&world.with(|claims| claims.iss = HOLDER.into()), TokenError::Issuer);
    world.refused(&world.with(|claims| claims.ear_status = "warning".into()), TokenError::Status);
}

#[test]
fn a_token_works_on_its_holders_connection_only() {
    let world = World::new();
    let other = spki(&new_key(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let expected = Expected { peer_spki: &other, ..world.expected() };
    assert_eq!(verify(&world.good(), &expected), Err(TokenError::Confirmation), "another TLS key");
    let expected = Expected { peer_spki: &[], ..world.expected() };
    assert_eq!(verify(&world.good(), &expected), Err(TokenError::Confirmation), "no TLS key");
    let adapter = HOLDER.replace("gateway", "adapter");
    let expected = Expected { subject: &adapter, ..world.expected() };
    assert_eq!(verify(&world.good(), &expected), Err(TokenError::Subject));
    for (member, other) in [("\"P-256\"", "\"P-384\""), ("\"EC\"", "\"OKP\""), ("\"ES256\"", "\"none\"")] {
        world.refused(&world.with_text(member, other), TokenError::Confirmation);
    }
}

#[test]
fn a_renewed_certificate_with_the_same_key_stays_accepted() {
    let world = World::new();
    let token = world.with(|claims| claims.cnf.x5t_s256 = B64Url([0xee; 32]));
    verify(&token, &world.expected()).unwrap();
}

#[test]
fn an_old_grant_is_refused_by_its_holder() {
    let world = World::new();
    let result = verify_own(&world.good(), &world.expected(), &[0; 32]);
    assert_eq!(result, Err(TokenError::Nonce));
}

#[test]
fn other_spellings_of_the_same_bytes_are_refused() {
    let world = World::new();
    let good = world.good();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    for (token, why) in [
        (format!("{good}="), TokenError::Encoding),
        (format!("{good}\n"), TokenError::Encoding),
        (format!(" {good}"), TokenError::Encoding),
        (format!("{header}.{payload}"), TokenError::Form),
        (format!("{good}.{signature}"), TokenError::Form),
        (String::new(), TokenError::Form),
        (format!("{good}{}", "A".repeat(MAX_SIZE)), TokenError::Size),
    ] {
        world.refused(&token, why);
    }
    // 96 bytes fill their last character: the payload's is the one that can hide bits.
    assert_eq!(decode("QQ").unwrap(), b"A");
    assert_eq!(decode("QR"), None);
}

#[test]
fn nothing_shown_can_be_used() {
    let world = World::new();
    let token = world.good();
    let accepted = verify(&token, &world.expected()).unwrap();
    let shown = format!("{accepted:?} {:?}", world.key);
    assert!(shown.contains(HOLDER) && !shown.contains(&token[..40]), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_judged_without_panic(text in ".{0,300}") {
        let world = World::new();
        prop_assert!(verify(&text, &world.expected()).is_err());
    }

    #[test]
    fn any_other_character_anywhere_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let world = World::new();
        let mut token = world.good();
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != to);
        token.replace_range(at..=at, &to);
        prop_assert!(verify(&token, &world.expected()).is_err());
    }
}
