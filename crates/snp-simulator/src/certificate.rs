//! Certificates and revocation lists of AMD's profile (AMD document 57230 and what real ones look like).

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rand::SystemRandom,
    rsa::KeyPair,
    signature::{KeyPair as _, RSA_PSS_SHA384},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{ChipSpec, Product, SimError, Tcb, der};

/// Length of one number of a P-384 signature.
pub(crate) const P384_LEN: usize = 48;

/// From and until when, seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

/// The three kinds of authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ca {
    Ark,
    Ask,
    Asvk,
}

impl Ca {
    pub(crate) const fn serial(self, product: Product) -> u64 {
        product.ark_serial()
            + match self {
                Self::Ark => 0,
                Self::Ask => 1,
                Self::Asvk => 0x101,
            }
    }

    fn common_name(self, product: Product) -> String {
        let prefix = match self {
            Self::Ark => "ARK",
            Self::Ask => "SEV",
            Self::Asvk => "SEV-VLEK",
        };
        format!("{prefix}-{}", product.name())
    }

    fn crl_url(self, product: Product) -> String {
        let family = if self == Self::Asvk { "vlek" } else { "vcek" };
        format!("https://kdsintf.amd.com/{family}/v1/{}/crl", product.name())
    }
}

/// A certificate authority: its key and its certificate.
pub(crate) struct Authority {
    key: KeyPair,
    name: Vec<u8>,
    pub(crate) der: Vec<u8>,
}

impl Authority {
    /// The ARK.
    pub(crate) fn self_signed(product: Product, key: KeyPair, validity: Validity) -> Result<Self, SimError> {
        let name = name(&Ca::Ark.common_name(product));
        let extensions = [
            key_usage(CERT_SIGN | CRL_SIGN),
            subject_key_id(&key),
            critical(BASIC_CONSTRAINTS, &der::sequence(&[der::boolean_true()])),
            crl_distribution_point(&Ca::Ark.crl_url(product)),
        ];
        let body = ToBeSigned {
            serial: Ca::Ark.serial(product),
            issuer: &name,
            subject: &name,
            spki: rsa_spki(&key),
            extensions: &extensions,
        };
        let der = sign(&key, &body.encode(validity, Trailer::Explicit)?, Trailer::Explicit)?;
        Ok(Self { key, name, der })
    }

    /// An ASK or ASVK under this ARK.
    pub(crate) fn certify(
        &self,
        ca: Ca,
        product: Product,
        key: KeyPair,
        validity: Validity,
    ) -> Result<Self, SimError> {
        let name = name(&ca.common_name(product));
        let extensions = [
            subject_key_id(&key),
            self.authority_key_id(),
            critical(BASIC_CONSTRAINTS, &der::sequence(&[der::boolean_true(), der::integer(0)])),
            key_usage(CERT_SIGN),
            crl_distribution_point(&ca.crl_url(product)),
        ];
        let body = ToBeSigned {
            serial: ca.serial(product),
            issuer: &self.name,
            subject: &name,
            spki: rsa_spki(&key),
            extensions: &extensions,
        };
        let der = sign(&self.key, &body.encode(validity, Trailer::Explicit)?, Trailer::Explicit)?;
        Ok(Self { key, name, der })
    }

    /// A VCEK or VLEK for the P-384 `point` (uncompressed). AMD gives all of them serial 0.
    pub(crate) fn endorse(
        &self,
        common_name: &str,
        point: &[u8],
        extensions: &[Vec<u8>],
        validity: Validity,
    ) -> Result<Vec<u8>, SimError> {
        let algorithm = der::sequence(&[der::oid(EC_PUBLIC_KEY), der::oid(SECP384R1)]);
        let body = ToBeSigned {
            serial: 0,
            issuer: &self.name,
            subject: &name(common_name),
            spki: der::sequence(&[algorithm, der::bits(0, point)]),
            extensions,
        };
        sign(&self.key, &body.encode(validity, Trailer::Default)?, Trailer::Default)
    }

