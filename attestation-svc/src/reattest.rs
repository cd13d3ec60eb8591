//! Re-attestation: this machine is judged again and again, and nothing is vouched for without a recent verdict.
//!
//! [`Authority::keep_judging`] asks for verdicts and notices jumps of the clocks; what they come to is `standing.rs`. Whoever grants
//! anything asks [`Vouching::check`] itself: a task that hangs keeps nothing open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use audit_log::Event;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture};
use proto::reason;
use service_runtime::{CancellationToken, Clock};
use snp_evidence::Purpose;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::{Code, Status};
use tracing::{error, info, warn};

use crate::audit::cut;
use crate::authority::Authority;
use crate::clock_watch::ClockWatch;
use crate::judge::JudgeError;
use crate::manifest::Published;
use crate::prover::Committed;
use crate::roster::Roster;
use crate::standing::{Closed, EVERY, Standing};

/// Between two looks at the clocks.
const LOOK: Duration = Duration::from_secs(1);

/// The standing in force.
#[derive(Debug)]
pub(crate) struct Vouching {
    standing: Mutex<Standing>,
    newest: Mutex<(Duration, Bytes)>,
    /// As whoever watches health was told.
    open: watch::Sender<bool>,
    clock: Arc<dyn Clock>,
}

impl Vouching {
    /// This machine was accepted, by a report that was asked for at `asked`.
    pub(crate) fn new(asked: Duration, bundle: Vec<u8>, clock: Arc<dyn Clock>) -> Self {
        let (standing, newest) = (Mutex::new(Standing::new(asked)), Mutex::new((asked, bundle.into())));
        Self { standing, newest, open: watch::Sender::new(true), clock }
    }

    /// The bundle of the newest report that was accepted, and since when it was asked for.
    pub(crate) fn newest(&self) -> (Bytes, Duration) {
        let (asked, bundle) = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (bundle, self.clock.boot().saturating_sub(asked))
    }

    fn keep(&self, asked: Duration, bundle: Vec<u8>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = (asked, bundle.into());
    }

    /// Whether anything may be granted now.
    pub(crate) fn check(&self) -> Result<(), Closed> {
        let now = self.clock.boot();
        self.with(|standing| standing.check(now))
    }

    /// Since the newest report that was accepted was asked for.
    pub(crate) fn age(&self) -> Duration {
        let now = self.clock.boot();
        self.with(|standing| standing.age(now))
    }

    /// Changes of what health says.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.open.subscribe()
    }

    fn is_due(&self) -> bool {
        let now = self.clock.boot();
        self.with(|standing| standing.due() <= now)
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Standing) -> T) -> T {
        ask(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in a verdict, or the lack of one, and tells what has changed with it and since the last turn.
    fn turn(&self, verdict: impl FnOnce(&mut Standing)) -> Vec<Result<(), Closed>> {
        let now = self.clock.boot();
        let news = self.with(|standing| {
            let before = standing.turn(now);
            verdict(standing);
            before.into_iter().chain(standing.turn(now)).collect()
        });
        let now = self.check().is_ok();
        self.open.send_if_modified(|open| std::mem::replace(open, now) != now);
        news
    }
}

fn name(closed: Closed) -> &'static str {
    match closed {
        Closed::Refused => reason::EVIDENCE_REFUSED,
        Closed::Stale => reason::EVIDENCE_STALE,
    }
}

impl From<Closed> for Status {
    fn from(closed: Closed) -> Self {
        let message = match closed {
            Closed::Refused => {
                "this machine was judged anew and refused; nothing is vouched for until it is accepted again"
            }
            Closed::Stale => {
                "this machine could not be judged anew for 15 minutes; nothing is vouched for until it is"
            }
        };
        proto::status(Code::Unavailable, name(closed), message)
    }
}

