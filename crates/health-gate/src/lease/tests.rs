use proptest::prelude::*;

use super::*;

const NONCE: [u8; 32] = [7; 32];
const LIFE: Duration = Duration::from_secs(90);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1000 + seconds)
}

fn plain(sequence: u64) -> Answer {
    Answer { sequence, epoch: 1, min_epoch: 1, has_token: false }
}

fn with_token(sequence: u64) -> Answer {
    Answer { has_token: true, ..plain(sequence) }
}

/// A lease with a token of epoch 1, requested and granted at 0.
fn leased() -> Lease {
    let mut lease = Lease::default();
    let beat = lease.heartbeat(at(0), NONCE);
    assert_eq!(beat, Heartbeat { sequence: 1, token_nonce: Some(NONCE) });
    let Answered::Token(grant) = lease.answered(with_token(1)).unwrap() else { panic!("no grant") };
    lease.granted(&grant, 1, LIFE);
    lease
}

#[test]
fn there_is_no_lease_before_a_verified_token() {
    let mut lease = Lease::default();
    assert_eq!(lease.next_due(), Duration::ZERO);
    lease.heartbeat(at(0), NONCE);
    assert_eq!(lease.answered(plain(1)), Ok(Answered::Alive));
    assert_eq!(lease.deadline(), None);
    assert_eq!(lease.heartbeat(at(5), NONCE).token_nonce, Some(NONCE), "asks again");
    lease.answered(with_token(2)).unwrap();
    assert_eq!(lease.deadline(), None, "nobody has verified it yet");
}

#[test]
fn the_deadline_counts_from_the_sending() {
    let mut lease = leased();
    assert_eq!(lease.deadline(), Some(at(15)));
    assert_eq!(lease.next_due(), at(0), "the second says that the enrolment is in force");
    lease.heartbeat(at(5), NONCE);
    assert_eq!(lease.next_due(), at(10));
    assert_eq!(lease.deadline(), Some(at(15)), "sending alone prolongs nothing");
    lease.answered(plain(2)).unwrap();
    assert_eq!(lease.deadline(), Some(at(20)));
}

#[test]
fn a_token_is_asked_for_every_thirty_seconds() {
    let mut lease = leased();
    let asked: Vec<_> =
        (1..=6).map(|beat| lease.heartbeat(at(beat * 5), NONCE).token_nonce.is_some()).collect();
    assert_eq!(asked, [false, false, false, false, false, true]);
}

#[test]
fn heartbeats_alone_do_not_outlive_the_token() {
    let mut lease = leased();
    for beat in 1..=17 {
        lease.heartbeat(at(beat * 5), NONCE);
        lease.answered(plain(beat + 1)).unwrap();
    }
    assert_eq!(lease.deadline(), Some(at(90)), "not 100");
}

#[test]
fn reordered_and_repeated_answers_take_nothing_back_and_add_nothing() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    lease.heartbeat(at(10), NONCE);
    assert_eq!(lease.answered(plain(3)), Ok(Answered::Alive));
    assert_eq!(lease.deadline(), Some(at(25)));
    assert_eq!(lease.answered(plain(2)), Ok(Answered::Alive));
    assert_eq!(lease.answered(plain(3)), Ok(Answered::Late));
    assert_eq!(lease.deadline(), Some(at(25)));
}

#[test]
fn an_overtaken_answer_may_tell_of_an_older_epoch() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    lease.heartbeat(at(10), NONCE);
    lease.answered(Answer { epoch: 3, ..plain(3) }).unwrap();
    assert_eq!(lease.answered(plain(2)), Ok(Answered::Alive));
    lease.heartbeat(at(15), NONCE);
    assert!(matches!(lease.answered(plain(4)), Err(LeaseError::Epoch { .. })), "but a new one may not");
}

#[test]
fn an_answer_later_than_the_lapse_is_ignored() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    lease.heartbeat(at(20), NONCE);
    assert_eq!(lease.answered(plain(2)), Ok(Answered::Late));
    assert_eq!(lease.deadline(), Some(at(15)));
}

#[test]
fn an_answer_to_nothing_is_an_error() {
    let mut lease = leased();
    assert_eq!(lease.answered(plain(0)), Err(LeaseError::NeverSent { sequence: 0, sent: 1 }));
    assert_eq!(lease.answered(plain(2)), Err(LeaseError::NeverSent { sequence: 2, sent: 1 }));
}

#[test]
fn an_unasked_token_is_an_error() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    assert_eq!(lease.answered(with_token(2)), Err(LeaseError::UnaskedToken(2)));
}

