use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use proto::reason;
use tonic::{Code, Status};

use super::*;

const SERVICE: &str = "cube.inference.v1.InferenceService";
const CHAT: &str = "/cube.inference.v1.InferenceService/Chat";

fn watched() -> (Registry, Observer) {
    let mut registry = Registry::default();
    let metrics = RequestMetrics::register(&mut registry);
    let routes = Routes::new(&["/v1/models/{*model}"], &[SERVICE]);
    let observer = Observer::new("public", TraceContext::Linked, routes, metrics);
    (registry, observer)
}

/// The one line of `cube_requests_total` after `story`.
fn told(path: &str, story: impl FnOnce(&mut Seen)) -> String {
    let (registry, observer) = watched();
    let mut seen = observer.seen(&Request::get(path).body(()).unwrap());
    assert!(registry.scrape().unwrap().contains("cube_requests_in_flight{listener=\"public\"} 1"));
    story(&mut seen);
    drop(seen);
    let text = registry.scrape().unwrap();
    assert!(text.contains("cube_requests_in_flight{listener=\"public\"} 0"));
    assert!(text.contains("cube_request_duration_seconds_count{listener=\"public\""));
    let mut lines = text.lines().filter(|line| line.starts_with("cube_requests_total{"));
    let line = lines.next().unwrap().to_owned();
    assert_eq!(lines.next(), None);
    line
}

fn labels(route: &str, code: &str, outcome: &str, reason: &str) -> String {
    format!(
        "cube_requests_total{{listener=\"public\",route=\"{route}\",code=\"{code}\",outcome=\"{outcome}\",reason=\"{reason}\"}} 1"
    )
}

fn frame(seen: &mut Seen, frame: &Result<Frame<Bytes>, Status>) {
    seen.frame(Some(frame));
}

fn ok() -> Response<Body> {
    Response::new(Body::from_stream(futures_util::stream::empty::<Result<Bytes, Status>>()))
}

#[test]
fn a_whole_answer_is_ok() {
    let line = told("/v1/models/a-prompt", |seen| {
        seen.answered(&ok());
        frame(seen, &Ok(Frame::data(Bytes::from_static(b"x"))));
        seen.ended();
    });
    assert_eq!(line, labels("/v1/models/{*model}", "200", "ok", ""));
}

#[test]
fn a_caller_that_leaves_has_left() {
    let before_the_head = told(CHAT, |_| {});
    assert_eq!(before_the_head, labels(CHAT, "", "left", ""));
    let within_the_body = told(CHAT, |seen| {
        seen.answered(&ok());
        frame(seen, &Ok(Frame::data(Bytes::from_static(b"x"))));
    });
    assert_eq!(within_the_body, labels(CHAT, "200", "left", ""));
}

#[test]
fn a_refusal_has_its_reason_in_each_dialect() {
    let status = proto::status(Code::Unavailable, reason::ATTESTATION_LAPSED, "shut");
    let grpc: Response<Body> = status.clone().into_http();
    let head_only = told(CHAT, |seen| seen.answered(&grpc));
    assert_eq!(head_only, labels(CHAT, "UNAVAILABLE", "error", "ATTESTATION_LAPSED"));

    let in_trailers = told(CHAT, |seen| {
        seen.answered(&ok());
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        frame(seen, &Ok(Frame::trailers(trailers)));
    });
    assert_eq!(in_trailers, labels(CHAT, "UNAVAILABLE", "error", "ATTESTATION_LAPSED"));

    let mut http = Response::new(Body::empty());
    *http.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let http = refused_for(http, reason::OVERLOADED);
    assert_eq!(told("/", |seen| seen.answered(&http)), labels("unmatched", "503", "error", "OVERLOADED"));
}

#[test]
fn an_answer_that_broke_off_is_an_error_with_its_reason() {
    let line = told(CHAT, |seen| {
        seen.answered(&ok());
        let status = proto::status(Code::DataLoss, reason::BACKEND_TRUNCATED, "cut");
        frame(seen, &Err(status));
    });
    assert_eq!(line, labels(CHAT, "200", "error", "BACKEND_TRUNCATED"));
}

#[test]
fn a_reason_that_is_not_ours_is_not_told() {
    let response = refused_for(Response::new(Body::empty()), "what the caller said");
    assert_eq!(told("/", |seen| seen.answered(&response)), labels("unmatched", "200", "ok", ""));
}
