//! Evidence, bound to the connection that asks for it.

use std::{collections::BTreeSet, time::Duration};

use inference_gateway::server;
use proto::{
    attestation::v1::{
        Binding, GetEvidenceRequest, GetKeyManifestRequest,
        attestation_service_client::AttestationServiceClient,
    },
    reason::Reason,
};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    client::{Grpc, Http, whole},
    grpc::reason,
    world::World,
};

const NONCE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn nonce() -> Vec<u8> {
    (0..32).collect()
}

#[tokio::test]
async fn the_exporter_is_that_of_the_connection() {
    let world = World::open().await;
    for mut http in Http::both(&world).await {
        let answer = http.get(&format!("/attestation/report?nonce={NONCE}&binding=tls-exporter")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"v\":1}"));
        assert_eq!(
            (&answer.headers["cache-control"], &answer.headers["content-type"]),
            (&"no-store".parse().unwrap(), &"application/json".parse().unwrap())
        );
        let asked = world.fake.collected.lock().unwrap().pop().unwrap();
        assert_eq!(asked.exporter, http.exporter.to_vec());
        assert_eq!((asked.nonce.to_vec(), asked.binding()), (nonce(), Binding::TlsExporter));
        assert_eq!(asked.leaf_spki_sha256, world.leaf_spki_sha256.to_vec());
    }
    let grpc = Grpc::new(&world).await;
    let mut client = AttestationServiceClient::new(grpc.channel.clone());
    let request = GetEvidenceRequest { nonce: nonce().into(), binding: Binding::TlsExporter.into() };
    assert_eq!(client.get_evidence(request).await.unwrap().into_inner().bundle, "{\"v\":1}");
    assert_eq!(world.fake.collected.lock().unwrap().pop().unwrap().exporter, grpc.exporter.to_vec());
    let manifest = client.get_key_manifest(GetKeyManifestRequest {}).await.unwrap().into_inner();
    assert_eq!(manifest.key_manifest, "manifest");
}

#[tokio::test]
async fn a_binding_to_the_key_has_no_exporter() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    http.get(&format!("/attestation/report?binding=tls-spki&nonce={NONCE}")).await;
    let asked = world.fake.collected.lock().unwrap().pop().unwrap();
    assert_eq!((asked.exporter.len(), asked.leaf_spki_sha256), (0, world.leaf_spki_sha256.to_vec().into()));
}

#[tokio::test]
async fn what_is_fresh_for_nobody_says_so_and_may_be_kept() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let answer = http.get("/.well-known/cube-attestation").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"v\":1}"));
    for (name, value) in [("cache-control", "public, max-age=60"), ("age", "7"), ("cube-evidence", "cached")]
    {
        assert_eq!(answer.headers[name], value);
    }
    let answer = http.get(&format!("/.well-known/cube-attestation?nonce={NONCE}")).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "UNKNOWN_PARAMETER"));
}

/// The document names what is served and nothing else, and no reason that is not given there.
#[tokio::test]
async fn what_is_served_is_described() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let document = http.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<_> = paths.keys().cloned().collect();
    let served = server::http_paths().into_iter().map(|path| path.replace("{*", "{"));
    assert_eq!(described, served.collect());
    for (path, item) in paths {
        for (status, answer) in
            item.as_object().unwrap().values().flat_map(|one| one["responses"].as_object().unwrap())
        {
            let status: u16 = status.parse().unwrap();
            let shared = answer["$ref"].as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
            let answer = shared.unwrap_or(answer);
            let text = answer["description"].as_str().unwrap();
            for word in
                text.split(|c: char| !c.is_ascii_uppercase() && c != '_').filter(|word| word.contains('_'))
            {
                let reason = Reason::named(word).unwrap_or_else(|| panic!("{path}: no reason {word}"));
                assert!(reason.http.contains(&status), "{path}: {word} with {status}");
            }
        }
    }
    let schema = http.get("/attestation/bundle.schema.json").await;
    assert_eq!(schema.headers["content-type"], "application/schema+json");
    assert_eq!(schema.json()["title"], "Cube evidence bundle, version 1");
}