impl Authority {
    /// Judges this machine anew, over the keys of `published`. The verdict counts at once.
    pub(crate) async fn judge_itself(&self, published: &Published) -> Result<(), JudgeError> {
        let asked = self.clock.boot();
        let committed = Committed { manifest: &published.bytes, claims: &self.claims };
        let judged = self.judge.own_report(Purpose::Cached, committed).await;
        let judged = judged.map(|(_, bundle)| self.vouching.keep(asked, bundle));
        let ended = self.clock.boot();
        let news = self.vouching.turn(|standing| match &judged {
            Ok(()) => standing.accept(asked, jittered(EVERY)),
            Err(error) if error.is_refusal() => standing.refuse(asked),
            Err(_) => standing.fail(ended),
        });
        self.metrics.reattested(&judged);
        if let Err(error) = &judged {
            error.log_checks();
            warn!(%error, age_seconds = self.vouching.age().as_secs(), "this machine was judged anew without being accepted");
        }
        self.settle(news, judged.as_ref().err()).await;
        judged
    }

    /// Puts changes of the standing in force: what closes voids every token.
    async fn settle(&self, news: Vec<Result<(), Closed>>, why: Option<&JudgeError>) {
        for standing in news {
            match standing {
                Ok(()) => info!("this machine is accepted again; identities can be enrolled"),
                Err(closed) => {
                    self.roster.send_modify(Roster::revoke_all);
                    error!(reason = name(closed), "nothing is vouched for any more");
                }
            }
            self.audit.note(self.recorded(standing, why)).await;
        }
    }

    fn recorded(&self, standing: Result<(), Closed>, why: Option<&JudgeError>) -> Event {
        let why = why.filter(|_| standing == Err(Closed::Refused));
        let (failed_check, observed) = why.and_then(JudgeError::failed_check).unzip();
        let epochs = self.roster.borrow().epochs();
        Event::Standing {
            accepted: standing.is_ok(),
            reason: standing.err().map(|closed| name(closed).to_owned()),
            failed_check: failed_check.map(str::to_owned),
            observed: observed.as_deref().map(cut),
            epoch: epochs.epoch,
            min_epoch: epochs.min_epoch,
        }
    }

    /// Asks for verdicts when they are due, until `shutdown`.
    pub(crate) async fn keep_judging(&self, mut clocks: ClockWatch, shutdown: &CancellationToken) {
        let judging = async {
            let mut attempt = OptionFuture::<BoxFuture<'_, ()>>::from(None);
            let mut at_work = false;
            loop {
                tokio::select! {
                    Some(()) = &mut attempt, if at_work => at_work = false,
                    () = sleep(LOOK) => {}
                }
                self.settle(self.vouching.turn(|_| ()), None).await;
                self.look(&mut clocks).await;
                if !at_work && self.vouching.is_due() {
                    attempt = Some(self.attempt().boxed()).into();
                    at_work = true;
                }
            }
        };
        shutdown.run_until_cancelled(judging).await;
    }

    /// The outcome is in the standing, the logs and the metrics.
    async fn attempt(&self) {
        drop(self.judge_itself(&self.manifests.current()).await);
    }

    async fn look(&self, clocks: &mut ClockWatch) {
        let Some(jump) = clocks.jump() else { return };
        let now = self.clock.boot();
        self.vouching.with(|standing| standing.demand(now));
        self.metrics.clock_jump(jump);
        warn!(%jump, "the clocks jumped; this machine is judged anew");
        // Whoever can set a clock can do so often.
        if clocks.may_record(now) {
            self.audit.note(Event::ClockJump { what: jump.to_string() }).await;
        }
    }
}

/// `every` ± 10 %: machines that were started together must not all be at their processor together.
fn jittered(every: Duration) -> Duration {
    let mut random = [0];
    // It is no defence: without randomness it is just not spread.
    let spread = aws_lc_rs::rand::fill(&mut random).map_or(100, |()| u32::from(random[0]) * 200 / 255);
    every / 1000 * (900 + spread)
}
