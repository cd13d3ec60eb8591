//! What an operator voids is void at once, without waiting for a heartbeat.

use health_gate::Lapsed;
use mtls::Role;
use proto::reason;

use crate::{
    fake::{Fake, Lie},
    refused::no_lease,
    world::{World, soon, until_open},
};

#[tokio::test]
async fn a_notice_voids_the_token_at_once_and_a_new_one_is_fetched() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let (permit, mut tokens) = (holder.gate().permit().unwrap(), holder.tokens());
    fake.authority.void_before(2);
    fake.authority.notice.send_replace(());
    // No time passes.
    soon(permit.lapsed()).await;
    assert!(!holder.gate().is_open());
    world.advance(1);
    soon(tokens.renewed()).await;
    until_open(&holder.gate(), true).await;
    assert_eq!(permit.check(), Err(Lapsed));
}

#[tokio::test]
async fn a_notice_of_the_own_revocation_shuts_the_gate_and_nobody_elses() {
    let world = World::new();
    let fake = Fake::start(&world);
    let (gateway, adapter) = (world.hold(Role::Gateway).await, world.hold(Role::Adapter).await);
    let (revoked, other) = (gateway.gate().permit().unwrap(), adapter.gate().permit().unwrap());
    let mut tokens = adapter.tokens();
    fake.authority.void_before_of(Role::Gateway, 2);
    fake.authority.notice.send_replace(());
    soon(revoked.lapsed()).await;
    // A later epoch hastens the adapter's next token, which shows that it was told.
    world.advance(5);
    soon(tokens.renewed()).await;
    assert_eq!(other.check(), Ok(()));
}

#[tokio::test]
async fn a_lease_that_ends_as_withdrawn_shuts_the_gate_at_once() {
    for reason in [reason::IDENTITY_REVOKED, reason::EVIDENCE_REFUSED, reason::EVIDENCE_STALE] {
        let world = World::new();
        let fake = Fake::start(&world);
        let holder = world.hold(Role::Gateway).await;
        let permit = holder.gate().permit().unwrap();
        fake.authority.lie(Some(Lie::WithdrawnInLease(reason)));
        fake.authority.hang_up.send_replace(());
        soon(permit.lapsed()).await;
        // It may enrol again, as after a reinstatement; what was cut stays cut.
        fake.authority.lie(None);
        until_open(&holder.gate(), true).await;
        assert_eq!(permit.check(), Err(Lapsed));
    }
}

#[tokio::test]
async fn an_enrolment_refused_as_revoked_shuts_the_gate_until_it_is_reinstated() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    let permit = holder.gate().permit().unwrap();
    fake.authority.lie(Some(Lie::RevokedAtEnrol));
    // The stream is lost without a word, which alone would cost nothing.
    fake.authority.hang_up.send_replace(());
    soon(permit.lapsed()).await;
    soon(fake.authority.refused.subscribe().wait_for(|count| *count >= 3)).await.unwrap();
    assert!(!holder.gate().is_open());
    fake.authority.lie(None);
    until_open(&holder.gate(), true).await;
    assert_eq!(permit.check(), Err(Lapsed));
}

#[tokio::test]
async fn a_revoked_service_never_starts() {
    let world = World::new();
    let fake = Fake::lying(&world, Some(Lie::RevokedAtEnrol));
    let refused = no_lease(&world, Some(&fake)).await;
    assert!(refused.contains("IDENTITY_REVOKED"), "{refused}");
}
