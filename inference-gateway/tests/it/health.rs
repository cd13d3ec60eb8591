//! `grpc.health.v1` and the drain.

use tokio::time::timeout;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::{Grpc, PATIENCE},
    reflection::SERVICES,
    world::World,
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

#[tokio::test]
async fn each_name_is_known() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let mut health = HealthClient::new(grpc.channel.clone());
    for name in SERVICES.into_iter().chain([""]) {
        assert_eq!(health.check(about(name)).await.unwrap().into_inner().status, SERVING, "{name}");
    }
    assert_eq!(health.check(about("x")).await.unwrap_err().code(), Code::NotFound);
    let mut unknown = health.watch(about("x")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status, SERVICE_UNKNOWN);
    world.lapse().await;
    for name in SERVICES.into_iter().chain([""]) {
        assert_eq!(health.check(about(name)).await.unwrap().into_inner().status, NOT_SERVING, "{name}");
    }
}

#[tokio::test]
async fn a_watcher_learns_of_the_lapse() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let mut watches = Vec::new();
    for name in SERVICES.into_iter().chain([""]) {
        let watch = HealthClient::new(grpc.channel.clone()).watch(about(name)).await;
        let mut watch = watch.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING, "{name}");
        watches.push(watch);
    }
    world.lapse().await;
    for mut watch in watches {
        let next = timeout(PATIENCE, watch.message()).await.unwrap();
        assert_eq!(next.unwrap().unwrap().status, NOT_SERVING);
    }
}

#[tokio::test]
async fn a_watcher_learns_of_the_drain_and_does_not_hold_it_up() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let mut watch = HealthClient::new(grpc.channel.clone()).watch(about("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING);
    world.draining.cancel();
    let next = timeout(PATIENCE, watch.message()).await.unwrap();
    assert_eq!(next.unwrap().unwrap().status, NOT_SERVING);
    assert!(timeout(PATIENCE, watch.message()).await.unwrap().unwrap().is_none());
}
