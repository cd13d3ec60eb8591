//! The least that a gateway can do: end TLS, pass requests and answers on, look at nothing.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use hyper::{client, server, service::service_fn};
use hyper_util::rt::TokioIo;
use mtls::ServiceKey;
use nix::unistd::Pid;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, oneshot},
};
use tokio_rustls::TlsAcceptor;

use crate::{Outcome, cube::trusting, way::Door};

/// A relay as a process of its own, so that its CPU can be told from everybody else's.
pub(crate) struct Relay {
    /// It ends with its standard input.
    child: Child,
    address: SocketAddr,
    ca: CertificateDer<'static>,
}

impl Relay {
    pub(crate) fn start(backend: SocketAddr) -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("relay").arg(backend.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let (address, ca) = line.trim().split_once(' ').ok_or("the relay did not start")?;
        Ok(Self { child, address: address.parse()?, ca: hex::decode(ca)?.into() })
    }

    pub(crate) fn process(&self) -> Outcome<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    pub(crate) fn door(&self) -> Outcome<Door> {
        Ok(Door::to(self.address, Some(trusting(self.ca.clone())?)))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The process itself.
#[tokio::main]
pub(crate) async fn run(backend: &str) -> Outcome<()> {
    let (backend, key) = (backend.parse()?, ServiceKey::generate()?);
    let (leaf, ca) = certificates(&key)?;
    // The gateway's own configuration, so that both spend the same on TLS.
    let tls = TlsAcceptor::from(mtls::public_server_tls(&key, vec![leaf], None)?.config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(io::stdout(), "{} {}", listener.local_addr()?, hex::encode(ca))?;
    tokio::select! {
        ended = serve(listener, tls, backend) => ended,
        () = nobody_there() => Ok(()),
    }
}

fn certificates(key: &ServiceKey) -> Outcome<(CertificateDer<'static>, CertificateDer<'static>)> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(key, &ca)?;
    Ok((leaf.der().clone(), ca.der().clone()))
}

/// Whoever started the relay holds its standard input.
async fn nobody_there() {
    let (gone, there) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        drop(gone);
    });
    drop(there.await);
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, backend: SocketAddr) -> Outcome<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let tls = tls.clone();
        // A connection that fails is its client's error to tell.
        tokio::spawn(async move { drop(relay(stream, tls, backend).await) });
    }
}

async fn relay(stream: TcpStream, tls: TlsAcceptor, backend: SocketAddr) -> Result<(), hyper::Error> {
    let connected = async {
        stream.set_nodelay(true)?;
        let upstream = TcpStream::connect(backend).await?;
        upstream.set_nodelay(true)?;
        Ok::<_, io::Error>((tls.accept(stream).await?, upstream))
    };
    let Ok((stream, upstream)) = connected.await else { return Ok(()) };
    let (send, connection) = client::conn::http1::handshake(TokioIo::new(upstream)).await?;
    tokio::spawn(connection);
    let send = Arc::new(Mutex::new(send));
    let service = service_fn(move |request| {
        let send = Arc::clone(&send);
        async move {
            let mut send = send.lock().await;
            send.ready().await?;
            send.send_request(request).await
        }
    });
    server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}
