//! ARK → ASK or ASVK → VCEK or VLEK, of one product, from pinned roots.

use crate::{
    certificate::Certificate,
    digest::sha256,
    envelope::FormError,
    evidence::{Endorsements, Vek},
    product::Product,
    roots::RootSet,
    time::UnixTime,
    vek::{VekError, VekFacts},
};

/// Three certificates of the right form, and what the VEK says; whether they belong together is what the checks ask.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) ark: Certificate,
    pub(crate) issuer: Certificate,
    pub(crate) vek: Certificate,
    /// What the VEK certifies.
    pub(crate) facts: Result<VekFacts, VekError>,
}

const ISSUER: &str = "ASK or ASVK";

/// Which certificate has the wrong form or no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{which}: {error}")]
pub(crate) struct ChainError {
    which: &'static str,
    error: FormError,
}

impl Chain {
    /// From the DER of the pinned ARK, of the pinned ASK or the ASVK that came along, and of the VEK.
    pub(crate) fn parse([ark, issuer, vek]: [&[u8]; 3]) -> Result<Self, ChainError> {
        let (ark, issuer) = (parse("ARK", ark)?, parse(ISSUER, issuer)?);
        let vek = parse("VEK", vek)?;
        Ok(Self { facts: VekFacts::of(&vek), ark, issuer, vek })
    }

    /// The first certificate whose names or constraints are not AMD's for this product and kind of VEK.
    pub(crate) fn misnamed(&self, product: Product, kind: &Vek) -> Option<&'static str> {
        let product = product.amd_name();
        let (issuer, vek) = match kind {
            Vek::Vcek(_) => (format!("SEV-{product}"), "SEV-VCEK"),
            Vek::Vlek(_) => (format!("SEV-VLEK-{product}"), "SEV-VLEK"),
        };
        let named = |certificate: &Certificate, name: &str| certificate.subject_common_name() == Some(name);
        if !named(&self.ark, &format!("ARK-{product}"))
            || !self.ark.names_issuer(&self.ark)
            || !self.ark.is_ca()
        {
            Some("ARK")
        } else if !named(&self.issuer, &issuer)
            || !self.issuer.names_issuer(&self.ark)
            || !self.issuer.is_ca()
        {
            Some(ISSUER)
        } else if !named(&self.vek, vek)
            || !self.vek.names_issuer(&self.issuer)
            || !self.vek.is_of_issuers_organisation()
            || !self.vek.is_end()
        {
            Some("VEK")
        } else {
            None
        }
    }

    /// The first certificate that is not valid at `now`, with its dates.
    pub(crate) fn out_of_date(&self, now: UnixTime) -> Option<String> {
        let all = [("VEK", &self.vek), (ISSUER, &self.issuer), ("ARK", &self.ark)];
        let (which, certificate) = all.into_iter().find(|(_, certificate)| !certificate.is_valid_at(now))?;
        Some(format!("{which} valid from {}", certificate.validity()))
    }

    pub(crate) fn der(&self) -> [&[u8]; 3] {
        [&self.ark, &self.issuer, &self.vek].map(Certificate::der)
    }

    /// Each is signed by its issuer.
    pub(crate) fn check_signatures(&self) -> Result<(), ChainError> {
        check_signatures(&self.ark, &self.issuer, self.vek.der())
    }
}

/// As [`Chain::check_signatures`], of what may be no chain: of the VEK nothing but its signature is read.
pub(crate) fn check_raw_signatures([ark, issuer, vek]: [&[u8]; 3]) -> Result<(), ChainError> {
    check_signatures(&parse("ARK", ark)?, &parse(ISSUER, issuer)?, vek)
}

fn check_signatures(ark: &Certificate, issuer: &Certificate, vek: &[u8]) -> Result<(), ChainError> {
    let all = [("ARK", ark, ark.der()), (ISSUER, ark, issuer.der()), ("VEK", issuer, vek)];
    all.into_iter()
        .try_for_each(|(which, by, der)| by.check_signed(der).map_err(|error| ChainError { which, error }))
}

fn parse(which: &'static str, der: &[u8]) -> Result<Certificate, ChainError> {
    Certificate::parse(der).map_err(|error| ChainError { which, error })
}

/// What is wrong with the CA certificates that came along: the first that is not the pinned one, or an ASK in the
/// place of the ASVK that a VLEK needs.
pub(crate) fn offered_stranger(offered: &Endorsements, roots: &RootSet) -> Option<&'static str> {
    let pins = roots.pins;
    let all = [
        ("another ARK", &offered.ark, Some(&roots.ark), pins.ark),
        ("another ASK", &offered.ask, Some(&roots.ask), pins.ask),
        ("another ASVK", &offered.asvk, None, pins.asvk),
    ];
    // What is the carried one needs no hashing; that the carried ones are pinned is a check of its own.
    let stranger = all.into_iter().find(|(_, der, carried, pin)| {
        der.as_ref().is_some_and(|der| *carried != Some(der) && sha256(der) != *pin)
    });
    let misplaced =
        matches!(offered.vek, Some(Vek::Vlek(_))) && offered.ask.is_some() && offered.asvk.is_none();
    stranger.map(|(what, ..)| what).or(misplaced.then_some("an ASK in the place of the VLEK's ASVK"))
}

/// The product that issued a VEK by its issuer's name; for reports of version 2, which do not say.
pub(crate) fn product_of_issuer(vek: &Vek) -> Option<Product> {
    let certificate = Certificate::parse(vek.der()).ok()?;
    let name = certificate.issuer_common_name()?;
    let name = name.strip_prefix(match vek {
        Vek::Vcek(_) => "SEV-",
        Vek::Vlek(_) => "SEV-VLEK-",
    })?;
    Product::ALL.into_iter().find(|product| product.amd_name() == name)
}
