//! What an operator sees and may do, and what holders notice of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mtls::Role;
use nix::unistd::geteuid;
use proto::attestation::v1::revoke_request::Target;
use proto::attestation::v1::{
    AllIdentities, CollectKeyManifestRequest, GetStateRequest, GetStateResponse, IdentityState,
    ReinstateRequest, Revocation, RevokeRequest, RevokeResponse, RotateRequest, RotationTarget,
    WatchBundleRequest,
};
use proto::reason;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::lease::Lease;
use crate::peer::{Enrolled, Link, NONCE, Peer, assert_refused, certificate};
use crate::world::{MEASUREMENT, PATIENCE, Service, World};

/// A service with an administrator connected.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) service: Service,
    admin: Link,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let world = World::new();
        let service = world.start().await;
        let admin = Link::unix(&world.path("run").join("admin.sock")).await;
        Self { world, service, admin }
    }

    pub(crate) async fn state(&self) -> GetStateResponse {
        self.admin.admin().get_state(GetStateRequest {}).await.unwrap().into_inner()
    }

    async fn identity(&self, role: Role) -> IdentityState {
        let mut identities = self.state().await.identities.into_iter();
        identities.find(|identity| identity.role == role.as_str()).unwrap()
    }

    async fn revoke(&self, target: Target) -> RevokeResponse {
        self.try_revoke(Some(target), "a test").await.unwrap()
    }

    async fn try_revoke(&self, target: Option<Target>, reason: &str) -> Result<RevokeResponse, Status> {
        let request = RevokeRequest { target, reason: reason.to_owned() };
        self.admin.admin().revoke(request).await.map(tonic::Response::into_inner)
    }

    async fn reinstate(&self, role: &str) -> Result<(), Status> {
        let request = ReinstateRequest { role: role.to_owned(), reason: "a test".to_owned() };
        self.admin.admin().reinstate(request).await.map(drop)
    }

    pub(crate) async fn rotate(&self, target: RotationTarget) -> Result<Vec<String>, Status> {
        let request = RotateRequest { target: target.into(), reason: "a test".to_owned() };
        self.admin.admin().rotate(request).await.map(|answer| answer.into_inner().roles)
    }

    /// Enrols `role`, and takes its first token.
    async fn hold(&self, role: Role) -> (Link, Enrolled, Lease) {
        let (link, enrolled) = Peer::new(role).hold(&self.world).await;
        let mut lease = Lease::open(&link).await.unwrap();
        lease.beat(1, &NONCE).await.unwrap();
        (link, enrolled, lease)
    }
}

fn gateway() -> Target {
    Target::Role("gateway".to_owned())
}

fn all() -> Target {
    Target::All(AllIdentities {})
}

