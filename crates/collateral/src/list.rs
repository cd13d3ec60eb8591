//! The revocation list: fetched again and again long before it ends, and an alarm where that does not succeed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use service_runtime::CancellationToken;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    Keeper,
    item::{Item, Sound},
    kds::NotHad,
    keeper::pause,
    metrics::Source,
    unavailable::Unavailable,
};

/// From one look at directory, servers and dates to the next; servers that failed are left alone for longer.
const TICK: Duration = Duration::from_mins(1);
/// For one round over all servers in the background.
const ROUND: Duration = Duration::from_secs(30);
/// AMD's lists last six weeks and are fetched every few hours: one that is as near to its end as this was not renewed
/// for a month.
const MARGIN: i64 = 7 * 86_400;
/// A lasting alarm is told once a day.
const REMINDER: Duration = Duration::from_hours(24);

/// What is known of the list that covers this machine's endorsement key.
#[derive(Debug)]
pub(crate) struct Watch {
    required: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Known with the first report.
    list: Option<Item>,
    /// When it is to be fetched next, on the boot clock.
    due: Duration,
    /// What the last attempt met with.
    tried: Vec<String>,
    /// When the alarm is told next, on the boot clock; `None` without alarm.
    alarm: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(required: bool) -> Self {
        Self { required, state: Mutex::default() }
    }

    /// From now on `list` is looked after; whether that is news.
    pub(crate) fn begins(&self, list: &Item) -> bool {
        let mut state = self.state();
        let begins = state.list.as_ref() != Some(list);
        if begins {
            *state = State { list: Some(list.clone()), ..State::default() };
        }
        begins
    }

    /// What is looked after.
    pub(crate) fn list(&self) -> Option<Item> {
        self.state().list.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Looks after the revocation list until `stop`.
    pub async fn watch(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refresh() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
        }
    }

    /// One step of [`Self::watch`]: takes up a newer list from the directory, or from the servers when it is due, and
    /// tells where neither has helped in time.
    pub async fn refresh(&self) {
        let Some(list) = self.watch.list() else { return };
        let due = self.watch.state().due;
        let local = self.look_here(&list).await.err().unwrap_or_default();
        let mut tried = (!self.kds.is_configured()).then(Vec::new);
        if self.kds.is_configured() && (self.clock.boot() >= due || !self.lasts(&list, 0)) {
            tried = Some(match self.fetch_list(&list, Instant::now() + ROUND).await {
                Ok(()) => Vec::new(),
                Err(not_had) => not_had.tried,
            });
        }
        if let Some(tried) = tried {
            self.watch.state().tried = [local, tried].concat();
        }
        self.tell(&list);
    }

    /// For a policy that requires a list: goes on until there is one that has not ended. At `end` one that has is left
    /// for the policy to judge.
    pub(crate) async fn await_list(&self, list: &Item, end: Instant) -> Result<(), Unavailable> {
        while !self.lasts(list, 0) {
            let Err(not_had) = self.fetch_list(list, end).await else { break };
            if pause(not_had.again, end).await {
                continue;
            }
            if self.held(list).is_some() {
                break;
            }
            return Err(Unavailable::new(std::slice::from_ref(list), false, not_had, self));
        }
        Ok(())
    }

    /// Each server is asked until one gives a list that has not ended; of those that have, the newest is held. A server
    /// that goes back to an older list than the one held is no better than one that fails.
    async fn fetch_list(&self, list: &Item, end: Instant) -> Result<(), NotHad> {
        let before = self.held(list);
        let accept = |list: &Item, bytes: &[u8]| {
            let sound = list.read(bytes, &self.roots, self.now())?;
            if self.held(list).is_some_and(|held| !sound.is_as_new_as(&held)) {
                return Err("a list older than the one that is held".to_owned());
            }
            let sound = self.hold(list, sound, Source::Kds);
            if sound.lasts(self.now(), 0) { Ok(()) } else { Err("a list that has ended".to_owned()) }
        };
        let fetched = self.kds.get(std::slice::from_ref(list), end, accept).await;
        if let Some(held) = self.held(list).filter(|held| before.as_ref() != Some(held)) {
            self.store(list, &held.der).await;
        }
        fetched?;
        self.watch.state().due = self.clock.boot().saturating_add(self.config.refresh);
        Ok(())
    }

    fn lasts(&self, list: &Item, margin: i64) -> bool {
        self.held(list).is_some_and(|held| held.lasts(self.now(), margin))
    }

    /// Sets the metrics, and logs where the alarm begins, lasts or ends.
    fn tell(&self, list: &Item) {
        let held = self.held(list);
        let next_update = held.as_ref().and_then(|Sound { dates, .. }| Some(dates.as_ref()?.next_update));
        let wanted = self.watch.required || self.kds.is_configured() || held.is_some();
        let alarm = wanted && !self.lasts(list, MARGIN);
        self.metrics.list(next_update.map_or(0, |at| at.0), alarm);
        let (now, path) = (self.clock.boot(), list.path());
        let mut state = self.watch.state();
        match state.alarm {
            None | Some(_) if !alarm => {
                if state.alarm.take().is_some() {
                    info!(list = path, "the revocation list is renewed");
                }
                return;
            }
            Some(told) if now < told => return,
            None | Some(_) => state.alarm = Some(now.saturating_add(REMINDER)),
        }
        warn!(
            list = path,
            next_update = next_update.map_or_else(|| "there is no list".to_owned(), |at| at.to_string()),
            tried = state.tried.join("; "),
            fix = format!(
                "reach a server of kds.urls, or put {} into collateral.directory as crl.der",
                self.kds.url(list)
            ),
            "the revocation list is not renewed; once it has ended, policies that require one refuse"
        );
    }
}
