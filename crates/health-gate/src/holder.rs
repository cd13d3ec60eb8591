//! The holder of this process's identity and lease.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mtls::{CallerTrust, Material, Role, SpiffeId};
use service_runtime::{CancellationToken, Clock, MeasuredConfig, ServerTls, TaskTracker, TlsSource};
use snp_evidence::{Policy, TrustRoots};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::sync::DropGuard;
use tracing::{info, warn};

use crate::{
    enrol::{EnrolError, Enroller, Enrolment},
    gate::Gate,
    random::Backoff,
    session::{OwnToken, Session},
    shown::Shown,
    start_error::StartError,
    trust::Trust,
};

/// How much longer than streams may drain the lease is kept after `shutdown`.
const AFTER_DRAIN: Duration = Duration::from_secs(30);

/// What a holder needs to know.
#[derive(Debug)]
pub struct HolderConfig {
    /// Whose identity to hold.
    pub role: Role,
    /// Where the enrolment sockets are.
    pub run_dir: PathBuf,
    /// The deployment that this process belongs to.
    pub measured: MeasuredConfig,
    /// What evidence has to satisfy.
    pub policy: Policy,
    /// Whom reports have to chain to.
    pub roots: TrustRoots,
    /// Public listeners of this process, such as `gateway/public`.
    pub listeners: Vec<String>,
    /// Whose certificates they take; none are asked for without.
    pub callers: Option<CallerTrust>,
    /// For the first lease.
    pub start_timeout: Duration,
    /// How long open streams may go on after `shutdown`.
    pub drain: Duration,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// This process's identity and lease; a cheap handle. The lease is kept until every handle is
/// dropped, or until 30 s past the drain after the shutdown given to [`start`].
#[derive(Clone)]
pub struct Holder {
    shared: Arc<Shared>,
    _alive: Arc<DropGuard>,
}

pub(crate) struct Shared {
    pub(crate) gate: Gate,
    material: Material,
    listeners: ArcSwap<BTreeMap<String, ServerTls>>,
    trust: watch::Sender<Arc<Trust>>,
    token: watch::Sender<OwnToken>,
    pub(crate) epoch: watch::Sender<u64>,
    shown: Shown,
    pub(crate) enrolments: AtomicU64,
    clock: Arc<dyn Clock>,
    tracker: TaskTracker,
}

/// Enrols, and resolves with the first live lease; from then on `tracker`'s tasks renew it,
/// reconnect, and enrol anew when attestation-svc has restarted.
pub async fn start(
    config: HolderConfig,
    shutdown: CancellationToken,
    tracker: &TaskTracker,
) -> Result<Holder, StartError> {
    let (start_timeout, kept) = (config.start_timeout, config.drain + AFTER_DRAIN);
    let enroller = Enroller::new(config, tracker.clone())?;
    let first = shutdown.run_until_cancelled(first_session(&enroller, start_timeout));
    let (session, token) = first.await.ok_or(StartError::Stopped)??;
    let shared = Arc::new(Shared::new(&enroller, &session, token.clone()));
    shared.adopt(&session, token).map_err(StartError::Refused)?;

    let given_up = CancellationToken::new();
    let end = end(shutdown, kept, given_up.clone());
    let keeper = Keeper { enroller, shared: Arc::clone(&shared) };
    tracker.spawn(async move {
        tokio::select! {
            () = keeper.shared.gate.clone().guard() => {}
            () = keeper.keep(session) => {}
            () = end => {}
        }
        keeper.shared.gate.close();
    });
    Ok(Holder { shared, _alive: Arc::new(given_up.drop_guard()) })
}

async fn end(shutdown: CancellationToken, kept: Duration, given_up: CancellationToken) {
    let drained = async {
        shutdown.cancelled().await;
        tokio::time::sleep(kept).await;
    };
    tokio::select! {
        () = drained => {}
        () = given_up.cancelled() => {}
    }
}

/// Tries until `limit`; what evidence is refused once is not tried again.
async fn first_session(enroller: &Enroller, limit: Duration) -> Result<(Session, OwnToken), StartError> {
    let until = Instant::now() + limit;
    let (mut backoff, mut last) = (Backoff::default(), None);
    loop {
        match timeout_at(until, Box::pin(Session::establish(enroller, None))).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) if error.exit().is_some() => return Err(StartError::Refused(error)),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if timeout_at(until, tokio::time::sleep(backoff.next())).await.is_err() {
            let last = last.unwrap_or(EnrolError::Silent("enrolment", limit));
            return Err(StartError::NoLease { socket: enroller.socket.clone(), limit, last });
        }
    }
}

/// Keeps the lease of a holder.
struct Keeper {
    enroller: Enroller,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn keep(&self, mut session: Session) {
        let mut backoff = Backoff::default();
        loop {
            let since = self.enroller.clock.boot();
            let why = self.renew(session).await;
            info!(reason = %why, "lease stream over; enrolling anew");
            backoff.reset_after(self.enroller.clock.boot().saturating_sub(since));
            session = self.enrol_anew(&mut backoff).await;
        }
    }

    async fn enrol_anew(&self, backoff: &mut Backoff) -> Session {
        let mut said = String::new();
        loop {
            tokio::time::sleep(backoff.next()).await;
            match self.enrol().await {
                Ok(session) => return session,
                Err(error) if error.to_string() == said => {}
                Err(error) => {
                    self.shared.refused(&error);
                    said = error.to_string();
                    warn!(%error, "enrolment failed; trying again");
                }
            }
        }
    }

