//! Evidence for anybody outside, over HTTP and gRPC alike, bound to the connection
//! that the request came on. Neither exporter nor key can come from the request.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response as HttpResponse},
    routing::{any, get},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use health_gate::ServingPermit;
use http::{Extensions, HeaderValue, StatusCode, header, request::Parts};
use proto::{
    attestation::v1::{
        Binding, CollectCachedEvidenceResponse, EvidenceChallenge, GetEvidenceRequest, GetEvidenceResponse,
        GetKeyManifestRequest, GetKeyManifestResponse, attestation_service_server::AttestationService,
    },
    reason,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tonic::{Code, Request, Response, Status};
use tracing::Instrument;

use crate::{
    incoming::{deadline, defect, permit, tls},
    openai::{error::ApiError, json},
    upstream::Evidence,
};

/// Bytes of a nonce.
const NONCE: usize = 32;
/// Reports that one connection may wait for at once: no client takes the places of all others.
const PLACES: usize = 64;

/// The places of one connection.
#[derive(Clone, Debug)]
struct Places(Arc<Semaphore>);

/// What the accept loop gives to every request of a connection.
pub(crate) fn places() -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Places(Arc::new(Semaphore::new(PLACES))));
    extensions
}

/// `cube.attestation.v1.AttestationService`, and its HTTP twin.
#[derive(Clone)]
pub(crate) struct Attestation {
    pub(crate) evidence: Arc<dyn Evidence>,
    /// For one report or manifest.
    pub(crate) limit: Duration,
}

#[tonic::async_trait]
impl AttestationService for Attestation {
    async fn get_evidence(
        &self,
        request: Request<GetEvidenceRequest>,
    ) -> Result<Response<GetEvidenceResponse>, Status> {
        let (metadata, extensions, asked) = request.into_parts();
        let bundle = self.bundle(&extensions, asked, deadline(&metadata)?).await?;
        Ok(Response::new(GetEvidenceResponse { bundle }))
    }

    async fn get_key_manifest(
        &self,
        request: Request<GetKeyManifestRequest>,
    ) -> Result<Response<GetKeyManifestResponse>, Status> {
        let deadline = deadline(request.metadata())?;
        let manifest = self.evidence.key_manifest(permit(request.extensions())?);
        let key_manifest = self.in_time(deadline, manifest).await?;
        Ok(Response::new(GetKeyManifestResponse { key_manifest }))
    }
}

impl Attestation {
    async fn bundle(
        &self,
        extensions: &Extensions,
        asked: GetEvidenceRequest,
        deadline: Option<Instant>,
    ) -> Result<Bytes, Status> {
        let permit: ServingPermit = permit(extensions)?.clone();
        let challenge = bound_to_connection(extensions, asked)?;
        let places = extensions.get::<Places>().ok_or_else(|| defect("a connection without places"))?;
        let place = Arc::clone(&places.0).try_acquire_owned().map_err(|_| crowded())?;
        let this = self.clone();
        // Who leaves, or gives up early, has asked all the same: its place is taken until there is an answer.
        let collecting = async move {
            let _place = place;
            this.in_time(None, this.evidence.collect(&permit, challenge)).await
        };
        let collecting = tokio::spawn(collecting.in_current_span());
        self.in_time(deadline, async { collecting.await.map_err(|_| late())? }).await
    }

    async fn in_time<T>(
        &self,
        deadline: Option<Instant>,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let limit = Instant::now() + self.limit;
        let until = deadline.map_or(limit, |deadline| deadline.min(limit));
        timeout_at(until, work).await.map_err(|_| late())?
    }
}

fn crowded() -> Status {
    let message = format!("{PLACES} requests of this connection wait for a report; retry");
    proto::status(Code::Unavailable, reason::EVIDENCE_UNAVAILABLE, message)
}

fn late() -> Status {
    let message = "the evidence was not made in time; retry later";
    proto::status(Code::DeadlineExceeded, reason::EVIDENCE_UNAVAILABLE, message)
}