#[tokio::test]
async fn nobody_chooses_what_is_signed() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let answer = whole(http.post("/attestation", r#"{"report_data":"AAAA"}"#).await).await;
    assert_eq!((answer.status, answer.code().as_str()), (410, "ENDPOINT_GONE"));
    assert!(answer.body.contains("/attestation/report?nonce="), "{}", answer.body);
    assert!(world.fake.collected.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_connection_waits_for_so_many_reports_and_leaves_room_for_others() {
    let world = World::open().await;
    let held = world.fake.device.lock().await;
    let crowd = Grpc::new(&world).await;
    let mut waiting = JoinSet::new();
    for _ in 0..64 {
        let mut client = AttestationServiceClient::new(crowd.channel.clone());
        let request = GetEvidenceRequest { nonce: nonce().into(), binding: Binding::TlsSpki.into() };
        waiting.spawn(async move { client.get_evidence(request).await });
        world.fake.asked.notified().await;
    }
    let mut client = AttestationServiceClient::new(crowd.channel.clone());
    let request = GetEvidenceRequest { nonce: nonce().into(), binding: Binding::TlsSpki.into() };
    let status = client.get_evidence(request.clone()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "EVIDENCE_UNAVAILABLE"));

    let another = Grpc::new(&world).await;
    let mut others = AttestationServiceClient::new(another.channel.clone());
    let (served, ()) = tokio::join!(others.get_evidence(request.clone()), async {
        world.fake.asked.notified().await;
        drop(held);
    });
    served.unwrap();
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    client.get_evidence(request).await.unwrap();
}

#[tokio::test]
async fn giving_up_early_makes_no_room_for_more() {
    let world = World::open().await;
    let held = world.fake.device.lock().await;
    let grpc = Grpc::new(&world).await;
    let ask = async |timeout: Duration| {
        let message = GetEvidenceRequest { nonce: nonce().into(), binding: Binding::TlsSpki.into() };
        let mut request = tonic::Request::new(message);
        request.set_timeout(timeout);
        AttestationServiceClient::new(grpc.channel.clone()).get_evidence(request).await
    };
    for _ in 0..64 {
        assert_eq!(ask(Duration::from_millis(1)).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
    let status = ask(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "EVIDENCE_UNAVAILABLE"));
    drop(held);
    // As soon as the first is answered, there is room.
    while ask(Duration::from_secs(5)).await.is_err() {}
}

#[tokio::test]
async fn bad_parameters_are_refused_by_name() {
    let world = World::open().await;
    let mut http = Http::h1(&world).await;
    let cases = [
        ("", 400, "NONCE_INVALID"),
        ("?binding=tls-spki", 400, "NONCE_INVALID"),
        ("?nonce=AAAA&binding=tls-spki", 400, "NONCE_INVALID"),
        (&format!("?nonce={NONCE}=&binding=tls-spki"), 400, "NONCE_INVALID"),
        (&format!("?nonce={NONCE}"), 400, "BINDING_UNSUPPORTED"),
        (&format!("?nonce={NONCE}&binding=none"), 400, "BINDING_UNSUPPORTED"),
        (&format!("?nonce={NONCE}&binding=hpke"), 501, "BINDING_UNSUPPORTED"),
        (&format!("?nonce={NONCE}&nonce={NONCE}&binding=tls-spki"), 400, "INVALID_REQUEST"),
        (&format!("?nonce={NONCE}&binding=tls-spki&exporter=00"), 400, "UNKNOWN_PARAMETER"),
    ];
    for (query, status, code) in cases {
        let answer = http.get(&format!("/attestation/report{query}")).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{query}");
    }
    let grpc = Grpc::new(&world).await;
    let mut client = AttestationServiceClient::new(grpc.channel.clone());
    for (length, binding, code, why) in [
        (31, 1, Code::InvalidArgument, "NONCE_INVALID"),
        (32, 0, Code::InvalidArgument, "BINDING_UNSUPPORTED"),
        (32, 9, Code::InvalidArgument, "BINDING_UNSUPPORTED"),
        (32, 3, Code::Unimplemented, "BINDING_UNSUPPORTED"),
    ] {
        let request = GetEvidenceRequest { nonce: vec![0; length].into(), binding };
        let status = client.get_evidence(request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (code, why));
    }
    assert!(world.fake.collected.lock().unwrap().is_empty());
}
