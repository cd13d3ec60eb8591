//! `cube verify` and `cube report` over real TLS connections.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use attested_client::{AttestedChannel, Error, Limits, ServerTrust};
use axum::http::StatusCode;
use proto::inference::v1::{ListModelsRequest, model_service_client::ModelServiceClient};
use service_runtime::{Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tokio::net::TcpListener;

use crate::{
    chat::Model,
    gateway::{Behaviour, Gateway, Identity},
    tool::{Run, cube},
    world::{MEASUREMENT, world},
};

async fn verify(gateway: &Gateway, more: &[&str]) -> Run {
    let (url, world) = (gateway.url(), world());
    let mut args = vec!["verify", &url, "--json", "--policy", world.policy_file()];
    args.extend(more);
    cube(&args).await
}

/// With the simulator's root allowed, so that only the matter of the test can refuse.
async fn verify_simulated(behaviour: Behaviour) -> Run {
    let gateway = Gateway::behaving(behaviour).await;
    verify(&gateway, &["--allow-simulated", world().root_file()]).await
}

#[tokio::test]
async fn simulated_evidence_counts_only_where_it_is_allowed() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let run = verify(&gateway, &[]).await;
    assert_eq!((run.code, run.verdict().as_str()), (14, "simulated"), "{}", run.stdout);
    let run = verify(&gateway, &["--allow-simulated", world().root_file()]).await;
    assert_eq!((run.code, run.verdict().as_str()), (0, "simulated"), "{}", run.stdout);
    assert_eq!(run.json()["report"]["measurement"], hex::encode(MEASUREMENT));
    assert_eq!(run.json()["scope"], "connection");
}

#[tokio::test]
async fn the_table_says_that_simulated_hardware_proves_nothing() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let (url, world) = (gateway.url(), world());
    let args = ["verify", &url, "--policy", world.policy_file(), "--allow-simulated", world.root_file()];
    for form in [&[] as &[&str], &["--summary"]] {
        let run = cube(&[&args, form].concat()).await;
        assert!(run.stdout.contains("SIMULATED HARDWARE"), "{}", run.stdout);
        assert!(!run.stdout.contains("by AMD") && !run.stdout.contains(" AMD\n"), "{}", run.stdout);
        assert!(run.stdout.contains("only CPU memory is proven: gpu_evidence off"), "{}", run.stdout);
    }
    let run = cube(&[&args, &["--summary"] as &[&str]].concat()).await;
    assert!(run.stdout.lines().count() <= 12, "{}", run.stdout);
}

#[tokio::test]
async fn limits_of_the_proof_are_printed() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let covers = "covers = \"kernel-only\", reason = \"a test\"";
    let policy = world().policy_with("kernel-only.toml", &hex::encode(MEASUREMENT), covers);
    let url = gateway.url();
    let args = ["verify", &url, "--policy", &policy, "--allow-simulated", world().root_file(), "--summary"];
    let run = cube(&[&args as &[&str], &["--binding", "tls-spki"]].concat()).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.lines().count() <= 12, "{}", run.stdout);
    assert!(run.stdout.contains("the host can change the programs"), "{}", run.stdout);
    assert!(run.stdout.contains("does not stop a holder of the gateway's TLS key"), "{}", run.stdout);
}

#[tokio::test]
async fn another_measurement_is_refused_by_policy() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let policy = world().policy_with("other.toml", &"11".repeat(48), "covers = \"userspace\"");
    let url = gateway.url();
    let run =
        cube(&["verify", &url, "--json", "--policy", &policy, "--allow-simulated", world().root_file()])
            .await;
    assert_eq!((run.code, run.reason().as_str()), (11, "measurement"), "{}", run.stdout);
}

#[tokio::test]
async fn a_bundle_of_another_connection_is_refused() {
    let gateway = Gateway::behaving(Behaviour::Replay(Arc::new(Mutex::new(None)))).await;
    let root = ["--allow-simulated", world().root_file()];
    assert_eq!(verify(&gateway, &root).await.code, 0);
    let second = verify(&gateway, &root).await;
    assert_eq!((second.code, second.verdict().as_str()), (13, "refused"), "{}", second.stdout);
}

/// Somebody who holds the gateway's own key stands between, and passes on its answers.
#[tokio::test]
async fn a_relay_with_the_gateways_key_is_caught_by_the_exporter_and_by_nothing_less() {
    let identity = Identity::honest();
    let gateway = Gateway::with(identity.clone(), Behaviour::Honest, Model::Speaks).await;
    let relay = Gateway::with(identity, Behaviour::Relay(gateway.url()), Model::Speaks).await;
    let allowed = ["--allow-simulated", world().root_file()];
    let run = verify(&relay, &allowed).await;
    assert_eq!((run.code, run.reason().as_str()), (13, "report_data"), "{}", run.stdout);
    let run = verify(&relay, &[&allowed as &[&str], &["--binding", "tls-spki"]].concat()).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    let url = relay.url();
    let table = ["verify", &url, "--policy", world().policy_file(), "--binding", "tls-spki"];
    let run = cube(&[&table as &[&str], &allowed].concat()).await;
    assert!(run.stdout.contains("does not stop"), "the output says so: {}", run.stdout);
}

