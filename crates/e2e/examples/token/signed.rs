//! A health token as attestation-svc mints them, and what its receiver knows.

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
        EcdsaKeyPair, KeyPair, ParsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use health_token::{
    AFFIRMING, Attested, B64Url, Claims, Confirmation, Expected, Jwk, MAX_LIFE, PROFILE, TokenKey,
    signing_input, verify,
};

use crate::Outcome;

const NOW: i64 = 1_767_225_600;
const ISSUER: &str = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/attestation";
const HOLDER: &str = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/gateway";
const SEED: [u8; 32] = [7; 32];

/// A token, its key in both forms, and the key that it is bound to.
pub(crate) struct Signed {
    token: String,
    input: String,
    signature: Vec<u8>,
    bare: ParsedPublicKey,
    key: TokenKey,
    peer_spki: Vec<u8>,
}

impl Signed {
    pub(crate) fn new() -> Outcome<Self> {
        let signer = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?;
        let holder = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let peer_spki = holder.public_key().as_der()?.as_ref().to_vec();
        let key = TokenKey::from_spki(signer.public_key().as_der()?.as_ref())?;
        let bare = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, signer.public_key().as_ref())?;
        let jwk = Jwk::from_spki(&peer_spki).ok_or("the holder's key is not P-256")?;
        let input = signing_input(&claims(jwk), key.kid());
        let signature = signer.sign(&SystemRandom::new(), input.as_bytes())?.as_ref().to_vec();
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&signature));
        Ok(Self { token, input, signature, bare, key, peer_spki })
    }

    /// What any receiver of any signed token has to do.
    pub(crate) fn verify(&self) -> bool {
        self.bare.verify_sig(self.input.as_bytes(), &self.signature).is_ok()
    }

    /// What a receiver of ours does.
    pub(crate) fn judge(&self) -> bool {
        let expected = Expected {
            keys: std::slice::from_ref(&self.key),
            boot_seed: &SEED,
            min_epoch: 1,
            issuer: ISSUER,
            subject: HOLDER,
            peer_spki: &self.peer_spki,
            now: NOW,
        };
        verify(&self.token, &expected).is_ok()
    }
}

fn claims(jwk: Jwk) -> Claims {
    Claims {
        iss: ISSUER.into(),
        sub: HOLDER.into(),
        iat: NOW,
        nbf: NOW,
        exp: NOW + MAX_LIFE,
        jti: B64Url([1; 16]),
        cnf: Confirmation { jwk, x5t_s256: B64Url([2; 32]) },
        eat_profile: PROFILE.into(),
        eat_nonce: B64Url([9; 32]),
        bootseed: B64Url(SEED),
        hep: 1,
        att: Attested {
            report_sha256: B64Url([3; 32]),
            measurement: B64Url([4; 48]),
            policy_sha256: B64Url([5; 32]),
            key_manifest_sha384: B64Url([6; 48]),
        },
        ear_status: AFFIRMING.into(),
    }
}
