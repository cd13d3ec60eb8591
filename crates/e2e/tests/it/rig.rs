//! One stack with its clients.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use attested_client::{AttestedChannel, Limits, ServerTrust};
use dev_stack::{Files, Options, Service, Stack, new_root, prepare};
use e2e::fake_backend::FakeBackend;
use proto::inference::v1::{
    ChatSpec, ContentPart, Message, StreamChatRequest, StreamChatResponse, content_part,
    inference_service_client::InferenceServiceClient,
};
use rustls_pki_types::CertificateDer;
use service_runtime::{BackendAddress, Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use snp_simulator::SimulatedRoot;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::Streaming;

/// Generous: nothing here is decided by how fast it is.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A stack, its model server, and where it answers.
pub(crate) struct Rig {
    pub(crate) stack: Stack,
    pub(crate) backend: FakeBackend,
    pub(crate) url: String,
    pub(crate) ip: IpAddr,
    _folder: TempDir,
}

impl Rig {
    /// Everything written, nothing started.
    pub(crate) async fn prepared(kind: &str) -> Self {
        let backend = FakeBackend::start().await.unwrap();
        let server = backend.address();
        Self::facing(kind, backend, server)
    }

    /// The same, where the model server is `server`.
    pub(crate) fn facing(kind: &str, backend: FakeBackend, server: SocketAddr) -> Self {
        Self::with(kind, backend, server, |_| {})
    }

    /// The same, with what `change` makes of its options.
    pub(crate) fn with(
        kind: &str,
        backend: FakeBackend,
        server: SocketAddr,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let ip = own_address();
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::on(ip, kind, BackendAddress::Tcp(server));
        change(&mut options);
        let files = prepare(folder.path(), &options, root()).unwrap();
        let stack = Stack::new(files).unwrap();
        Self { stack, backend, url: format!("https://{}", options.gateway), ip, _folder: folder }
    }

    /// Up and serving.
    pub(crate) async fn serving(kind: &str) -> Self {
        let mut rig = Self::prepared(kind).await;
        rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
        rig
    }

    /// Runs what blocks (processes, their logs) without stopping the runtime.
    pub(crate) fn blocking<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        tokio::task::block_in_place(|| work(self))
    }

    pub(crate) fn wait_for(&mut self, service: Service, text: &str) {
        self.blocking(|rig| rig.stack.wait_for(service, text, PATIENCE)).unwrap();
    }

    pub(crate) fn files(&self) -> &Files {
        self.stack.files()
    }

    pub(crate) fn port_is_bound(&self) -> bool {
        std::net::TcpStream::connect((self.ip, 8443)).is_ok()
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::parse(&std::fs::read(self.files().client_policy()).unwrap()).unwrap()
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        TrustRoots::simulated(&std::fs::read(self.files().root()).unwrap()).unwrap()
    }

    /// A verified connection, as `cube` makes it.
    pub(crate) async fn channel(&self) -> AttestedChannel {
        self.try_channel().await.unwrap()
    }

    pub(crate) async fn try_channel(&self) -> Result<AttestedChannel, attested_client::Error> {
        let (target, limits) = (self.url.parse().unwrap(), Limits::default());
        let (roots, policy, now) = (self.roots(), self.policy(), UnixTime(SystemClock.unix()));
        AttestedChannel::connect(&target, &ServerTrust::EvidenceAlone, limits, &roots, &policy, now).await
    }

    /// The CA that the evidence vouches for, as stock clients are given it: by `cube trust`.
    pub(crate) fn trusted_ca(&mut self) -> PathBuf {
        let path = self.files().ca();
        let mut cube = Command::new(program("cube"));
        cube.args(["trust", &self.url, "--policy"]).arg(self.files().client_policy());
        cube.arg("--allow-simulated").arg(self.files().root());
        let output = self.blocking(|_| cube.output()).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(&path, output.stdout).unwrap();
        path
    }

    /// A stock TLS connection that speaks HTTP/1.1; it trusts the CA that the evidence vouches for.
    pub(crate) async fn http1(&self) -> TlsStream<TcpStream> {
        let ca = self.channel().await.ca_certificate().unwrap().clone();
        self.http1_trusting(ca).await
    }

    /// The same, where the CA is known from before.
    pub(crate) async fn http1_trusting(&self, ca: CertificateDer<'static>) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).unwrap();
        mtls::install_crypto_provider();
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect((self.ip, 8443)).await.unwrap();
        TlsConnector::from(Arc::new(config)).connect(self.ip.into(), stream).await.unwrap()
    }

    pub(crate) async fn stream_chat(&self) -> Result<Streaming<StreamChatResponse>, tonic::Status> {
        let mut client = InferenceServiceClient::new(self.channel().await);
        let request = StreamChatRequest { spec: Some(spec("hello")) };
        client.stream_chat(request).await.map(tonic::Response::into_inner)
    }
}

/// One root for all stacks of this run; each has a machine of its own under it.
pub(crate) fn root() -> &'static SimulatedRoot {
    static ROOT: LazyLock<SimulatedRoot> = LazyLock::new(|| new_root(&SystemClock).unwrap());
    &ROOT
}

/// One user message to the fake's model.
pub(crate) fn spec(text: &str) -> ChatSpec {
    let part = ContentPart { part: Some(content_part::Part::Text(text.to_owned())) };
    let role = proto::inference::v1::Role::User.into();
    let message = Message { role, content: vec![part], ..Message::default() };
    ChatSpec { model: "fake".into(), messages: vec![message], ..ChatSpec::default() }
}

/// A relying party's policy for two machines, which differ in HOST_DATA.
pub(crate) fn policy_for_both([a, b]: [&Rig; 2]) -> String {
    let text = |rig: &Rig| std::fs::read_to_string(rig.files().client_policy()).unwrap();
    let pinned = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("host_data = ")).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let of_a = text(a);
    let (a, b) = (pinned(&of_a), pinned(&text(b)));
    of_a.replace(&format!("\"{a}\""), &format!("\"{a}\", \"{b}\""))
}

/// The path of a program that cargo built beside this one.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join(name);
    assert!(path.exists(), "{} is missing; run `cargo build --workspace --bins`", path.display());
    path
}

/// 127.0.0.0/8 is all ours: one address per stack.
fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., second, third] = std::process::id().to_be_bytes();
    // Never 127.0: that is where everybody else is.
    IpAddr::V4(Ipv4Addr::new(127, second | 0x80, third, NEXT.fetch_add(1, Ordering::Relaxed)))
}
