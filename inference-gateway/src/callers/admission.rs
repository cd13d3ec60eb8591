//! How many requests work at once: of all callers, with a queue that is bounded in length and in time, and of each.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proto::reason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{Code, Status};

use super::keys::Key;

/// Bounds on the work of all callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Requests that work at once.
    pub concurrent: usize,
    /// Requests that wait for a place.
    pub queue: usize,
    /// Longest wait.
    pub patience: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { concurrent: 2_000, queue: 1_000, patience: Duration::from_secs(30) }
    }
}

/// Counts them; a cheap handle.
#[derive(Debug, Clone)]
pub struct Admission {
    limits: AdmissionLimits,
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    callers: Arc<Mutex<HashMap<String, Account>>>,
}

/// What one caller has open, and has asked for.
#[derive(Debug)]
struct Account {
    open: Arc<AtomicUsize>,
    /// Requests that may still be asked, up to a minute's worth.
    tokens: f64,
    filled: Instant,
}

/// A request at work; its places are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _place: OwnedSemaphorePermit,
    _own: Option<Counted>,
}

/// One more, until it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |open| (open < most).then_some(open + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok().map(|_| Self(count.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Admission {
    /// With nobody at work.
    pub fn new(limits: AdmissionLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.concurrent.min(Semaphore::MAX_PERMITS)));
        Self { limits, places, waiting: Arc::default(), callers: Arc::default() }
    }

    /// A place for a request of this caller, at once or after a wait, which `deadline` may end.
    pub(super) async fn admit(&self, key: Option<&Key>, deadline: Option<Instant>) -> Result<Slot, Status> {
        let own = key.map(|key| self.count(key)).transpose()?.flatten();
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(Slot { _place: place, _own: own });
        }
        let _waits =
            Counted::new(&self.waiting, self.limits.queue).ok_or_else(|| overloaded("as many more wait"))?;
        let until = Instant::now() + self.limits.patience;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let place = timeout_at(until, self.places.clone().acquire_owned()).await;
        let place = place.ok().and_then(Result::ok).ok_or_else(|| overloaded("none came free in time"))?;
        Ok(Slot { _place: place, _own: own })
    }

    fn count(&self, key: &Key) -> Result<Option<Counted>, Status> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let account = callers.entry(key.name.clone()).or_insert_with(|| Account::new(key));
        account.spend(key)?;
        let Some(most) = key.concurrent else { return Ok(None) };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Counted::new(&account.open, most)
            .map(Some)
            .ok_or_else(|| limited("the key has as many requests open as it may"))
    }
}

impl Account {
    fn new(key: &Key) -> Self {
        let tokens = key.per_minute.map_or(0.0, f64::from);
        Self { open: Arc::default(), tokens, filled: Instant::now() }
    }

    /// A minute's worth may be asked at once; then they come back evenly.
    fn spend(&mut self, key: &Key) -> Result<(), Status> {
        let Some(per_minute) = key.per_minute.map(f64::from) else { return Ok(()) };
        let now = Instant::now();
        let earned = now.duration_since(self.filled).as_secs_f64() / 60.0 * per_minute;
        (self.tokens, self.filled) = ((self.tokens + earned).min(per_minute), now);
        if self.tokens < 1.0 {
            return Err(limited("the key has asked as often as it may in a minute"));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

fn limited(message: &str) -> Status {
    proto::status(Code::ResourceExhausted, reason::RATE_LIMITED, format!("{message}; retry later"))
}

fn overloaded(why: &str) -> Status {
    let message = format!("the gateway works on as many requests as it may, and {why}; retry later");
    proto::status(Code::Unavailable, reason::OVERLOADED, message)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::callers::Keys;

    fn key(more: &str) -> Key {
        let sha256 = "ab".repeat(32);
        let text = format!(
            "version = 1\n[[key]]\nname = \"a\"\nsha256 = \"{sha256}\"\nexpires = \"never\"\nmodels = [\"*\"]\n{more}"
        );
        Keys::parse(text.as_bytes()).unwrap().iter().next().unwrap().clone()
    }

    fn admission(concurrent: usize, queue: usize) -> Admission {
        Admission::new(AdmissionLimits { concurrent, queue, patience: Duration::from_secs(30) })
    }

    fn reason(refused: Result<Slot, Status>) -> String {
        proto::reason_of(&refused.unwrap_err()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_waited_for_in_turn_and_not_for_ever() {
        let admission = admission(1, 1);
        let first = admission.admit(None, None).await.unwrap();
        let second = admission.admit(None, None);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!(reason(admission.admit(None, None).await), "OVERLOADED", "the queue is full");
        drop(first);
        let second = second.await.unwrap();
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(3);
        assert_eq!(reason(admission.admit(None, Some(deadline)).await), "OVERLOADED");
        assert_eq!(begun.elapsed().as_secs(), 3, "who gives up sooner waits no longer");
        assert_eq!(reason(admission.admit(None, None).await), "OVERLOADED");
        assert_eq!(begun.elapsed().as_secs(), 33);
        drop(second);
        assert_eq!((admission.places.available_permits(), admission.waiting.load(Ordering::SeqCst)), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_so_many_open_and_so_many_a_minute() {
        let (admission, key) = (admission(10, 0), key("concurrent = 2\nper_minute = 3\n"));
        let one = admission.admit(Some(&key), None).await.unwrap();
        let two = admission.admit(Some(&key), None).await.unwrap();
        assert_eq!(reason(admission.admit(Some(&key), None).await), "RATE_LIMITED", "two are open");
        drop((one, two));
        assert_eq!(reason(admission.admit(Some(&key), None).await), "RATE_LIMITED", "three were asked");
        advance(Duration::from_secs(21)).await;
        assert!(admission.admit(Some(&key), None).await.is_ok());
        assert_eq!(admission.places.available_permits(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_makes_room_in_it() {
        let admission = admission(1, 1);
        let _first = admission.admit(None, None).await.unwrap();
        for _ in 0..3 {
            let waits = admission.admit(None, None);
            tokio::pin!(waits);
            assert!(futures_util::poll!(&mut waits).is_pending());
        }
        assert_eq!(admission.waiting.load(Ordering::SeqCst), 0);
    }
}
