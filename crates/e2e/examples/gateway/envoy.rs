//! Envoy in both places: one ends the client's TLS and speaks mutual TLS over HTTP/2 to the other, which speaks to the model
//! server. Without logs, with two workers each, as Cube's services have.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Outcome, cube::trusting, way::Door};

/// For both to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The two; they end when dropped.
pub(crate) struct Envoy {
    outer: Child,
    inner: Child,
    address: SocketAddr,
    ca: CertificateDer<'static>,
    _folder: TempDir,
}

impl Envoy {
    pub(crate) fn start(program: &Path, backend: SocketAddr) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let ca = certificates(folder.path())?;
        let [outer, inner] = [free()?, free()?];
        let file = |name: &str| folder.path().join(name).display().to_string();
        let own = json!([{ "certificate_chain": { "filename": file("leaf.pem") }, "private_key": { "filename": file("key.pem") } }]);
        let trust = json!({ "trusted_ca": { "filename": file("ca.pem") } });
        let upstream_tls = tls(
            "UpstreamTlsContext",
            json!({
                "common_tls_context": { "tls_certificates": own, "validation_context": trust, "alpn_protocols": ["h2"] },
            }),
        );
        let to_inner =
            json!({ "transport_socket": upstream_tls, "typed_extension_protocol_options": http2() });
        let public = json!({ "common_tls_context": { "tls_certificates": own, "alpn_protocols": ["h2", "http/1.1"] } });
        let mutual = json!({
            "require_client_certificate": true,
            "common_tls_context": { "tls_certificates": own, "validation_context": trust, "alpn_protocols": ["h2"] },
        });
        let start = |name: &str, id: u32, listen, downstream: Value, to, extra: Value| {
            let config = config(listen, &tls("DownstreamTlsContext", downstream), to, &extra);
            let path = folder.path().join(name);
            fs::write(&path, config.to_string())?;
            let mut command = Command::new(program);
            command.arg("-c").arg(path).args(["--concurrency", "2", "-l", "error", "--disable-hot-restart"]);
            command.args(["--base-id", &id.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
            Ok::<_, Box<dyn std::error::Error>>(command.spawn()?)
        };
        let inner_process = start("inner.json", 71, inner, mutual, backend, json!({}))?;
        let outer_process = start("outer.json", 72, outer, public, inner, to_inner)?;
        let envoy = Self { outer: outer_process, inner: inner_process, address: outer, ca, _folder: folder };
        [outer, inner].into_iter().try_for_each(listens)?;
        Ok(envoy)
    }

    pub(crate) fn processes(&self) -> Outcome<[Pid; 2]> {
        let pid =
            |child: &Child| Ok::<_, std::num::TryFromIntError>(Pid::from_raw(i32::try_from(child.id())?));
        Ok([pid(&self.outer)?, pid(&self.inner)?])
    }

    pub(crate) fn door(&self) -> Outcome<Door> {
        Ok(Door::to(self.address, Some(trusting(self.ca.clone())?)))
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        for child in [&mut self.outer, &mut self.inner] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// One leaf for both ends of both hops; its CA, for the client.
fn certificates(folder: &Path) -> Outcome<CertificateDer<'static>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    // With one name for both, Envoy would take the leaf for its own issuer.
    params.distinguished_name.push(DnType::CommonName, "bench CA");
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = params.signed_by(&key, &ca)?;
    for (name, text) in [("ca.pem", ca.pem()), ("leaf.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        fs::File::create(folder.join(name))?.write_all(text.as_bytes())?;
    }
    Ok(ca.der().clone())
}

fn tls(kind: &str, mut context: Value) -> Value {
    let name = format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}");
    if let Some(members) = context.as_object_mut() {
        members.insert("@type".to_owned(), name.into());
    }
    json!({ "name": "tls", "typed_config": context })
}

fn http2() -> Value {
    json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    } })
}

/// Everything that comes to `listen` goes to `to`.
fn config(listen: SocketAddr, downstream: &Value, to: SocketAddr, cluster: &Value) -> Value {
    let at = |address: SocketAddr| json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } });
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "next", "timeout": "0s" } });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{ "name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        } }],
    });
    let mut next = json!({
        "name": "next", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "next", "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": at(to) } }] }] },
    });
    if let (Some(next), Some(cluster)) = (next.as_object_mut(), cluster.as_object()) {
        next.extend(cluster.clone());
    }
    json!({ "static_resources": {
        "listeners": [{
            "address": at(listen),
            "filter_chains": [{ "transport_socket": downstream, "filters": [{ "name": "http", "typed_config": manager }] }],
        }],
        "clusters": [next],
    } })
}

fn free() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn listens(address: SocketAddr) -> Outcome<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("Envoy did not start; its complaint stands above".into());
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
