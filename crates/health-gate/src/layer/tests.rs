use std::{sync::Arc, time::Duration};

use axum::{Router, routing::any};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use service_runtime::{Clock, ManualClock};
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::gate::ServingPermit;

struct World {
    clock: Arc<ManualClock>,
    gate: Gate,
    router: Router,
}

impl World {
    fn open() -> Self {
        let world = Self::shut();
        world.gate.open_until(world.clock.boot() + Duration::from_secs(15));
        world
    }

    fn shut() -> Self {
        let clock = Arc::new(ManualClock::new(0));
        let (gate, slept) = (Gate::shut(clock.clone()), clock.clone());
        let router = Router::new()
            .route("/stream/{kind}", any(endless))
            .route("/health", any(|| async { "ok" }))
            .route("/silent", any(std::future::pending::<()>))
            // The lease ends while the answer is made, and nobody has looked at the clock since.
            .route("/overslept", any(move || async move { slept.advance(Duration::from_secs(15)) }))
            .route("/body", any(|body: Body| async { body.collect().await.map(drop).unwrap() }))
            .layer(GateLayer::new(gate.clone(), |parts| parts.uri.path() == "/health"));
        Self { clock, gate, router }
    }

    async fn ask(&self, path: &str, content_type: &'static str) -> Response<Body> {
        let request = Request::post(path).header(header::CONTENT_TYPE, content_type);
        self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    /// Opens a stream, reads its one frame, lets the lease end, and reads on.
    async fn cut(&self, kind: &str) -> (Option<Bytes>, Option<http::HeaderMap>, bool) {
        let guard = tokio::spawn(self.gate.clone().guard());
        let mut body = self.ask(&format!("/stream/{kind}"), "application/json").await.into_body();
        body.frame().await.unwrap().unwrap();
        self.clock.advance(Duration::from_secs(15));
        let (mut data, mut trailers) = (None, None);
        let aborted = loop {
            match body.frame().await {
                None => break false,
                Some(Err(_)) => break true,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => data = Some(bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        };
        guard.abort();
        (data, trailers, aborted)
    }
}

/// One frame, and then silence.
async fn endless(
    axum::extract::Path(kind): axum::extract::Path<String>,
    _: ServingPermitFound,
) -> Response<Body> {
    let (content_type, first) = match kind.as_str() {
        "grpc" => ("application/grpc", "\0\0\0\0\0"),
        "sse" => ("text/event-stream", "data: {}\n\n"),
        "half-event" => ("text/event-stream", "data: {"),
        "ndjson" => ("application/x-ndjson", "{}\n"),
        _ => ("application/json", "{"),
    };
    let frames = stream::iter([Ok::<_, axum::Error>(first)]).chain(stream::pending());
    Response::builder().header(header::CONTENT_TYPE, content_type).body(Body::from_stream(frames)).unwrap()
}

/// Handlers find their permit.
struct ServingPermitFound;

impl<S: Sync> axum::extract::FromRequestParts<S> for ServingPermitFound {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<ServingPermit>().map(|_| Self).ok_or(StatusCode::IM_A_TEAPOT)
    }
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const ERROR: &str = r#"{"error":{"message":"the health lease of this service is not live; retry elsewhere or later","type":"service_unavailable","param":null,"code":"ATTESTATION_LAPSED"}}"#;

#[tokio::test]
async fn while_shut_http_gets_503_with_the_reason() {
    let response = World::shut().ask("/stream/sse", "application/json").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(text(response).await, ERROR);
}

#[tokio::test]
async fn while_shut_grpc_gets_unavailable_in_trailers_only() {
    let response = World::shut().ask("/stream/grpc", "application/grpc+proto").await;
    assert_eq!(response.status(), StatusCode::OK);
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(proto::reason_of(&status).unwrap(), "ATTESTATION_LAPSED");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn while_shut_health_answers() {
    let response = World::shut().ask("/health", "application/json").await;
    assert_eq!(text(response).await, "ok");
}

#[tokio::test]
async fn while_shut_the_body_is_not_read() {
    let world = World::shut();
    let body = Body::from_stream(stream::poll_fn(|_| -> Poll<Option<Result<Bytes, axum::Error>>> {
        panic!("the body was read")
    }));
    let answer = world.router.oneshot(Request::post("/body").body(body).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_ends_in_unavailable() {
    let (_, trailers, aborted) = World::open().cut("grpc").await;
    let status = Status::from_header_map(&trailers.unwrap()).unwrap();
    assert_eq!(proto::reason_of(&status).unwrap(), "ATTESTATION_LAPSED");
    assert!(!aborted);
}

#[tokio::test(start_paused = true)]
async fn an_event_stream_ends_in_an_error_event_and_is_aborted() {
    let (data, _, aborted) = World::open().cut("sse").await;
    assert_eq!(data.unwrap(), format!("data: {ERROR}\n\n"));
    assert!(aborted);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_event_is_closed_first() {
    let (data, _, aborted) = World::open().cut("half-event").await;
    assert_eq!(data.unwrap(), format!("\n\ndata: {ERROR}\n\n"));
    assert!(aborted);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_lines_ends_in_an_error_line_and_is_aborted() {
    let (data, _, aborted) = World::open().cut("ndjson").await;
    assert!(data.unwrap().starts_with(b"{\"error\":\"the health lease"));
    assert!(aborted);
}

#[tokio::test(start_paused = true)]
async fn any_other_body_is_aborted() {
    let (data, trailers, aborted) = World::open().cut("plain").await;
    assert!(data.is_none() && trailers.is_none() && aborted);
}

#[tokio::test]
async fn each_frame_is_checked_without_anybody_watching() {
    let world = World::open();
    let (send, frames) = oneshot::channel::<()>();
    let frames = stream::once(async { frames.await.map(|()| Bytes::from_static(b"late")) });
    let permit = world.gate.permit().unwrap();
    let mut body = GatedBody::new(Body::from_stream(frames), permit, Dialect::Plain);
    send.send(()).unwrap();
    world.clock.advance(Duration::from_secs(15));
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_cut_body_cancels_what_feeds_it() {
    let world = World::open();
    let (alive, gone) = oneshot::channel::<()>();
    let feeding = stream::pending::<Result<Bytes, axum::Error>>().map(move |item| {
        let _held = &alive;
        item
    });
    let permit = world.gate.permit().unwrap();
    let mut body = GatedBody::new(Body::from_stream(feeding), permit, Dialect::Grpc);
    world.gate.close();
    body.frame().await.unwrap().unwrap();
    assert!(gone.await.is_err());
}

#[tokio::test]
async fn a_lapse_before_the_first_byte_of_an_answer_is_a_plain_refusal() {
    let world = World::open();
    let (gate, silent) = (world.gate.clone(), world.ask("/silent", "application/json"));
    let (response, ()) = tokio::join!(silent, async {
        tokio::task::yield_now().await;
        gate.close();
    });
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn an_answer_that_comes_after_the_lease_is_a_plain_refusal_though_nobody_noticed_the_lapse() {
    let response = World::open().ask("/overslept", "application/json").await;
    assert_eq!((response.status(), text(response).await.as_str()), (StatusCode::SERVICE_UNAVAILABLE, ERROR));
}

#[tokio::test]
async fn an_answer_under_a_live_lease_is_passed_on_whole() {
    let world = World::open();
    let response = world.ask("/body", "application/json").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "");
}
