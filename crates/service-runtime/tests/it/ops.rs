//! The plaintext ports of probes and scrapers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, routing::post};
use service_runtime::{Condition, Observability, Ops, Registry, RequestMetrics, TaskTracker};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn observability(health: Option<SocketAddr>, metrics: Option<SocketAddr>) -> Observability {
    Observability { log_level: "info".to_owned(), traces: None, metrics, health }
}

async fn start(observability: &Observability) -> Ops {
    let mut registry = Registry::default();
    let requests = RequestMetrics::register(&mut registry);
    Ops::start(observability, registry, &requests, &TaskTracker::new()).await.unwrap()
}

/// Status line and body of an HTTP/1.1 answer.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let answer = whole(address, method, path).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

async fn whole(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn a_process_lives_before_it_is_ready_and_is_ready_while_all_holds() {
    let ops = start(&observability(Some(any_port()), None)).await;
    let [health] = *ops.bound() else { panic!("one port") };
    assert_eq!(ask(health, "GET", "/livez").await, ("HTTP/1.1 200 OK".into(), "alive\n".into()));
    let (status, body) = ask(health, "GET", "/readyz").await;
    assert!(status.contains("503") && body == "started failed\n", "{status} {body}");
    let refused = whole(health, "POST", "/grpc.health.v1.Health/Check").await;
    assert!(
        refused.contains("grpc-status: 14") && refused.contains("grpc-status-details-bin: "),
        "{refused}"
    );

    let lease = Arc::new(AtomicBool::new(true));
    let live = lease.clone();
    let grpc = Router::new().route("/grpc.health.v1.Health/Check", post(async || "served"));
    ops.ready_when(grpc, move || vec![Condition { name: "lease", holds: live.load(Ordering::SeqCst) }]);
    assert_eq!(ask(health, "GET", "/readyz").await, ("HTTP/1.1 200 OK".into(), "lease ok\n".into()));
    assert_eq!(ask(health, "POST", "/grpc.health.v1.Health/Check").await.1, "served");
    lease.store(false, Ordering::SeqCst);
    let (status, body) = ask(health, "GET", "/readyz").await;
    assert!(status.contains("503") && body == "lease failed\n", "{status} {body}");
}

#[tokio::test]
async fn each_port_answers_its_own_paths_and_no_other() {
    let ops = start(&observability(Some(any_port()), Some(any_port()))).await;
    let [health, metrics] = *ops.bound() else { panic!("two ports") };
    let (status, body) = ask(metrics, "GET", "/metrics").await;
    assert!(status.contains("200") && body.ends_with("# EOF\n"), "{status} {body}");
    assert!(body.contains("cube_connections{listener=\"metrics\"} 1"), "{body}");
    for (port, path) in [(health, "/metrics"), (metrics, "/readyz"), (health, "/v1/models"), (metrics, "/")] {
        assert!(ask(port, "GET", path).await.0.contains("404"), "{path}");
    }
}

#[tokio::test]
async fn the_ports_go_with_their_owner() {
    let ops = start(&observability(Some(any_port()), None)).await;
    let [health] = *ops.bound() else { panic!("one port") };
    drop(ops);
    while TcpStream::connect(health).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut registry = Registry::default();
    let requests = RequestMetrics::register(&mut registry);
    let observability = observability(None, Some(address));
    let error = Ops::start(&observability, registry, &requests, &TaskTracker::new()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("metrics.listen: {address} cannot be bound")), "{error}");
}