/// The same with a key of its own: the manifest lists another.
#[tokio::test]
async fn a_relay_with_another_key_is_caught_either_way() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let relay = Gateway::behaving(Behaviour::Relay(gateway.url())).await;
    for binding in ["tls-exporter", "tls-spki"] {
        let run = verify(&relay, &["--allow-simulated", world().root_file(), "--binding", binding]).await;
        assert_eq!((run.code, run.reason().as_str()), (13, "bundle.binding"), "{binding}: {}", run.stdout);
    }
}

#[tokio::test]
async fn a_report_for_another_nonce_is_refused() {
    let run = verify_simulated(Behaviour::OtherNonce).await;
    assert_eq!((run.code, run.verdict().as_str()), (13, "refused"), "{}", run.stdout);
}

#[tokio::test]
async fn a_key_that_the_manifest_does_not_list_is_refused() {
    let run = verify_simulated(Behaviour::OtherKeyListed).await;
    assert_eq!((run.code, run.verdict().as_str()), (13, "refused"), "{}", run.stdout);
}

#[tokio::test]
async fn what_is_no_bundle_is_refused() {
    let oversized: fn(Vec<u8>) -> Vec<u8> = |mut bundle| {
        bundle.resize(64 * 1024 + 1, b' ');
        bundle
    };
    let malformed: fn(Vec<u8>) -> Vec<u8> = |mut bundle| {
        bundle.truncate(bundle.len() / 2);
        bundle
    };
    let unknown_member: fn(Vec<u8>) -> Vec<u8> =
        |bundle| String::from_utf8(bundle).unwrap().replacen('{', "{\"extra\":1,", 1).into_bytes();
    let empty: fn(Vec<u8>) -> Vec<u8> = |_| Vec::new();
    for change in [oversized, malformed, unknown_member, empty] {
        let run = verify_simulated(Behaviour::Change(change)).await;
        assert_eq!((run.code, run.verdict().as_str()), (10, "refused"), "{}", run.stdout);
    }
}

#[tokio::test]
async fn a_gateway_that_gives_no_evidence_is_unavailable() {
    let body = "{\"error\":{\"code\":\"ATTESTATION_LAPSED\",\"message\":\"\x1b[2J\"}}";
    let run = verify_simulated(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE, body)).await;
    assert_eq!((run.code, run.verdict().as_str()), (15, "unavailable"), "{}", run.stdout);
    let observed = run.json()["checks"][0]["observed"].as_str().unwrap().to_owned();
    assert!(observed.contains("ATTESTATION_LAPSED") && !observed.contains('\x1b'), "{observed}");
}

#[tokio::test]
async fn a_gateway_that_stalls_is_unavailable_in_bounded_time() {
    let gateway = Gateway::behaving(Behaviour::Silent).await;
    let started = Instant::now();
    let run = verify(&gateway, &["--timeout", "1"]).await;
    assert_eq!(run.code, 15, "{}", run.stdout);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_unreachable_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let run = cube(&["verify", &url, "--json", "--timeout", "1"]).await;
    assert_eq!((run.code, run.verdict().as_str()), (15, "unavailable"), "{}", run.stdout);
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    drop(listener);
    let run = cube(&["verify", &url, "--json"]).await;
    assert_eq!((run.code, run.verdict().as_str()), (15, "unavailable"), "{}", run.stdout);
}

#[tokio::test]
async fn a_given_ca_must_have_issued_the_certificate() {
    let (gateway, other) =
        (Gateway::behaving(Behaviour::Honest).await, Gateway::behaving(Behaviour::Honest).await);
    let (own, others) = (world().folder().join("own-ca.pem"), world().folder().join("other-ca.pem"));
    std::fs::write(&own, &gateway.ca_pem).unwrap();
    std::fs::write(&others, &other.ca_pem).unwrap();
    let root = ["--allow-simulated", world().root_file(), "--ca"];
    let run = verify(&gateway, &[&root as &[&str], &[own.to_str().unwrap()]].concat()).await;
    assert_eq!(run.code, 0, "{}", run.stdout);
    let run = verify(&gateway, &[&root as &[&str], &[others.to_str().unwrap()]].concat()).await;
    assert_eq!((run.code, run.reason().as_str()), (13, "channel.certificate"), "{}", run.stdout);
}

