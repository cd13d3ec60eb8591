//! The keys that sign, and their replacement: pure rules in `rotation.rs`, here what they move.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use audit_log::Event;
use mtls::Role;
use rustls_pki_types::CertificateDer;
use service_runtime::CancellationToken;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::authority::Authority;
use crate::ca::{Ca, CaError};
use crate::judge::JudgeError;
use crate::manifest::{Listed, hash};
use crate::mint::{Mint, MintError};
use crate::rotation::{Phase, Rotation, UnderWay, Until};

/// A key signs for this long, unless an administrator replaces it earlier.
const LIFE: Duration = Duration::from_hours(24);
/// Between two attempts of a rotation that is due.
const RETRY: Duration = Duration::from_mins(1);
/// Between two looks at what time alone brings.
const LOOK: Duration = Duration::from_secs(1);
/// A manifest that changes under a rotation is made again, so often.
const ATTEMPTS: usize = 3;

/// What can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The CA.
    Ca,
    /// The key that signs health tokens.
    Token,
}

impl Kind {
    /// As the audit log and operators have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Token => "token-key",
        }
    }
}

/// The generations in memory.
#[derive(Debug)]
pub(crate) struct Keys {
    ca: Mutex<Rotation<Arc<Ca>>>,
    mint: Mutex<Rotation<Arc<Mint>>>,
    /// One announcement at a time: each makes a version of the manifest and has it attested first.
    announcing: tokio::sync::Mutex<()>,
}

/// Why a rotation did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RotateError {
    /// The last one of this kind is not over.
    #[error("the last rotation is under way")]
    UnderWay,
    /// The machine was not accepted with the new keys.
    #[error(transparent)]
    Judged(#[from] JudgeError),
    /// The manifest changed at each attempt.
    #[error("services enrolled at every attempt")]
    Outrun,
    /// No CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// No token key.
    #[error(transparent)]
    Mint(#[from] MintError),
}

impl From<UnderWay> for RotateError {
    fn from(UnderWay: UnderWay) -> Self {
        Self::UnderWay
    }
}

impl Keys {
    /// Those of a boot.
    pub(crate) fn new(ca: Ca, mint: Mint, now: Duration) -> Self {
        let (ca, mint) = (Rotation::new(Arc::new(ca), now), Rotation::new(Arc::new(mint), now));
        Self { ca: Mutex::new(ca), mint: Mutex::new(mint), announcing: tokio::sync::Mutex::default() }
    }

    /// The CA that issues.
    pub(crate) fn ca(&self) -> Arc<Ca> {
        locked(&self.ca).in_force()
    }

    /// The token key that signs.
    pub(crate) fn mint(&self) -> Arc<Mint> {
        locked(&self.mint).in_force()
    }

    /// Certificates of every CA that may be met, the one in force first.
    pub(crate) fn trust_bundle(&self) -> Vec<CertificateDer<'static>> {
        locked(&self.ca).listed().iter().map(|ca| ca.certificate().clone()).collect()
    }

    /// Every token key that may be met, the one in force first.
    pub(crate) fn token_keys(&self) -> Vec<Arc<Mint>> {
        locked(&self.mint).listed()
    }

    /// Each key, its digest, and how far it is.
    pub(crate) fn phases(&self) -> Vec<(Kind, [u8; 32], Phase)> {
        let cas = digests(Kind::Ca, locked(&self.ca).phases());
        cas.chain(digests(Kind::Token, locked(&self.mint).phases())).collect()
    }
}

fn digests<K: Listed>(
    kind: Kind,
    keys: Vec<(Arc<K>, Phase)>,
) -> impl Iterator<Item = (Kind, [u8; 32], Phase)> {
    keys.into_iter().map(move |(key, phase)| (kind, sha256(&*key), phase))
}

