//! Which of AMD's certificates and lists a report needs, and whether bytes are such a one (AMD 57230, 4).
//!
//! For whoever fetches and keeps them: what does not belong to the name that it was asked for or kept under is told
//! from what does, before it is used. None of this is a verdict on a report. [`crate::verify`] judges everything again.

use crate::{
    certificate::Certificate,
    chain::{self, Chain},
    digest::sha256,
    evidence::Vek,
    product::Product,
    report::{Report, SigningKey},
    revocation::RevocationList,
    roots::{RootSet, TrustRoots},
    tcb::Tcb,
    time::UnixTime,
};

/// The key that signed a report, by what the report says of it (AMD 56860, 7.3, `SIGNING_KEY`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The chip's own. One certificate; or, in a report of version 2, which does not name its processor, one for each
    /// product that it may be. None where the host masks the chip id.
    Vcek(Vec<VcekId>),
    /// A cloud provider's, of which only the provider has the certificate. The product, where the report names it.
    Vlek(Option<Product>),
}

/// Names a VCEK as AMD's key server does: one chip at one TCB, the *reported* one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VcekId {
    /// The product line.
    pub product: Product,
    /// `CHIP_ID` as far as the product uses it: 64 bytes, 8 on Turin.
    pub hwid: Vec<u8>,
    /// `REPORTED_TCB`, which the key is derived from.
    pub tcb: Tcb,
}

/// When a revocation list was made, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListDates {
    /// `thisUpdate`.
    pub this_update: UnixTime,
    /// `nextUpdate`.
    pub next_update: UnixTime,
}

/// Why bytes are not what they were taken for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl Signer {
    /// Of a report, whose structure has to be sound; `None` if it is not, or if no key that has a certificate signed it
    /// on a processor that we know.
    pub fn of(report: &[u8]) -> Option<Self> {
        let report = Report::parse(report).ok()?;
        let product = match report.cpuid {
            Some((family, model)) => Some(Product::from_cpuid(family, model)?),
            None => None,
        };
        match report.key_info.signing_key() {
            SigningKey::Vcek => Some(Self::Vcek(vceks(&report, product))),
            SigningKey::Vlek => Some(Self::Vlek(product)),
            SigningKey::None | SigningKey::Unknown => None,
        }
    }
}

/// Of the product, or of every one whose layout the report fits.
fn vceks(report: &Report, product: Option<Product>) -> Vec<VcekId> {
    if report.chip_id.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    let fits = |candidate: &Product| {
        let unused = report.chip_id.iter().skip(report.chip_id_of(*candidate).len());
        product.is_none_or(|product| product == *candidate)
            && report.reported_tcb.reserved_is_zero(*candidate)
            && unused.copied().all(|byte| byte == 0)
    };
    let id = |product| VcekId {
        product,
        hwid: report.chip_id_of(product).to_vec(),
        tcb: report.reported_tcb.of(product),
    };
    Product::ALL.into_iter().filter(fits).map(id).collect()
}

impl Vek {
    /// The product line, by the name of the issuer; nothing vouches for it yet.
    pub fn product(&self) -> Option<Product> {
        chain::product_of_issuer(self)
    }
}

impl TrustRoots {
    /// Whether `der` is the VCEK that `id` names: of AMD's form and names for the product, valid at `now`, under the
    /// pinned CAs, certified for this chip and this TCB.
    pub fn check_vcek(&self, id: &VcekId, der: &[u8], now: UnixTime) -> Result<(), Unfit> {
        let set = self.pinned(id.product)?;
        let vek = Vek::Vcek(der.to_vec());
        let chain = self.memory.chain([&set.ark, &set.ask, der]).map_err(unfit)?;
        if let Some(which) = chain.misnamed(id.product, &vek) {
            return Err(Unfit(format!(
                "{which} has another name or constraint than AMD's for {}",
                id.product
            )));
        }
        if let Some(out) = chain.out_of_date(now) {
            return Err(Unfit(format!("{out}, not at {now}")));
        }
        self.memory.vouch(&chain, || chain.check_signatures()).map_err(unfit)?;
        is_for(id, &chain)
    }

    /// Whether `der` is the ASVK of `product`: the issuer of VLEKs, which is pinned.
    pub fn is_asvk(&self, product: Product, der: &[u8]) -> bool {
        self.of(product).is_some_and(|set| sha256(der) == set.pins.asvk)
    }

    /// Dates of a revocation list for `product`, if it is complete, of AMD's form, and signed by the pinned ARK. A list
    /// does not say whether it is about the ASK or the ASVK, and is not judged by its dates here.
    pub fn check_list(&self, product: Product, der: &[u8]) -> Result<ListDates, Unfit> {
        let ark = Certificate::parse(&self.pinned(product)?.ark).map_err(unfit)?;
        let list = RevocationList::parse(der).map_err(unfit)?;
        if !list.names_issuer(&ark) {
            return Err(Unfit(format!("a list of {}, not of the ARK of {product}", list.issuer_name())));
        }
        ark.check_signed(der).map_err(|_| Unfit(format!("not signed by the ARK of {product}")))?;
        Ok(ListDates { this_update: list.this_update, next_update: list.next_update })
    }

    fn pinned(&self, product: Product) -> Result<&RootSet, Unfit> {
        let set = self.of(product).filter(|set| set.is_pinned());
        set.ok_or_else(|| Unfit(format!("no pinned roots for {product}")))
    }
}

/// What the certificate says of chip and TCB.
fn is_for(id: &VcekId, chain: &Chain) -> Result<(), Unfit> {
    let facts = chain.facts.as_ref().map_err(unfit)?;
    if !facts.is_of_line(id.product) || chain.vek.p384_key().is_none() {
        return Err(Unfit(format!("not a P-384 key for {}", id.product)));
    }
    if facts.hwid.as_ref() != Some(&id.hwid) {
        return Err(Unfit("of another chip".to_owned()));
    }
    if facts.tcb != id.tcb {
        return Err(Unfit(format!("certified {}, needed {}", facts.tcb, id.tcb)));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unfit(error: impl ToString) -> Unfit {
    Unfit(error.to_string())
}
