//! Rotations while services enrol, stall, go and come, in every order.

use mtls::Role;
use proptest::prelude::*;

use super::*;
use crate::roster::{Enrolled, Roster, Ticket};

const ROLES: [Role; 2] = [Role::Gateway, Role::Adapter];
const NOW: Duration = Duration::from_secs(1000);

fn at(seconds: u64) -> Duration {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn a_key_is_announced_then_in_force_then_old_then_gone() {
    let mut keys = Rotation::new(1, NOW);
    keys.announce(2, 1, NOW).unwrap();
    assert_eq!((keys.in_force(), keys.listed()), (1, vec![1, 2]));
    assert_eq!(keys.announce(3, 2, NOW), Err(UnderWay));
    assert_eq!(keys.switch(2, at(89), |round| round == 1), None, "somebody does not know it yet");
    assert_eq!(keys.switch(2, at(89), |_| false), Some(2));
    assert_eq!((keys.in_force(), keys.listed(), keys.since()), (2, vec![2, 1], at(89)));
    assert!(keys.retire(Until::Ended, at(178), |_| false).is_empty(), "tokens of the old key live on");
    assert_eq!(keys.retire(Until::Ended, at(179), |_| true), [1]);
    assert_eq!(keys.listed(), [2]);
}

#[test]
fn whoever_never_comes_back_delays_a_rotation_by_the_life_of_a_token() {
    let mut keys = Rotation::new(1, NOW);
    keys.announce(2, 1, NOW).unwrap();
    assert_eq!(keys.switch(2, at(89), |_| true), None);
    assert_eq!(keys.switch(2, at(90), |_| true), Some(2));
    assert!(keys.retire(Until::Replaced, at(179), |_| true).is_empty());
    assert_eq!(keys.retire(Until::Replaced, at(180), |_| true), [1]);
}

#[test]
fn a_ca_goes_once_everybody_has_a_certificate_of_the_next() {
    let mut keys = Rotation::new(1, NOW);
    keys.announce(2, 1, NOW).unwrap();
    keys.switch(2, NOW, |_| false).unwrap();
    assert!(keys.retire(Until::Replaced, NOW, |round| round == 2).is_empty());
    assert_eq!(keys.retire(Until::Replaced, NOW, |_| false), [1]);
}

#[test]
fn old_keys_are_bounded() {
    let mut keys = Rotation::new(0, NOW);
    for key in 1..=MAX_OLD {
        keys.announce(key, 1, NOW).unwrap();
        keys.switch(2, NOW, |_| false).unwrap();
    }
    assert_eq!(keys.announce(99, 1, NOW), Err(UnderWay));
    assert_eq!(keys.retire(Until::Ended, at(90), |_| false).len(), MAX_OLD);
    keys.announce(99, 1, NOW).unwrap();
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    /// A service goes on by one step: it connects, is given its enrolment, which then counts, gets its first token, puts both
    /// in force, gets more; and hangs up when it is told to enrol anew.
    Work(Role),
    Hangup(Role),
    Die(Role),
    Announce,
    Advance,
}

fn step() -> impl Strategy<Value = Step> {
    let of = |step: fn(Role) -> Step| prop::sample::select(&ROLES[..]).prop_map(step);
    prop_oneof![
        3 => (0..40u64).prop_map(Step::Pass),
        16 => of(Step::Work),
        1 => of(Step::Hangup),
        1 => of(Step::Die),
        2 => Just(Step::Announce),
        4 => Just(Step::Advance),
    ]
}

/// A connection to the enrolment socket, and what came over it.
#[derive(Debug, Clone, Default)]
struct Link {
    ticket: Ticket,
    /// The keys that it lists, and the one that issued its certificate.
    given: Option<(Vec<u64>, u64)>,
    enrolled: bool,
    beats: usize,
    adopted: bool,
}

/// A process: what it goes by, and until when it serves.
#[derive(Debug, Clone, Default)]
struct Service {
    link: Option<Link>,
    goes_by: Option<(Vec<u64>, u64)>,
    token: Option<(u64, Duration)>,
    /// Came with the first heartbeat, and counts from the adoption on.
    coming: Option<(u64, Duration)>,
}

struct World {
    now: Duration,
    until: Until,
    keys: Rotation<u64>,
    last: u64,
    roster: Roster,
    services: [Service; 2],
}

impl World {
    fn new(until: Until) -> Self {
        let (keys, roster, services) = (Rotation::new(0, NOW), Roster::new(ROLES), Default::default());
        Self { now: NOW, until, keys, last: 0, roster, services }
    }

    fn service(&mut self, role: Role) -> &mut Service {
        &mut self.services[usize::from(role == Role::Adapter)]
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(seconds) => self.now += Duration::from_secs(seconds),
            Step::Work(role) => self.work(role),
            Step::Hangup(role) => {
                if let Some(link) = self.service(role).link.take() {
                    self.roster.leave(role, link.ticket);
                }
            }
            Step::Die(role) => {
                self.take(Step::Hangup(role));
                *self.service(role) = Service::default();
            }
            Step::Announce => {
                let (key, now, next) = (self.last + 1, self.now, self.roster.next_round());
                if self.keys.announce(key, next, now).is_ok() {
                    self.last = key;
                    self.roster.renew_all();
                }
            }
            Step::Advance => self.advance(),
        }
    }

    fn work(&mut self, role: Role) {
        let given = (self.keys.listed(), self.keys.in_force());
        let Some(link) = self.service(role).link.clone() else {
            let link = self.roster.take(role).ok().map(|ticket| Link { ticket, ..Link::default() });
            self.service(role).link = link;
            return;
        };
        if link.given.is_none() {
            self.link(role).given = Some(given);
        } else if !link.enrolled {
            self.link(role).enrolled = true;
            let holder =
                Enrolled { at: self.now, pid: None, svid_serial: String::new(), spki_sha256: [0; 32] };
            self.roster.enrolled(role, link.ticket, holder).unwrap();
        } else if self.roster.told_to_renew(role, link.ticket) {
            self.take(Step::Hangup(role));
        } else if link.beats == 1 && !link.adopted {
            self.adopt(role);
        } else {
            self.beat(role, link.ticket);
        }
    }

    fn link(&mut self, role: Role) -> &mut Link {
        self.service(role).link.as_mut().unwrap()
    }

    fn beat(&mut self, role: Role, ticket: Ticket) {
        self.roster.heartbeat(role, ticket, self.now).unwrap();
        let token = Some((self.keys.in_force(), self.now + STRAGGLERS));
        self.link(role).beats += 1;
        let adopted = self.link(role).adopted;
        let service = self.service(role);
        *(if adopted { &mut service.token } else { &mut service.coming }) = token;
    }

    fn adopt(&mut self, role: Role) {
        self.link(role).adopted = true;
        let service = self.service(role);
        service.goes_by = service.link.as_ref().and_then(|link| link.given.clone());
        service.token = service.coming.take();
    }

    fn advance(&mut self) {
        let Self { keys, roster, now, until, .. } = self;
        let switched = keys.switch(roster.next_round(), *now, |round| roster.behind(round)).is_some();
        if switched && *until == Until::Replaced {
            roster.renew_all();
        }
        if !keys.retire(*until, *now, |round| roster.behind(round)).is_empty() {
            roster.renew_all();
        }
    }

    /// Those that serve: their tokens, what they go by, and who issued their certificates.
    fn serving(&self) -> Vec<(u64, &[u64], u64)> {
        let live = self.services.iter().filter_map(|service| {
            let (key, _) = service.token.filter(|(_, ends)| self.now < *ends)?;
            let (knows, issuer) = service.goes_by.as_ref()?;
            Some((key, knows.as_slice(), *issuer))
        });
        live.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_service_that_lives_meets_a_token_of_a_key_that_it_does_not_know(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(Until::Ended);
        for step in steps {
            world.take(step);
            let serving = world.serving();
            for (key, ..) in &serving {
                prop_assert!(serving.iter().all(|(_, knows, _)| knows.contains(key)), "{step:?}: {serving:?}");
            }
        }
    }

    #[test]
    fn no_service_that_lives_meets_a_certificate_of_a_ca_that_it_does_not_trust(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(Until::Replaced);
        for step in steps {
            world.take(step);
            let serving = world.serving();
            for (_, _, issuer) in &serving {
                prop_assert!(serving.iter().all(|(_, knows, _)| knows.contains(issuer)), "{step:?}: {serving:?}");
            }
        }
    }

    /// However services behave, a rotation is over in two lives of a token.
    #[test]
    fn a_rotation_ends(steps in prop::collection::vec(step(), 1..120)) {
        for until in [Until::Ended, Until::Replaced] {
            let mut world = World::new(until);
            for step in &steps {
                world.take(*step);
            }
            for _ in 0..2 {
                world.now += STRAGGLERS;
                world.advance();
            }
            prop_assert_eq!(world.keys.listed(), [world.last]);
        }
    }
}
