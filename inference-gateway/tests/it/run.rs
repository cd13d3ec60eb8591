//! The whole gateway, from its configuration file to its exit code.

use std::{fs, net::SocketAddr, time::Duration};

use attested_client::{AttestedChannel, Limits, ServerTrust};
use inference_gateway::{Config, run};
use proto::{
    attestation::v1::{GetKeyManifestRequest, attestation_service_client::AttestationServiceClient},
    inference::v1::{ListModelsRequest, model_service_client::ModelServiceClient},
};
use service_runtime::{CancellationToken, Clock, Exit};
use snp_evidence::UnixTime;
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tonic::Code;

use crate::{client::PATIENCE, grpc::reason, world::Deployment};

/// The gateway's configuration beside that of `deployment`; there is no adapter.
fn config(deployment: &Deployment, start_timeout: u32) -> Config {
    let text = format!(
        "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\nlisten = \"127.0.0.1:8443\"\n\
         attestation_svc = \"{}\"\nadapter = \"127.0.0.1:1\"\naccess = \"anonymous\"\n\
         start_timeout_seconds = {start_timeout}\n",
        deployment.internal
    );
    let path = deployment.folder.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    Config::load(&path).unwrap()
}

async fn dial(deployment: &Deployment, address: SocketAddr) -> AttestedChannel {
    let (target, now) = (format!("https://{address}").parse().unwrap(), UnixTime(deployment.clock.unix()));
    let (roots, policy) = (&deployment.roots, &deployment.policy);
    let trust = ServerTrust::EvidenceAlone;
    AttestedChannel::connect(&target, &trust, Limits::default(), roots, policy, now).await.unwrap()
}

#[tokio::test]
async fn evidence_is_bound_to_the_connection_and_a_stop_is_clean() {
    mtls::install_crypto_provider();
    let deployment = Deployment::start().await;
    let (bound, address) = oneshot::channel();
    let bind = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        bound.send(listener.local_addr()?).unwrap();
        Ok(listener)
    };
    let stop = CancellationToken::new();
    let (config, roots, clock) =
        (config(&deployment, 60), deployment.roots.clone(), deployment.clock.clone());
    let gateway = run(config, roots, bind, clock, stop.clone());
    let client = async {
        let channel = dial(&deployment, timeout(PATIENCE, address).await.unwrap().unwrap()).await;
        let mut attestation = AttestationServiceClient::new(channel.clone());
        let manifest = attestation.get_key_manifest(GetKeyManifestRequest {}).await.unwrap().into_inner();
        assert_eq!(manifest.key_manifest, channel.verified().manifest_bytes());
        // Once more, on the connection to attestation-svc that is there now.
        attestation.get_key_manifest(GetKeyManifestRequest {}).await.unwrap();
        let status =
            ModelServiceClient::new(channel).list_models(ListModelsRequest::default()).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "ADAPTER_UNAVAILABLE"));
        stop.cancel();
    };
    let (exit, ()) = tokio::join!(gateway, client);
    assert_eq!(exit, Exit::Clean);
}

#[tokio::test]
async fn without_a_lease_the_port_is_never_bound() {
    let deployment = Deployment::start().await;
    let config = config(&deployment, 1);
    deployment.issuer.cancel();
    fs::remove_dir_all(deployment.folder.path().join("run")).ok();
    let bind = async || panic!("bound without a lease");
    let (roots, clock) = (deployment.roots.clone(), deployment.clock.clone());
    let exit = timeout(Duration::from_mins(1), run(config, roots, bind, clock, CancellationToken::new()));
    assert_eq!(exit.await.unwrap(), Exit::NoLease);
}