#[tokio::test]
async fn a_certificate_whose_key_the_server_does_not_hold_is_refused() {
    let gateway = Gateway::with(Identity::stolen(), Behaviour::Honest, Model::Speaks).await;
    let run = verify(&gateway, &["--allow-simulated", world().root_file()]).await;
    assert_eq!((run.code, run.reason().as_str()), (13, "channel.certificate"), "{}", run.stdout);
}

#[tokio::test]
async fn a_server_without_http2_is_unavailable() {
    let gateway = Gateway::with(Identity::without_http2(), Behaviour::Honest, Model::Speaks).await;
    let run = verify(&gateway, &["--allow-simulated", world().root_file()]).await;
    assert_eq!((run.code, run.verdict().as_str()), (15, "unavailable"), "{}", run.stdout);
}

#[tokio::test]
async fn a_saved_bundle_is_judged_by_the_savers_own_values() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let (url, file) = (gateway.url(), world().folder().join("saved.json"));
    let saved = cube(&["report", &url, "-o", file.to_str().unwrap()]).await;
    assert_eq!(saved.code, 0, "{}", saved.stderr);
    let mut args: Vec<&str> = saved.stdout.split_whitespace().skip(1).collect();
    args.extend(["--json", "--policy", world().policy_file(), "--allow-simulated", world().root_file()]);
    let run = cube(&args).await;
    assert_eq!((run.code, run.json()["scope"].as_str()), (0, Some("bundle")), "{}", run.stdout);

    let spki = args.iter().position(|arg| *arg == "--spki").unwrap();
    let without_spki = [&args[..spki], &args[spki + 2..]].concat();
    assert_eq!(cube(&without_spki).await.code, 0, "the exporter alone is enough");
    for flag in ["--nonce", "--exporter", "--spki"] {
        let mut wrong = args.clone();
        let (value, at) = ("5a".repeat(32), args.iter().position(|arg| *arg == flag).unwrap() + 1);
        wrong[at] = &value;
        let run = cube(&wrong).await;
        assert_eq!(run.code, 13, "{flag}: {}", run.stdout);
    }
}

#[tokio::test]
async fn a_bundle_that_cannot_be_saved_is_wrong_usage_and_names_the_file() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let file = world().folder().join("absent/saved.json");
    let run = cube(&["report", &gateway.url(), "-o", file.to_str().unwrap()]).await;
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("cannot write {}", file.display())), "{}", run.stderr);
}

#[tokio::test]
async fn the_library_hands_out_a_channel_only_for_accepted_evidence() {
    let roots = TrustRoots::simulated(&std::fs::read(world().root_file()).unwrap()).unwrap();
    let policy = Policy::parse(&std::fs::read(world().policy_file()).unwrap()).unwrap();
    let (trust, now) = (ServerTrust::EvidenceAlone, UnixTime(SystemClock.unix()));
    let dial = async |gateway: &Gateway| {
        let target = gateway.url().parse().unwrap();
        AttestedChannel::connect(&target, &trust, Limits::default(), &roots, &policy, now).await
    };
    let honest = Gateway::behaving(Behaviour::Honest).await;
    let mut client = ModelServiceClient::new(dial(&honest).await.unwrap());
    let models = client.list_models(ListModelsRequest::default()).await.unwrap().into_inner().models;
    assert_eq!(models.len(), 2);

    let lying = Gateway::behaving(Behaviour::OtherKeyListed).await;
    let Err(Error::NotTrusted(refusal)) = dial(&lying).await else { panic!("a channel was handed out") };
    assert_eq!(refusal.reason(), "manifest.tls_key");
}

/// Both gateways are of one boot; the second speaks where the first did, with another log behind it.
#[tokio::test]
async fn a_gateway_whose_log_is_another_than_remembered_is_refused() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seen.json");
    let remember = ["--remember", file.to_str().unwrap(), "--allow-simulated", world().root_file()];
    for row in ["remembered", "remembered.audit_log"] {
        let run = verify(&gateway, &remember).await;
        assert_eq!((run.code, run.verdict().as_str()), (0, "simulated"), "{}", run.stdout);
        assert!(run.stdout.contains(&format!("\"id\": \"{row}\"")), "{}", run.stdout);
    }
    let remembered = std::fs::read_to_string(&file).unwrap();
    let other = remembered.replace("\"audit_seq\": 2", "\"audit_seq\": 3");
    assert_ne!(other, remembered);
    std::fs::write(&file, &other).unwrap();
    let run = verify(&gateway, &remember).await;
    assert_eq!((run.code, run.reason().as_str()), (11, "remembered.audit_log"), "{}", run.stdout);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), other, "a refusal is not remembered");

    std::fs::write(&file, "{}").unwrap();
    let run = verify(&gateway, &remember).await;
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("is not what --remember wrote"), "{}", run.stderr);
}