    /// A version 2 CRL; `validity` is thisUpdate and nextUpdate.
    pub(crate) fn revocation_list(&self, revoked: &[u64], validity: Validity) -> Result<Vec<u8>, SimError> {
        let this_update = der::time(validity.not_before)?;
        let entries: Vec<_> = revoked
            .iter()
            .map(|serial| der::sequence(&[der::integer(*serial), this_update.clone()]))
            .collect();
        let extensions = [self.authority_key_id(), extension(CRL_NUMBER, &der::integer(1))];
        let mut parts = vec![
            der::integer(1),
            pss_sha384(Trailer::Default),
            self.name.clone(),
            this_update,
            der::time(validity.not_after)?,
        ];
        if !entries.is_empty() {
            parts.push(der::sequence(&entries));
        }
        parts.push(der::context(0, &der::sequence(&extensions)));
        sign(&self.key, &der::sequence(&parts), Trailer::Default)
    }

    /// Signs what a certificate or list of ours says, once more after `edit`.
    pub(crate) fn sign_again(
        &self,
        der: &[u8],
        edit: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<u8>, SimError> {
        let mut to_be_signed = der::first_inside(der).to_vec();
        edit(&mut to_be_signed);
        sign(&self.key, &to_be_signed, Trailer::Default)
    }

    fn authority_key_id(&self) -> Vec<u8> {
        extension(AUTHORITY_KEY_ID, &der::sequence(&[der::tlv(0x80, &key_id(&self.key))]))
    }
}

/// A CERTIFICATE block of RFC 7468.
pub(crate) fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// What AMD says of a chip in its VCEK.
pub(crate) fn vcek_extensions(product: Product, chip: &ChipSpec) -> Vec<Vec<u8>> {
    let hwid = chip.chip_id.get(..product.hwid_len()).unwrap_or_default();
    let mut extensions = vek_extensions(product, product.vcek_product_name(), chip.tcb);
    // The hardware id stands raw in the extension's OCTET STRING, with no DER of its own.
    extensions.push(extension(&amd(&[4]), hwid));
    extensions
}

/// What AMD says in a VLEK: levels and the cloud provider, but no chip.
pub(crate) fn vlek_extensions(product: Product, chip: &ChipSpec, csp_id: &str) -> Vec<Vec<u8>> {
    let mut extensions = vek_extensions(product, product.name(), chip.tcb);
    extensions.push(extension(&amd(&[5]), &der::ia5(csp_id)));
    extensions
}

fn vek_extensions(product: Product, product_name: &str, tcb: Tcb) -> Vec<Vec<u8>> {
    let mut out = vec![
        extension(&amd(&[1]), &der::integer(product.certificate_struct_version())),
        extension(&amd(&[2]), &der::ia5(product_name)),
    ];
    // Order and the reserved levels as in real certificates.
    let levels: &[(u64, u8)] = match product {
        Product::Milan | Product::Genoa => &[
            (1, tcb.bootloader),
            (2, tcb.tee),
            (4, 0),
            (5, 0),
            (6, 0),
            (7, 0),
            (3, tcb.snp),
            (8, tcb.microcode),
        ],
        Product::Turin => &[
            (9, tcb.fmc),
            (1, tcb.bootloader),
            (2, tcb.tee),
            (3, tcb.snp),
            (5, 0),
            (6, 0),
            (7, 0),
            (8, tcb.microcode),
        ],
    };
    out.extend(
        levels.iter().map(|(arc, level)| extension(&amd(&[3, *arc]), &der::integer(u64::from(*level)))),
    );
    out
}

/// `TBSCertificate` without what the issuer adds.
struct ToBeSigned<'a> {
    serial: u64,
    issuer: &'a [u8],
    subject: &'a [u8],
    spki: Vec<u8>,
    extensions: &'a [Vec<u8>],
}

impl ToBeSigned<'_> {
    fn encode(&self, validity: Validity, trailer: Trailer) -> Result<Vec<u8>, SimError> {
        Ok(der::sequence(&[
            der::context(0, &der::integer(2)),
            der::integer(self.serial),
            pss_sha384(trailer),
            self.issuer.to_vec(),
            der::sequence(&[der::time(validity.not_before)?, der::time(validity.not_after)?]),
            self.subject.to_vec(),
            self.spki.clone(),
            der::context(3, &der::sequence(self.extensions)),
        ]))
    }
}

