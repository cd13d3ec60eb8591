//! The machine is judged again while the service runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use mtls::Role;
use proto::attestation::v1::{GetStateRequest, LeaseResponse};
use proto::reason;
use snp_simulator::Guest;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};

use crate::fake_kds::FakeKds;
use crate::lease::Lease;
use crate::peer::{Link, NONCE, Peer, assert_refused};
use crate::world::{NOW, PATIENCE, Service, World, list, processor, updated};

/// Two holders, and whoever watches health.
struct Held {
    service: Service,
    lease: Lease,
    beats: u64,
    health: Streaming<HealthCheckResponse>,
    _links: [Link; 2],
}

impl Held {
    async fn new(world: &World) -> Self {
        let service = world.start().await;
        let (link, _) = Peer::new(Role::Gateway).hold(world).await;
        let lease = Lease::open(&link).await.unwrap();
        let watching = Link::unix(&world.socket("adapter")).await;
        let health = watching.watch("").await;
        let mut held = Self { service, lease, beats: 0, health, _links: [link, watching] };
        held.until(Serving).await;
        assert_eq!(held.token().await.unwrap().epoch, 1);
        held
    }

    /// The answer to a heartbeat that asks for a token; notices are passed over.
    async fn token(&mut self) -> Result<LeaseResponse, Status> {
        self.beat(&NONCE).await
    }

    async fn beat(&mut self, nonce: &[u8]) -> Result<LeaseResponse, Status> {
        self.beats += 1;
        let mut answer = self.lease.beat(self.beats, nonce).await?;
        while answer.sequence == 0 {
            answer = self.lease.next().await?.unwrap();
        }
        Ok(answer)
    }

    async fn until(&mut self, status: ServingStatus) {
        let changed = async { while self.health.message().await.unwrap().unwrap().status() != status {} };
        timeout(PATIENCE, changed).await.unwrap();
    }
}

async fn enrolment(world: &World) -> Result<(), Status> {
    let adapter = Peer::new(Role::Adapter);
    adapter.connect(world).await.identities().enroll(adapter.request(world)).await.map(drop)
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_away_for_14_minutes_costs_nothing_and_for_16_everything() {
    let world = World::new();
    let mut held = Held::new(&world).await;
    world.device.absent.store(true, Ordering::SeqCst);
    world.clock.advance(minutes(14));
    held.token().await.unwrap();
    world.clock.advance(minutes(2));
    // At the moment of the grant, whether or not the task has looked.
    let stale = (Code::Unavailable, reason::EVIDENCE_STALE);
    assert_refused(held.token().await, stale.0, stale.1);
    assert_refused(enrolment(&world).await, stale.0, stale.1);
    held.until(NotServing).await;

    world.device.absent.store(false, Ordering::SeqCst);
    world.clock.advance(minutes(1));
    held.until(Serving).await;
    let (link, _) = Peer::new(Role::Adapter).hold(&world).await;
    let again = Lease::open(&link).await.unwrap().beat(1, &NONCE).await.unwrap();
    assert_eq!((again.epoch, again.min_epoch), (2, 2), "tokens from before stay void");
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_without_token_keeps_no_lease_either() {
    let world = World::new();
    let mut held = Held::new(&world).await;
    world.device.absent.store(true, Ordering::SeqCst);
    world.clock.advance(minutes(16));
    assert_refused(held.beat(&[]).await, Code::Unavailable, reason::EVIDENCE_STALE);
    held.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_under_way_is_refused_when_the_verdict_ends_meanwhile() {
    let world = World::new();
    let service = world.start().await;
    let hold = world.device.hold();
    world.device.called.notified().now_or_never();
    let (adapter, called) = (Peer::new(Role::Adapter), world.device.called.clone());
    let link = adapter.connect(&world).await;
    let request = adapter.request(&world);
    let enrolment = tokio::spawn(async move { link.identities().enroll(request).await.map(drop) });
    timeout(PATIENCE, called.notified()).await.unwrap();
    // No verdict can follow: the certificates of a simulated machine live for a day.
    world.clock.advance(Duration::from_hours(25));
    drop(hold);
    let refused = timeout(PATIENCE, enrolment).await.unwrap().unwrap().unwrap_err();
    let reason = proto::reason_of(&refused).unwrap();
    assert!([reason::EVIDENCE_STALE, reason::EVIDENCE_REFUSED].contains(&reason.as_str()), "{refused:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_closes_at_once_and_is_recorded_with_its_check() {
    let world = World::new();
    let mut held = Held::new(&world).await;
    let other = Guest { measurement: [0xee; 48], ..world.device.guest.clone() };
    world.device.becomes(Some(other));
    // Somebody sets the clock; nothing else tells that it is another machine now.
    world.clock.set_unix(NOW + 3600);
    let notice = held.lease.next().await.unwrap().unwrap();
    assert_eq!((notice.sequence, notice.min_epoch), (0, 2));
    let refused = (Code::Unavailable, reason::EVIDENCE_REFUSED);
    assert_refused(held.token().await, refused.0, refused.1);
    assert_refused(enrolment(&world).await, refused.0, refused.1);
    held.until(NotServing).await;

    world.device.becomes(None);
    world.clock.advance(minutes(1));
    held.until(Serving).await;
    enrolment(&world).await.unwrap();
    held.service.stop().await;
    let records = crate::audit::records(&world);
    let jumps = crate::audit::named(&records, "clock_jump");
    assert_eq!(jumps[0]["what"], "the wall clock was set by +3600 s");
    let standings = crate::audit::named(&records, "standing");
    assert_eq!(standings.iter().map(|it| &it["accepted"]).collect::<Vec<_>>(), [false, true]);
    assert_eq!(standings[0]["reason"], reason::EVIDENCE_REFUSED);
    assert_eq!(standings[0]["failed_check"], "measurement");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tcb_is_judged_anew_with_the_certificate_of_that_tcb() {
    let kds = FakeKds::start_with_tls().await;
    // Refused that, the server would be left alone for a while, by a clock that stands still here.
    kds.put("/vcek/v1/Genoa/crl", list(30 * 86_400));
    let world = World::new();
    std::fs::write(world.path("kds-ca.pem"), kds.ca_pem.as_ref().unwrap()).unwrap();
    let servers = format!(
        "[collateral]\ncache = \"kept\"\n[kds]\nurls = [\"{}\"]\nca = \"kds-ca.pem\"\n[log]",
        kds.url()
    );
    world.edit("service.toml", "[log]", &servers);
    let mut held = Held::new(&world).await;
    let mut tcb = processor().chip().tcb;
    tcb.microcode += 1;
    let newer = updated(tcb);
    let chip = hex::encode(newer.chip().chip_id);
    let place = format!("/vcek/v1/Genoa/{chip}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=85");
    kds.put(&place, newer.vek_der());
    // The host's table still has the certificate of the old TCB.
    *world.device.became.lock().unwrap() = Some((newer, world.device.guest.clone()));
    passes(&world, minutes(6)).await;
    assert!(kds.asked().contains(&place));
    held.token().await.unwrap();
    held.service.stop().await;
}

/// Lets more than five minutes pass, until the machine was judged anew and accepted.
pub(crate) async fn passes(world: &World, time: Duration) {
    world.clock.advance(time);
    let admin = crate::audit::admin(world).await;
    let age =
        async || admin.admin().get_state(GetStateRequest {}).await.unwrap().get_ref().report_age_seconds;
    timeout(PATIENCE, async { while age().await > 60 {} }).await.unwrap();
}
