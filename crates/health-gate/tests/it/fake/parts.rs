//! What the fake's answers are made of.

use aws_lc_rs::{
    encoding::AsDer,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use mtls::SpiffeId;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyUsagePurpose};
use snp_evidence::{B64, KeyManifest, KeyUse, ManifestKey};

use crate::world::sha256;

pub(super) fn ca(now: i64) -> CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut params = params(now, 366 * 24 * 3600);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(
        params,
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
    )
    .unwrap()
}

pub(super) fn base64_url(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn spki(key: &EcdsaKeyPair) -> Vec<u8> {
    key.public_key().as_der().unwrap().as_ref().to_vec()
}

pub(super) fn swapped(manifest: &[u8]) -> Vec<u8> {
    let mut manifest = KeyManifest::parse(manifest).unwrap();
    let foreign = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let token_key = manifest.keys.iter_mut().find(|key| key.r#use == KeyUse::Token).unwrap();
    let owner = token_key.owner.parse().unwrap();
    *token_key = entry(KeyUse::Token, "P-384", &spki(&foreign), &owner, None);
    manifest.to_bytes()
}

pub(super) fn entry(
    r#use: KeyUse,
    alg: &str,
    spki: &[u8],
    owner: &SpiffeId,
    listener: Option<String>,
) -> ManifestKey {
    let (sha256, owner) = (snp_evidence::B64Url(sha256(spki)), owner.to_string());
    ManifestKey { r#use, alg: alg.to_owned(), spki: B64(spki.to_vec()), sha256, owner, listener, seq: 1 }
}

pub(super) fn params(now: i64, life: i64) -> CertificateParams {
    let date = |unix| time::OffsetDateTime::from_unix_timestamp(unix).unwrap();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date(now - 300), date(now + life));
    params
}
