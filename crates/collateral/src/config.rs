//! Where certificates and lists are looked for.

use std::{path::PathBuf, time::Duration};

use http::Uri;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use service_runtime::{
    Settings,
    https::{ca_certificates, server_uri},
};

use crate::backoff::Backoff;

/// Checked. The default looks at nothing but the host's table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// `collateral.directory`: what the operator keeps.
    pub directory: Option<PathBuf>,
    /// `collateral.cache`: what was fetched.
    pub cache: Option<PathBuf>,
    /// `kds.urls`: AMD's key server and its mirrors, in order. Empty: nothing is fetched.
    pub urls: Vec<Uri>,
    /// `kds.ca`: whom their certificates have to chain to. Empty: the public web's roots.
    pub ca: Vec<CertificateDer<'static>>,
    /// `kds.deadline_seconds`: for what a start has to fetch.
    pub deadline: Duration,
    /// `kds.refresh_seconds`: from one fetch of the revocation list to the next.
    pub refresh: Duration,
    pub(crate) backoff: Backoff,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: None,
            cache: None,
            urls: Vec::new(),
            ca: Vec::new(),
            deadline: Duration::from_secs(30),
            refresh: Duration::from_hours(6),
            backoff: Backoff::default(),
        }
    }
}

impl Config {
    /// Reads `collateral.*` and `kds.*`.
    pub fn read(settings: &mut Settings) -> Self {
        let own = Self::default();
        let directory = settings.optional_path(
            "collateral.directory",
            "Folder where you keep AMD's certificates and list for this machine (vcek.der or vlek.der, asvk.pem, crl.der), \
             for what the host's table lacks.",
        );
        let cache = settings.optional_path(
            "collateral.cache",
            "Folder where what AMD's key server gave is kept for the next start; made if it is not there. Each file is \
             verified again when it is read.",
        );
        let urls = settings.list_or_none(
            "kds.urls",
            "AMD's key server (https://kdsintf.amd.com) and mirrors of it, in the order in which they are asked for what is \
             missing; nothing is fetched where the list is empty.",
            "https://HOST[:PORT][/PREFIX], or http:// on loopback",
            server,
        );
        let ca = settings.optional_file(
            "kds.ca",
            "CA that the servers' certificates have to chain to, as PEM; without it, Mozilla's roots of the public web.",
            trusted,
        );
        let deadline = settings.seconds(
            "kds.deadline_seconds",
            "For what a start has to fetch, throttling and further attempts included; then exit code 6.",
            own.deadline,
        );
        let refresh = settings.seconds(
            "kds.refresh_seconds",
            "From one fetch of the revocation list to the next.",
            own.refresh,
        );
        Self { directory, cache, urls, ca: ca.unwrap_or_default(), deadline, refresh, ..own }
    }
}

fn server(text: &str) -> Result<Uri, String> {
    let uri = server_uri(text).filter(|uri| uri.query().is_none());
    uri.ok_or_else(|| format!("{text:?} is neither https://HOST[:PORT][/PREFIX] nor http:// on loopback"))
}

/// Certificates that can be trust anchors.
fn trusted(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = ca_certificates(pem)?;
    let mut roots = RootCertStore::empty();
    found.iter().try_for_each(|ca| roots.add(ca.clone())).map_err(|error| error.to_string())?;
    Ok(found)
}
