//! What the audit log holds afterwards, and that nothing is granted without it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use audit_log::{AuditLog, Broken, Event, Hash, Limits, Stamp, Summary, VerifyError, verify};
use mtls::Role;
use nix::unistd::geteuid;
use proto::attestation::v1::revoke_request::Target;
use proto::attestation::v1::{GetStateRequest, ReinstateRequest, RevokeRequest};
use proto::reason;
use service_runtime::Exit;
use tonic::{Code, Status};

use crate::lease::Lease;
use crate::peer::{Link, NONCE, Peer, assert_refused, certificate};
use crate::world::{MEASUREMENT, World};

fn verified(world: &World) -> Summary {
    verify(&[world.path("audit")], None).unwrap()
}

fn segments(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.path("audit")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Every record, after the chain was found whole.
pub(crate) fn records(world: &World) -> Vec<serde_json::Value> {
    verified(world);
    let lines =
        segments(world).into_iter().flat_map(|path| BufReader::new(fs::File::open(path).unwrap()).lines());
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

pub(crate) fn named<'r>(records: &'r [serde_json::Value], event: &str) -> Vec<&'r serde_json::Value> {
    records.iter().filter(|record| record["event"] == event).collect()
}

pub(crate) async fn admin(world: &World) -> Link {
    Link::unix(&world.path("run").join("admin.sock")).await
}

