//! Who may use the proxy: programs that were given its key, and no web page.
//!
//! A page of any site can send requests to loopback, and by rebinding a name also read the answers. It cannot do so without
//! an `Origin`, or under a `Host` of ours; and no page, nor another user, has the key of this run.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderName, Request, StatusCode, header};

use super::forward::Refusal;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request has to show.
#[derive(Clone)]
pub(super) struct Guard {
    key: String,
    port: Option<u16>,
}

impl Guard {
    /// With a new key of this `secret`; `port` is the proxy's own, where it has one.
    pub(super) fn new(secret: &[u8; 32], port: Option<u16>) -> Self {
        Self { key: format!("cube-{}", hex::encode(secret)), port }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            let message = "requests of web pages (with an Origin header) are refused";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "PROXY_ORIGIN_REFUSED", message));
        }
        // HTTP/2 has the host in the request's authority.
        let host = request
            .uri()
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| one(headers, &header::HOST));
        if !host.is_some_and(|host| self.is_own(host)) {
            let message = "the Host is not this proxy's; use the base URL that it printed";
            return Err(Refusal::new(StatusCode::FORBIDDEN, "PROXY_HOST_REFUSED", message));
        }
        if !self.has_key(headers) {
            let message =
                "the key of this proxy is required: Authorization: Bearer KEY, as it printed it at its start";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "PROXY_KEY_REQUIRED", message));
        }
        Ok(())
    }

    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        ["localhost", "127.0.0.1", "[::1]"].contains(&name) && (self.port.is_none() || port == self.port)
    }

    fn has_key(&self, headers: &HeaderMap) -> bool {
        let bearer = one(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let shown = bearer.or_else(|| one(headers, &API_KEY));
        shown.is_some_and(|key| verify_slices_are_equal(key.as_bytes(), self.key.as_bytes()).is_ok())
    }
}

/// The value of a header that is there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(port: Option<u16>, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::get("/v1/models");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let checked = Guard::new(&[7; 32], port).check(&request.body(()).unwrap());
        checked.err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_program_with_the_key_is_let_in() {
        let key = Guard::new(&[7; 32], None).key().to_owned();
        let bearer = format!("Bearer {key}");
        for host in ["127.0.0.1:4000", "localhost:4000", "[::1]:4000"] {
            assert_eq!(refused(Some(4000), &[("host", host), ("authorization", &bearer)]), None, "{host}");
            assert_eq!(refused(Some(4000), &[("host", host), ("x-api-key", &key)]), None, "{host}");
        }
        assert_eq!(refused(Some(80), &[("host", "localhost"), ("x-api-key", &key)]), None);
        assert_eq!(refused(None, &[("host", "localhost"), ("x-api-key", &key)]), None);
    }

    #[test]
    fn a_web_page_is_not_whatever_it_shows() {
        let bearer = format!("Bearer {}", Guard::new(&[7; 32], None).key());
        for origin in ["https://example.org", "http://localhost:4000", "null"] {
            let headers =
                [("host", "localhost:4000"), ("authorization", bearer.as_str()), ("origin", origin)];
            assert_eq!(refused(Some(4000), &headers), Some("PROXY_ORIGIN_REFUSED"), "{origin}");
        }
        for host in ["rebound.example.org:4000", "localhost:4001", "localhost", "127.0.0.1.nip.io:4000", ""] {
            let headers = [("host", host), ("authorization", bearer.as_str())];
            assert_eq!(refused(Some(4000), &headers), Some("PROXY_HOST_REFUSED"), "{host}");
        }
        assert_eq!(refused(Some(4000), &[("authorization", &bearer)]), Some("PROXY_HOST_REFUSED"));
    }

    #[test]
    fn without_the_key_nobody_is() {
        let right = Guard::new(&[7; 32], None).key().to_owned();
        let other = Guard::new(&[8; 32], None).key().to_owned();
        let host = ("host", "localhost:4000");
        let wrong =
            [format!("Bearer {other}"), format!("bearer {right}"), right.clone(), "Bearer ".to_owned()];
        for value in wrong {
            assert_eq!(
                refused(Some(4000), &[host, ("authorization", &value)]),
                Some("PROXY_KEY_REQUIRED"),
                "{value}"
            );
        }
        let twice = format!("Bearer {right}");
        let headers = [host, ("authorization", twice.as_str()), ("authorization", twice.as_str())];
        assert_eq!(refused(Some(4000), &headers), Some("PROXY_KEY_REQUIRED"));
        assert_eq!(refused(Some(4000), &[host]), Some("PROXY_KEY_REQUIRED"));
    }
}
