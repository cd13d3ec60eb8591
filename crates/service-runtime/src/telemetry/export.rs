//! The way to an OTLP/HTTP collector.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::CertificateDer;
use tokio::{runtime::Handle, time::timeout};

use crate::https::Origin;

/// For one export as a whole.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// A collector.
#[derive(Debug, Clone)]
pub(super) struct Collector {
    origin: Origin,
    /// The exporter has a thread of its own, outside the runtime.
    runtime: Handle,
}

type Answer = Result<Response<Bytes>, HttpError>;

impl Collector {
    /// At `endpoint`; over TLS by `ca` where it is https.
    pub(super) fn new(endpoint: &Uri, ca: &[CertificateDer<'static>]) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        Ok(Self { origin: Origin::new(endpoint, Arc::new(client_config(ca)?)), runtime })
    }
}

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let origin = self.origin.clone();
        // Here is no runtime, so its timer is made there.
        let exchange = async move { timeout(LIMIT, origin.exchange(request, MAX_ANSWER)).await };
        let exchange = self.runtime.spawn(exchange);
        Box::pin(async { Ok(exchange.await???) })
    }
}

fn client_config(ca: &[CertificateDer<'static>]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone()).map_err(|error| format!("traces.otlp_ca: {error}"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
