//! Enrolment answers that are not believed.

use health_gate::StartError;
use mtls::Role;
use service_runtime::Exit;

use crate::{
    fake::{Fake, Lie},
    world::{PATIENCE, World, soon, until_open},
};

async fn refusal(lie: Lie) -> StartError {
    let world = World::new();
    let _fake = Fake::lying(&world, Some(lie));
    soon(world.try_hold(world.config(Role::Gateway))).await.unwrap_err()
}

async fn is_refused(lie: Lie, exit: Exit, reason: &str) {
    let error = refusal(lie).await;
    assert_eq!(error.exit(), exit, "{lie:?}: {error}");
    assert!(error.to_string().contains(reason), "{lie:?}: {error}");
}

#[tokio::test]
async fn evidence_for_another_nonce() {
    is_refused(Lie::Nonce, Exit::Evidence, "bundle.nonce").await;
    is_refused(Lie::ReportNonce, Exit::Evidence, "report_data").await;
}

#[tokio::test]
async fn evidence_for_another_key() {
    is_refused(Lie::Key, Exit::Evidence, "bundle.binding").await;
}

#[tokio::test]
async fn a_manifest_that_the_report_does_not_cover() {
    is_refused(Lie::Manifest, Exit::Evidence, "report_data").await;
}

#[tokio::test]
async fn another_deployment() {
    is_refused(Lie::WrongConfig, Exit::Policy, "ENROLMENT_WRONG_CONFIG").await;
    is_refused(Lie::HostData, Exit::Policy, "HOST_DATA").await;
    is_refused(Lie::Measured, Exit::Policy, "another measured config").await;
    is_refused(Lie::Policy, Exit::Policy, "another policy").await;
    is_refused(Lie::TrustDomain, Exit::Policy, "the trust domain is another").await;
}

#[tokio::test]
async fn other_software() {
    is_refused(Lie::Measurement, Exit::Policy, "measurement").await;
}

#[tokio::test]
async fn certificates_that_the_manifest_does_not_vouch_for() {
    is_refused(Lie::Ca, Exit::Evidence, "does not list a CA").await;
    is_refused(Lie::NoCa, Exit::Evidence, "trust bundle is empty").await;
    is_refused(Lie::SvidKey, Exit::Evidence, "another key than the request's").await;
    is_refused(Lie::NoListener, Exit::Evidence, "one certificate per listener").await;
    is_refused(Lie::Issuer, Exit::Evidence, "certificate").await;
    is_refused(Lie::ListenerIssuer, Exit::Evidence, "certificate").await;
    is_refused(Lie::Expired, Exit::Evidence, "certificate").await;
    is_refused(Lie::Listener, Exit::Evidence, "key of a listener").await;
}

#[tokio::test]
async fn an_identity_of_another_socket() {
    is_refused(Lie::Role, Exit::Evidence, "another identity").await;
}

#[tokio::test]
async fn tokens_that_are_not_ours() {
    is_refused(Lie::NoTokenKey, Exit::Evidence, "lists no token key").await;
    is_refused(Lie::TokenKey, Exit::Evidence, "token.kid").await;
    is_refused(Lie::TokenBinding, Exit::Evidence, "token.cnf").await;
    is_refused(Lie::TokenNonce, Exit::Evidence, "token.nonce").await;
}

#[tokio::test]
async fn an_answer_to_a_heartbeat_that_was_not_sent() {
    is_refused(Lie::Sequence, Exit::Evidence, "only 1 were sent").await;
}

#[tokio::test]
async fn another_deployments_policy_in_the_measured_config() {
    let world = World::new();
    let _fake = Fake::start(&world);
    let mut config = world.config(Role::Gateway);
    config.measured.policy_sha256 = [1; 32];
    let error = soon(world.try_hold(config)).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Policy);
    assert!(error.to_string().contains("names another policy"), "{error}");
}

/// What a service says that never gets a lease. Time runs until `fake` has refused it twice.
pub(crate) async fn no_lease(world: &World, fake: Option<&Fake>) -> String {
    let mut config = world.config(Role::Gateway);
    config.start_timeout = PATIENCE / 2;
    let (held, ()) = tokio::join!(soon(world.try_hold(config)), async {
        if let Some(fake) = fake {
            soon(fake.authority.refused.subscribe().wait_for(|count| *count >= 2)).await.unwrap();
        }
        tokio::time::pause();
    });
    let error = held.unwrap_err();
    assert_eq!(error.exit(), Exit::NoLease);
    error.to_string()
}

#[tokio::test]
async fn no_socket_is_no_lease_and_names_the_socket() {
    let world = World::new();
    let message = no_lease(&world, None).await;
    assert!(message.contains(world.run_dir().join("enrol-gateway.sock").to_str().unwrap()), "{message}");
}

#[tokio::test]
async fn an_identity_in_use_is_no_lease_and_says_so() {
    let world = World::new();
    let fake = Fake::lying(&world, Some(Lie::InUse));
    let message = no_lease(&world, Some(&fake)).await;
    assert!(message.contains("IDENTITY_IN_USE"), "{message}");
}

#[tokio::test]
async fn an_identity_that_becomes_free_is_taken() {
    let world = World::new();
    let fake = Fake::lying(&world, Some(Lie::InUse));
    let config = world.config(Role::Gateway);
    let (held, ()) = tokio::join!(soon(world.try_hold(config)), async {
        soon(fake.authority.refused.subscribe().wait_for(|count| *count >= 1)).await.unwrap();
        fake.authority.lie(None);
    });
    assert!(held.unwrap().gate().is_open());
}

#[tokio::test]
async fn evidence_refused_later_leaves_the_gate_shut_until_it_is_right() {
    let world = World::new();
    let fake = Fake::start(&world);
    let holder = world.hold(Role::Gateway).await;
    fake.kill().await;
    let fake = Fake::lying(&world, Some(Lie::Measurement));
    world.advance(16);
    until_open(&holder.gate(), false).await;
    let mut enrolled = fake.authority.enrolled.subscribe();
    let tries = *enrolled.borrow() + 2;
    soon(enrolled.wait_for(|count| *count >= tries)).await.unwrap();
    assert!(!holder.gate().is_open());
    fake.kill().await;
    let _fake = Fake::start(&world);
    until_open(&holder.gate(), true).await;
}

#[tokio::test]
async fn a_start_that_is_stopped_ends_at_once() {
    let world = World::new();
    let shutdown = service_runtime::CancellationToken::new();
    shutdown.cancel();
    let error =
        soon(health_gate::start(world.config(Role::Gateway), shutdown, &world.tracker)).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Clean);
}