    /// Renews until the stream fails. The connection is gone when this returns.
    async fn renew(&self, mut session: Session) -> EnrolError {
        loop {
            match session.step(&self.enroller).await {
                Ok(token) => self.shared.renewed(&session, token),
                Err(error) => {
                    self.shared.revoked(&session);
                    self.shared.refused(&error);
                    return error;
                }
            }
        }
    }

    async fn enrol(&self) -> Result<Session, EnrolError> {
        let known = Arc::clone(&self.shared.trust.borrow());
        let (session, token) = Box::pin(Session::establish(&self.enroller, Some(known))).await?;
        self.shared.adopt(&session, token)?;
        Ok(session)
    }
}

impl Shared {
    fn new(enroller: &Enroller, first: &Session, token: OwnToken) -> Self {
        let clock = Arc::clone(&enroller.clock);
        Self {
            gate: Gate::shut(Arc::clone(&clock)),
            material: Material::new(Arc::clone(&clock)),
            listeners: ArcSwap::default(),
            trust: watch::Sender::new(Arc::new(first.enrolment.trust.clone())),
            token: watch::Sender::new(token),
            epoch: watch::Sender::new(1),
            shown: Shown::default(),
            enrolments: AtomicU64::new(0),
            clock,
            tracker: enroller.tracker.clone(),
        }
    }

    /// Puts a new enrolment in force. Where attestation-svc has restarted, nothing that was permitted
    /// or attached before goes on.
    fn adopt(&self, session: &Session, token: OwnToken) -> Result<(), EnrolError> {
        let Enrolment { trust, svid, trust_bundle, instance, listeners, .. } = &session.enrolment;
        let new_epoch = self.trust.borrow().boot_seed != trust.boot_seed;
        if new_epoch {
            self.gate.close();
        }
        self.material.set(svid, trust_bundle.clone(), &instance.0, &instance.1)?;
        self.listeners.store(Arc::new(listeners.clone()));
        self.trust.send_replace(Arc::new(trust.clone()));
        if new_epoch {
            self.shown.clear();
        }
        self.renewed(session, Some(token));
        if new_epoch {
            self.epoch.send_modify(|epoch| *epoch += 1);
        }
        self.enrolments.fetch_add(1, Ordering::Relaxed);
        info!(identity = %trust.identity, new_epoch, "enrolled");
        Ok(())
    }

    fn renewed(&self, session: &Session, token: Option<OwnToken>) {
        self.revoked(session);
        if let Some(token) = token {
            self.token.send_replace(token);
        }
        if let Some(deadline) = session.lease.deadline() {
            self.gate.open_until(deadline);
        }
    }

    /// Puts the least epochs in force, and shuts where they make the own token void. They count even
    /// where the rest of the answer that told them is refused.
    fn revoked(&self, session: &Session) {
        self.trust.send_if_modified(|trust| {
            let mut least = trust.least.clone();
            least.raise(&session.enrolment.trust.least);
            let raised = least != trust.least;
            if raised {
                Arc::make_mut(trust).least = least;
            }
            raised
        });
        if session.lease.deadline().is_none() {
            self.gate.close();
        }
    }

    /// Shuts at once where attestation-svc's word is withdrawn.
    fn refused(&self, error: &EnrolError) {
        if error.is_withdrawal() {
            self.gate.close();
        }
    }
}

impl Holder {
    /// Whether this process may serve.
    pub fn gate(&self) -> Gate {
        self.shared.gate.clone()
    }

    /// Keys and certificates of the present enrolment, for mutual TLS.
    pub fn material(&self) -> Material {
        self.shared.material.clone()
    }

    /// Mutual TLS of an internal listener.
    pub fn mutual_tls(&self) -> TlsSource {
        let material = self.material();
        Arc::new(move || material.server_tls())
    }

    /// TLS of a public listener named in [`HolderConfig::listeners`].
    pub fn listener_tls(&self, name: &str) -> TlsSource {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        Arc::new(move || shared.listeners.load().get(&name).cloned())
    }

    /// This process's health tokens.
    pub fn tokens(&self) -> Tokens {
        Tokens(self.shared.token.subscribe())
    }

    /// Counts the trust epochs (restarts of attestation-svc) that this process has seen, from 1.
    pub fn epoch_changed(&self) -> watch::Receiver<u64> {
        self.shared.epoch.subscribe()
    }

    /// Who this process is; another instance after each change of the trust epoch.
    pub fn identity(&self) -> SpiffeId {
        self.shared.trust.borrow().identity.clone()
    }

    /// What a holder is made of, for those who look at it and must not keep its lease.
    pub(crate) fn watched(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(crate) fn trust(&self) -> watch::Receiver<Arc<Trust>> {
        self.shared.trust.subscribe()
    }

    pub(crate) fn shown(&self) -> &Shown {
        &self.shared.shown
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.shared.tracker
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identity, gate) = (self.identity(), &self.shared.gate);
        f.debug_struct("Holder").field("identity", &identity).field("gate", gate).finish_non_exhaustive()
    }
}

/// This process's health token, as it is renewed.
#[derive(Clone)]
pub struct Tokens(watch::Receiver<OwnToken>);

impl Tokens {
    /// The newest token.
    pub fn current(&self) -> Arc<str> {
        self.0.borrow().clone()
    }

    pub(crate) fn newest(&mut self) -> Arc<str> {
        self.0.borrow_and_update().clone()
    }

    /// Resolves when there is a newer token than at the last call; never once the holder is gone.
    pub async fn renewed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_lease_outlives_the_drain() {
        let (shutdown, drain, start) = (CancellationToken::new(), Duration::from_mins(2), Instant::now());
        shutdown.cancel();
        end(shutdown, drain + AFTER_DRAIN, CancellationToken::new()).await;
        assert!(start.elapsed() > drain);
    }
}
