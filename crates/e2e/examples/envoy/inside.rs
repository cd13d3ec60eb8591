//! A gRPC service of somebody else's behind an Envoy of the CVM.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use dev_stack::Service;
use e2e::fake_backend::FakeBackend;
use mtls::ServiceKey;
use proto::attestation::v1::{EnrollRequest, identity_service_client::IdentityServiceClient};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use service_runtime::MeasuredConfig;
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    LONG, RUN, ensure,
    peer::{Channel, Secrets, call, connect, origin, subscribe, unix},
    proxy::{Envoy, committed, free_port},
    rig::{PATIENCE, Rig, program},
    workload,
};

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;
/// After a lapse everything is refused within this.
const LAPSE: Duration = Duration::from_secs(15);

struct Inside {
    rig: Rig,
    envoy: Envoy,
    secrets: watch::Receiver<Option<Secrets>>,
}

pub(crate) async fn run(envoy: &Path) {
    let mut inside = Inside::start(envoy).await;
    let long = inside.long_stream().await;
    RUN.case("peer-with-a-live-lease-is-served", inside.served().await);
    RUN.case("caller-without-certificate-is-refused", refused_by_tls(inside.call(None, None).await));
    RUN.case("caller-of-another-cvm-is-refused", inside.stranger().await);
    RUN.case("peer-without-a-live-lease-is-403", inside.without_lease().await);
    let spoofed = inside.call_as_itself(Some(("cube-epoch", "9"))).await;
    RUN.case("a-spoofed-cube-header-does-not-arrive", is_served(spoofed));
    RUN.case("xfcc-of-another-certificate-is-403", inside.forwarded(envoy).await);
    RUN.case("certificates-rotate-with-no-failed-request", inside.rotate().await);
    RUN.case("a-silent-stream-of-six-minutes-is-not-cut", long.await.unwrap());
    RUN.case("without-attestation-svc-everything-is-503-within-15-s", inside.lapse().await);
    RUN.case("serving-again-in-the-new-trust-epoch", inside.again().await);
}

impl Inside {
    async fn start(program: &Path) -> Self {
        let mut rig = with_workloads().await;
        rig.stack.start(Service::Attestation).unwrap();
        rig.wait_for(Service::Attestation, "can be enrolled");
        let envoy = start(program, &rig, &[]).await;
        let secrets = subscribe(&socket(&rig), "ward").await;
        let inside = Self { rig, envoy, secrets };
        inside.until_served().await.unwrap();
        inside
    }

    fn secrets(&self) -> Secrets {
        self.secrets.borrow().clone().unwrap()
    }

