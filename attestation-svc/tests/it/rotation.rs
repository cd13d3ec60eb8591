//! The CA and the token key are replaced while services hold identities.

use std::sync::atomic::Ordering;
use std::time::Duration;

use health_token::{Expected, TokenError, TokenKey, verify_own};
use mtls::Role;
use proto::attestation::v1::{RotationTarget, WatchBundleRequest};
use proto::reason;
use service_runtime::Clock;
use snp_evidence::Owner;
use snp_simulator::Guest;
use tokio::time::timeout;
use tonic::Code;

use crate::admin::Rig;
use crate::lease::Lease;
use crate::peer::{Enrolled, Link, NONCE, Peer, assert_refused, certificate};
use crate::world::PATIENCE;

/// A service that has put its enrolment in force.
struct Held {
    peer: Peer,
    enrolled: Enrolled,
    link: Link,
    lease: Lease,
    beats: u64,
    token: String,
}

impl Held {
    async fn new(rig: &Rig, role: Role) -> Self {
        Self::of(rig, Peer::new(role)).await
    }

    async fn of(rig: &Rig, peer: Peer) -> Self {
        let (link, enrolled) = peer.hold(&rig.world).await;
        let mut lease = Lease::open(&link).await.unwrap();
        let token = lease.beat(1, &NONCE).await.unwrap().health_token;
        lease.beat(2, &[]).await.unwrap();
        Self { peer, enrolled, link, lease, beats: 2, token }
    }

    async fn another_token(&mut self) {
        self.beats += 1;
        self.token = self.lease.beat(self.beats, &NONCE).await.unwrap().health_token;
    }

    /// Is told to enrol anew, and does.
    async fn renewed(mut self, rig: &Rig) -> Self {
        assert_eq!(self.lease.next().await.unwrap(), None, "not a refusal");
        drop((self.lease, self.link));
        Self::of(rig, self.peer).await
    }

    fn token_keys(&self) -> Vec<TokenKey> {
        let keys = self.enrolled.bundle.manifest().token_keys();
        keys.map(|key| TokenKey::from_spki(&key.spki.0).unwrap()).collect()
    }

    /// What this service makes of `token` of its own, by the manifest that it knows.
    fn judge(&self, rig: &Rig, token: &str) -> Result<(), TokenError> {
        let manifest = self.enrolled.bundle.manifest();
        let owner = if self.peer.role == Role::Gateway { Owner::Gateway } else { Owner::Adapter };
        let expected = Expected {
            keys: &self.token_keys(),
            boot_seed: &manifest.boot_seed.0,
            min_epoch: 1,
            issuer: &manifest.identity(Owner::Attestation),
            subject: &manifest.identity(owner),
            peer_spki: self.peer.key.spki_der(),
            now: rig.world.clock.unix(),
        };
        verify_own(token, &expected, &NONCE).map(drop)
    }

    /// Who issued its certificate, by place in its trust bundle.
    fn issuer(&self) -> usize {
        let svid = certificate(&self.enrolled.answer.svid);
        let (_, svid) = x509_parser::parse_x509_certificate(&svid).unwrap();
        let issued = |ca: &bytes::Bytes| {
            let (_, ca) = x509_parser::parse_x509_certificate(ca).unwrap();
            svid.verify_signature(Some(ca.public_key())).is_ok()
        };
        self.enrolled.answer.trust_bundle.iter().position(issued).unwrap()
    }
}

/// The phases of one kind of key, in the order of the state.
async fn phases(rig: &Rig, key: &str) -> Vec<String> {
    let keys = rig.state().await.keys.into_iter().filter(|state| state.key == key);
    keys.map(|state| state.phase).collect()
}