#[test]
fn raising_the_least_epoch_voids_the_token_until_a_new_one_comes() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    lease.answered(Answer { epoch: 2, min_epoch: 2, ..plain(2) }).unwrap();
    assert_eq!(lease.deadline(), None);
    assert_eq!(lease.next_due(), at(6), "does not wait for the beat");
    assert!(lease.heartbeat(at(6), NONCE).token_nonce.is_some());
    let answer = Answer { epoch: 2, min_epoch: 2, ..with_token(3) };
    let Answered::Token(grant) = lease.answered(answer).unwrap() else { panic!("no grant") };
    lease.granted(&grant, 2, LIFE);
    assert_eq!(lease.deadline(), Some(at(21)));
}

#[test]
fn a_notice_voids_the_token_and_prolongs_nothing() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    assert_eq!(lease.noticed(1, 1), Ok(()));
    assert_eq!((lease.deadline(), lease.silent_at()), (Some(at(15)), at(15)));
    assert_eq!(lease.noticed(2, 2), Ok(()));
    assert_eq!((lease.deadline(), lease.next_due()), (None, at(6)), "does not wait for the beat");
    assert!(matches!(lease.noticed(1, 1), Err(LeaseError::Epoch { .. })));
    assert!(matches!(lease.noticed(2, 3), Err(LeaseError::Epoch { .. })));
    assert!(matches!(lease.answered(plain(2)), Err(LeaseError::Epoch { .. })), "an answer from before it");
}

#[test]
fn a_new_epoch_alone_only_hastens_the_next_token() {
    let mut lease = leased();
    lease.heartbeat(at(5), NONCE);
    lease.answered(Answer { epoch: 2, ..plain(2) }).unwrap();
    assert_eq!(lease.deadline(), Some(at(20)));
    assert!(lease.heartbeat(at(10), NONCE).token_nonce.is_some());
}

#[test]
fn epochs_that_contradict_are_an_error() {
    for answer in
        [Answer { epoch: 1, min_epoch: 2, ..plain(2) }, Answer { epoch: 0, min_epoch: 0, ..plain(2) }]
    {
        let mut lease = leased();
        lease.heartbeat(at(5), NONCE);
        assert!(matches!(lease.answered(answer), Err(LeaseError::Epoch { .. })));
    }
}

#[test]
fn an_older_token_does_not_replace_a_newer_one() {
    let mut lease = leased();
    let newer = Grant { nonce: NONCE, requested_at: at(10) };
    lease.granted(&newer, 1, LIFE);
    lease.granted(&Grant { nonce: NONCE, requested_at: at(5) }, 1, LIFE);
    assert_eq!(lease.token.unwrap().ends, at(100));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Beat,
    Notice,
    Answer { back: u64, token: bool, life: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..20u64).prop_map(Step::Wait),
        Just(Step::Beat),
        Just(Step::Notice),
        (0..6u64, any::<bool>(), 1..=90u64).prop_map(|(back, token, life)| Step::Answer {
            back,
            token,
            life
        }),
    ]
}

proptest! {
    /// Whatever is lost, late, repeated or reordered: the deadline never lies beyond 15 s after some
    /// answered sending, nor beyond the life of a granted token, and never moves back.
    #[test]
    fn the_deadline_is_never_beyond_what_was_answered(steps in prop::collection::vec(step(), 0..60)) {
        let (mut lease, mut now) = (Lease::default(), 0);
        let (mut sent, mut answered, mut ends) = (Vec::new(), 0, 0);
        for step in steps {
            let before = lease.deadline();
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Beat => {
                    let beat = lease.heartbeat(at(now), NONCE);
                    sent.push((now, beat.token_nonce.is_some()));
                }
                Step::Notice => {
                    lease.noticed(1, 1).unwrap();
                    prop_assert_eq!(lease.deadline(), before);
                }
                Step::Answer { back, token, life } => {
                    let sequence = (sent.len() as u64).saturating_sub(back);
                    let Some(&(sent_at, asked)) = usize::try_from(sequence).unwrap().checked_sub(1).and_then(|at| sent.get(at)) else {
                        prop_assert!(lease.answered(plain(sequence)).is_err());
                        continue;
                    };
                    match lease.answered(Answer { has_token: token && asked, ..plain(sequence) }).unwrap() {
                        Answered::Late => prop_assert_eq!(lease.deadline(), before),
                        Answered::Alive => answered = answered.max(sent_at),
                        Answered::Token(grant) => {
                            prop_assert_eq!(grant.requested_at, at(sent_at));
                            answered = answered.max(sent_at);
                            ends = ends.max(sent_at + life);
                            lease.granted(&grant, 1, Duration::from_secs(life));
                        }
                    }
                }
            }
            if let Some(deadline) = lease.deadline() {
                prop_assert!(deadline <= at(answered + 15).min(at(ends)));
            }
        }
    }
}
