//! Certificate revocation lists as AMD's key server gives them (AMD 57230, 4; RFC 5280, 5).
//!
//! There is one list for the ASK (`/vcek/v1/<product>/crl`) and one for the ASVK (`/vlek/v1/<product>/crl`). Both are
//! signed by the product's ARK and name intermediates by serial number; VCEKs and VLEKs all have serial 0 and are
//! never listed.

use x509_parser::{
    num_bigint::BigUint,
    oid_registry::{OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT},
    prelude::FromDer,
    revocation_list::CertificateRevocationList,
    x509::X509Version,
};

use crate::{
    certificate::Certificate,
    envelope::{FormError, Signed, check_extensions},
    time::UnixTime,
};

/// A complete list of AMD's form. Nothing is verified but the form.
#[derive(Debug)]
pub(crate) struct RevocationList<'a> {
    x509: CertificateRevocationList<'a>,
    pub(crate) this_update: UnixTime,
    pub(crate) next_update: UnixTime,
}

impl<'a> RevocationList<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, FormError> {
        let signed = Signed::read(der)?;
        let (_, x509) = CertificateRevocationList::from_der(der)
            .map_err(|_| FormError::Malformed("an X.509 v2 revocation list"))?;
        if x509.version() != Some(X509Version::V2) {
            return Err(FormError::Malformed("an X.509 v2 revocation list"));
        }
        Signed::check_algorithm(&x509.tbs_cert_list.signature, &x509.signature_algorithm)?;
        // A list that names only changes, or covers only some certificates, proves nothing about the others.
        let partial = [OID_X509_EXT_DELTA_CRL_INDICATOR, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT];
        if x509.extensions().iter().any(|extension| partial.contains(&extension.oid)) {
            return Err(FormError::PartialList);
        }
        signed.check_extension_ids()?;
        check_extensions(x509.extensions(), &[])?;
        x509.iter_revoked_certificates().try_for_each(|entry| check_extensions(entry.extensions(), &[]))?;
        let next = x509.next_update().ok_or(FormError::Malformed("a revocation list with nextUpdate"))?;
        let this_update = UnixTime(x509.last_update().timestamp());
        Ok(Self { this_update, next_update: UnixTime(next.timestamp()), x509 })
    }

    /// Whether `issuer` may sign lists and this one names it, byte for byte.
    pub(crate) fn names_issuer(&self, issuer: &Certificate) -> bool {
        issuer.is_called(self.x509.issuer()) && issuer.may_sign_lists()
    }

    /// The issuer's common name, for people.
    pub(crate) fn issuer_name(&self) -> &str {
        let name = self.x509.issuer().iter_common_name().next();
        name.and_then(|name| name.as_str().ok()).unwrap_or("nobody")
    }

    pub(crate) fn revokes(&self, serial: &BigUint) -> bool {
        self.x509.iter_revoked_certificates().any(|entry| entry.serial() == serial)
    }
}
