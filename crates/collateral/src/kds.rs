//! AMD's key server and its mirrors (AMD 57230, chapter 4).
//!
//! TLS guards nothing but availability here, and what we ask for from eyes on the way: every answer is judged by what it
//! says. A server that throttles, fails or lies is left alone for a while, and the next is asked.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version};
use rustls_pki_types::CertificateDer;
use service_runtime::{
    Clock,
    https::{ExchangeError, Origin},
};
use tokio::time::{Instant, timeout};

use crate::{
    backoff::{Backoff, roll},
    item::Item,
    metrics::Metrics,
};

/// For one server's answer; what is left of the caller's time if that is less.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Bytes of an answer; AMD's have at most 5,000.
const MAX_ANSWER: usize = 64 * 1024;

/// The servers, in the order in which they are asked.
#[derive(Debug)]
pub(crate) struct Kds {
    mirrors: Vec<Mirror>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    backoff: Backoff,
}

#[derive(Debug)]
struct Mirror {
    url: String,
    origin: Origin,
    quiet: Mutex<Quiet>,
}

/// How a server fared lately.
#[derive(Debug, Default)]
struct Quiet {
    /// On the boot clock.
    until: Duration,
    failures: u32,
    why: String,
}

/// What nobody gave.
#[derive(Debug, Default)]
pub(crate) struct NotHad {
    /// What each server did.
    pub(crate) tried: Vec<String>,
    /// How long until the first of them may be asked again; never, where there are none.
    pub(crate) again: Option<Duration>,
}

/// Why one server gave nothing that can be used.
#[derive(Debug)]
enum Failure {
    Late(Duration),
    Unreachable(ExchangeError),
    Throttled(StatusCode, Option<Duration>),
    Refused(StatusCode),
    Unusable(String),
}