fn revoke(role: &str) -> RevokeRequest {
    RevokeRequest { target: Some(Target::Role(role.to_owned())), reason: "ticket 4711".to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_an_enrolment_tokens_a_refusal_and_a_revocation_are_recorded() {
    let world = World::new();
    let service = world.start().await;
    let (link, enrolled) = Peer::new(Role::Gateway).hold(&world).await;
    let mut lease = Lease::open(&link).await.unwrap();
    for sequence in 1..=5 {
        lease.beat(sequence, &NONCE).await.unwrap();
    }
    let second = Peer::new(Role::Gateway);
    let refused = second.connect(&world).await.identities().enroll(second.request(&world)).await;
    assert_refused(refused, Code::AlreadyExists, reason::IDENTITY_IN_USE);
    let admin = admin(&world).await;
    admin.admin().revoke(revoke("gateway")).await.unwrap();
    let ended = async {
        while lease.next().await?.is_some() {}
        Ok::<_, Status>(())
    };
    assert_refused(ended.await, Code::PermissionDenied, reason::IDENTITY_REVOKED);
    let state = admin.admin().get_state(GetStateRequest {}).await.unwrap().into_inner();
    let found = verified(&world);
    assert_eq!((state.audit_records, state.audit_head), (found.last, found.head.to_string()));
    assert_eq!(service.stop().await, Exit::Clean);

    let records = records(&world);
    let mut events: Vec<_> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    // A revocation holds before it is recorded, and who loses the identity by it may be quicker.
    events[5..7].sort_unstable();
    let expected =
        ["boot", "verdict", "enrolled", "grants", "refused", "admin", "refused", "grants", "stopped"];
    assert_eq!(events, expected);
    let policy = hex::encode(world.policy().sha256());
    assert_eq!(named(&records, "boot")[0]["policy_sha256"], policy);
    let verdict = named(&records, "verdict")[0];
    assert_eq!(
        (&verdict["accepted"], &verdict["measurement"]),
        (&true.into(), &hex::encode(MEASUREMENT).into())
    );
    assert_eq!(verdict["instance"], enrolled.bundle.manifest().instance);
    assert_eq!(
        verdict["hash"],
        hex::encode(enrolled.bundle.claims().audit_head.0),
        "the report vouches for it"
    );
    let serial = hex::encode(mtls::serial_of(&certificate(&enrolled.answer.svid)).unwrap());
    assert_eq!(named(&records, "enrolled")[0]["svid_serial"], serial);
    let tokens: Vec<_> = named(&records, "grants").iter().map(|record| record["tokens"].clone()).collect();
    assert_eq!(tokens, [0, 5], "one line opens the minute, however many tokens");
    let refused: Vec<_> = named(&records, "refused").iter().map(|it| (&it["call"], &it["reason"])).collect();
    let (enroll, lease) = ("Enroll".into(), "Lease".into());
    let (in_use, revoked) = (reason::IDENTITY_IN_USE.into(), reason::IDENTITY_REVOKED.into());
    assert_eq!(refused, [(&enroll, &in_use), (&lease, &revoked)]);
    let order = named(&records, "admin")[0];
    assert_eq!((&order["call"], &order["target"]), (&"Revoke".into(), &"gateway".into()));
    assert_eq!((&order["reason"], &order["outcome"]), (&"ticket 4711".into(), &"done".into()));
    assert_eq!((&order["uid"], &order["epoch"]), (&geteuid().as_raw().into(), &2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_nonce_or_key_is_recorded() {
    let world = World::new();
    let service = world.start().await;
    let (link, _) = Peer::new(Role::Gateway).hold(&world).await;
    let token = Lease::open(&link).await.unwrap().beat(1, &NONCE).await.unwrap().health_token;
    service.stop().await;
    let text = fs::read_to_string(&segments(&world)[0]).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    for secret in [parts[1], parts[2], &hex::encode(NONCE)] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_machine_leaves_its_first_failed_check() {
    let mut world = World::new();
    world.device.guest.measurement[0] ^= 1;
    assert_eq!(world.exit().await, Exit::Policy);
    let records = records(&world);
    let verdict = named(&records, "verdict")[0];
    assert_eq!((&verdict["accepted"], &verdict["failed_check"]), (&false.into(), &"measurement".into()));
    assert_eq!(verdict["exit"], Exit::Policy as u8);
    let mut measured = MEASUREMENT;
    measured[0] ^= 1;
    assert!(verdict["observed"].as_str().unwrap().contains(&hex::encode(measured)), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_leave_no_line_and_each_minute_with_tokens_leaves_one() {
    let world = World::new();
    let service = world.start().await;
    let (link, _) = Peer::new(Role::Gateway).hold(&world).await;
    let mut lease = Lease::open(&link).await.unwrap();
    for sequence in 1..=120 {
        let nonce: &[u8] = if sequence % 6 == 1 { &NONCE } else { &[] };
        lease.beat(sequence, nonce).await.unwrap();
        world.clock.advance(Duration::from_secs(5));
    }
    service.stop().await;
    let records = records(&world);
    let grants = named(&records, "grants");
    assert_eq!(grants.len(), 11, "ten minutes, and what was left at the stop");
    assert_eq!(grants.iter().map(|record| record["tokens"].as_u64().unwrap()).sum::<u64>(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_audit_log_nothing_is_granted_and_a_revocation_still_holds() {
    let world = World::new();
    let service = world.start().await;
    let (link, _) = Peer::new(Role::Gateway).hold(&world).await;
    let mut lease = Lease::open(&link).await.unwrap();
    lease.beat(1, &NONCE).await.unwrap();
    world.clock.advance(Duration::from_mins(1));
    fs::remove_dir_all(world.path("audit")).unwrap();

    lease.beat(2, &[]).await.expect("a heartbeat grants nothing");
    let no = (Code::Unavailable, reason::AUDIT_UNAVAILABLE);
    assert_refused(lease.beat(3, &NONCE).await, no.0, no.1);
    let adapter = Peer::new(Role::Adapter);
    let other = adapter.connect(&world).await;
    assert_refused(other.identities().enroll(adapter.request(&world)).await, no.0, no.1);
    assert_refused(Lease::open(&other).await.map(|_| ()), Code::FailedPrecondition, reason::NOT_ENROLLED);
    let admin = admin(&world).await;
    admin.admin().revoke(revoke("gateway")).await.unwrap();
    let reinstate = ReinstateRequest { role: "gateway".to_owned(), reason: "a test".to_owned() };
    assert_refused(admin.admin().reinstate(reinstate).await, no.0, no.1);
    assert_refused(Lease::open(&link).await.map(|_| ()), Code::PermissionDenied, reason::IDENTITY_REVOKED);
    assert_eq!(service.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_room_again_is_written_to_again() {
    let world = World::new();
    let mut config = world.config();
    // Each record wants a new file, as at the end of each segment.
    config.audit.limits = Limits { segment_bytes: 1, segments: 100 };
    let service = world.start_with(config).await;
    let gateway = Peer::new(Role::Gateway);
    let away = world.path("away");
    fs::rename(world.path("audit"), &away).unwrap();
    let link = gateway.connect(&world).await;
    let refused = link.identities().enroll(gateway.request(&world)).await;
    assert_refused(refused, Code::Unavailable, reason::AUDIT_UNAVAILABLE);
    fs::rename(&away, world.path("audit")).unwrap();
    gateway.enrol(&world, &link).await;
    assert_eq!(service.stop().await, Exit::Clean);
    assert_eq!(verified(&world).events["enrolled"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_record_was_written_is_repaired_and_said() {
    let world = World::new();
    world.start().await.stop().await;
    let before = verified(&world);
    let newest = segments(&world).pop().unwrap();
    fs::OpenOptions::new().append(true).open(&newest).unwrap().write_all(b"{\"seq\":4,\"ti").unwrap();
    let torn = verify(&[world.path("audit")], None).unwrap_err();
    assert!(matches!(torn, VerifyError::Broken { broken: Broken::Torn(12), .. }), "{torn}");

    world.start().await.stop().await;
    let after = verify(&[world.path("audit")], Some(before.head)).unwrap();
    assert_eq!((after.events["repaired"], after.events["boot"], after.known), (1, 2, Some(before.last)));
    let records = records(&world);
    assert_eq!(named(&records, "repaired")[0]["cut_bytes"], 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_altered_or_is_open_to_others_stops_the_start() {
    let world = World::new();
    world.start().await.stop().await;
    let path = segments(&world).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"accepted\":true", "\"accepted\":false", 1)).unwrap();
    assert_eq!(world.exit().await, Exit::Config);
    fs::write(&path, text).unwrap();
    fs::set_permissions(world.path("audit"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(world.exit().await, Exit::Config);
    fs::set_permissions(world.path("audit"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(world.start().await.stop().await, Exit::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_writes_to_a_folder() {
    let world = World::new();
    let service = world.start().await;
    let now = Stamp { unix: 0, boot: Duration::ZERO };
    AuditLog::open(&world.path("audit"), Limits::default(), now).unwrap_err();
    service.stop().await;
    let mut log = AuditLog::open(&world.path("audit"), Limits::default(), now).unwrap();
    assert_ne!(log.head().1, Hash::NONE);
    log.append(&[Event::Stopped { exit: 0 }], now).unwrap();
}
