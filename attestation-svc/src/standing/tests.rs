//! Every interleaving of verdicts, lack of verdicts, slow answers, jumps and grants.

use mtls::Role;
use proptest::prelude::*;

use super::*;
use crate::roster::{Epochs, Roster};

const BOOT: Duration = Duration::from_secs(1000);
const ROLE: Role = Role::Gateway;

fn minutes(minutes: u64) -> Duration {
    BOOT + Duration::from_mins(minutes)
}

#[test]
fn a_busy_device_costs_nothing_for_14_minutes_and_everything_after_15() {
    let mut standing = Standing::new(BOOT);
    while standing.due() < minutes(14) {
        standing.fail(standing.due());
    }
    assert_eq!(standing.check(minutes(14)), Ok(()));
    assert_eq!(standing.check(minutes(15)), Err(Closed::Stale));
    assert_eq!(standing.check(minutes(16)), Err(Closed::Stale));
    standing.accept(minutes(16), EVERY);
    assert_eq!(standing.check(minutes(16)), Ok(()));
}

#[test]
fn a_refusal_closes_at_once_and_only_a_later_acceptance_opens() {
    let mut standing = Standing::new(BOOT);
    standing.refuse(minutes(1));
    assert_eq!(standing.check(minutes(1)), Err(Closed::Refused));
    // Its report was asked for before the one that was refused.
    standing.accept(minutes(1), EVERY);
    assert_eq!(standing.check(minutes(1)), Err(Closed::Refused));
    standing.fail(minutes(2));
    assert_eq!(standing.check(minutes(2)), Err(Closed::Refused));
    standing.accept(minutes(2), EVERY);
    assert_eq!(standing.check(minutes(2)), Ok(()));
}

#[test]
fn attempts_without_verdict_pause_longer_and_longer_and_a_verdict_forgets_them() {
    let mut standing = Standing::new(BOOT);
    let pauses: Vec<_> = (0..6)
        .map(|_| {
            standing.fail(BOOT);
            standing.due().checked_sub(BOOT).unwrap().as_secs()
        })
        .collect();
    assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    standing.accept(BOOT, EVERY);
    assert_eq!(standing.due(), minutes(5));
    standing.fail(minutes(5));
    assert_eq!(standing.due(), minutes(5) + FIRST_PAUSE);
}

#[test]
fn a_verdict_on_what_was_before_a_jump_is_followed_by_another_at_once() {
    let mut standing = Standing::new(BOOT);
    standing.demand(minutes(2));
    assert_eq!(standing.due(), minutes(2));
    standing.accept(minutes(1), EVERY);
    assert_eq!(standing.due(), minutes(2));
    standing.accept(minutes(2), EVERY);
    assert_eq!(standing.due(), minutes(7));
}

#[derive(Debug, Clone)]
enum Step {
    /// Time passes; a suspended machine is the same to both clocks.
    Pass(u64),
    /// The clocks jumped.
    Jump,
    /// A report is asked for, if one is due and none is under way.
    Ask,
    /// It was accepted, refused, or there is none.
    Verdict(Option<bool>),
    /// The task looks, and what has changed is put in force.
    Settle,
    /// A holder's heartbeat is taken in.
    Beat,
    /// A token that answers it is granted, or refused.
    Grant,
    /// The holder goes, and another comes.
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..400u64).prop_map(Step::Pass),
        1 => Just(Step::Jump),
        4 => Just(Step::Ask),
        4 => prop::option::weighted(0.7, prop::bool::weighted(0.7)).prop_map(Step::Verdict),
        4 => Just(Step::Settle),
        4 => Just(Step::Beat),
        4 => Just(Step::Grant),
        1 => Just(Step::Leave),
    ]
}

/// The standing, the roster, and what one attempt and one call under way remember.
struct World {
    now: Duration,
    standing: Standing,
    roster: Roster,
    ticket: u64,
    asked: Option<Duration>,
    beat: Option<Epochs>,
    /// Epochs of the tokens that were granted.
    tokens: Vec<u64>,
    verdicts: Vec<(Duration, bool)>,
}

impl World {
    fn new() -> Self {
        let mut roster = Roster::new([ROLE]);
        let ticket = roster.take(ROLE).unwrap();
        let (standing, verdicts) = (Standing::new(BOOT), vec![(BOOT, true)]);
        Self { now: BOOT, standing, roster, ticket, asked: None, beat: None, tokens: vec![], verdicts }
    }

    /// By the definition: the newest acceptance is young enough, and no refusal is as new.
    fn may_vouch(&self) -> bool {
        let newest = |kind| self.verdicts.iter().filter(|(_, it)| *it == kind).map(|(asked, _)| *asked).max();
        newest(true).is_some_and(|accepted| {
            newest(false).is_none_or(|refused| refused < accepted) && self.now < accepted + MAX_AGE
        })
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Pass(seconds) => self.now += Duration::from_secs(*seconds),
            Step::Jump => self.standing.demand(self.now),
            Step::Ask if self.asked.is_none() && self.standing.due() <= self.now => {
                self.asked = Some(self.now);
            }
            Step::Ask => {}
            Step::Verdict(verdict) => self.verdict(*verdict),
            Step::Settle => self.settle(),
            Step::Beat => self.beat = self.roster.heartbeat(ROLE, self.ticket, self.now).ok(),
            Step::Grant => {
                if let (Some(beat), Ok(())) = (self.beat.take(), self.standing.check(self.now)) {
                    self.tokens.push(beat.epoch);
                }
            }
            Step::Leave => {
                self.roster.leave(ROLE, self.ticket);
                self.ticket = self.roster.take(ROLE).unwrap();
                self.beat = None;
            }
        }
    }

    fn verdict(&mut self, verdict: Option<bool>) {
        let Some(asked) = self.asked.take() else { return };
        self.settle();
        match verdict {
            Some(true) => self.standing.accept(asked, EVERY),
            Some(false) => self.standing.refuse(asked),
            None => self.standing.fail(self.now),
        }
        self.verdicts.extend(verdict.map(|verdict| (asked, verdict)));
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(Err(_)) = self.standing.turn(self.now) {
            self.roster.revoke_all();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_granted_without_a_recent_verdict_and_what_was_is_void(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let mut least = 0;
        for step in steps {
            let (may, tokens) = (world.may_vouch(), world.tokens.len());
            world.take(&step);
            prop_assert_eq!(world.standing.check(world.now).is_ok(), world.may_vouch());
            prop_assert!(may || world.tokens.len() == tokens, "granted while closed");
            let epochs = world.roster.epochs();
            prop_assert!(epochs.min_epoch >= least, "an epoch went back");
            least = epochs.min_epoch;
            if matches!(step, Step::Settle) && !world.may_vouch() {
                let valid = world.tokens.iter().any(|epoch| *epoch >= least);
                prop_assert!(!valid, "a token outlived the closing");
            }
        }
    }

    /// However it went: with a device that answers, it is open again within a minute and a jitter.
    #[test]
    fn a_device_that_answers_opens_again(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.verdict(None);
        prop_assert!(world.standing.due() <= world.now.max(world.standing.expires()) + LONGEST_PAUSE);
        world.now = world.now.max(world.standing.due()) + Duration::from_secs(1);
        world.take(&Step::Ask);
        world.now += Duration::from_secs(1);
        world.verdict(Some(true));
        prop_assert_eq!(world.standing.check(world.now), Ok(()));
    }
}
