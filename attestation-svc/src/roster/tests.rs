use proptest::prelude::*;

use super::*;

const ROLES: [Role; 2] = [Role::Gateway, Role::Adapter];
const NOW: Duration = Duration::from_secs(1000);

fn roster() -> Roster {
    Roster::new(ROLES)
}

fn holder() -> Enrolled {
    Enrolled { at: NOW, pid: Some(1), svid_serial: "01".to_owned(), spki_sha256: [1; 32] }
}

#[test]
fn a_place_has_one_holder_at_a_time() {
    let mut roster = roster();
    let first = roster.take(Role::Gateway).unwrap();
    assert_eq!(roster.take(Role::Gateway), Err(Refused::InUse));
    roster.take(Role::Adapter).unwrap();
    roster.leave(Role::Gateway, first);
    let second = roster.take(Role::Gateway).unwrap();
    roster.leave(Role::Gateway, first);
    assert_eq!(roster.check(Role::Gateway, second), Ok(()), "nobody leaves for another");
    assert_eq!(roster.check(Role::Gateway, first), Err(Refused::Lost));
}

#[test]
fn what_is_no_identity_of_the_deployment_is_never_held() {
    let mut roster = Roster::new([Role::Gateway]);
    assert_eq!(roster.take(Role::Adapter), Err(Refused::Revoked));
    roster.revoke(Role::Adapter);
    roster.reinstate(Role::Adapter);
    assert_eq!(roster.take(Role::Adapter), Err(Refused::Revoked));
    assert!(roster.standing(Role::Adapter).is_none());
    assert_eq!(roster.epochs().epoch, 1);
}

#[test]
fn who_came_before_is_told_to_renew_and_a_new_stay_is_not() {
    let mut roster = roster();
    let ticket = roster.take(Role::Gateway).unwrap();
    assert_eq!(roster.renew_all(), (1, vec![]), "nobody holds it yet");
    roster.enrolled(Role::Gateway, ticket, holder()).unwrap();
    assert!(roster.told_to_renew(Role::Gateway, ticket), "what it was given may be of before");
    roster.leave(Role::Gateway, ticket);
    let next = roster.take(Role::Gateway).unwrap();
    assert!(!roster.told_to_renew(Role::Gateway, next) && !roster.told_to_renew(Role::Gateway, ticket));
    roster.enrolled(Role::Gateway, next, holder()).unwrap();
    assert_eq!(roster.renew_all(), (2, vec![Role::Gateway]));
    assert!(roster.told_to_renew(Role::Gateway, next));
}

#[test]
fn who_has_not_put_a_new_enrolment_in_force_is_behind() {
    let mut roster = roster();
    assert!(!roster.behind(1), "nobody lives");
    let first = roster.take(Role::Gateway).unwrap();
    roster.enrolled(Role::Gateway, first, holder()).unwrap();
    let (round, _) = roster.renew_all();
    assert!(roster.behind(round));
    // Its former connection is gone, and it goes by what it knew until the new one counts.
    roster.leave(Role::Gateway, first);
    assert!(roster.behind(round));
    let second = roster.take(Role::Gateway).unwrap();
    roster.enrolled(Role::Gateway, second, holder()).unwrap();
    roster.heartbeat(Role::Gateway, second, NOW).unwrap();
    assert!(roster.behind(round), "the first heartbeat is of the enrolment itself");
    roster.heartbeat(Role::Gateway, second, NOW).unwrap();
    assert!(!roster.behind(round) && roster.behind(round + 1));
    roster.revoke(Role::Gateway);
    assert!(roster.behind(round + 1), "whoever was revoked may live");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Take(Role),
    /// By the stay that was number so many, counted back.
    Leave(usize),
    Enrol(usize),
    Token(usize),
    RevokeAll,
    Revoke(Role),
    Reinstate(Role),
    Renew,
}

fn step() -> impl Strategy<Value = Step> {
    let role = || prop::sample::select(&ROLES[..]);
    prop_oneof![
        3 => role().prop_map(Step::Take),
        1 => (0..4usize).prop_map(Step::Leave),
        2 => (0..4usize).prop_map(Step::Enrol),
        4 => (0..4usize).prop_map(Step::Token),
        1 => Just(Step::RevokeAll),
        2 => role().prop_map(Step::Revoke),
        2 => role().prop_map(Step::Reinstate),
        1 => Just(Step::Renew),
    ]
}

/// What a peer that was told everything takes for void.
fn is_void(epochs: &Epochs, role: Role, epoch: u64) -> bool {
    let own = epochs.revocations.iter().find(|(revoked, _)| *revoked == role).map_or(0, |(_, least)| *least);
    epoch < epochs.min_epoch.max(own)
}

proptest! {
    /// Whatever happens in whatever order: no epoch goes back, an identity has one holder at most and
    /// none while it is revoked, and what a revocation made void is void for ever.
    #[test]
    fn what_is_void_stays_void(steps in prop::collection::vec(step(), 0..80)) {
        let (mut roster, mut stays, mut granted, mut void) = (roster(), Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            let before = roster.epochs();
            let stay = |back: usize| stays.len().checked_sub(back + 1).map(|at| stays[at]);
            match step {
                Step::Take(role) => if let Ok(ticket) = roster.take(role) {
                    stays.push((role, ticket));
                },
                Step::Leave(back) => if let Some((role, ticket)) = stay(back) {
                    roster.leave(role, ticket);
                    prop_assert!(roster.check(role, ticket).is_err());
                },
                Step::Enrol(back) => if let Some((role, ticket)) = stay(back) {
                    let held = roster.check(role, ticket);
                    prop_assert_eq!(roster.enrolled(role, ticket, holder()), held);
                },
                Step::Token(back) => if let Some((role, ticket)) = stay(back) {
                    let held = roster.check(role, ticket);
                    let answer = roster.heartbeat(role, ticket, NOW);
                    prop_assert_eq!(answer.as_ref().err(), held.as_ref().err());
                    if let Ok(epochs) = answer {
                        prop_assert!(!is_void(&epochs, role, epochs.epoch), "a new token is of use");
                        granted.push((role, epochs.epoch));
                    }
                },
                Step::RevokeAll => {
                    roster.revoke_all();
                    void.append(&mut granted);
                }
                Step::Revoke(role) => {
                    roster.revoke(role);
                    void.extend(granted.extract_if(.., |token| token.0 == role));
                }
                Step::Reinstate(role) => roster.reinstate(role),
                Step::Renew => drop(roster.renew_all()),
            }
            let now = roster.epochs();
            prop_assert!(now.epoch >= before.epoch && now.min_epoch >= before.min_epoch);
            prop_assert!(now.min_epoch <= now.epoch && now.revocations.iter().all(|(_, least)| *least <= now.epoch));
            prop_assert!(void.iter().all(|(role, epoch)| is_void(&now, *role, *epoch)));
            prop_assert!(granted.iter().all(|(role, epoch)| !is_void(&now, *role, *epoch)));
            for role in ROLES {
                let holding = stays.iter().filter(|(held, ticket)| *held == role && roster.check(role, *ticket).is_ok());
                let revoked = roster.standing(role).unwrap().revoked;
                prop_assert!(holding.count() <= usize::from(!revoked));
            }
        }
    }
}
