//! The CAs of callers that show a certificate.

use std::{path::Path, sync::Arc};

use mtls::{CallerCas, CallerTrust};
use service_runtime::{CancellationToken, Clock, TaskTracker};

use super::watched::Watched;

/// Where the CAs of a trust domain are, and what was last read there.
#[derive(Debug, Clone)]
pub struct CaFile {
    trust_domain: String,
    file: Watched,
    cas: CallerCas,
}

impl CaFile {
    /// Reads the file at `path`.
    pub fn read(trust_domain: String, path: &Path) -> Result<Self, String> {
        let (file, cas) = Watched::read(path, parse)?;
        Ok(Self { trust_domain, file, cas })
    }

    /// Whom callers' certificates are of.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The CAs, now and whenever the file changes: an authority like SPIRE replaces them every few days.
    pub(crate) fn follow(
        &self,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> CallerTrust {
        let trust = CallerTrust::new(&self.trust_domain, self.cas.clone(), clock);
        let (file, told) = (self.file.clone(), trust.clone());
        tracker.spawn(async move { file.follow(parse, |cas| told.replace(cas), stop).await });
        trust
    }
}

fn parse(bytes: &[u8]) -> Result<CallerCas, String> {
    CallerCas::parse(bytes).map_err(|error| error.to_string())
}
