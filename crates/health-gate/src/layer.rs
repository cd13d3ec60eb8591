//! The gate before every request, and in every answer's body.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use proto::reason;
use service_runtime::refused_for;
use tonic::Status;
use tower::{Layer, Service};

use crate::{
    body::{Dialect, GatedBody, error_object},
    gate::{Gate, Lapsed},
};

/// Puts the gate around a router. Requests for which `exempt` is true (health) pass unguarded; of
/// every other one not a byte of the body is read while the gate is shut.
#[derive(Clone)]
pub struct GateLayer {
    gate: Gate,
    exempt: Arc<dyn Fn(&Parts) -> bool + Send + Sync>,
}

impl GateLayer {
    /// A layer for `gate`.
    pub fn new(gate: Gate, exempt: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        Self { gate, exempt: Arc::new(exempt) }
    }
}

impl fmt::Debug for GateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, layer: self.clone() }
    }
}

/// A service behind the gate. Its handlers find a [`crate::ServingPermit`] in the request's extensions.
#[derive(Clone, Debug)]
pub struct Gated<S> {
    inner: S,
    layer: GateLayer,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, B, A> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
    A: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    A::Error: Into<axum::BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Answer<S::Error> {
        let (mut parts, body) = request.into_parts();
        if (self.layer.exempt)(&parts) {
            let answer = self.inner.call(Request::from_parts(parts, body));
            return Box::pin(async { Ok(answer.await?.map(Body::new)) });
        }
        let grpc = Dialect::of(&parts.headers) == Dialect::Grpc;
        let permit = match self.layer.gate.permit() {
            Ok(permit) => permit,
            Err(lapsed) => return Box::pin(async move { Ok(refusal(grpc, lapsed)) }),
        };
        parts.extensions.insert(permit.clone());
        let answer = self.inner.call(Request::from_parts(parts, body));
        Box::pin(async move {
            // An answer may be long in coming, and the lease may end meanwhile.
            let answer = tokio::select! {
                answer = answer => answer?,
                () = permit.lapsed() => return Ok(refusal(grpc, Lapsed)),
            };
            if let Err(lapsed) = permit.check() {
                return Ok(refusal(grpc, lapsed));
            }
            let dialect = Dialect::of(answer.headers());
            Ok(answer.map(|body| Body::new(GatedBody::new(body, permit, dialect))))
        })
    }
}

fn refusal(grpc: bool, lapsed: Lapsed) -> Response<Body> {
    let status = Status::from(lapsed);
    if grpc {
        return status.into_http();
    }
    let mut response = Response::new(Body::from(error_object(&status)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    refused_for(response, reason::ATTESTATION_LAPSED)
}

#[cfg(test)]
mod tests;
