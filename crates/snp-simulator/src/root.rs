//! The simulator's own ARK, ASK and ASVK.

use std::{fmt, thread};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::{
    ChipSpec, Product, SecureProcessor, SigningKey, SimError,
    certificate::{self, Authority, Ca, Validity},
    processor::Machine,
};

/// Seconds from the birth of a root to its end; everything under it ends with it.
pub(crate) const ROOT_LIFETIME: i64 = 24 * 60 * 60;

/// Seconds from a CRL to the next one.
const CRL_LIFETIME: i64 = 42 * 24 * 60 * 60;

/// A root of trust made for one run.
pub struct SimulatedRoot {
    product: Product,
    validity: Validity,
    ark: Authority,
    ask: Authority,
    asvk: Authority,
}

impl SimulatedRoot {
    /// Makes ARK, ASK and ASVK (RSA-4096), valid for 24 hours from `now_unix`. Takes seconds of CPU time.
    pub fn generate(product: Product, now_unix: i64) -> Result<Self, SimError> {
        let validity = Validity { not_before: now_unix, not_after: now_unix.saturating_add(ROOT_LIFETIME) };
        let [root_key, chip_key, loaded_key] = rsa_keys()?;
        let ark = Authority::self_signed(product, root_key, validity)?;
        Ok(Self {
            ask: ark.certify(Ca::Ask, product, chip_key, validity)?,
            asvk: ark.certify(Ca::Asvk, product, loaded_key, validity)?,
            ark,
            product,
            validity,
        })
    }

    /// ARK, ASK and ASVK as CERTIFICATE blocks in that order.
    pub fn root_pem(&self) -> String {
        [&self.ark, &self.ask, &self.asvk].map(|ca| certificate::pem(&ca.der)).concat()
    }

    /// A chip with a VCEK.
    pub fn make_processor(&self, chip: &ChipSpec) -> Result<SecureProcessor, SimError> {
        let extensions = certificate::vcek_extensions(self.product, chip);
        self.make(chip, SigningKey::Vcek, &self.ask, "SEV-VCEK", &extensions)
    }

    /// A chip that a cloud provider `csp_id`, such as `CN=cc-us-east-2.example.com`, gave a VLEK.
    pub fn make_vlek_processor(&self, chip: &ChipSpec, csp_id: &str) -> Result<SecureProcessor, SimError> {
        let extensions = certificate::vlek_extensions(self.product, chip, csp_id);
        self.make(chip, SigningKey::Vlek, &self.asvk, "SEV-VLEK", &extensions)
    }

    /// The same chip with a VEK that says something else: `edit` changes the signed part of the certificate, which
    /// its issuer then signs. For forgeries.
    pub fn reissue(
        &self,
        processor: &SecureProcessor,
        edit: impl FnOnce(&mut Vec<u8>),
    ) -> Result<SecureProcessor, SimError> {
        let issuer = match processor.signing_key() {
            SigningKey::Vcek => &self.ask,
            SigningKey::Vlek => &self.asvk,
        };
        let vek = issuer.sign_again(processor.vek_der(), edit)?;
        SecureProcessor::boot(Machine { vek, ..processor.machine().clone() })
    }

    /// A list of [`Self::crl`] that says something else, signed by the ARK all the same. For forgeries.
    pub fn reissue_crl(&self, crl: &[u8], edit: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, SimError> {
        self.ark.sign_again(crl, edit)
    }

    /// A CRL under the ARK naming these serials of intermediates, good until `next_update`.
    pub fn crl(&self, revoked: &[u64], this_update: i64, next_update: i64) -> Result<Vec<u8>, SimError> {
        self.ark.revocation_list(revoked, Validity { not_before: this_update, not_after: next_update })
    }

    /// A CRL that names nobody, good for the six weeks that AMD's are good for.
    pub fn empty_crl(&self) -> Result<Vec<u8>, SimError> {
        let now = self.validity.not_before;
        self.crl(&[], now, now.saturating_add(CRL_LIFETIME))
    }

    /// Serial of the ASK, for [`Self::crl`].
    pub fn ask_serial(&self) -> u64 {
        Ca::Ask.serial(self.product)
    }

    /// Serial of the ASVK, for [`Self::crl`].
    pub fn asvk_serial(&self) -> u64 {
        Ca::Asvk.serial(self.product)
    }

    fn make(
        &self,
        chip: &ChipSpec,
        signing_key: SigningKey,
        issuer: &Authority,
        name: &str,
        extensions: &[Vec<u8>],
    ) -> Result<SecureProcessor, SimError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| SimError::Crypto("making an endorsement key"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref())
            .map_err(|_| SimError::Crypto("loading an endorsement key"))?;
        let vek = issuer.endorse(name, key.public_key().as_ref(), extensions, self.validity)?;
        SecureProcessor::boot(Machine {
            product: self.product,
            chip: chip.clone(),
            signing_key,
            key_pkcs8: pkcs8.as_ref().to_vec(),
            vek,
            ask: self.ask.der.clone(),
            asvk: self.asvk.der.clone(),
            ark: self.ark.der.clone(),
        })
    }
}

impl fmt::Debug for SimulatedRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedRoot")
            .field("product", &self.product)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// RSA-4096 takes a second or more each, so the three are made side by side.
fn rsa_keys() -> Result<[KeyPair; 3], SimError> {
    let failed = SimError::Crypto;
    let generate = || KeyPair::generate(KeySize::Rsa4096).map_err(|_| failed("making an RSA-4096 key"));
    thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(generate));
        let [first, second, third] =
            threads.map(|thread| thread.join().unwrap_or(Err(failed("joining a key generation thread"))));
        Ok([first?, second?, third?])
    })
}