/// The epoch that a token says it is of.
fn epoch_of(token: &str) -> u64 {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    claims.pointer("/hep").unwrap().as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_says_what_was_judged_and_who_holds_what() {
    let rig = Rig::start().await;
    rig.world.clock.advance(Duration::from_secs(7));
    let (_link, enrolled, _lease) = rig.hold(Role::Gateway).await;
    rig.world.clock.advance(Duration::from_secs(3));

    let (state, manifest) = (rig.state().await, enrolled.bundle.manifest());
    assert_eq!(state.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((&state.instance, &state.trust_domain), (&manifest.instance, &manifest.trust_domain));
    assert_eq!(
        (state.evidence_format.as_str(), state.product.as_str()),
        ("simulated-amd-sev-snp-report", "genoa")
    );
    assert_eq!(state.measurement, hex::encode(MEASUREMENT));
    assert_eq!(state.policy_sha256, hex::encode(rig.world.policy().sha256()));
    assert_eq!(state.measured_config_sha256, hex::encode(rig.world.config().measured.sha256()));
    assert_eq!(state.manifest_version, manifest.version);
    assert_eq!(state.manifest_sha384, hex::encode(crate::world::sha384(enrolled.bundle.manifest_bytes())));
    // Time was set on, so the machine may have been judged anew meanwhile.
    assert!((state.epoch, state.min_epoch) == (1, 1) && state.report_age_seconds <= 10);

    let uid = geteuid().as_raw();
    let [adapter, gateway] = state.identities.as_slice() else { panic!("not two identities") };
    assert_eq!((adapter.role.as_str(), adapter.uid, &adapter.holder), ("adapter", uid, &None));
    assert_eq!((gateway.role.as_str(), gateway.uid, gateway.tokens_granted), ("gateway", uid, 1));
    assert!(gateway.spiffe_id.ends_with("/svc/gateway") && !gateway.revoked);
    let holder = gateway.holder.as_ref().unwrap();
    assert_eq!(holder.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(holder.svid_serial, serial(&enrolled));
    assert_eq!((holder.enrolled_age_seconds, holder.heartbeat_age_seconds), (3, Some(3)));
    rig.service.stop().await;
}

fn serial(enrolled: &Enrolled) -> String {
    hex::encode(mtls::serial_of(&certificate(&enrolled.answer.svid)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_all_is_told_at_once_and_later_tokens_are_of_the_new_epoch() {
    let rig = Rig::start().await;
    let (_gateway, _, mut gateway) = rig.hold(Role::Gateway).await;
    let (_adapter, _, mut adapter) = rig.hold(Role::Adapter).await;
    assert_eq!(rig.revoke(all()).await, RevokeResponse { epoch: 2, min_epoch: 2 });
    for lease in [&mut gateway, &mut adapter] {
        // Nobody has sent a heartbeat.
        let notice = lease.next().await.unwrap().unwrap();
        assert_eq!((notice.sequence, notice.epoch, notice.min_epoch), (0, 2, 2));
        assert!(notice.health_token.is_empty() && notice.revocations.is_empty());
        let answer = lease.beat(2, &NONCE).await.unwrap();
        assert_eq!((answer.sequence, answer.epoch, epoch_of(&answer.health_token)), (2, 2, 2));
    }
    assert!(!rig.identity(Role::Gateway).await.revoked);
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_loses_everything_at_once_and_the_others_are_told() {
    let rig = Rig::start().await;
    let (link, enrolled, mut lease) = rig.hold(Role::Gateway).await;
    let (_other, _, mut other) = rig.hold(Role::Adapter).await;
    let evidence = rig.service.mutual(&enrolled).await;
    evidence.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await.unwrap();
    let mut bundles = link.identities().watch_bundle(WatchBundleRequest {}).await.unwrap().into_inner();
    bundles.message().await.unwrap().unwrap();

    assert_eq!(rig.revoke(gateway()).await, RevokeResponse { epoch: 2, min_epoch: 1 });
    let told = Revocation { identity: rig.identity(Role::Gateway).await.spiffe_id, min_epoch: 2 };
    let notice = other.next().await.unwrap().unwrap();
    assert_eq!((notice.sequence, notice.epoch, notice.min_epoch), (0, 2, 1));
    assert_eq!(notice.revocations, std::slice::from_ref(&told));
    assert_eq!(other.beat(2, &[]).await.unwrap().revocations, [told], "and with every answer");

    let ended = async {
        while lease.next().await?.is_some() {}
        Ok::<_, Status>(())
    };
    let no = (Code::PermissionDenied, reason::IDENTITY_REVOKED);
    assert_refused(ended.await, no.0, no.1);
    assert_refused(Lease::open(&link).await.map(|_| ()), no.0, no.1);
    assert_refused(link.identities().watch_bundle(WatchBundleRequest {}).await.map(drop), no.0, no.1);
    assert_refused(timeout(PATIENCE, bundles.message()).await.unwrap(), no.0, no.1);
    let asked = evidence.evidence().collect_key_manifest(CollectKeyManifestRequest {}).await;
    assert_refused(asked, no.0, no.1);
    let again = Peer::new(Role::Gateway);
    let refused = again.connect(&rig.world).await.identities().enroll(again.request(&rig.world)).await;
    assert_refused(refused, no.0, no.1);
    let state = rig.identity(Role::Gateway).await;
    assert_eq!((state.revoked, state.min_epoch, state.holder), (true, 2, None));

    // Once is enough.
    assert_eq!(rig.revoke(gateway()).await, RevokeResponse { epoch: 2, min_epoch: 1 });
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reinstated_identity_is_free_although_its_former_holder_stays_connected() {
    let rig = Rig::start().await;
    let (former, _, _lease) = rig.hold(Role::Gateway).await;
    rig.revoke(gateway()).await;
    rig.reinstate("gateway").await.unwrap();
    let refused = Lease::open(&former).await.map(|_| ());
    assert_refused(refused, Code::FailedPrecondition, reason::NOT_ENROLLED);
    // The place is free, but not for a connection that has lost it.
    let again = former.identities().enroll(Peer::new(Role::Gateway).request(&rig.world)).await;
    assert_refused(again, Code::FailedPrecondition, reason::NOT_ENROLLED);

    let (link, _) = Peer::new(Role::Gateway).hold(&rig.world).await;
    let answer = Lease::open(&link).await.unwrap().beat(1, &NONCE).await.unwrap();
    assert_eq!(epoch_of(&answer.health_token), 2, "what was granted before stays void");
    assert_eq!(answer.revocations[0].min_epoch, 2);
    // The former connection ends, and takes nothing with it.
    drop(former);
    Lease::open(&link).await.unwrap().beat(1, &[]).await.unwrap();
    assert!(!rig.identity(Role::Gateway).await.revoked);
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_under_way_is_refused_when_its_identity_is_revoked() {
    let rig = Rig::start().await;
    let held = rig.world.device.hold();
    let peer = Peer::new(Role::Gateway);
    let link = peer.connect(&rig.world).await;
    let mut identities = link.identities();
    let request = peer.request(&rig.world);
    let enrolling = tokio::spawn(async move { identities.enroll(request).await });
    // It has its place once its listener's key is listed.
    let listed = async { while rig.state().await.manifest_version == 1 {} };
    timeout(PATIENCE, listed).await.unwrap();
    rig.revoke(gateway()).await;
    rig.reinstate("gateway").await.unwrap();
    drop(held);
    let refused = enrolling.await.unwrap();
    assert_refused(refused, Code::FailedPrecondition, reason::NOT_ENROLLED);
    assert_eq!(rig.identity(Role::Gateway).await.holder, None);
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_svids_makes_every_holder_enrol_anew() {
    let rig = Rig::start().await;
    let (link, first, mut lease) = rig.hold(Role::Gateway).await;
    assert_eq!(rig.rotate(RotationTarget::Svids).await.unwrap(), ["gateway"], "nobody holds the other");
    assert_eq!(lease.next().await.unwrap(), None, "not a refusal");
    let mut reopened = Lease::open(&link).await.unwrap();
    assert_eq!(reopened.next().await.unwrap(), None, "this enrolment is over");
    drop((reopened, lease, link));
    let (_link, second, mut lease) = rig.hold(Role::Gateway).await;
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(rig.identity(Role::Gateway).await.holder.unwrap().svid_serial, serial(&second));
    assert_eq!(lease.beat(2, &[]).await.unwrap().epoch, 1, "nothing is void");
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_without_target_or_reason_are_refused_and_change_nothing() {
    let rig = Rig::start().await;
    let invalid = (Code::InvalidArgument, reason::INVALID_REQUEST);
    let long = "x".repeat(257);
    for (target, why) in [
        (None, "why"),
        (Some(Target::Role("attestation".to_owned())), "why"),
        (Some(Target::Role(String::new())), "why"),
        (Some(all()), ""),
        (Some(all()), " "),
        (Some(all()), "two\nlines"),
        (Some(all()), long.as_str()),
    ] {
        assert_refused(rig.try_revoke(target, why).await, invalid.0, invalid.1);
    }
    assert_refused(rig.reinstate("nobody").await, invalid.0, invalid.1);
    assert_refused(rig.rotate(RotationTarget::Unspecified).await, invalid.0, invalid.1);
    let state = rig.state().await;
    assert_eq!((state.epoch, state.min_epoch), (1, 1));
    rig.try_revoke(Some(all()), &long[..256]).await.unwrap();
    rig.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_our_own_users_alone_and_goes_with_the_service() {
    let rig = Rig::start().await;
    let socket = rig.world.path("run").join("admin.sock");
    let facts = std::fs::metadata(&socket).unwrap();
    assert_eq!((facts.permissions().mode() & 0o777, facts.uid()), (0o600, geteuid().as_raw()));
    rig.service.stop().await;
    assert!(!socket.exists());
}
