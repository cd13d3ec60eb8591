//! Heartbeats and tokens.

use std::time::Duration;

use bytes::Bytes;
use health_token::{Expected, HealthToken, TokenError, TokenKey, verify_own};
use mtls::Role;
use proto::attestation::v1::{LeaseRequest, LeaseResponse};
use proto::reason;
use service_runtime::{Clock, Exit};
use snp_evidence::Owner;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::peer::{Enrolled, Link, NONCE, Peer, assert_refused};
use crate::world::{PATIENCE, World};

/// A lease stream.
pub(crate) struct Lease {
    beats: mpsc::Sender<LeaseRequest>,
    answers: Streaming<LeaseResponse>,
}

impl Lease {
    pub(crate) async fn open(link: &Link) -> Result<Self, Status> {
        let (beats, requests) = mpsc::channel(4);
        let answers = link.leases().lease(ReceiverStream::new(requests)).await?.into_inner();
        Ok(Self { beats, answers })
    }

    pub(crate) async fn beat(&mut self, sequence: u64, nonce: &[u8]) -> Result<LeaseResponse, Status> {
        let token_nonce = Bytes::copy_from_slice(nonce);
        self.beats.send(LeaseRequest { sequence, token_nonce }).await.unwrap();
        self.next().await.map(|answer| answer.unwrap())
    }

    /// The next message, which comes without a heartbeat; a hang is a failure.
    pub(crate) async fn next(&mut self) -> Result<Option<LeaseResponse>, Status> {
        timeout(PATIENCE, self.answers.message()).await.unwrap()
    }
}

fn judge(world: &World, peer: &Peer, enrolled: &Enrolled, token: &str) -> Result<HealthToken, TokenError> {
    let manifest = enrolled.bundle.manifest();
    let keys: Vec<_> = manifest.token_keys().map(|key| TokenKey::from_spki(&key.spki.0).unwrap()).collect();
    let expected = Expected {
        keys: &keys,
        boot_seed: &manifest.boot_seed.0,
        min_epoch: 1,
        issuer: &manifest.identity(Owner::Attestation),
        subject: &manifest.identity(Owner::Gateway),
        peer_spki: peer.key.spki_der(),
        now: world.clock.unix(),
    };
    verify_own(token, &expected, &NONCE)
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_answered_with_tokens_on_demand() {
    let world = World::new();
    let service = world.start().await;
    let gateway = Peer::new(Role::Gateway);
    let (link, enrolled) = gateway.hold(&world).await;
    let mut lease = Lease::open(&link).await.unwrap();

    let bare = lease.beat(1, &[]).await.unwrap();
    let expected = LeaseResponse { sequence: 1, epoch: 1, min_epoch: 1, ..LeaseResponse::default() };
    assert_eq!(bare, expected);
    let answer = lease.beat(2, &NONCE).await.unwrap();
    let token = judge(&world, &gateway, &enrolled, &answer.health_token).unwrap();
    let (claims, now) = (token.claims(), world.clock.unix());
    assert_eq!((claims.iat, claims.nbf, claims.exp), (now, now, now + 90));
    assert_eq!(claims.att.report_sha256.0, enrolled.bundle.report().report_sha256());
    assert_eq!(claims.att.measurement.0, *enrolled.bundle.report().measurement());
    assert_eq!(claims.att.policy_sha256.0, world.policy().sha256());
    assert_eq!(claims.cnf.x5t_s256.0, crate::world::sha256(&enrolled.answer.svid));

    world.clock.advance(Duration::from_secs(90));
    let old = judge(&world, &gateway, &enrolled, &answer.health_token);
    assert_eq!(old.unwrap_err(), TokenError::Expired);
    let renewed = lease.beat(3, &NONCE).await.unwrap();
    judge(&world, &gateway, &enrolled, &renewed.health_token).unwrap();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_its_holders_alone() {
    let world = World::new();
    let service = world.start().await;
    let (gateway, adapter) = (Peer::new(Role::Gateway), Peer::new(Role::Adapter));
    let (_kept, enrolled) = gateway.hold(&world).await;
    let (link, _) = adapter.hold(&world).await;
    let answer = Lease::open(&link).await.unwrap().beat(1, &NONCE).await.unwrap();
    let wrong = judge(&world, &gateway, &enrolled, &answer.health_token);
    assert_eq!(wrong.unwrap_err(), TokenError::Confirmation);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_lease_before_enrolment() {
    let world = World::new();
    let service = world.start().await;
    let (_kept, _) = Peer::new(Role::Gateway).hold(&world).await;
    let stranger = Link::unix(&world.socket("gateway")).await;
    let refused = Lease::open(&stranger).await;
    assert_refused(refused.map(|_| ()), Code::FailedPrecondition, reason::NOT_ENROLLED);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_out_of_order_or_malformed_end_the_stream() {
    let world = World::new();
    let service = world.start().await;
    let (link, _) = Peer::new(Role::Adapter).hold(&world).await;
    for (sequence, nonce, reason) in [
        (0, &[][..], reason::INVALID_REQUEST),
        (2, &[], reason::INVALID_REQUEST),
        (1, &NONCE[1..], reason::NONCE_INVALID),
    ] {
        let mut lease = Lease::open(&link).await.unwrap();
        assert_refused(lease.beat(sequence, nonce).await, Code::InvalidArgument, reason);
    }
    let mut lease = Lease::open(&link).await.unwrap();
    lease.beat(1, &[]).await.unwrap();
    assert_refused(lease.beat(1, &[]).await, Code::InvalidArgument, reason::INVALID_REQUEST);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_leases_at_once() {
    let world = World::new();
    let service = world.start().await;
    let (link, _) = Peer::new(Role::Adapter).hold(&world).await;
    let mut lease = Lease::open(&link).await.unwrap();
    lease.beat(1, &[]).await.unwrap();
    let stopping = tokio::spawn(service.stop());
    assert!(!matches!(lease.next().await, Ok(Some(_))));
    drop((lease, link));
    assert_eq!(stopping.await.unwrap(), Exit::Clean);
}