/// Adds what this connection is to what its client asked for.
fn bound_to_connection(
    extensions: &Extensions,
    asked: GetEvidenceRequest,
) -> Result<EvidenceChallenge, Status> {
    if asked.nonce.len() != NONCE {
        return Err(nonce_invalid(&format!("nonce is {} bytes, need {NONCE}", asked.nonce.len())));
    }
    let binding = asked.binding();
    let tls = tls(extensions)?;
    let exporter = match binding {
        Binding::TlsExporter => Bytes::copy_from_slice(&tls.exporter),
        Binding::TlsSpki => Bytes::new(),
        Binding::Hpke => return Err(unsupported(Code::Unimplemented, "binding hpke cannot be had yet")),
        Binding::Unspecified => {
            return Err(unsupported(Code::InvalidArgument, "binding must be tls-exporter or tls-spki"));
        }
    };
    let leaf_spki_sha256 = Bytes::copy_from_slice(&tls.leaf_spki_sha256);
    Ok(EvidenceChallenge { nonce: asked.nonce, binding: binding.into(), exporter, leaf_spki_sha256 })
}

fn nonce_invalid(message: &str) -> Status {
    proto::status_with(Code::InvalidArgument, reason::NONCE_INVALID, message, &[("field", "nonce")])
}

fn unsupported(code: Code, message: &str) -> Status {
    proto::status_with(code, reason::BINDING_UNSUPPORTED, message, &[("field", "binding")])
}

/// The paths, as told of.
pub(crate) const PATHS: &[&str] = &[REPORT, CACHED, GONE, SCHEMA, OPEN_API];
const REPORT: &str = "/attestation/report";
const CACHED: &str = "/.well-known/cube-attestation";
/// Cube AI's.
const GONE: &str = "/attestation";
const SCHEMA: &str = "/attestation/bundle.schema.json";
const OPEN_API: &str = "/openapi.json";

/// `GET /attestation/report`.
pub(crate) fn router(attestation: Attestation) -> Router {
    Router::new()
        .route(REPORT, get(report))
        .route(CACHED, get(cached))
        .route(GONE, any(async || gone()))
        .route(
            SCHEMA,
            get(async || {
                described("application/schema+json", include_str!("../../docs/spec/bundle.schema.json"))
            }),
        )
        .route(OPEN_API, get(async || described("application/json", include_str!("../../docs/openapi.json"))))
        .with_state(attestation)
}

/// For monitors and lists of instances: what a proxy may keep for a while, since it is fresh for nobody.
async fn cached(State(attestation): State<Attestation>, request: Parts) -> Result<HttpResponse, ApiError> {
    if request.uri.query().is_some() {
        return Err(unknown_parameter(
            "this report is for nobody's nonce; ask /attestation/report for one of yours",
        ));
    }
    let cached = attestation.evidence.cached(permit(&request.extensions)?);
    let CollectCachedEvidenceResponse { bundle, age_seconds } = attestation.in_time(None, cached).await?;
    let mut response = json(bundle);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    headers.insert(header::AGE, HeaderValue::from(age_seconds));
    headers.insert("cube-evidence", HeaderValue::from_static("cached"));
    Ok(response)
}

/// What stands in the repository, too.
fn described(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")], text)
}

fn gone() -> ApiError {
    let message =
        "callers no longer choose what is signed; ask GET /attestation/report?nonce=…&binding=tls-exporter";
    ApiError::new(StatusCode::GONE, reason::ENDPOINT_GONE, message)
}

async fn report(State(attestation): State<Attestation>, request: Parts) -> Result<HttpResponse, ApiError> {
    let asked = parse_query(request.uri.query().unwrap_or_default())?;
    let bundle = attestation.bundle(&request.extensions, asked, None).await?;
    Ok(json(bundle))
}

