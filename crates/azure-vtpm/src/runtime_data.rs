//! What the paravisor says of itself and its vTPM: the JSON text that the SNP report commits to.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::object::{JsonError, Object};

/// The vTPM's attestation key among `keys`.
const AK: &str = "HCLAkPub";

/// The claims of a paravisor. They are its own: AMD vouches that it made them, no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeData {
    pub(crate) ak: RsaKey,
    /// Keys with the attestation key's name; more than one is refused by a check.
    pub(crate) aks: usize,
    vm_unique_id: String,
    secure_boot: bool,
}

/// An RSA public key, numbers big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RsaKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl RuntimeData {
    /// Azure's id of the VM, as the paravisor states it.
    pub fn vm_unique_id(&self) -> &str {
        &self.vm_unique_id
    }

    /// Whether the paravisor starts the guest with UEFI secure boot.
    pub fn secure_boot(&self) -> bool {
        self.secure_boot
    }

    pub(crate) fn parse(json: &[u8]) -> Result<Self, JsonError> {
        let mut object: Object =
            serde_json::from_slice(json).map_err(|error| JsonError(error.to_string()))?;
        let keys: Vec<Object> = object.take("keys")?;
        let mut vm: Object = object.take("vm-configuration")?;
        // Paravisors before 2024 write none; it is the guest's, and nothing rests on it.
        object.take_if_any::<String>("user-data")?;
        object.finish()?;
        let keys = keys.into_iter().map(named_key).collect::<Result<Vec<_>, _>>()?;
        let mut aks: Vec<_> = keys.into_iter().filter(|(kid, _)| kid == AK).map(|(_, key)| key).collect();
        // What else a VM's configuration says differs from release to release.
        let (vm_unique_id, secure_boot) = (vm.take("vmUniqueId")?, vm.take("secure-boot")?);
        let count = aks.len();
        let ak = aks.pop().ok_or_else(|| JsonError(format!("no key {AK}")))?;
        Ok(Self { ak, aks: count, vm_unique_id, secure_boot })
    }
}

/// A JWK (RFC 7517, RFC 7518 section 6.3.1) with its `kid`.
fn named_key(mut jwk: Object) -> Result<(String, RsaKey), JsonError> {
    let kid = jwk.take("kid")?;
    // Early paravisors say "encrypt" of a signing key, so that this is read and not judged.
    jwk.take::<Vec<String>>("key_ops")?;
    if jwk.take::<String>("kty")? != "RSA" {
        return Err(JsonError("kty is not RSA".to_owned()));
    }
    let key = RsaKey { n: number(&mut jwk, "n")?, e: number(&mut jwk, "e")? };
    jwk.finish()?;
    Ok((kid, key))
}

fn number(jwk: &mut Object, name: &str) -> Result<Vec<u8>, JsonError> {
    let text: String = jwk.take(name)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JsonError(format!("{name} is not unpadded base64url")))
}

impl RsaKey {
    /// RSASSA-PKCS1-v1_5 with SHA-256, by a key of 2048 bits or more.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents { n: &self.n, e: &self.e };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }

    /// Bytes of the modulus, and so of a signature.
    pub(crate) fn size(&self) -> usize {
        self.n.len()
    }
}