fn sha256<K: Listed>(key: &K) -> [u8; 32] {
    hash(&aws_lc_rs::digest::SHA256, key.spki())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Authority {
    /// Begins to replace a key: the new one is attested, listed and told to every holder. It signs later, by itself.
    pub(crate) async fn rotate(&self, kind: Kind) -> Result<Vec<Role>, RotateError> {
        let _one = self.keys.announcing.lock().await;
        match kind {
            Kind::Ca => {
                let next = self.keys.ca().successor(self.clock.unix())?;
                self.announce(kind, &self.keys.ca, Arc::new(next)).await
            }
            Kind::Token => {
                let next = self.keys.mint().successor()?;
                self.announce(kind, &self.keys.mint, Arc::new(next)).await
            }
        }
    }

    async fn announce<K: Listed>(
        &self,
        kind: Kind,
        keys: &Mutex<Rotation<Arc<K>>>,
        next: Arc<K>,
    ) -> Result<Vec<Role>, RotateError> {
        locked(keys).check()?;
        self.attest(keys, &next).await?;
        let (mut told, mut announced) = (Vec::new(), Ok(()));
        // In one step: whoever enrols in the new round has the new key.
        self.roster.send_modify(|roster| {
            let round;
            (round, told) = roster.renew_all();
            announced = locked(keys).announce(Arc::clone(&next), round, self.clock.boot());
        });
        announced?;
        self.renew_own_svid();
        self.rotated(kind, Phase::Announced, &*next).await;
        Ok(told)
    }

    /// A version of the manifest that lists `next` too, which the processor vouches for before it counts.
    async fn attest<K: Listed>(
        &self,
        keys: &Mutex<Rotation<Arc<K>>>,
        next: &Arc<K>,
    ) -> Result<(), RotateError> {
        for _ in 0..ATTEMPTS {
            let listed: Vec<_> = locked(keys).listed().into_iter().chain([Arc::clone(next)]).collect();
            let candidate = self.manifests.listing(&listed);
            self.judge_itself(&candidate).await?;
            if self.manifests.publish(&candidate) {
                return Ok(());
            }
        }
        Err(RotateError::Outrun)
    }

    /// Moves rotations on, and begins those that are due, until `shutdown`.
    pub(crate) async fn keep_rotating(&self, shutdown: &CancellationToken) {
        let mut changes = self.roster.subscribe();
        let mut retry_at = Duration::ZERO;
        let rotating = async {
            loop {
                tokio::select! {
                    // The sender lives as long as `self`.
                    Ok(()) = changes.changed() => {}
                    () = sleep(LOOK) => {}
                }
                self.advance(Kind::Ca, &self.keys.ca, Until::Replaced).await;
                self.advance(Kind::Token, &self.keys.mint, Until::Ended).await;
                if self.clock.boot() >= retry_at && !self.begin_due().await {
                    retry_at = self.clock.boot().saturating_add(RETRY);
                }
            }
        };
        shutdown.run_until_cancelled(rotating).await;
    }

    /// Whether everything that is due could begin.
    async fn begin_due(&self) -> bool {
        let due = [(Kind::Ca, locked(&self.keys.ca).since()), (Kind::Token, locked(&self.keys.mint).since())];
        let now = self.clock.boot();
        for (kind, since) in due {
            if now < since.saturating_add(LIFE) {
                continue;
            }
            match self.rotate(kind).await {
                Ok(_) | Err(RotateError::UnderWay) => {}
                Err(error) => {
                    warn!(key = kind.name(), %error, "a key is due for replacement and could not be replaced; trying again");
                    return false;
                }
            }
        }
        true
    }

    async fn advance<K: Listed>(&self, kind: Kind, keys: &Mutex<Rotation<Arc<K>>>, until: Until) {
        let now = self.clock.boot();
        let mut in_force = None;
        self.roster.send_if_modified(|roster| {
            let behind = |round| roster.behind(round);
            in_force = locked(keys).switch(roster.next_round(), now, behind);
            // A CA that issues is of use once everybody has a certificate of its.
            let renews = in_force.is_some() && until == Until::Replaced;
            if renews {
                roster.renew_all();
            }
            renews
        });
        if let Some(key) = in_force {
            self.renew_own_svid();
            self.rotated(kind, Phase::InForce, &*key).await;
        }
        let retired = locked(keys).retire(until, now, |round| self.roster.borrow().behind(round));
        if retired.is_empty() {
            return;
        }
        self.manifests.list(|| locked(keys).listed());
        self.roster.send_modify(|roster| drop(roster.renew_all()));
        self.renew_own_svid();
        for key in retired {
            self.rotated(kind, Phase::Retired, &*key).await;
        }
    }

    async fn rotated<K: Listed>(&self, kind: Kind, phase: Phase, key: &K) {
        let manifest_version = self.manifests.current().manifest.version;
        let (what, key_sha256) = (kind.name(), hex::encode(sha256(key)));
        info!(target: "audit", key = what, step = phase.name(), key_sha256, manifest_version, "key rotation");
        self.metrics.rotated(kind, phase);
        let (what, step) = (what.to_owned(), phase.name().to_owned());
        self.audit.note(Event::Rotation { what, step, key_sha256, manifest_version }).await;
    }
}
