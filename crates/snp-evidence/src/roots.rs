//! Who may vouch: AMD's pinned keys, or those of one simulator run.

use std::sync::Arc;

use sev::certs::snp::builtin;
use x509_parser::pem::Pem;

use crate::{certificate::Certificate, digest::sha256, memory::ChainMemory, product::Product};

/// Pinned certificates per product: AMD's, or a simulator's. Never a mix.
#[derive(Clone, Debug)]
pub struct TrustRoots {
    simulated: bool,
    sets: Vec<RootSet>,
    pub(crate) memory: Arc<ChainMemory>,
}

/// The pinned certificates of one product.
#[derive(Clone, Debug)]
pub(crate) struct RootSet {
    pub(crate) product: Product,
    /// DER of the root and of the issuer of VCEKs. The ASVK comes as collateral.
    pub(crate) ark: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    /// SHA-256 of these two.
    pub(crate) carried: ([u8; 32], [u8; 32]),
    pub(crate) pins: Pins,
}

/// SHA-256 of each certificate's DER.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pins {
    pub(crate) ark: [u8; 32],
    pub(crate) ask: [u8; 32],
    pub(crate) asvk: [u8; 32],
}

/// Why a simulator's root file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// Not PEM certificates.
    #[error("root file is not a sequence of PEM certificates")]
    Pem,
    /// A certificate that does not parse, or whose subject names no role and product.
    #[error("certificate {index} of the root file is not an ARK, ASK or ASVK: {found}")]
    Certificate {
        /// Place in the file, from 0.
        index: usize,
        /// What it is instead.
        found: String,
    },
    /// Not exactly one ARK, ASK and ASVK of one product.
    #[error("root file needs exactly one ARK, ASK and ASVK of one product")]
    Incomplete,
}

impl TrustRoots {
    /// AMD's keys for Milan, Genoa and Turin.
    pub fn amd() -> Self {
        Self::new(false, vec![milan(), genoa(), turin()])
    }

    /// The keys of one simulator run: PEM certificates `ARK-<P>`, `SEV-<P>`, `SEV-VLEK-<P>` of one product.
    /// AMD's own evidence is refused under them.
    pub fn simulated(root_pem: &[u8]) -> Result<Self, RootsError> {
        let (mut ark, mut ask, mut asvk) = (None, None, None);
        for (index, pem) in Pem::iter_from_buffer(root_pem).enumerate() {
            let der = pem.map_err(|_| RootsError::Pem)?.contents;
            let (role, product) = role_of(&der).map_err(|found| RootsError::Certificate { index, found })?;
            let slot = match role {
                Role::Ark => &mut ark,
                Role::Ask => &mut ask,
                Role::Asvk => &mut asvk,
            };
            if slot.replace((product, der)).is_some() {
                return Err(RootsError::Incomplete);
            }
        }
        match (ark, ask, asvk) {
            (Some((p1, ark)), Some((p2, ask)), Some((p3, asvk))) if p1 == p2 && p2 == p3 => {
                let pins = Pins { ark: sha256(&ark), ask: sha256(&ask), asvk: sha256(&asvk) };
                Ok(Self::new(true, vec![RootSet::new(p1, ark, ask, pins)]))
            }
            _ => Err(RootsError::Incomplete),
        }
    }

    fn new(simulated: bool, sets: Vec<RootSet>) -> Self {
        Self { simulated, sets, memory: Arc::new(ChainMemory::new(0)) }
    }

    /// Remembers the latest `chains` whose signatures were good, so that these are not computed again; clones share
    /// the memory. Dates, revocation and the report itself are judged anew each time. Without this, nothing is kept.
    #[must_use]
    pub fn remembering(self, chains: usize) -> Self {
        Self { memory: Arc::new(ChainMemory::new(chains)), ..self }
    }

    /// Whether these are a simulator's.
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    pub(crate) fn of(&self, product: Product) -> Option<&RootSet> {
        self.sets.iter().find(|set| set.product == product)
    }
}

impl RootSet {
    fn new(product: Product, ark: Vec<u8>, ask: Vec<u8>, pins: Pins) -> Self {
        let carried = (sha256(&ark), sha256(&ask));
        Self { product, ark, ask, carried, pins }
    }

    /// Whether the certificates that we carry are the pinned ones.
    pub(crate) fn is_pinned(&self) -> bool {
        self.carried == (self.pins.ark, self.pins.ask)
    }
}

#[derive(Clone, Copy)]
enum Role {
    Ark,
    Ask,
    Asvk,
}