/// Waits for what attestation-svc does by itself.
async fn until(rig: &Rig, key: &str, expected: &[&str]) {
    timeout(PATIENCE, async { while phases(rig, key).await != expected {} }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_key_signs_once_every_holder_knows_it_and_the_old_one_is_refused_in_the_end() {
    let rig = Rig::start().await;
    let (gateway, adapter) = (Held::new(&rig, Role::Gateway).await, Held::new(&rig, Role::Adapter).await);
    let told = rig.rotate(RotationTarget::TokenKey).await.unwrap();
    assert_eq!(told, ["gateway", "adapter"]);
    assert_eq!(phases(&rig, "token-key").await, ["in-force", "announced"]);
    let again = rig.rotate(RotationTarget::TokenKey).await;
    assert_refused(again, Code::FailedPrecondition, reason::ROTATION_UNDER_WAY);

    let mut gateway = gateway.renewed(&rig).await;
    let old = gateway.token.clone();
    assert_eq!((gateway.token_keys().len(), gateway.judge(&rig, &old)), (2, Ok(())));
    assert_eq!(phases(&rig, "token-key").await, ["in-force", "announced"], "the adapter does not know it");
    let adapter = adapter.renewed(&rig).await;
    until(&rig, "token-key", &["in-force", "old"]).await;
    gateway.another_token().await;
    assert_eq!(gateway.judge(&rig, &gateway.token), Ok(()));
    assert_eq!(gateway.judge(&rig, &old), Ok(()), "it ends by itself");

    rig.world.clock.advance(Duration::from_secs(90));
    until(&rig, "token-key", &["in-force"]).await;
    let (gateway, adapter) = (gateway.renewed(&rig).await, adapter.renewed(&rig).await);
    assert_eq!(gateway.judge(&rig, &gateway.token), Ok(()));
    assert_eq!(adapter.judge(&rig, &adapter.token), Ok(()));
    assert_eq!(gateway.judge(&rig, &old), Err(TokenError::UnknownKey));
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ca_issues_once_every_holder_trusts_it_and_the_old_one_goes() {
    let rig = Rig::start().await;
    let (gateway, adapter) = (Held::new(&rig, Role::Gateway).await, Held::new(&rig, Role::Adapter).await);
    let identity = gateway.enrolled.bundle.manifest().identity(Owner::Gateway);
    rig.rotate(RotationTarget::Ca).await.unwrap();
    let gateway = gateway.renewed(&rig).await;
    assert_eq!((gateway.enrolled.answer.trust_bundle.len(), gateway.issuer()), (2, 0));
    let mut bundles =
        gateway.link.identities().watch_bundle(WatchBundleRequest {}).await.unwrap().into_inner();
    let first = bundles.message().await.unwrap().unwrap().trust_bundle;
    assert_eq!(first, gateway.enrolled.answer.trust_bundle);
    // Services of before and after shake hands meanwhile.
    rig.service.mutual(&gateway.enrolled).await;
    rig.service.mutual(&adapter.enrolled).await;

    let adapter = adapter.renewed(&rig).await;
    let second = timeout(PATIENCE, bundles.message()).await.unwrap().unwrap().unwrap().trust_bundle;
    assert_eq!(second, [&first[1], &first[0]], "the new one issues");
    drop(bundles);
    until(&rig, "ca", &["in-force", "old"]).await;
    let (gateway, adapter) = (gateway.renewed(&rig).await, adapter.renewed(&rig).await);
    until(&rig, "ca", &["in-force"]).await;
    let (gateway, adapter) = (gateway.renewed(&rig).await, adapter.renewed(&rig).await);
    for held in [&gateway, &adapter] {
        assert_eq!(held.enrolled.answer.trust_bundle, [first[1].clone()]);
        assert_eq!(held.enrolled.bundle.manifest().ca_keys().count(), 1);
        rig.service.mutual(&held.enrolled).await;
    }
    assert_eq!(gateway.enrolled.bundle.manifest().identity(Owner::Gateway), identity, "names stay");
    rig.service.stop().await;
    let records = crate::audit::records(&rig.world);
    let steps: Vec<_> =
        crate::audit::named(&records, "rotation").iter().map(|it| it["step"].clone()).collect();
    assert_eq!(steps, ["announced", "in-force", "retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_attested_change_nothing() {
    let rig = Rig::start().await;
    let before = rig.state().await;
    rig.world.device.absent.store(true, Ordering::SeqCst);
    for target in [RotationTarget::Ca, RotationTarget::TokenKey] {
        let refused = rig.rotate(target).await;
        assert_refused(refused, Code::Unavailable, reason::EVIDENCE_UNAVAILABLE);
    }
    rig.world.device.absent.store(false, Ordering::SeqCst);
    let other = Guest { measurement: [0xee; 48], ..rig.world.device.guest.clone() };
    rig.world.device.becomes(Some(other));
    let refused = rig.rotate(RotationTarget::Ca).await;
    assert_refused(refused, Code::Unavailable, reason::EVIDENCE_REFUSED);
    let after = rig.state().await;
    assert_eq!((after.manifest_sha384, after.keys), (before.manifest_sha384, before.keys));
    rig.world.device.becomes(None);
    // A verdict on a report that was asked for no later than the refused one would not count.
    rig.world.clock.advance(Duration::from_millis(1));
    rig.rotate(RotationTarget::Ca).await.unwrap();
    until(&rig, "ca", &["in-force"]).await;
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_replaced_every_day_by_themselves() {
    let rig = Rig::start().await;
    let before = rig.state().await.keys;
    // A day in steps, since the certificates of a simulated machine live for one.
    crate::reattest::passes(&rig.world, Duration::from_hours(23)).await;
    assert_eq!(rig.state().await.keys, before);
    rig.world.clock.set_unix(crate::world::NOW);
    crate::reattest::passes(&rig.world, Duration::from_mins(61)).await;
    // What was refused while the machine was not judged yet is tried again.
    rig.world.clock.advance(Duration::from_mins(1));
    until(&rig, "ca", &["in-force"]).await;
    until(&rig, "token-key", &["in-force", "old"]).await;
    rig.world.clock.advance(Duration::from_secs(90));
    until(&rig, "token-key", &["in-force"]).await;
    let after = rig.state().await.keys;
    assert!(after.len() == 2 && after.iter().all(|key| !before.contains(key)));
    rig.service.stop().await;
}
