//! Envoy's external authorization: whether this machine is vouched for, and whether a peer is whom a live lease is held by.
//!
//! Whatever is wrong is answered as *denied*: a proxy follows its failure mode on errors, but never on a denial. A decision
//! stands for one request, so that a stream that is open stays open; what needs to be cut holds a lease of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::SHA256;
use health_token::AFFIRMING;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::envoy::auth::attribute_context::{HttpRequest, Peer};
use proto::envoy::auth::authorization_server::Authorization;
use proto::envoy::auth::check_response::HttpResponse;
use proto::envoy::auth::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption,
    HttpStatus, OkHttpResponse, Status as RpcStatus,
};
use proto::reason;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tonic::{Code, Request, Response, Status};
use tracing::warn;

use crate::authority::Authority;
use crate::manifest::hash;

/// Metadata or context extension that names the gate.
const GATE: &str = "cube-gate";
/// What only Cube may say.
const RESERVED: &str = "cube-";
/// As long as a lease lives without a sign of its holder (design of the lease: 15 s).
const LAPSE: Duration = Duration::from_secs(15);

/// On `mesh.sock`.
#[derive(Debug, Clone)]
pub(crate) struct Gates {
    pub(crate) authority: Arc<Authority>,
}

#[tonic::async_trait]
impl Authorization for Gates {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let gate = request.metadata().get(GATE).map(|gate| gate.to_str().unwrap_or("?").to_owned());
        let asked = request.into_inner().attributes.unwrap_or_default();
        let gate = asked.context_extensions.get(GATE).cloned().or(gate);
        let decision = match self.decide(gate.as_deref(), &asked) {
            Ok(peer) => self.passed(peer, &asked),
            Err(refused) => denied(&refused),
        };
        Ok(Response::new(decision))
    }
}

impl Gates {
    /// The peer's identity, where it had to show one.
    fn decide(&self, gate: Option<&str>, asked: &AttributeContext) -> Result<Option<String>, Status> {
        self.authority.vouching.check()?;
        let source = asked.source.clone().unwrap_or_default();
        let shown = !source.principal.is_empty() || !source.certificate.is_empty();
        match gate {
            Some("peer") => self.peer(&source, asked).map(Some),
            // A peer that shows an identity is held to it at either gate.
            Some("inbound") | None if shown => self.peer(&source, asked).map(Some),
            Some("inbound") | None => Ok(None),
            Some(_) => Err(refuse("cube-gate has to be inbound or peer")),
        }
    }

    /// The peer gate: its certificate is for a key that somebody in this CVM holds, and who that is, is who it says it is.
    fn peer(&self, source: &Peer, asked: &AttributeContext) -> Result<String, Status> {
        let certificate = decoded(&source.certificate)
            .ok_or_else(|| refuse("the filter sends no peer certificate; set include_peer_certificate"))?;
        let spki =
            mtls::spki_of(&certificate).map_err(|_| refuse("the peer's certificate cannot be read"))?;
        let identity = self
            .holder(&hash(&SHA256, &spki))
            .ok_or_else(|| refuse("no holder of the peer's key has a live lease"))?;
        if source.principal != identity {
            return Err(refuse("the peer's key belongs to another identity than its certificate names"));
        }
        let told = http(asked).and_then(forwarded);
        let own = hex::encode::<[u8; 32]>(hash(&SHA256, &certificate));
        if told.is_some_and(|told| !told.eq_ignore_ascii_case(&own)) {
            return Err(refuse("x-forwarded-client-cert names another certificate than the peer's"));
        }
        Ok(identity)
    }

    fn holder(&self, spki_sha256: &[u8; 32]) -> Option<String> {
        let authority = &self.authority;
        let since = authority.clock.boot().saturating_sub(LAPSE);
        let service = authority.roster.borrow().alive(spki_sha256, since);
        let workload = || authority.workloads.alive(spki_sha256, authority.clock.unix());
        service
            .map(|role| authority.identity(role).to_string())
            .or_else(|| workload().map(|name| authority.keys.ca().workload(name)))
    }

    fn passed(&self, peer: Option<String>, asked: &AttributeContext) -> CheckResponse {
        let epoch = self.authority.roster.borrow().epochs().epoch;
        let text = |text: String| Some(Kind::StringValue(text));
        let mut facts = BTreeMap::from([
            ("ear_status", text(AFFIRMING.to_owned())),
            // Exact up to 2^53 revocations.
            #[expect(clippy::cast_precision_loss, reason = "no counter of revocations comes near 2^53")]
            ("epoch", Some(Kind::NumberValue(epoch as f64))),
            ("measurement", text(hex::encode(self.authority.machine.measurement))),
        ]);
        if let Some(peer) = peer {
            facts.insert("peer", text(peer));
        }
        let fields = facts.into_iter().map(|(name, kind)| (name.to_owned(), Value { kind })).collect();
        let headers_to_remove = http(asked).map(reserved).unwrap_or_default();
        CheckResponse {
            status: Some(RpcStatus::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers_to_remove })),
            dynamic_metadata: Some(Struct { fields }),
        }
    }
}

