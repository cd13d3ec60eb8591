//! What AMD's key server has, by its names (AMD 57230, chapter 4), and whether bytes are it.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use snp_evidence::{ListDates, Product, TrustRoots, UnixTime, VcekId};

use crate::directory::to_der;

/// One certificate or list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    /// Of one chip at one TCB. There is no such thing as a VLEK here: only its provider has it.
    Vcek(VcekId),
    /// The issuer of VLEKs.
    Asvk(Product),
    /// The list that covers one issuer. Its bytes do not say which.
    List(Issuer, Product),
}

/// Of VCEKs, or of VLEKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Issuer {
    Ask,
    Asvk,
}

/// Bytes that are what their name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) der: Vec<u8>,
    /// Of a list.
    pub(crate) dates: Option<ListDates>,
}

impl Item {
    /// Its place on the server, and in the cache: what is kept is told apart by all that AMD tells it apart by, the
    /// chip's FMC level among it.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Vcek(VcekId { product, hwid, tcb }) => {
                let fmc = tcb.fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
                format!(
                    "vcek/v1/{}/{}?{fmc}blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
                    product.amd_name(),
                    hex::encode(hwid),
                    tcb.bootloader,
                    tcb.tee,
                    tcb.snp,
                    tcb.microcode
                )
            }
            Self::Asvk(product) => format!("vlek/v1/{}/cert_chain", product.amd_name()),
            Self::List(Issuer::Ask, product) => format!("vcek/v1/{}/crl", product.amd_name()),
            Self::List(Issuer::Asvk, product) => format!("vlek/v1/{}/crl", product.amd_name()),
        }
    }

    /// Its name in the operator's directory.
    pub(crate) fn file(&self) -> &'static str {
        match self {
            Self::Vcek(_) => "vcek.der",
            Self::Asvk(_) => "asvk.pem",
            Self::List(..) => "crl.der",
        }
    }

    /// As metrics and people call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Vcek(_) => "vcek",
            Self::Asvk(_) => "asvk",
            Self::List(..) => "crl",
        }
    }

    /// The item in `bytes`, which may be PEM, or why they are not it. Lists are not judged by their end, which the
    /// policy may allow to have passed.
    pub(crate) fn read(&self, bytes: &[u8], roots: &TrustRoots, now: UnixTime) -> Result<Sound, String> {
        let one = || to_der(bytes).ok_or_else(|| "neither DER nor PEM with one block".to_owned());
        let why = |error: snp_evidence::Unfit| error.to_string();
        match self {
            Self::Vcek(id) => {
                let der = one()?;
                roots.check_vcek(id, &der, now).map_err(why)?;
                Ok(Sound { der, dates: None })
            }
            Self::Asvk(product) => asvk(bytes, roots, *product),
            Self::List(_, product) => {
                let der = one()?;
                let dates = roots.check_list(*product, &der).map_err(why)?;
                if dates.this_update > now {
                    return Err(format!(
                        "made {}, which is still to come; check the clock",
                        dates.this_update
                    ));
                }
                Ok(Sound { der, dates: Some(dates) })
            }
        }
    }
}

/// Alone, or in the chain that the server gives.
fn asvk(bytes: &[u8], roots: &TrustRoots, product: Product) -> Result<Sound, String> {
    let blocks = CertificateDer::pem_slice_iter(bytes).map_while(Result::ok).map(|block| block.to_vec());
    let der = to_der(bytes).into_iter().chain(blocks).find(|der| roots.is_asvk(product, der));
    der.map(|der| Sound { der, dates: None }).ok_or_else(|| format!("not the pinned ASVK of {product}"))
}

impl Sound {
    /// Whether `self` is a list that is not older than `other`.
    pub(crate) fn is_as_new_as(&self, other: &Self) -> bool {
        let made = |sound: &Self| sound.dates.map(|dates| dates.this_update);
        made(self) >= made(other)
    }

    /// Whether the next list is not due yet, `margin` seconds before it is.
    pub(crate) fn lasts(&self, now: UnixTime, margin: i64) -> bool {
        self.dates.is_none_or(|dates| now.0.saturating_add(margin) <= dates.next_update.0)
    }
}
