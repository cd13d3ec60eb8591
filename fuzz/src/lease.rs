//! What comes on a lease stream: no message, and no order of them, prolongs a lease beyond what was asked and answered, or
//! takes back an epoch that was told.

use std::time::Duration;

use prost::Message;
use proto::attestation::v1::{LeaseResponse, Revocation};

use crate::{
    machine_of_the_lease::{Answer, Answered, HEARTBEAT, LAPSE, Lease},
    seeds,
};

/// Of every token that is granted here.
const LIFE: Duration = Duration::from_secs(90);

pub fn seed() {
    let answer = |sequence, epoch, token: &str| {
        let (health_token, revocations) =
            (token.to_owned(), vec![Revocation { identity: "a".into(), min_epoch: 1 }]);
        let message =
            LeaseResponse { sequence, epoch, min_epoch: epoch, health_token, revocations }.encode_to_vec();
        [&[u8::try_from(message.len()).unwrap()], message.as_slice()].concat()
    };
    // Two heartbeats answered, a notice that voids the token, and its replacement.
    let script = [
        vec![BEAT, 0],
        answer(1, 1, "t"),
        vec![BEAT, 50],
        answer(2, 1, ""),
        answer(0, 2, ""),
        vec![BEAT, 10],
        answer(3, 2, "t"),
    ];
    seeds::write([script.concat()]);
}

/// Says that a heartbeat is sent, after the tenths of a second in the next byte; every other byte is the length of a message.
const BEAT: u8 = 0;

pub fn run(data: &[u8]) {
    let mut stream = Stream::default();
    let mut script = data.iter().copied();
    while let Some(step) = script.next() {
        if step == BEAT {
            let Some(tenths) = script.next() else { return };
            stream.beat(Duration::from_millis(100 * u64::from(tenths)));
            continue;
        }
        let message: Vec<u8> = script.by_ref().take(step.into()).collect();
        let Ok(message) = LeaseResponse::decode(message.as_slice()) else { return };
        // The holder leaves a stream that breaks its rules.
        if stream.take(&message).is_none() {
            return;
        }
        stream.check();
    }
}

/// A lease, and what is known of its stream by other means.
#[derive(Default)]
struct Stream {
    lease: Lease,
    now: Duration,
    /// When each heartbeat was sent, whether it asked for a token, and whether it was answered.
    beats: Vec<(Duration, bool, bool)>,
    /// Each token's end, and its epoch.
    tokens: Vec<(Duration, u64)>,
    told: (u64, u64),
}

impl Stream {
    fn beat(&mut self, after: Duration) {
        self.now += after;
        let beat = self.lease.heartbeat(self.now, [1; 32]);
        self.beats.push((self.now, beat.token_nonce.is_some(), false));
        assert_eq!(usize::try_from(beat.sequence).unwrap(), self.beats.len());
        assert!(self.lease.next_due() <= self.now + HEARTBEAT);
    }

    fn take(&mut self, message: &LeaseResponse) -> Option<()> {
        let LeaseResponse { sequence, epoch, min_epoch, ref health_token, .. } = *message;
        if sequence == 0 && health_token.is_empty() {
            self.lease.noticed(epoch, min_epoch).ok()?;
            return self.tell(epoch, min_epoch);
        }
        let answer = Answer { sequence, epoch, min_epoch, has_token: !health_token.is_empty() };
        let answered = self.lease.answered(answer).ok()?;
        let beat = &mut self.beats[usize::try_from(sequence).unwrap() - 1];
        if answered == Answered::Late {
            return Some(());
        }
        assert!(!beat.2, "a heartbeat counts twice");
        beat.2 = true;
        if let Answered::Token(grant) = answered {
            assert!(beat.1, "a token that was not asked for");
            assert_eq!(grant.requested_at, beat.0);
            self.tokens.push((beat.0 + LIFE, epoch));
            self.lease.granted(&grant, epoch, LIFE);
        }
        self.tell(epoch, min_epoch)
    }

    fn tell(&mut self, epoch: u64, min_epoch: u64) -> Option<()> {
        assert!(min_epoch <= epoch);
        self.told = (self.told.0.max(epoch), self.told.1.max(min_epoch));
        Some(())
    }

    fn check(&self) {
        let Some(deadline) = self.lease.deadline() else { return };
        let answered = self.beats.iter().filter(|beat| beat.2).map(|beat| beat.0).max();
        assert!(answered.is_some_and(|sent| deadline <= sent + LAPSE), "no heartbeat carries it that far");
        let live = self.tokens.iter().filter(|(_, epoch)| *epoch >= self.told.1).map(|(end, _)| *end).max();
        assert!(live.is_some_and(|end| deadline <= end), "no token carries it that far");
    }
}
