//! What each service answers to a probe that cannot speak TLS.

use std::fs;

use dev_stack::Service;
use service_runtime::JWKS;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::rig::{PATIENCE, Rig};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ready_while_all_that_it_needs_is_there() {
    let mut rig = Rig::prepared("openai").await;
    for service in Service::ALL {
        let config = rig.files().config(service);
        let health = format!("[health]\nlisten = \"{}:{}\"\n", rig.ip, port(service));
        fs::write(&config, fs::read_to_string(&config).unwrap() + &health).unwrap();
    }
    rig.backend.set_loading(true);
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    assert_eq!(ready(&rig, Service::Attestation).await, (200, "evidence ok\nnot-stopping ok\n".into()));
    assert_eq!(ready(&rig, Service::Adapter).await, (200, "lease ok\nnot-stopping ok\n".into()));
    // Meshes find the token key there, and nobody else's.
    let (status, head, keys) = get(&rig, Service::Attestation, JWKS, "").await;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let known = format!("if-none-match: {tag}\r\n");
    assert_eq!(get(&rig, Service::Attestation, JWKS, &known).await.0, 304);
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let [key] = keys["keys"].as_array().unwrap().as_slice() else { panic!("{keys}") };
    assert_eq!((status, &key["alg"], &key["crv"]), (200, &"ES384".into(), &"P-384".into()));
    assert_eq!(get(&rig, Service::Gateway, JWKS, "").await.0, 404);
    let (status, body) = ready(&rig, Service::Gateway).await;
    assert_eq!((status, body.as_str()), (503, "lease ok\nbackend failed\nnot-stopping ok\n"));

    rig.backend.set_loading(false);
    rig.wait_for(Service::Gateway, "the backend's state has changed");
    let (status, body) = ready(&rig, Service::Gateway).await;
    assert_eq!((status, body.as_str()), (200, "lease ok\nbackend ok\nnot-stopping ok\n"));

    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    for service in [Service::Gateway, Service::Adapter] {
        rig.wait_for(service, "lapsed");
        let (status, body) = ready(&rig, service).await;
        assert!(status == 503 && body.starts_with("lease failed\n"), "{service:?}: {status} {body}");
    }
}

fn port(service: Service) -> u16 {
    match service {
        Service::Gateway => 9474,
        Service::Attestation => 9475,
        Service::Adapter => 9476,
    }
}

/// Status and body of `/readyz`.
async fn ready(rig: &Rig, service: Service) -> (u16, String) {
    let (status, _, body) = get(rig, service, "/readyz", "").await;
    (status, body)
}

/// Status, head and body of `path`.
async fn get(rig: &Rig, service: Service, path: &str, header: &str) -> (u16, String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
    let mut stream = TcpStream::connect((rig.ip, port(service))).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}
