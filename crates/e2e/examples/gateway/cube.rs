//! The three services on simulated hardware.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use attested_client::{AttestedChannel, Limits, ServerTrust};
use dev_stack::{Options, Service, Stack, new_root, prepare};
use nix::unistd::Pid;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use service_runtime::{BackendAddress, Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tempfile::TempDir;

use crate::{Outcome, way::Door};

/// For the services to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// The running services; they end when dropped.
pub(crate) struct Cube {
    stack: Stack,
    gateway: SocketAddr,
    _folder: TempDir,
}

impl Cube {
    pub(crate) fn start(backend: SocketAddr) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let options = Options::on([127, 0, 0, 1].into(), "openai", BackendAddress::Tcp(backend));
        let [gateway, attestation, adapter] = [free()?, free()?, free()?];
        // Without a line for each request, as Envoy runs beside it.
        let options = Options { gateway, attestation, adapter, log: "info,access=warn", ..options };
        let mut stack = Stack::new(prepare(folder.path(), &options, &new_root(&SystemClock)?)?)?;
        stack.start_all(PATIENCE)?;
        Ok(Self { stack, gateway, _folder: folder })
    }

    /// Gateway and adapter.
    pub(crate) fn processes(&self) -> Outcome<[Pid; 2]> {
        let pid = |service| {
            let pid = self.stack.pid(service).ok_or("a service has ended")?;
            Ok::<_, Box<dyn std::error::Error>>(Pid::from_raw(i32::try_from(pid)?))
        };
        Ok([pid(Service::Gateway)?, pid(Service::Adapter)?])
    }

    /// A connection that evidence has proven, for gRPC.
    pub(crate) async fn channel(&self) -> Outcome<AttestedChannel> {
        let files = self.stack.files();
        let target = format!("https://{}", self.gateway).parse()?;
        let roots = TrustRoots::simulated(&std::fs::read(files.root())?)?;
        let policy = Policy::parse(&std::fs::read(files.client_policy())?)?;
        let (trust, limits, now) =
            (ServerTrust::EvidenceAlone, Limits::default(), UnixTime(SystemClock.unix()));
        Ok(AttestedChannel::connect(&target, &trust, limits, &roots, &policy, now).await?)
    }

    /// The public port, trusted as `cube trust` would have it: by the CA that the evidence vouches for.
    pub(crate) async fn door(&self) -> Outcome<Door> {
        let channel = self.channel().await?;
        let ca = channel.ca_certificate().ok_or("the gateway shows no CA")?;
        Ok(Door::to(self.gateway, Some(trusting(ca.clone())?)))
    }
}

/// A client's TLS that trusts one CA.
pub(crate) fn trusting(ca: CertificateDer<'static>) -> Outcome<Arc<ClientConfig>> {
    mtls::install_crypto_provider();
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn free() -> Outcome<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
