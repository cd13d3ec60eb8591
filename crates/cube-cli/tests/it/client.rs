//! `attested_client::AttestedClient`: connections come and go, and none is used that is not verified.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use attested_client::{AttestedClient, ClientError, Demands, Error, Limits, ServerTrust};
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt;
use service_runtime::{Clock, SystemClock};
use snp_evidence::{Policy, TrustRoots, UnixTime};
use tonic::body::Body;
use tower::Service;

use crate::{
    gateway::{Behaviour, Gateway},
    world::world,
};

fn client(gateway: &Gateway) -> AttestedClient {
    let world = world();
    AttestedClient::new(Demands {
        target: gateway.url().parse().unwrap(),
        trust: ServerTrust::EvidenceAlone,
        limits: Limits::default(),
        roots: TrustRoots::simulated(&std::fs::read(world.root_file()).unwrap()).unwrap(),
        policy: Policy::parse(&std::fs::read(world.policy_file()).unwrap()).unwrap(),
        clock: || UnixTime(SystemClock.unix()),
    })
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn many_requests_at_once_share_verified_connections() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let client = client(&gateway);
    // More than one connection takes.
    let calls = (0..300).map(|_| {
        let mut client = client.clone();
        async move {
            let mut body = client.call(get("/v1/endless")).await.unwrap().into_body();
            body.frame().await.unwrap().unwrap();
            body
        }
    });
    let open = join_all(calls).await;
    assert!(client.clone().call(get("/v1/echo")).await.is_ok());
    drop(open);
}

#[tokio::test]
async fn a_connection_that_is_full_is_joined_by_another() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let mut client = client(&gateway);
    let mut open = Vec::new();
    for _ in 0..250 {
        open.push(client.call(get("/v1/endless")).await.unwrap());
    }
    assert!(client.call(get("/v1/echo")).await.is_ok());
}

#[tokio::test]
async fn a_gateway_that_restarts_costs_a_new_connection() {
    let gateway = Gateway::behaving(Behaviour::Honest).await;
    let mut client = client(&gateway);
    let channel = client.connect().await.unwrap();
    client.call(get("/v1/echo")).await.unwrap();
    channel.cut();
    channel.closed().await;
    assert!(client.call(get("/v1/echo")).await.is_ok());
}

#[tokio::test]
async fn what_is_not_verified_any_more_is_cut_with_all_that_is_open() {
    let replay = Behaviour::Replay(Arc::new(Mutex::new(None)));
    let gateway = Gateway::behaving(replay).await;
    let mut client = client(&gateway);
    let mut open = client.call(get("/v1/endless")).await.unwrap().into_body();
    open.frame().await.unwrap().unwrap();
    // The second look at this connection is answered with the first look's bundle.
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(10)).await;
    tokio::time::resume();
    assert!(open.frame().await.unwrap().is_err());
    let refused = client.call(get("/v1/echo")).await.unwrap_err();
    assert!(matches!(refused, ClientError::NotVerified(Error::NotTrusted(_))), "{refused}");
}

#[tokio::test]
async fn what_is_open_is_verified_again_though_its_client_has_gone() {
    let gateway = Gateway::behaving(Behaviour::Replay(Arc::new(Mutex::new(None)))).await;
    let mut client = client(&gateway);
    let mut open = client.call(get("/v1/endless")).await.unwrap().into_body();
    open.frame().await.unwrap().unwrap();
    drop(client);
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(10)).await;
    tokio::time::resume();
    assert!(open.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn nothing_is_sent_where_nothing_is_verified() {
    let gateway = Gateway::behaving(Behaviour::OtherKeyListed).await;
    let refused = client(&gateway).call(get("/v1/echo")).await.unwrap_err();
    assert!(matches!(refused, ClientError::NotVerified(Error::NotTrusted(_))), "{refused}");
}