impl Kds {
    pub(crate) fn new(
        urls: &[Uri],
        ca: &[CertificateDer<'static>],
        backoff: Backoff,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, rustls::Error> {
        let tls = Arc::new(client_config(ca)?);
        let mirror = |uri: &Uri| Mirror {
            url: uri.to_string().trim_end_matches('/').to_owned(),
            origin: Origin::new(uri, Arc::clone(&tls)),
            quiet: Mutex::default(),
        };
        Ok(Self { mirrors: urls.iter().map(mirror).collect(), clock, metrics, backoff })
    }

    /// Whether there is anybody to ask.
    pub(crate) fn is_configured(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// Where an operator could get `item` by hand.
    pub(crate) fn url(&self, item: &Item) -> String {
        let server = self.mirrors.first().map_or(AMD, |mirror| &mirror.url);
        format!("{server}/{}", item.path())
    }

    /// Asks each server that is not to be left alone, in order and once for each of `items`, until `accept` takes what one
    /// gives.
    pub(crate) async fn get<T>(
        &self,
        items: &[Item],
        end: Instant,
        accept: impl Fn(&Item, &[u8]) -> Result<T, String>,
    ) -> Result<T, NotHad> {
        let mut not_had = NotHad::default();
        for mirror in &self.mirrors {
            let tried = if let Some(quiet) = self.quiet(mirror) {
                quiet
            } else if Instant::now() >= end {
                "was not asked: the time was up".to_owned()
            } else {
                match self.ask_for_any(mirror, items, end, &accept).await {
                    Ok(taken) => return Ok(taken),
                    Err(failure) => self.leave_alone(mirror, &failure),
                }
            };
            not_had.tried.push(format!("{} {tried}", mirror.url));
            let pause = mirror.quiet().until.saturating_sub(self.clock.boot());
            not_had.again = Some(not_had.again.map_or(pause, |earlier| earlier.min(pause)));
        }
        Err(not_had)
    }

    /// That it has not one of them says nothing of the next.
    async fn ask_for_any<T>(
        &self,
        mirror: &Mirror,
        items: &[Item],
        end: Instant,
        accept: impl Fn(&Item, &[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut last = Failure::Unusable("no name to ask for".to_owned());
        for item in items {
            match self.ask(mirror, item, end, |bytes| accept(item, bytes)).await {
                Err(failure @ Failure::Refused(_)) => last = failure,
                ended => return ended,
            }
        }
        Err(last)
    }

    async fn ask<T>(
        &self,
        mirror: &Mirror,
        item: &Item,
        end: Instant,
        accept: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        // A caller that gives up midway, as strangers can, must not be a way to ask more often.
        mirror.quiet().hold(self.clock.boot().saturating_add(self.backoff.first), "is being asked");
        let limit = end.saturating_duration_since(Instant::now()).min(ATTEMPT);
        let answer = timeout(limit, Box::pin(self.exchange(mirror, item))).await;
        let taken = answer
            .unwrap_or(Err(Failure::Late(limit)))
            .and_then(|body| accept(&body).map_err(Failure::Unusable));
        self.metrics.asked(item, taken.as_ref().map_or_else(Failure::outcome, |_| "ok"));
        if taken.is_ok() {
            *mirror.quiet() = Quiet::default();
        }
        taken
    }

    async fn exchange(&self, mirror: &Mirror, item: &Item) -> Result<Bytes, Failure> {
        let request = Request::get(format!("{}/{}", mirror.url, item.path()))
            .header(header::USER_AGENT, concat!("cube/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::new());
        let request = request.map_err(|error| Failure::Unreachable(error.into()))?;
        let answer = mirror.origin.exchange(request, MAX_ANSWER).await.map_err(Failure::Unreachable)?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                Err(Failure::Throttled(status, retry_after(answer.headers(), self.clock.unix())))
            }
            status => Err(Failure::Refused(status)),
        }
    }

    /// Why `mirror` is not asked now.
    fn quiet(&self, mirror: &Mirror) -> Option<String> {
        let quiet = mirror.quiet();
        let left = quiet.until.checked_sub(self.clock.boot()).filter(|left| !left.is_zero())?;
        Some(format!("{} (left alone for {} s more)", quiet.why, left.as_secs() + 1))
    }

    fn leave_alone(&self, mirror: &Mirror, failure: &Failure) -> String {
        let asked = match failure {
            Failure::Throttled(_, asked) => *asked,
            Failure::Late(_) | Failure::Unreachable(_) | Failure::Refused(_) | Failure::Unusable(_) => None,
        };
        let mut quiet = mirror.quiet();
        quiet.failures = quiet.failures.saturating_add(1);
        let pause = self.backoff.pause(quiet.failures, asked, roll());
        quiet.hold(self.clock.boot().saturating_add(pause), &failure.to_string());
        quiet.why.clone()
    }
}

/// AMD's own server.
const AMD: &str = "https://kdsintf.amd.com";

impl Mirror {
    /// A panic elsewhere cannot have left it half written.
    fn quiet(&self) -> MutexGuard<'_, Quiet> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Quiet {
    fn hold(&mut self, until: Duration, why: &str) {
        self.until = until;
        why.clone_into(&mut self.why);
    }
}

impl Failure {
    /// As metrics call it.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Late(_) => "late",
            Self::Unreachable(_) => "unreachable",
            Self::Throttled(..) => "throttled",
            Self::Refused(_) => "refused",
            Self::Unusable(_) => "unusable",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "gave no whole answer within {} s", limit.as_secs_f32()),
            Self::Unreachable(error) => error.fmt(f),
            Self::Throttled(status, Some(asked)) => {
                write!(f, "answers {status} and asks for {} s", asked.as_secs())
            }
            Self::Throttled(status, None) | Self::Refused(status) => write!(f, "answers {status}"),
            Self::Unusable(why) => write!(f, "gives what cannot be used: {why}"),
        }
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_secs(now.try_into().ok()?)))
}

/// By `ca`, or else by the roots of the public web, since a measured image has no store of its own. AMD does not say
/// which versions of TLS its server speaks, so both that are sound are offered.
fn client_config(ca: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in ca {
        roots.add(certificate.clone())?;
    }
    if ca.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_seconds_or_for_a_date() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, 784_111_700)
        };
        assert_eq!(asked("10"), Some(Duration::from_secs(10)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(77)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:40:00 GMT"), Some(Duration::ZERO), "in the past");
        for nonsense in ["soon", "-1", ""] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