/// How the RSASSA-PSS trailer field is written: AMD's CA certificates spell out the default, the others leave it
/// away as DER wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailer {
    Explicit,
    Default,
}

/// RSASSA-PSS with SHA-384, MGF1 of SHA-384 and 48 bytes of salt.
fn pss_sha384(trailer: Trailer) -> Vec<u8> {
    let sha384 = der::sequence(&[der::oid(SHA384), der::null()]);
    let mut parameters = vec![
        der::context(0, &sha384),
        der::context(1, &der::sequence(&[der::oid(MGF1), sha384])),
        der::context(2, &der::integer(48)),
    ];
    if trailer == Trailer::Explicit {
        parameters.push(der::context(3, &der::integer(1)));
    }
    der::sequence(&[der::oid(RSASSA_PSS), der::sequence(&parameters)])
}

fn sign(key: &KeyPair, to_be_signed: &[u8], trailer: Trailer) -> Result<Vec<u8>, SimError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), to_be_signed, &mut signature)
        .map_err(|_| SimError::Crypto("signing a certificate"))?;
    Ok(der::sequence(&[to_be_signed.to_vec(), pss_sha384(trailer), der::bits(0, &signature)]))
}

/// AMD's shape, except that the unit tells everybody who reads it that this is not AMD's.
fn name(common_name: &str) -> Vec<u8> {
    let attribute = |arc, value| der::set(&der::sequence(&[der::oid(&[2, 5, 4, arc]), value]));
    der::sequence(&[
        attribute(11, der::utf8("SIMULATED HARDWARE")),
        attribute(6, der::printable("US")),
        attribute(7, der::utf8("Santa Clara")),
        attribute(8, der::utf8("CA")),
        attribute(10, der::utf8("Advanced Micro Devices")),
        attribute(3, der::utf8(common_name)),
    ])
}

fn rsa_spki(key: &KeyPair) -> Vec<u8> {
    let algorithm = der::sequence(&[der::oid(RSA_ENCRYPTION), der::null()]);
    der::sequence(&[algorithm, der::bits(0, key.public_key().as_ref())])
}

/// RFC 5280 4.2.1.2 method 1; an identifier, not a security property.
fn key_id(key: &KeyPair) -> Vec<u8> {
    digest(&SHA1_FOR_LEGACY_USE_ONLY, key.public_key().as_ref()).as_ref().to_vec()
}

fn subject_key_id(key: &KeyPair) -> Vec<u8> {
    extension(SUBJECT_KEY_ID, &der::octets(&key_id(key)))
}

/// AMD counts one unused bit whatever is set, which is not DER's shortest form.
fn key_usage(bits: u8) -> Vec<u8> {
    critical(KEY_USAGE, &der::bits(1, &[bits]))
}

fn crl_distribution_point(url: &str) -> Vec<u8> {
    let uri = der::tlv(0x86, url.as_bytes());
    let full_name = der::context(0, &der::context(0, &uri));
    extension(CRL_DISTRIBUTION_POINTS, &der::sequence(&[der::sequence(&[full_name])]))
}

fn extension(id: &[u64], value: &[u8]) -> Vec<u8> {
    der::sequence(&[der::oid(id), der::octets(value)])
}

fn critical(id: &[u64], value: &[u8]) -> Vec<u8> {
    der::sequence(&[der::oid(id), der::boolean_true(), der::octets(value)])
}

/// An object identifier under AMD's arc for endorsement keys.
fn amd(rest: &[u64]) -> Vec<u64> {
    [&[1, 3, 6, 1, 4, 1, 3704, 1], rest].concat()
}

/// Bits of `KeyUsage`, first bit first.
const CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

const SUBJECT_KEY_ID: &[u64] = &[2, 5, 29, 14];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const CRL_NUMBER: &[u64] = &[2, 5, 29, 20];
const CRL_DISTRIBUTION_POINTS: &[u64] = &[2, 5, 29, 31];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const MGF1: &[u64] = &[1, 2, 840, 113_549, 1, 1, 8];
const RSASSA_PSS: &[u64] = &[1, 2, 840, 113_549, 1, 1, 10];
const SHA384: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 2];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10_045, 2, 1];
const SECP384R1: &[u64] = &[1, 3, 132, 0, 34];
