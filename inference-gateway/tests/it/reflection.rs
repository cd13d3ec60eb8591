//! grpc.reflection, and the guard, as any stranger meets them on the public listener.

use std::collections::BTreeSet;

use futures_util::stream;
use http_body_util::BodyExt;
use proto::access::{Caller, METHODS, Method};
use tonic::{Code, Status, body::Body};
use tonic_reflection::pb::{
    v1::{self, server_reflection_client::ServerReflectionClient},
    v1alpha::{self, server_reflection_client::ServerReflectionClient as ServerReflectionClientAlpha},
};
use tower::{Service, ServiceExt};

use crate::{client::Grpc, grpc::reason, world::World};

/// What this listener serves.
pub(crate) const SERVICES: [&str; 6] = [
    "cube.attestation.v1.AttestationService",
    "cube.inference.v1.InferenceService",
    "cube.inference.v1.ModelService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

async fn ask(
    grpc: &Grpc,
    question: v1::server_reflection_request::MessageRequest,
) -> Result<v1::ServerReflectionResponse, Status> {
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut client = ServerReflectionClient::new(grpc.channel.clone());
    let mut answers = client.server_reflection_info(stream::iter([request])).await?.into_inner();
    answers.message().await.map(Option::unwrap)
}

async fn listed(grpc: &Grpc) -> Result<Vec<String>, Status> {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let answer = ask(grpc, MessageRequest::ListServices(String::new())).await?;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    Ok(list.service.into_iter().map(|service| service.name).collect())
}

async fn listed_alpha(grpc: &Grpc) -> Vec<String> {
    use v1alpha::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let question = Some(MessageRequest::ListServices(String::new()));
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: question };
    let mut client = ServerReflectionClientAlpha::new(grpc.channel.clone());
    let answers = client.server_reflection_info(stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    list.service.into_iter().map(|service| service.name).collect()
}

#[tokio::test]
async fn both_versions_list_exactly_what_is_served() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    assert_eq!(listed(&grpc).await.unwrap(), SERVICES);
    assert_eq!(listed_alpha(&grpc).await, SERVICES);
}

#[tokio::test]
async fn what_another_listener_serves_is_not_described_here() {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    for name in SERVICES {
        let answer = ask(&grpc, MessageRequest::FileContainingSymbol(name.to_owned())).await.unwrap();
        assert!(
            matches!(answer.message_response, Some(MessageResponse::FileDescriptorResponse(_))),
            "{name}"
        );
    }
    for name in ["cube.backend.v1.BackendService", "cube.attestation.v1.EvidenceService"] {
        let refused = ask(&grpc, MessageRequest::FileContainingSymbol(name.to_owned())).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{name}");
    }
}

#[tokio::test]
async fn after_a_lapse_nothing_is_listed() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    listed(&grpc).await.unwrap();
    world.lapse().await;
    let refused = listed(&grpc).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "ATTESTATION_LAPSED"));
}

/// An empty message to `path`; the reason of the refusal, if it is one.
async fn refusal(grpc: &Grpc, path: &str) -> Option<String> {
    let message = http_body_util::Full::from(&b"\0\0\0\0\0"[..]).map_err(|never| match never {});
    let request = http::Request::post(path).header("content-type", "application/grpc");
    let request = request.body(Body::new(message)).unwrap();
    let mut channel = grpc.channel.clone();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    proto::reason_of(&Status::from_header_map(response.headers())?)
}

#[tokio::test]
async fn a_stranger_reaches_what_is_for_everybody_and_nothing_else() {
    let world = World::open().await;
    let grpc = Grpc::new(&world).await;
    let (public, inner): (Vec<&Method>, Vec<&Method>) =
        METHODS.iter().partition(|method| method.allows(Caller::Public));
    for method in inner {
        let refused = refusal(&grpc, method.path).await;
        assert_eq!(refused.as_deref(), Some("UNKNOWN_METHOD"), "{}", method.path);
    }
    let served: BTreeSet<_> = public.iter().map(|method| method.path.split('/').nth(1).unwrap()).collect();
    assert_eq!(served, SERVICES.into_iter().collect());
    world.lapse().await;
    for method in METHODS.iter().filter(|method| !method.path.starts_with("/grpc.health.v1.Health/")) {
        let refused = refusal(&grpc, method.path).await;
        assert_eq!(refused.as_deref(), Some("ATTESTATION_LAPSED"), "{}", method.path);
    }
}