/// Exactly `nonce` and `binding`, once each. Neither needs percent-encoding, so none is undone.
fn parse_query(query: &str) -> Result<GetEvidenceRequest, ApiError> {
    let (mut nonce, mut binding) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, place) = match name {
            "nonce" => ("nonce", &mut nonce),
            "binding" => ("binding", &mut binding),
            _ => return Err(unknown_parameter("the query may hold nonce and binding and nothing else")),
        };
        if place.replace(value).is_some() {
            return Err(ApiError::invalid(name, format!("{name} is given twice")));
        }
    }
    let nonce = nonce.ok_or_else(|| nonce_invalid("nonce is required: 32 bytes in unpadded base64url"))?;
    let nonce = URL_SAFE_NO_PAD.decode(nonce);
    let nonce = nonce.map_err(|_| nonce_invalid("nonce is not unpadded base64url"))?.into();
    Ok(GetEvidenceRequest { nonce, binding: parse_binding(binding)?.into() })
}

fn unknown_parameter(message: &str) -> ApiError {
    let error = ApiError::invalid("", message);
    ApiError { reason: reason::UNKNOWN_PARAMETER.to_owned(), ..error }
}

fn parse_binding(text: Option<&str>) -> Result<Binding, Status> {
    match text {
        Some("tls-exporter") => Ok(Binding::TlsExporter),
        Some("tls-spki") => Ok(Binding::TlsSpki),
        Some("hpke") => Ok(Binding::Hpke),
        Some(_) | None => {
            Err(unsupported(Code::InvalidArgument, "binding must be one of tls-exporter, tls-spki, hpke"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE_TEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn a_good_query_is_read() {
        let asked = parse_query(&format!("binding=tls-spki&nonce={NONCE_TEXT}")).unwrap();
        assert_eq!(asked.nonce.as_ref(), (0..32).collect::<Vec<u8>>());
        assert_eq!(asked.binding(), Binding::TlsSpki);
    }

    #[test]
    fn each_bad_query_has_its_reason() {
        let good = format!("nonce={NONCE_TEXT}");
        let cases = [
            (String::new(), "NONCE_INVALID"),
            ("binding=tls-spki".into(), "NONCE_INVALID"),
            (format!("{good}=&binding=tls-spki"), "NONCE_INVALID"),
            (format!("{good}+&binding=tls-spki"), "NONCE_INVALID"),
            (format!("nonce=%41{NONCE_TEXT}&binding=tls-spki"), "NONCE_INVALID"),
            // The last character has bits set that no byte carries.
            ("nonce=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9&binding=tls-spki".into(), "NONCE_INVALID"),
            (format!("{good}&{good}&binding=tls-spki"), "INVALID_REQUEST"),
            (format!("{good}&binding=tls-spki&binding=tls-spki"), "INVALID_REQUEST"),
            (format!("{good}&binding=tls-spki&x=1"), "UNKNOWN_PARAMETER"),
            (good.clone(), "BINDING_UNSUPPORTED"),
            (format!("{good}&binding=TLS-SPKI"), "BINDING_UNSUPPORTED"),
            (format!("{good}&binding="), "BINDING_UNSUPPORTED"),
        ];
        for (query, reason) in cases {
            let error = parse_query(&query).unwrap_err();
            assert_eq!((error.reason.as_str(), error.status.as_u16()), (reason, 400), "{query}");
        }
    }

    #[test]
    fn the_nonce_is_32_bytes() {
        let asked = GetEvidenceRequest { nonce: vec![0; 31].into(), binding: 2 };
        let status = bound_to_connection(&Extensions::new(), asked).unwrap_err();
        assert_eq!(status.message(), "nonce is 31 bytes, need 32");
    }

    #[test]
    fn without_tls_there_is_no_evidence() {
        let asked = GetEvidenceRequest { nonce: vec![0; 32].into(), binding: 2 };
        assert_eq!(bound_to_connection(&Extensions::new(), asked).unwrap_err().code(), Code::Internal);
    }
}
