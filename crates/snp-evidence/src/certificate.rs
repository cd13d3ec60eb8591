//! Stub.
#[derive(Debug)]
pub(crate) struct Certificate<'a>(x509_parser::certificate::X509Certificate<'a>);
impl<'a> Certificate<'a> {
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, ()> {
        use x509_parser::prelude::FromDer;
        x509_parser::certificate::X509Certificate::from_der(der).map(|(_, c)| Self(c)).map_err(|_| ())
    }
    pub(crate) fn subject_common_name(&self) -> Option<&str> {
        self.0.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok())
    }
}