/// Or what the certificate is instead.
fn role_of(der: &[u8]) -> Result<(Role, Product), String> {
    let certificate = Certificate::parse(der).map_err(|error| error.to_string())?;
    let name = certificate.subject_common_name().ok_or("its subject has no common name, or several")?;
    role(name).ok_or_else(|| format!("its subject is {name:?}"))
}

fn role(common_name: &str) -> Option<(Role, Product)> {
    let named = |role, prefix: &str| {
        let product = common_name.strip_prefix(prefix)?;
        Product::ALL.into_iter().find(|known| known.amd_name() == product).map(|product| (role, product))
    };
    named(Role::Ark, "ARK-").or_else(|| named(Role::Asvk, "SEV-VLEK-")).or_else(|| named(Role::Ask, "SEV-"))
}

fn milan() -> RootSet {
    let ark = hex32("69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd");
    let ask = hex32("67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b");
    let asvk = hex32("c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5");
    builtin(Product::Milan, builtin::milan::ARK, builtin::milan::ASK, Pins { ark, ask, asvk })
}

fn genoa() -> RootSet {
    let ark = hex32("4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1");
    let ask = hex32("5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521");
    let asvk = hex32("197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372");
    builtin(Product::Genoa, builtin::genoa::ARK, builtin::genoa::ASK, Pins { ark, ask, asvk })
}

fn turin() -> RootSet {
    let ark = hex32("1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a");
    let ask = hex32("5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185");
    let asvk = hex32("104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c");
    builtin(Product::Turin, builtin::turin::ARK, builtin::turin::ASK, Pins { ark, ask, asvk })
}

fn builtin(product: Product, ark_pem: &[u8], ask_pem: &[u8], pins: Pins) -> RootSet {
    RootSet::new(product, first_der(ark_pem), first_der(ask_pem), pins)
}

/// Empty if the dependency's constant is not PEM; check `chain.pinned_root` then refuses everything.
fn first_der(pem: &[u8]) -> Vec<u8> {
    Pem::iter_from_buffer(pem).find_map(Result::ok).map(|pem| pem.contents).unwrap_or_default()
}

/// Zero, which no digest equals, for a constant that is not 64 hex digits.
fn hex32(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    match hex::decode_to_slice(text, &mut out) {
        Ok(()) => out,
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endorsements, Evidence, EvidenceFormat, Policy, UnixTime, Vek, examine};

    #[test]
    fn the_carried_certificates_are_the_pinned_ones() {
        for set in TrustRoots::amd().sets {
            assert_eq!(sha256(&set.ark), set.pins.ark, "{} ARK", set.product);
            assert_eq!(sha256(&set.ask), set.pins.ask, "{} ASK", set.product);
        }
    }

    #[test]
    fn the_pins_are_those_of_the_published_certificates() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence/amd-ca");
        if !folder.exists() {
            println!("skipped: ../shared is absent");
            return;
        }
        for set in TrustRoots::amd().sets {
            let pins = set.pins;
            for (name, pin) in [("ark", pins.ark), ("ask", pins.ask), ("asvk", pins.asvk)] {
                let pem = std::fs::read(folder.join(format!("{}-{name}.pem", set.product))).unwrap();
                assert_eq!(sha256(&first_der(&pem)), pin, "{} {name}", set.product);
            }
        }
    }

    #[test]
    fn a_carried_certificate_that_is_not_the_pinned_one_is_refused() {
        let vek = Vek::Vcek(Vec::new());
        let endorsements = Endorsements { vek: Some(vek), ..Endorsements::default() };
        let mut report = vec![0; 0x4A0];
        // Version 3, policy bit 17, CPU of Genoa: enough structure to get as far as the roots.
        for (at, value) in [(0, 3), (0x0A, 2), (0x188, 0x19), (0x189, 0x11)] {
            report[at] = value;
        }
        let evidence = Evidence { format: EvidenceFormat::AmdSevSnp, report, endorsements };
        let policy = include_bytes!("../../../conformance/policies/cryptographic.toml");
        let policy = Policy::parse(policy).unwrap();
        let reason =
            |roots: &TrustRoots| examine(&evidence, roots, &policy, UnixTime(0)).unwrap_err().reason();
        assert_eq!(reason(&TrustRoots::amd()), "chain.signatures");
        for spoil in [|pins: &mut Pins| pins.ark = [0; 32], |pins: &mut Pins| pins.ask = [0; 32]] {
            let mut roots = TrustRoots::amd();
            roots.sets.iter_mut().for_each(|set| spoil(&mut set.pins));
            assert_eq!(reason(&roots), "chain.pinned_root");
            let unfit = roots.check_list(Product::Genoa, b"").unwrap_err().to_string();
            assert_eq!(unfit, "no pinned roots for genoa");
        }
    }
}
