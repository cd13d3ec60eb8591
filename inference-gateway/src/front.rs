//! What both HTTP interfaces are served with, and how a request is passed on in either.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use bytes::Bytes;
use health_gate::ServingPermit;
use http::{HeaderName, HeaderValue, Request};
use proto::backend::v1::Endpoint;
use service_runtime::{BackendKind, Clock};

use crate::{
    callers::Caller,
    chat::Chat,
    dialect::Dialect,
    incoming,
    openai::error::ApiError,
    relay::{
        Relay, Subject,
        request::{Form, Prepared},
    },
    request_id::RequestId,
    upstream::RelayCall,
};

/// Names parameters that Cube does not know, or that it read and did not pass on.
pub(crate) const UNRECOGNISED: HeaderName = HeaderName::from_static("cube-unrecognised");

/// What the handlers work with.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) chat: Chat,
    pub(crate) relay: Relay,
    /// What the model server speaks.
    pub(crate) backend: BackendKind,
    /// Whether what Cube does not know is refused in what is passed on.
    pub(crate) strict: bool,
    pub(crate) clock: Arc<dyn Clock>,
}

/// An endpoint of the model server, how requests of it are read, and what it is in telemetry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    pub(crate) dialect: Dialect,
    pub(crate) operation: &'static str,
    pub(crate) form: Form,
}

/// A request that was read.
pub(crate) struct Asked {
    pub(crate) permit: ServingPermit,
    pub(crate) caller: Caller,
    pub(crate) request_id: RequestId,
    pub(crate) body: Bytes,
}

impl Asked {
    /// The layer stack bounds every body; there is no second bound here.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let permit = incoming::permit(request.extensions())?.clone();
        let caller = incoming::caller(request.extensions())?.clone();
        let request_id = incoming::id(request.extensions())?;
        let body = to_bytes(request.into_body(), usize::MAX).await;
        let body = body.map_err(|error| crate::body::unreadable(&error))?;
        Ok(Self { permit, caller, request_id, body })
    }

    /// As it goes to one of the model server's endpoints.
    pub(crate) fn call(&self, endpoint: Endpoint, body: Bytes) -> RelayCall {
        RelayCall {
            request_id: self.request_id.clone(),
            endpoint,
            content_type: String::new(),
            body,
            strip_usage: false,
            streamed: false,
            deadline: None,
        }
    }
}

impl Front {
    /// Passes a request on, and its answer back.
    pub(crate) async fn pass_on(&self, route: &Route, asked: &Asked) -> Result<Response, ApiError> {
        let Prepared { body, model, streamed, strip_usage, unrecognised } =
            route.form.read(&asked.body, self.strict, asked.caller.salt())?;
        asked.caller.may_ask(&model)?;
        let call = RelayCall { strip_usage, streamed, ..asked.call(route.endpoint, body) };
        let subject = Subject { operation: route.operation, model: &model, caller: &asked.caller };
        let answer = self.relay.ask(&asked.permit, call, subject).await?;
        let mut response = answer.respond(route.dialect).await?;
        name_unrecognised(&mut response, unrecognised);
        Ok(response)
    }
}

/// Tells in the answer's head what Cube did not know, or did not pass on.
pub(crate) fn name_unrecognised(response: &mut Response, names: String) {
    if let Ok(names) = HeaderValue::try_from(names)
        && !names.is_empty()
    {
        response.headers_mut().insert(UNRECOGNISED, names);
    }
}
