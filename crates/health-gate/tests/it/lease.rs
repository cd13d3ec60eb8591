//! The lease in use: renewed, lost, taken anew.

use std::time::Duration;

use health_gate::Lapsed;
use mtls::Role;

use crate::{
    fake::{Fake, Lie},
    world::{World, soon, until_open},
};

#[tokio::test]
async fn enrolment_opens_the_gate() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    assert!(holder.gate().is_open());
    assert_eq!(holder.identity(), fake.authority.identity(Role::Gateway));
    assert_eq!(*holder.epoch_changed().borrow(), 1);
    assert!(holder.listener_tls("gateway/public")().is_some());
    assert!(holder.listener_tls("gateway/other")().is_none());
    assert!(holder.mutual_tls()().is_some());
}

#[tokio::test]
async fn without_answers_the_gate_shuts_after_fifteen_seconds() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    fake.mute();
    let permit = holder.gate().permit().unwrap();
    world.clock.advance(Duration::from_nanos(14_999_999_999));
    assert_eq!(permit.check(), Ok(()));
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(permit.check(), Err(Lapsed));
    until_open(&holder.gate(), false).await;
    // The silent stream is left for another.
    soon(fake.authority.enrolled.subscribe().wait_for(|count| *count >= 2)).await.unwrap();
}

#[tokio::test]
async fn a_late_answer_prolongs_from_the_sending_only() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let mut tokens = holder.tokens();
    for beat in 2..=6 {
        world.advance(5);
        fake.heard(beat).await;
    }
    fake.mute();
    // The heartbeat of second 30 asks for a token, whose coming shows that its answer was taken in.
    world.advance(5);
    fake.heard(7).await;
    world.advance(4);
    fake.answer(1);
    soon(tokens.renewed()).await;
    let permit = holder.gate().permit().unwrap();
    world.advance(10);
    assert_eq!(permit.check(), Ok(()), "44 s");
    world.advance(1);
    assert_eq!(permit.check(), Err(Lapsed), "45 s, not 49");
}

#[tokio::test]
async fn a_jump_of_the_clock_shuts_and_a_new_lease_does_not_revive() {
    let world = World::new();
    let _fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let permit = holder.gate().permit().unwrap();
    world.advance(3600);
    assert!(!holder.gate().is_open());
    until_open(&holder.gate(), true).await;
    soon(permit.lapsed()).await;
    assert_eq!(permit.check(), Err(Lapsed));
}

#[tokio::test]
async fn a_lost_stream_costs_nothing_while_the_lease_lasts() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let permit = holder.gate().permit().unwrap();
    for again in 2..=3 {
        fake.authority.hang_up.send_replace(());
        soon(fake.authority.enrolled.subscribe().wait_for(|count| *count == again)).await.unwrap();
        fake.heard(again).await;
    }
    assert_eq!(permit.check(), Ok(()));
    assert_eq!(*holder.epoch_changed().borrow(), 1);
}

#[tokio::test]
async fn an_identity_is_renewed_before_its_certificate_ends() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let permit = holder.gate().permit().unwrap();
    // Half an hour of ticks need not be waited for.
    tokio::time::pause();
    let mut beats = 1;
    while *fake.authority.enrolled.borrow() == 1 {
        world.advance(5);
        beats += 1;
        fake.heard(beats).await;
        assert!(beats < 400, "31 minutes and no renewal");
    }
    assert!(beats > 350, "too early: {beats}");
    assert_eq!(permit.check(), Ok(()));
}

#[tokio::test]
async fn a_restart_of_attestation_svc_is_a_new_epoch() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let (permit, before) = (holder.gate().permit().unwrap(), holder.identity());
    let mut epoch = holder.epoch_changed();
    fake.kill().await;
    assert_eq!(permit.check(), Ok(()), "the lease lasts until its deadline");
    let fake = Fake::start(&world);
    soon(epoch.changed()).await.unwrap();
    assert_eq!(*epoch.borrow(), 2);
    assert!(holder.gate().is_open());
    assert_eq!(permit.check(), Err(Lapsed));
    assert_ne!(holder.identity(), before);
    assert_eq!(holder.identity(), fake.authority.identity(Role::Gateway));
    assert_eq!(holder.material().identity(), Some(holder.identity()));
}

#[tokio::test]
async fn a_raised_least_epoch_voids_the_token_until_there_is_a_new_one() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let (permit, mut tokens) = (holder.gate().permit().unwrap(), holder.tokens());
    fake.authority.void_before(2);
    world.advance(5);
    soon(permit.lapsed()).await;
    world.advance(1);
    soon(tokens.renewed()).await;
    until_open(&holder.gate(), true).await;
    assert_eq!(permit.check(), Err(Lapsed));
}

#[tokio::test]
async fn a_raised_least_epoch_counts_even_where_its_token_is_refused() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let permit = holder.gate().permit().unwrap();
    for beat in 2..=6 {
        world.advance(5);
        fake.heard(beat).await;
    }
    fake.authority.lie(Some(Lie::TokenNonce));
    fake.authority.void_before(2);
    // The heartbeat of second 30 asks for a token. No more time passes.
    world.advance(5);
    soon(permit.lapsed()).await;
}

#[tokio::test]
async fn the_least_epoch_does_not_go_back_with_a_new_enrolment() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let mut tokens = holder.tokens();
    fake.authority.void_before(2);
    world.advance(5);
    until_open(&holder.gate(), false).await;
    world.advance(1);
    soon(tokens.renewed()).await;
    fake.authority.void_before(1);
    fake.authority.hang_up.send_replace(());
    // It is refused, and tried again.
    soon(fake.authority.enrolled.subscribe().wait_for(|count| *count == 3)).await.unwrap();
    world.advance(15);
    assert!(!holder.gate().is_open());
    fake.authority.void_before(2);
    until_open(&holder.gate(), true).await;
}

#[tokio::test]
async fn the_tasks_end_with_the_last_handle() {
    let world = World::new();
    let _fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let gate = holder.gate();
    drop(holder);
    world.tracker.close();
    soon(world.tracker.wait()).await;
    assert!(!gate.is_open());
}
