//! Who may ask for inference, and how much at once.
//!
//! Everything needs a caller but what is for everybody ([`OPEN`]): evidence, health, reflection. Where the configuration says
//! `access = "anonymous"` there is one caller, nobody in particular; with `access = "api-keys"` each entry of the file is one:
//! whoever shows its key, or a certificate with its SPIFFE ID. Either is looked at before a byte of the body is, and the caller
//! goes with the request as a [`Caller`].

mod admission;
mod certificates;
mod keys;
mod layer;
mod watched;

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
    hmac,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use mtls::CallerCertificate;
use proto::reason;
use service_runtime::Clock;
use tokio::sync::watch;
use tonic::{Code, Status};

use self::keys::{Credential, Key};
pub use self::{
    admission::{Admission, AdmissionLimits},
    certificates::CaFile,
    keys::{KeyFile, Keys},
};
pub(crate) use layer::{Door, known};

/// Whom the gateway knows.
#[derive(Clone, Debug)]
pub enum Callers {
    /// Whoever reaches the port.
    Anonymous,
    /// Whoever shows a key, or a certificate, that is in the file now.
    Keys(watch::Receiver<Arc<Keys>>),
}

/// Whose request it is.
#[derive(Clone)]
pub(crate) struct Caller {
    name: Arc<str>,
    /// Models that may be asked; all where there is none.
    models: Option<Arc<[String]>>,
    /// Keeps what a model server remembers of one caller's prompts from the others.
    salt: Arc<str>,
}

impl Callers {
    /// The caller who shows these headers, on a connection with this certificate. A key that is known decides; beside a
    /// certificate another one counts for nothing, since SDKs show one whether or not they were given one.
    fn who(
        &self,
        headers: &HeaderMap,
        certificate: Option<&CallerCertificate>,
        clock: &dyn Clock,
        secret: &hmac::Key,
    ) -> Result<Caller, Status> {
        let Self::Keys(keys) = self else { return Ok(Caller::new("anonymous", None, secret)) };
        let (keys, now) = (keys.borrow().clone(), clock.unix());
        let key = shown(headers).map(|key| with_key(&keys, key));
        let found = match (key, certificate) {
            (Some(Ok(known)), _) => known,
            (_, Some(certificate)) => with_certificate(&keys, certificate, now)?,
            (Some(refused), None) => refused?,
            (None, None) => {
                return Err(unknown(
                    "a key is required: Authorization: Bearer KEY; or a client certificate, where they count",
                ));
            }
        };
        if !found.is_valid_at(now) {
            return Err(unknown("the key has expired"));
        }
        Ok(Caller::new(&found.name, found.models.clone(), secret))
    }
}

fn with_key<'a>(keys: &'a Keys, shown: &str) -> Result<&'a Key, Status> {
    let shown = digest(&SHA256, shown.as_bytes());
    let same = |key: &Key| match &key.credential {
        Credential::Key(sha256) => verify_slices_are_equal(sha256, shown.as_ref()).is_ok(),
        Credential::Certificate(_) => false,
    };
    // Every key is compared, so that the time tells nothing of which.
    let mut found = None;
    for key in keys.iter() {
        if same(key) {
            found = Some(key);
        }
    }
    found.ok_or_else(|| unknown("the key is not known here"))
}

fn with_certificate<'a>(keys: &'a Keys, shown: &CallerCertificate, now: i64) -> Result<&'a Key, Status> {
    let id = shown
        .id_at(now)
        .ok_or_else(|| unknown("the client certificate has expired; connect anew with a new one"))?;
    let listed = |key: &&Key| matches!(&key.credential, Credential::Certificate(known) if known == id);
    keys.iter().find(listed).ok_or_else(|| unknown("the client certificate's SPIFFE ID is not known here"))
}

/// As OpenAI's and Ollama's clients show a key, or Anthropic's.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let bearer = one(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| one("x-api-key"))
}

fn unknown(message: &str) -> Status {
    proto::status(Code::Unauthenticated, reason::CREDENTIAL_REFUSED, message)
}

impl Caller {
    pub(crate) fn new(name: &str, models: Option<Arc<[String]>>, secret: &hmac::Key) -> Self {
        let salt = URL_SAFE_NO_PAD.encode(hmac::sign(secret, name.as_bytes()).as_ref());
        Self { name: name.into(), models, salt: salt.into() }
    }

    /// As the operator calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Refuses a model that is not this caller's to ask.
    pub(crate) fn may_ask(&self, model: &str) -> Result<(), Status> {
        if self.knows(model) {
            return Ok(());
        }
        let message = "the key does not allow this model";
        Err(proto::status(Code::PermissionDenied, reason::MODEL_NOT_ALLOWED, message))
    }

    /// Whether the model is told of at all.
    pub(crate) fn knows(&self, model: &str) -> bool {
        // Ollama's clients leave the tag out where it is this one.
        let plain = |name: &str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
        self.models.as_ref().is_none_or(|models| models.iter().any(|known| plain(known) == plain(model)))
    }

    /// Whether some models are not this caller's.
    pub(crate) fn is_restricted(&self) -> bool {
        self.models.is_some()
    }

    /// 43 characters of base64url, the same for the life of the process.
    pub(crate) fn salt(&self) -> &str {
        &self.salt
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A new secret for salts, for the life of the process.
pub(crate) fn salts() -> Result<hmac::Key, aws_lc_rs::error::Unspecified> {
    hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new())
}

#[cfg(test)]
mod tests;
