//! The gateways of two CVMs behind an Envoy outside.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use attested_client::{AttestedChannel, Limits, ServerTrust};
use dev_stack::Service;
use e2e::fake_backend::{FakeBackend, Script};
use proto::inference::v1::{StreamChatRequest, inference_service_client::InferenceServiceClient};
use rcgen::{CertificateParams, KeyPair};
use service_runtime::{Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tokio::time::sleep;

use crate::{
    LONG, RUN, ensure,
    proxy::{Envoy, committed, free_port},
    rig::{PATIENCE, Rig, policy_for_both, program, spec},
};

/// Pieces of the long answer.
const PIECES: usize = 13;
/// Port of the gateways' probes.
const HEALTH: u16 = 8453;

struct Outside {
    rigs: [Rig; 2],
    envoy: Envoy,
    policy: PathBuf,
    _folder: tempfile::TempDir,
}

pub(crate) async fn run(program: &Path) {
    let mut outside = Outside::start(program).await;
    let long = outside.long_stream();
    RUN.case("verification-passes-through", outside.verified().await);
    RUN.case("connections-go-to-both", outside.reaches(2).await);
    RUN.case("a-terminating-envoy-fails-verification", outside.terminated(program).await);
    RUN.case("a-stream-of-six-minutes-is-not-cut", long.await.unwrap());
    outside.lose(0);
    RUN.case("a-gateway-whose-health-fell-gets-none", outside.reaches(1).await);
    outside.lose(1);
    RUN.case("with-all-unhealthy-nobody-gets-any", outside.reaches(0).await);
}

impl Outside {
    async fn start(program: &Path) -> Self {
        let rigs = [gateway().await, gateway().await];
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.toml");
        fs::write(&policy, policy_for_both(rigs.each_ref())).unwrap();
        let listen = free_port();
        let text = committed(
            "outside.yaml",
            &[
                ("address: 0.0.0.0, port_value: 8443", format!("address: 127.0.0.1, port_value: {listen}")),
                ("192.0.2.11", rigs[0].ip.to_string()),
                ("192.0.2.12", rigs[1].ip.to_string()),
            ],
        );
        let envoy = Envoy::start(program, &text, ([127, 0, 0, 1], listen).into()).await;
        Self { rigs, envoy, policy, _folder: folder }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.envoy.address.port())
    }

    fn policy(&self) -> Policy {
        Policy::parse(&fs::read(&self.policy).unwrap()).unwrap()
    }

    /// `cube verify`'s exit code, and what it printed.
    fn verify(&mut self, url: &str) -> (i32, String) {
        let mut cube = Command::new(program("cube"));
        cube.args(["verify", url, "--summary", "--policy"]).arg(&self.policy);
        cube.arg("--allow-simulated").arg(self.rigs[0].files().root());
        let output = tokio::task::block_in_place(|| cube.output()).unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// On a connection to either.
    async fn verified(&mut self) -> Result<(), String> {
        self.reaches(2).await?;
        for _ in 0..2 {
            let (code, told) = self.verify(&self.url());
            ensure(code == 0, || format!("{code}: {told}"))?;
        }
        Ok(())
    }

    /// New connections come to so many gateways; how soon is a matter of health checks.
    async fn reaches(&self, gateways: usize) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut instances = BTreeSet::new();
            for _ in 0..8 {
                let channel = connect(&self.url(), &self.rigs[0].roots(), &self.policy()).await;
                instances.extend(channel.map(|channel| channel.verified().manifest().instance.clone()));
            }
            if instances.len() == gateways {
                return Ok(());
            }
            ensure(Instant::now() < end, || format!("they come to {} gateways", instances.len()))?;
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn lose(&mut self, which: usize) {
        self.rigs[which].blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    }

    /// An Envoy that ends the TLS with a certificate of its own.
    async fn terminated(&mut self, program: &Path) -> Result<(), String> {
        let listen = free_port();
        let (key, folder) = (KeyPair::generate().unwrap(), tempfile::tempdir().unwrap());
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (leaf, key) = (file("leaf.pem", leaf.pem()), file("key.pem", key.serialize_pem()));
        let text = include_str!("terminating.yaml")
            .replace("LISTEN", &listen.to_string())
            .replace("LEAF", &leaf)
            .replace("KEY", &key)
            .replace("GATEWAY", &self.rigs[0].ip.to_string());
        let _envoy = Envoy::start(program, &text, ([127, 0, 0, 1], listen).into()).await;
        let (code, told) = self.verify(&format!("https://localhost:{listen}"));
        ensure(code == 13, || format!("{code}: {told}"))
    }

    /// A chat through the Envoy, a piece every half minute, for longer than it has to live.
    fn long_stream(&self) -> tokio::task::JoinHandle<Result<(), String>> {
        let (url, policy) = (self.url(), self.policy());
        for rig in &self.rigs {
            rig.backend.script(Script::paced(PIECES));
        }
        let (roots, gates) = (self.rigs[0].roots(), self.rigs.each_ref().map(|rig| rig.backend.gate()));
        tokio::spawn(async move {
            let channel = connect(&url, &roots, &policy).await.map_err(|error| error.to_string())?;
            let request = StreamChatRequest { spec: Some(spec("hello")) };
            let begun = Instant::now();
            let mut client = InferenceServiceClient::new(channel);
            let opened = client.stream_chat(request);
            let pace = async {
                for _ in 0..PIECES {
                    for gate in &gates {
                        gate.add_permits(1);
                    }
                    sleep(LONG / 12).await;
                }
                std::future::pending::<()>().await;
            };
            let read = async {
                let mut answer = opened.await?.into_inner();
                let mut pieces = 0;
                while answer.message().await?.is_some() {
                    pieces += 1;
                }
                Ok::<_, tonic::Status>(pieces)
            };
            tokio::select! {
                read = read => match read {
                    Ok(pieces) => ensure(pieces >= PIECES && begun.elapsed() >= LONG, || {
                        format!("{pieces} pieces in {:?}", begun.elapsed())
                    }),
                    Err(status) => Err(format!("after {:?}: {status:?}", begun.elapsed())),
                },
                () = pace => Err("the answer never ended".to_owned()),
            }
        })
    }
}

/// A stack whose gateway has a port for probes.
async fn gateway() -> Rig {
    let backend = FakeBackend::start().await.unwrap();
    let server = backend.address();
    let mut rig = Rig::with("openai", backend, server, |_| {});
    let config = rig.files().config(Service::Gateway);
    let text = fs::read_to_string(&config).unwrap();
    let probes = format!("health.listen = \"{}\"\n", SocketAddr::new(rig.ip, HEALTH));
    fs::write(&config, probes + &text).unwrap();
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    rig
}

/// A new connection, verified.
async fn connect(
    url: &str,
    roots: &TrustRoots,
    policy: &Policy,
) -> Result<AttestedChannel, attested_client::Error> {
    let (target, now) = (url.parse().unwrap(), UnixTime(SystemClock.unix()));
    AttestedChannel::connect(&target, &ServerTrust::EvidenceAlone, Limits::default(), roots, policy, now)
        .await
}
