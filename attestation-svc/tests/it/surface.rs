//! What each listener serves, lists and says of its health, and to whom.

use std::time::Duration;

use mtls::Role;
use nix::unistd::geteuid;
use proto::access::{Caller, METHODS, Method};
use proto::reason;
use service_runtime::Exit;
use tokio::time::timeout;

use crate::peer::{Link, Peer};
use crate::world::World;

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

const ENROLMENT: [&str; 5] = [
    "cube.attestation.v1.HealthService",
    "cube.attestation.v1.IdentityService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];
const ADMIN: [&str; 4] = [
    "cube.attestation.v1.AdminService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];
const MUTUAL: [&str; 4] = [
    "cube.attestation.v1.EvidenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

fn of<'a>(services: &'a [&str]) -> impl Iterator<Item = &'static Method> + 'a {
    let named = |method: &Method| services.iter().any(|name| method.path.starts_with(&format!("/{name}/")));
    METHODS.iter().filter(move |method| named(method))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_lists_and_knows_the_health_of_exactly_what_it_serves() {
    let world = World::new();
    let service = world.start().await;
    let (socket, enrolled) = Peer::new(Role::Adapter).hold(&world).await;
    let mutual = service.mutual(&enrolled).await;
    let admin = Link::unix(&world.path("run").join("admin.sock")).await;
    for (link, services) in [(&socket, &ENROLMENT[..]), (&admin, &ADMIN[..]), (&mutual, &MUTUAL[..])] {
        assert_eq!(link.listed().await, services);
        for name in services.iter().chain(&[""]) {
            assert_eq!(link.health(name).await, SERVING, "{name}");
        }
        let elsewhere = METHODS.iter().filter(|method| of(services).all(|it| it.path != method.path));
        for method in elsewhere {
            assert_eq!(
                link.refusal(method.path).await.as_deref(),
                Some(reason::UNKNOWN_METHOD),
                "{}",
                method.path
            );
        }
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_of_another_user_reaches_nothing_on_an_enrolment_socket() {
    let world = World::for_uid(geteuid().as_raw() + 1);
    let service = world.start().await;
    let link = Link::unix(&world.socket("gateway")).await;
    for path in of(&ENROLMENT).map(|method| method.path).chain(["/", "/x.Y/Z"]) {
        let refused = link.refusal(path).await;
        assert_eq!(refused.as_deref(), Some(reason::ENROLMENT_WRONG_UID), "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_the_gateway_is_refused_to_every_other_service() {
    let world = World::new();
    let service = world.start().await;
    let (_kept, enrolled) = Peer::new(Role::Adapter).hold(&world).await;
    let link = service.mutual(&enrolled).await;
    let (open, closed): (Vec<&Method>, Vec<&Method>) =
        of(&MUTUAL).partition(|method| method.allows(Caller::Service));
    for method in &closed {
        let refused = link.refusal(method.path).await;
        assert_eq!(refused.as_deref(), Some(reason::PEER_NOT_ALLOWED), "{}", method.path);
    }
    for method in &open {
        assert_eq!(link.refusal(method.path).await, None, "{}", method.path);
    }
    assert_eq!((open.len(), closed.len()), (4, 3));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_learns_of_the_stop_and_does_not_hold_it_up() {
    let world = World::new();
    let service = world.start().await;
    let (socket, enrolled) = Peer::new(Role::Adapter).hold(&world).await;
    let mutual = service.mutual(&enrolled).await;
    let mut watches = Vec::new();
    for (link, name) in [(&socket, "cube.attestation.v1.HealthService"), (&mutual, "")] {
        let mut watch = link.watch(name).await;
        assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING);
        watches.push(watch);
    }
    assert_eq!(timeout(Duration::from_secs(20), service.stop()).await.unwrap(), Exit::Clean);
    for mut watch in watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING);
        assert!(watch.message().await.unwrap().is_none(), "the stream ended as it should, it was not cut");
    }
}