    async fn call(
        &self,
        own: Option<&Arc<CertifiedKey>>,
        header: Option<(&'static str, &str)>,
    ) -> Result<i32, Status> {
        call(self.envoy.address, &self.secrets().roots, own, header).await
    }

    async fn call_as_itself(&self, header: Option<(&'static str, &str)>) -> Result<i32, Status> {
        let own = self.secrets().own;
        self.call(Some(&own), header).await
    }

    async fn served(&self) -> Result<(), String> {
        is_served(self.call_as_itself(None).await)
    }

    /// Envoy may still be waiting for its secrets.
    async fn until_served(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.served().await {
                Err(_) if Instant::now() < end => sleep(Duration::from_millis(100)).await,
                Err(why) => return Err(format!("{why}; Envoy said: {}", self.envoy.log())),
                Ok(()) => return Ok(()),
            }
        }
    }

    /// A stream whose second message comes after the time that it has to live.
    async fn long_stream(&self) -> tokio::task::JoinHandle<Result<(), String>> {
        let Secrets { roots, own } = self.secrets();
        let channel = connect(self.envoy.address, &roots, Some(&own)).await.unwrap();
        let mut client: HealthClient<Channel> = HealthClient::with_origin(channel, origin());
        let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        tokio::spawn(async move {
            let begun = Instant::now();
            let second = stream.message().await;
            drop(client);
            match second {
                Ok(Some(_)) => {
                    ensure(begun.elapsed() + Duration::from_secs(1) > LONG, || "too early".to_owned())
                }
                other => Err(format!("after {:?}: {other:?}", begun.elapsed())),
            }
        })
    }

    /// The same name, by the CA of another machine.
    async fn stranger(&self) -> Result<(), String> {
        let mut elsewhere = with_workloads().await;
        elsewhere.stack.start(Service::Attestation).unwrap();
        elsewhere.wait_for(Service::Attestation, "can be enrolled");
        let other = subscribe(&socket(&elsewhere), "ward").await;
        let own = other.borrow().clone().unwrap().own;
        refused_by_tls(self.call(Some(&own), None).await)
    }

    /// An identity of this CVM, with its certificate, that gives no sign of life.
    async fn without_lease(&self) -> Result<(), String> {
        let files = self.rig.files();
        let key = ServiceKey::generate().map_err(|error| error.to_string())?;
        let measured = MeasuredConfig::load(&files.measured()).unwrap();
        let request = EnrollRequest {
            csr: key.csr_der().unwrap().into(),
            listeners: Vec::new(),
            nonce: vec![7; 32].into(),
            measured_config_sha256: measured.sha256().to_vec().into(),
        };
        let channel = unix(&files.run_dir().join("enrol-adapter.sock")).await;
        let enrolled = IdentityServiceClient::with_origin(channel, origin()).enroll(request).await;
        let svid = CertificateDer::from(enrolled.unwrap().into_inner().svid.to_vec());
        let own = Arc::new(CertifiedKey::new(vec![svid], Arc::new(key)));
        refused_by_the_gate(self.call(Some(&own), None).await, "live lease")
    }

    /// Another Envoy, which passes on what the caller says of its own certificate.
    async fn forwarded(&self, program: &Path) -> Result<(), String> {
        let forwards = [("SANITIZE_SET", "ALWAYS_FORWARD_ONLY".to_owned())];
        let other = start(program, &self.rig, &forwards).await;
        let Secrets { roots, own } = self.secrets();
        let end = Instant::now() + PATIENCE;
        while call(other.address, &roots, Some(&own), None).await.is_err() && Instant::now() < end {
            sleep(Duration::from_millis(100)).await;
        }
        let header = ("x-forwarded-client-cert", "Hash=00;URI=spiffe://a/b");
        let answer = call(other.address, &roots, Some(&own), Some(header)).await;
        refused_by_the_gate(answer, "another certificate")
    }

    /// A connection for each request, while the CA is replaced: at the end another one signs.
    async fn rotate(&mut self) -> Result<(), String> {
        let before = self.secrets();
        let mut cube = Command::new(program("cube"));
        cube.args(["admin", "rotate", "ca", "--reason", "conformance", "--socket"])
            .arg(self.rig.files().run_dir().join("admin.sock"));
        let output = self.rig.blocking(|_| cube.output()).unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure(output.status.success(), || told)?;
        let (end, mut requests) = (Instant::now() + PATIENCE * 4, 0);
        loop {
            let now = self.secrets();
            // The last CA is gone from the bundle, and the certificate is a new one.
            let replaced = !now.roots.contains(&before.roots[0]) && now.own.cert != before.own.cert;
            if replaced && requests > 100 {
                return Ok(());
            }
            self.served().await.map_err(|why| format!("after {requests} requests: {why}"))?;
            requests += 1;
            ensure(Instant::now() < end, || format!("{requests} requests, and the CA is still the same"))?;
        }
    }

    async fn lapse(&mut self) -> Result<(), String> {
        self.rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
        let begun = Instant::now();
        loop {
            match self.call_as_itself(None).await {
                Err(refused) if refused.code() == Code::Unavailable => return Ok(()),
                other => ensure(begun.elapsed() < LAPSE, || format!("{other:?}"))?,
            }
        }
    }

    async fn again(&mut self) -> Result<(), String> {
        self.rig.stack.start(Service::Attestation).map_err(|error| error.to_string())?;
        self.rig.wait_for(Service::Attestation, "can be enrolled");
        self.secrets = subscribe(&socket(&self.rig), "ward").await;
        self.until_served().await
    }
}

async fn start(program: &Path, rig: &Rig, more: &[(&str, String)]) -> Envoy {
    let (listen, workload) = (free_port(), workload::start().await);
    let own = [
        ("address: 0.0.0.0, port_value: 9443", format!("address: 127.0.0.1, port_value: {listen}")),
        ("/run/cube/mesh.sock", socket(rig).display().to_string()),
        ("port_value: 50051", format!("port_value: {}", workload.port())),
    ];
    let text = committed("inside.yaml", &[&own[..], more].concat());
    Envoy::start(program, &text, ([127, 0, 0, 1], listen).into()).await
}

async fn with_workloads() -> Rig {
    let backend = FakeBackend::start().await.unwrap();
    let server = backend.address();
    Rig::with("openai", backend, server, |options| options.mesh = vec!["embedder".into(), "ward".into()])
}

fn socket(rig: &Rig) -> PathBuf {
    rig.files().run_dir().join("mesh.sock")
}

fn is_served(answer: Result<i32, Status>) -> Result<(), String> {
    match answer {
        Ok(SERVING) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn refused_by_tls(answer: Result<i32, Status>) -> Result<(), String> {
    match answer {
        Err(refused) if ![Code::PermissionDenied, Code::Unavailable].contains(&refused.code()) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn refused_by_the_gate(answer: Result<i32, Status>, why: &str) -> Result<(), String> {
    match answer {
        Err(refused) if refused.code() == Code::PermissionDenied && refused.message().contains(why) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
