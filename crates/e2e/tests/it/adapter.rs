//! What the adapter says of itself to a service of its CVM, with and without a lease.

use dev_stack::Service;
use futures_util::stream;
use hyper::client::conn::http2::SendRequest;
use proto::access::METHODS;
use tonic::{Status, body::Body};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::identity::{dial, hold, sending, with_attestation};

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICES: [&str; 4] = [
    "cube.backend.v1.BackendService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_the_lease_and_nothing_else_answers_without_one() {
    let mut rig = with_attestation().await;
    rig.stack.start(Service::Adapter).unwrap();
    rig.wait_for(Service::Adapter, "\"serving\"");
    let gateway = hold(&rig, mtls::Role::Gateway).await;
    let sender = dial(&rig, &gateway.material()).await.unwrap();
    assert_eq!(listed(&sender).await.unwrap(), SERVICES);
    let names = || SERVICES.into_iter().chain([""]);
    let mut watches = Vec::new();
    for name in names() {
        assert_eq!(health(&sender, name).await, SERVING, "{name}");
        let mut watch = client(&sender).watch(about(name)).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING, "{name}");
        watches.push(watch);
    }

    rig.blocking(|rig| rig.stack.kill(Service::Attestation)).unwrap();
    rig.wait_for(Service::Adapter, "lapsed");

    for mut watch in watches {
        assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING);
    }
    for name in names() {
        assert_eq!(health(&sender, name).await, NOT_SERVING, "{name}");
    }
    let refused = listed(&sender).await.unwrap_err();
    assert_eq!(proto::reason_of(&refused).as_deref(), Some("ATTESTATION_LAPSED"));
    for method in METHODS.iter().filter(|method| !method.path.starts_with("/grpc.health.v1.Health/")) {
        let refused = refusal(&sender, method.path).await;
        assert_eq!(refused.as_deref(), Some("ATTESTATION_LAPSED"), "{}", method.path);
    }
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

fn client(sender: &SendRequest<Body>) -> HealthClient<crate::identity::Channel> {
    HealthClient::with_origin(sending(sender), "https://adapter.internal".parse().unwrap())
}

async fn health(sender: &SendRequest<Body>, name: &str) -> i32 {
    client(sender).check(about(name)).await.unwrap().into_inner().status
}

async fn listed(sender: &SendRequest<Body>) -> Result<Vec<String>, Status> {
    let origin = "https://adapter.internal".parse().unwrap();
    let mut client = ServerReflectionClient::with_origin(sending(sender), origin);
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let question = ServerReflectionRequest { host: String::new(), message_request };
    let mut answers = client.server_reflection_info(stream::iter([question])).await?.into_inner();
    let answer = answers.message().await?.unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { unreachable!("{answer:?}") };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

/// The reason why a call of `path` is refused, where the answer begins with a refusal.
async fn refusal(sender: &SendRequest<Body>, path: &str) -> Option<String> {
    let request = http::Request::post(format!("https://adapter.internal{path}"));
    let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let response = sender.clone().send_request(request).await.unwrap();
    proto::reason_of(&Status::from_header_map(response.headers())?)
}
