//! Who a peer is: the SPIFFE ID in its certificate.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::GeneralName;

use crate::certificate::parsed;

/// What a service of the CVM is for. A closed list: an unknown role is no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `attestation-svc`.
    Attestation,
    /// `inference-gateway`.
    Gateway,
    /// `backend-adapter`.
    Adapter,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Attestation, Self::Gateway, Self::Adapter];

    /// The last path segment of the SPIFFE ID.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attestation => "attestation",
            Self::Gateway => "gateway",
            Self::Adapter => "adapter",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(IdentityError::Role)
    }
}

/// `spiffe://<trust-domain>/cvm/<instance>/svc/<role>` (docs/spec/enrolment.md).
///
/// One ID has exactly one spelling, so equal text and equal identity are the same thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    instance: String,
    role: Role,
}

impl SpiffeId {
    /// Builds an ID; `instance` is 16 lower-case hex digits.
    pub fn new(trust_domain: &str, instance: &str, role: Role) -> Result<Self, IdentityError> {
        if !is_trust_domain(trust_domain) {
            return Err(IdentityError::TrustDomain);
        }
        if !is_instance(instance) {
            return Err(IdentityError::Instance);
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), instance: instance.to_owned(), role })
    }

    /// Reads the ID from a certificate, whose SAN extension must hold one URI and nothing else.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = parsed(certificate).ok_or(IdentityError::Certificate)?;
        let names = parsed.subject_alternative_name().map_err(|_| IdentityError::Certificate)?;
        match names.map(|names| names.value.general_names.as_slice()) {
            Some([GeneralName::URI(uri)]) => uri.parse(),
            _ => Err(IdentityError::Names),
        }
    }

    /// The trust domain: lower-case letters, digits, `-`, `.` and `_`.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The CVM instance: 16 lower-case hex digits, new at each boot.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What the service is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The ID of another service of the same CVM.
    #[must_use]
    pub fn sibling(&self, role: Role) -> Self {
        Self { role, ..self.clone() }
    }

    /// Whether `other` belongs to the same boot of the same CVM.
    pub fn same_instance(&self, other: &Self) -> bool {
        self.sibling(other.role) == *other
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/cvm/{}/svc/{}", self.trust_domain, self.instance, self.role)
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let rest = text.strip_prefix("spiffe://").ok_or(IdentityError::Grammar)?;
        let segments: Vec<&str> = rest.split('/').collect();
        match segments.as_slice() {
            [domain, "cvm", instance, "svc", role] => Self::new(domain, instance, role.parse()?),
            _ => Err(IdentityError::Grammar),
        }
    }
}

/// 1 to 255 of `a-z 0-9 - . _`.
pub(crate) fn is_trust_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_instance(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Why something is not an identity of Cube's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is not one X.509 certificate in DER.
    #[error("the certificate cannot be read")]
    Certificate,
    /// The certificate's alternative names are not exactly one URI.
    #[error("the certificate must name exactly one URI and nothing else")]
    Names,
    /// The URI has another shape.
    #[error("an identity is spiffe://<trust-domain>/cvm/<instance>/svc/<role>")]
    Grammar,
    /// The trust domain holds a character outside `a-z 0-9 - . _`, or is empty or too long.
    #[error("a trust domain is 1 to 255 of a-z, 0-9, '-', '.', '_'")]
    TrustDomain,
    /// The instance is not 16 lower-case hex digits.
    #[error("an instance is 16 lower-case hex digits")]
    Instance,
    /// No such role.
    #[error("a role is attestation, gateway or adapter")]
    Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "spiffe://demo.cube.internal/cvm/0123456789abcdef/svc/gateway";

    #[test]
    fn an_id_reads_and_writes_the_same() {
        let id: SpiffeId = GATEWAY.parse().unwrap();
        assert_eq!((id.trust_domain(), id.instance()), ("demo.cube.internal", "0123456789abcdef"));
        assert_eq!((id.role(), id.to_string().as_str()), (Role::Gateway, GATEWAY));
        assert!(id.same_instance(&id.sibling(Role::Adapter)));
    }

    #[test]
    fn any_other_spelling_is_refused() {
        for (text, why) in [
            ("https://d/cvm/0123456789abcdef/svc/gateway", IdentityError::Grammar),
            ("SPIFFE://d/cvm/0123456789abcdef/svc/gateway", IdentityError::Grammar),
            ("spiffe://d/cvm/0123456789abcdef/svc/gateway/", IdentityError::Grammar),
            ("spiffe://d/cvm/0123456789abcdef/svc", IdentityError::Grammar),
            ("spiffe:///cvm/0123456789abcdef/svc/gateway", IdentityError::TrustDomain),
            ("spiffe://D/cvm/0123456789abcdef/svc/gateway", IdentityError::TrustDomain),
            ("spiffe://u@d/cvm/0123456789abcdef/svc/gateway", IdentityError::TrustDomain),
            ("spiffe://d:1/cvm/0123456789abcdef/svc/gateway", IdentityError::TrustDomain),
            ("spiffe://d/cvm/0123456789ABCDEF/svc/gateway", IdentityError::Instance),
            ("spiffe://d/cvm/0123/svc/gateway", IdentityError::Instance),
            ("spiffe://d/cvm/0123456789abcdef/svc/root", IdentityError::Role),
        ] {
            assert_eq!(text.parse::<SpiffeId>(), Err(why), "{text}");
        }
    }
}
