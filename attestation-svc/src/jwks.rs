//! The token keys for service meshes, as RFC 7517 has them.
//!
//! Whoever reads them learns which signatures are attestation-svc's, from a port that nothing vouches for: advisory. What
//! vouches for them is the key manifest, whose digest is the entity tag.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use service_runtime::JWKS;

use crate::authority::Authority;
use crate::manifest::Listed;
use crate::mint::Mint;

/// Serves the keys of `authority`.
pub(crate) fn router(authority: &Arc<Authority>) -> Router {
    Router::new().route(JWKS, get(keys)).with_state(Arc::clone(authority))
}

async fn keys(State(authority): State<Arc<Authority>>, asked: HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(authority.manifests.current().sha384));
    let cached = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache".to_owned())];
    if cached {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let keys: Vec<_> = authority.keys.token_keys().iter().filter_map(|mint| jwk(mint)).collect();
    (headers, axum::Json(json!({ "keys": keys }))).into_response()
}

/// The point of a P-384 `SubjectPublicKeyInfo` is its last 97 bytes, uncompressed.
fn jwk(mint: &Mint) -> Option<Value> {
    let (_, point) = mint.spki().split_last_chunk::<96>()?;
    let (x, y) = point.split_at(48);
    Some(json!({
        "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig", "kid": mint.kid(),
        "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
    }))
}