fn http(asked: &AttributeContext) -> Option<&HttpRequest> {
    asked.request.as_ref()?.http.as_ref()
}

/// The names of headers in a request, however the filter sends them.
fn names(http: &HttpRequest) -> impl Iterator<Item = &str> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    http.headers.keys().map(String::as_str).chain(raw.map(|header| header.key.as_str()))
}

/// Headers that a caller must not be able to set.
fn reserved(http: &HttpRequest) -> Vec<String> {
    names(http).filter(|name| name.starts_with(RESERVED)).map(str::to_owned).collect()
}

/// `Hash=` of the last element of `x-forwarded-client-cert`: that of the connection which the proxy ended itself.
fn forwarded(http: &HttpRequest) -> Option<String> {
    const XFCC: &str = "x-forwarded-client-cert";
    let raw = http.header_map.iter().flat_map(|map| &map.headers).filter(|header| header.key == XFCC);
    let raw = raw.map(|header| {
        if header.value.is_empty() {
            String::from_utf8_lossy(&header.raw_value).into_owned()
        } else {
            header.value.clone()
        }
    });
    let value = http.headers.get(XFCC).cloned().into_iter().chain(raw).next_back()?;
    let last = value.rsplit(',').next()?.to_owned();
    let hash = last.split(';').find_map(|part| part.trim().strip_prefix("Hash="));
    // An element without one says nothing of whose it is: no certificate has this digest.
    Some(hash.unwrap_or_default().to_owned())
}

/// PEM in URL encoding, as Envoy writes it.
fn decoded(text: &str) -> Option<CertificateDer<'static>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let plain = if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        };
        bytes.push(plain);
    }
    CertificateDer::from_pem_slice(&bytes).ok()
}

fn refuse(message: &str) -> Status {
    proto::status(Code::PermissionDenied, reason::PEER_NOT_ALLOWED, message)
}

/// 503 where nothing is vouched for, so that clients try elsewhere; 403 where it is the peer that is refused.
fn denied(refused: &Status) -> CheckResponse {
    let reason = proto::reason_of(refused).unwrap_or_default();
    let code = if refused.code() == Code::PermissionDenied { 403 } else { 503 };
    warn!(target: "audit", %reason, why = refused.message(), "a mesh's request was denied");
    let header =
        HeaderValue { key: "cube-reason".to_owned(), value: reason.clone(), ..HeaderValue::default() };
    CheckResponse {
        status: Some(RpcStatus { code: refused.code() as i32, message: refused.message().to_owned() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code }),
            headers: vec![HeaderValueOption { header: Some(header) }],
            body: format!("{reason}: {}", refused.message()),
        })),
        dynamic_metadata: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(headers: &[(&str, &str)]) -> HttpRequest {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpRequest { headers, header_map: None }
    }

    #[test]
    fn what_only_cube_may_say_is_removed() {
        let asked = http(&[("cube-epoch", "9"), ("x-cube", "1"), ("accept", "*/*")]);
        assert_eq!(reserved(&asked), ["cube-epoch"]);
        let raw = HeaderValue { key: "cube-peer".to_owned(), ..HeaderValue::default() };
        let map = proto::envoy::auth::HeaderMap { headers: vec![raw] };
        assert_eq!(reserved(&HttpRequest { header_map: Some(map), ..HttpRequest::default() }), ["cube-peer"]);
    }

    #[test]
    fn the_last_proxy_says_whose_certificate_it_saw() {
        let told = |value: &str| forwarded(&http(&[("x-forwarded-client-cert", value)]));
        assert_eq!(told("By=spiffe://a/b;Hash=aa,By=c;Hash=bb;URI=d").as_deref(), Some("bb"));
        assert_eq!(told("By=c").as_deref(), Some(""));
        assert_eq!(forwarded(&http(&[])), None);
    }

    #[test]
    fn a_certificate_is_read_from_its_url_encoding() {
        assert!(decoded("").is_none() && decoded("%2").is_none() && decoded("%zz").is_none());
        let text = mtls::pem(&[0x30, 0]);
        let encoded = text.replace(' ', "%20").replace('\n', "%0A").replace('=', "%3D");
        assert_eq!(decoded(&encoded).unwrap().as_ref(), [0x30, 0]);
    }
}
