//! The CVM's certificate authority. Its key is made after the evidence was accepted and never leaves memory.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use mtls::{CertificateRequest, IdentityError, Role, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::CertificateDer;
use snp_evidence::KeyUse;
use time::OffsetDateTime;

use crate::manifest::Listed;

/// Seconds that a service's or listener's certificate lives. Holders renew at half of it.
pub(crate) const LEAF_LIFE: i64 = 3600;
/// The same of a workload's: proxies keep the last one that they were handed, whatever has become of this machine.
pub(crate) const WORKLOAD_LIFE: i64 = 600;
/// Seconds that the CA certificate lives. Its key ends with the process, which is its real bound;
/// the date only has to outlast that.
const CA_LIFE: i64 = 366 * 24 * 3600;
/// What SVIDs are for.
const BOTH: [ExtendedKeyUsagePurpose; 2] =
    [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
/// Seconds that a leaf is dated back, for relying parties whose clock is behind.
const BACKDATE: i64 = 300;
/// Seconds that the CA certificate is dated back. It cannot be made anew before the next start, so
/// it has to stay valid where the clock was ahead at boot and is then set right.
const CA_BACKDATE: i64 = 24 * 3600;

/// Issues the certificates of one boot.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, CaKey>,
    spki: Vec<u8>,
    own: SpiffeId,
    seq: u64,
}

impl Ca {
    /// Makes the first CA of a boot, which names the instance together with `boot_seed`.
    pub(crate) fn generate(trust_domain: &str, boot_seed: &[u8; 32], now: i64) -> Result<Self, CaError> {
        let (pair, spki) = key()?;
        let own = SpiffeId::new(trust_domain, &instance(boot_seed, &spki), Role::Attestation)?;
        Self::of(pair, spki, own, 1, now)
    }

    /// Makes the CA after this one, of the same instance.
    pub(crate) fn successor(&self, now: i64) -> Result<Self, CaError> {
        let (pair, spki) = key()?;
        Self::of(pair, spki, self.own.clone(), self.seq + 1, now)
    }

    fn of(pair: EcdsaKeyPair, spki: Vec<u8>, own: SpiffeId, seq: u64, now: i64) -> Result<Self, CaError> {
        // Of two CAs with one name, software that looks for the issuer by name would try the wrong one.
        let name = format!("Cube CVM {}, CA {seq}", own.instance());
        let mut params = params(&name, now, CA_BACKDATE, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, CaKey(pair))?;
        Ok(Self { issuer, spki, own, seq })
    }

    /// First 16 hex digits of SHA-256(boot seed ‖ SPKI of the boot's first CA).
    pub(crate) fn instance(&self) -> &str {
        self.own.instance()
    }

    /// The SPIFFE ID of `role` in this instance.
    pub(crate) fn identity(&self, role: Role) -> SpiffeId {
        self.own.sibling(role)
    }

    /// The CA's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// An SVID for the key of `request`: client and server, one URI name.
    pub(crate) fn issue_svid(
        &self,
        role: Role,
        request: &CertificateRequest,
        now: i64,
    ) -> Result<CertificateDer<'static>, CaError> {
        let uri = self.identity(role).to_string().try_into()?;
        self.issue(
            role.as_str(),
            vec![SanType::URI(uri)],
            &BOTH,
            request.key(),
            now..now.saturating_add(LEAF_LIFE),
        )
    }

    /// The SPIFFE ID of a workload of others in this instance; no service of Cube's has this form.
    pub(crate) fn workload(&self, name: &str) -> String {
        format!("{}workload/{name}", self.prefix())
    }

    /// What the SPIFFE ID of everybody in this instance begins with.
    pub(crate) fn prefix(&self) -> String {
        format!("spiffe://{}/cvm/{}/", self.own.trust_domain(), self.own.instance())
    }

    /// A short-lived SVID for the workload `name`.
    pub(crate) fn issue_workload(
        &self,
        name: &str,
        key: &rcgen::KeyPair,
        now: i64,
    ) -> Result<CertificateDer<'static>, CaError> {
        let uri = SanType::URI(self.workload(name).try_into()?);
        self.issue(name, vec![uri], &BOTH, key, now..now.saturating_add(WORKLOAD_LIFE))
    }

    /// A server certificate for a public listener, for DNS names and IP addresses.
    pub(crate) fn issue_listener(
        &self,
        listener: &str,
        names: &[String],
        request: &CertificateRequest,
        now: i64,
    ) -> Result<CertificateDer<'static>, CaError> {
        let name = |name: &String| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        };
        let names = names.iter().map(name).collect::<Result<_, CaError>>()?;
        let life = now..now.saturating_add(LEAF_LIFE);
        self.issue(listener, names, &[ExtendedKeyUsagePurpose::ServerAuth], request.key(), life)
    }

    fn issue(
        &self,
        common_name: &str,
        names: Vec<SanType>,
        usages: &[ExtendedKeyUsagePurpose],
        key: &impl PublicKeyData,
        life: Range<i64>,
    ) -> Result<CertificateDer<'static>, CaError> {
        let mut params = params(common_name, life.start, BACKDATE, life.end.saturating_sub(life.start))?;
        // Says "not a CA" and, with it, carries a subject key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.subject_alt_names = names;
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

impl Listed for Ca {
    const USE: KeyUse = KeyUse::Ca;

    fn spki(&self) -> &[u8] {
        &self.spki
    }

    fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("instance", &self.own.instance()).finish_non_exhaustive()
    }
}

fn key() -> Result<(EcdsaKeyPair, Vec<u8>), CaError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(|_| CaError::Key)?;
    let spki = pair.public_key().as_der().map_err(|_| CaError::Key)?.as_ref().to_vec();
    Ok((pair, spki))
}

fn params(common_name: &str, now: i64, backdate: i64, life: i64) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial()?);
    params.not_before = date(now.saturating_sub(backdate))?;
    params.not_after = date(now.saturating_add(life))?;
    Ok(params)
}

/// 127 random bits: positive, and never the same for two certificates of one key.
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Key)?;
    let value = u128::from_be_bytes(bytes) >> 1 | 1;
    Ok(SerialNumber::from_slice(&value.to_be_bytes()))
}

fn date(unix: i64) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(unix).map_err(|_| CaError::Date(unix))
}

fn instance(boot_seed: &[u8; 32], ca_spki: &[u8]) -> String {
    let hash = digest(&SHA256, &[boot_seed, ca_spki].concat());
    let mut text = hex::encode(hash);
    text.truncate(16);
    text
}

/// A P-384 key that exists only inside AWS-LC, which clears it at the end.
struct CaKey(EcdsaKeyPair);

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P384_SHA384
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// Why a CA or certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    /// AWS-LC gave no key or no randomness.
    #[error("no CA key or serial number could be made")]
    Key,
    /// The clock shows what no certificate can.
    #[error("the clock shows {0} s since 1970, which no certificate can carry")]
    Date(i64),
    /// The trust domain is none.
    #[error("the CVM's identity cannot be written: {0}")]
    Identity(#[from] IdentityError),
    /// rcgen refused.
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
}
