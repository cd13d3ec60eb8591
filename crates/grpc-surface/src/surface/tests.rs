use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::response::Response;
use tonic::Status;
use tower::ServiceExt;

use super::*;

/// Answers whatever reaches it.
#[derive(Clone)]
struct Backend;

impl NamedService for Backend {
    const NAME: &'static str = "cube.backend.v1.BackendService";
}

impl Service<Request> for Backend {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        Box::pin(async { Ok("reached".into_response()) })
    }
}

fn router(callers: Callers) -> Router {
    let serving = Serving::until(service_runtime::CancellationToken::new());
    Surface::new(callers).serve(Backend).finish(serving).0
}

async fn reason(router: Router, path: &str) -> Option<String> {
    let request = Request::post(path).body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    proto::reason_of(&Status::from_header_map(response.headers())?)
}

#[tokio::test]
async fn the_guard_stands_before_every_route_and_before_what_is_not_there() {
    for path in ["/cube.backend.v1.BackendService/Generate", "/grpc.health.v1.Health/Check", "/x.Y/Z", "/"] {
        // Nobody has shown an SVID here.
        assert_eq!(reason(router(Callers::Svid), path).await.as_deref(), Some("PEER_NOT_ALLOWED"), "{path}");
    }
    let refused = reason(router(Callers::Public), "/cube.backend.v1.BackendService/Generate").await;
    assert_eq!(refused.as_deref(), Some("PEER_NOT_ALLOWED"), "outsiders are not the gateway");
    for path in ["/x.Y/Z", "/", "/cube.backend.v1.BackendService/Other"] {
        assert_eq!(reason(router(Callers::Public), path).await.as_deref(), Some("UNKNOWN_METHOD"), "{path}");
    }
}

#[tokio::test]
async fn a_router_that_merges_this_one_has_its_own_fallback_and_the_guard_stays() {
    let merged = Router::new().merge(router(Callers::Svid)).fallback(async || "elsewhere");
    let refused = reason(merged.clone(), "/cube.backend.v1.BackendService/Generate").await;
    assert_eq!(refused.as_deref(), Some("PEER_NOT_ALLOWED"));
    assert_eq!(reason(merged, "/v1/models").await, None);
}
