//! A small attestation-svc: real sockets, reports, certificates and tokens, and lies on demand.

mod parts;
mod socket;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use bytes::Bytes;
use health_token::{AFFIRMING, Attested, B64Url, Claims, Confirmation, Jwk, TokenKey};
use mtls::{CertificateRequest, Role, ServiceKey, SpiffeId};
use proto::attestation::v1::Revocation;
use rcgen::{CertifiedIssuer, PublicKeyData, SanType};
use service_runtime::{CancellationToken, Clock, ManualClock, TaskTracker};
use snp_evidence::{
    Binder, Bundle, Challenge, DebugStatus, Endorsements, Evidence, EvidenceFormat, KeyManifest, KeyUse,
    Purpose, RuntimeClaims, TreePosition, Vek,
};
use snp_simulator::Guest;
use tokio::sync::{Semaphore, watch};

use self::{
    parts::{base64_url, ca, entry, params, spki, swapped},
    socket::Socket,
};
use crate::world::{MEASUREMENT, World, machine};

/// What is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The report answers another nonce; the bundle says so.
    Nonce,
    /// The report answers another nonce; the bundle claims ours.
    ReportNonce,
    /// Evidence for another service's key.
    Key,
    /// A manifest other than the one in the report.
    Manifest,
    /// HOST_DATA of another deployment.
    HostData,
    /// Another measurement.
    Measurement,
    /// Claims of another measured config.
    Measured,
    /// Claims of another policy.
    Policy,
    /// A manifest of another trust domain.
    TrustDomain,
    /// No CA at all.
    NoCa,
    /// An SVID for another key.
    SvidKey,
    /// One certificate too few.
    NoListener,
    /// A CA that the manifest does not list.
    Ca,
    /// Certificates by another CA than the trust bundle's.
    Issuer,
    /// The SVID of another role.
    Role,
    /// An SVID that has expired.
    Expired,
    /// A listener key that the manifest does not list.
    Listener,
    /// A manifest without token key.
    NoTokenKey,
    /// The listener's certificate by a CA that nobody lists.
    ListenerIssuer,
    /// A token by a key that the manifest does not list.
    TokenKey,
    /// A token bound to another key.
    TokenBinding,
    /// A token for another nonce.
    TokenNonce,
    /// An answer to a heartbeat that was not sent.
    Sequence,
    /// Somebody else has the identity.
    InUse,
    /// `Enroll` says that the measured configuration is another.
    WrongConfig,
    /// `Enroll` says that the identity is revoked.
    RevokedAtEnrol,
    /// A lease stream ends with this reason, by which attestation-svc takes its word back.
    WithdrawnInLease(&'static str),
}

/// The running fake; it stops when dropped.
pub(crate) struct Fake {
    pub(crate) authority: Arc<Authority>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

pub(crate) struct Authority {
    ca: CertifiedIssuer<'static, rcgen::KeyPair>,
    foreign: CertifiedIssuer<'static, rcgen::KeyPair>,
    token_key: EcdsaKeyPair,
    boot_seed: [u8; 32],
    instance: String,
    clock: Arc<ManualClock>,
    guest: Guest,
    policy_sha256: [u8; 32],
    measured_sha256: [u8; 32],
    lie: Mutex<Option<Lie>>,
    epoch: AtomicU64,
    min_epoch: AtomicU64,
    /// Identities with a least epoch of their own.
    pub(crate) revocations: Mutex<Vec<Revocation>>,
    /// Each change sends a notice on every lease stream.
    pub(crate) notice: watch::Sender<()>,
    /// Heartbeats that will be answered.
    pub(crate) answers: Semaphore,
    /// Heartbeats that came.
    pub(crate) heard: watch::Sender<u64>,
    /// Enrolments so far.
    pub(crate) enrolled: watch::Sender<u64>,
    /// Enrolments refused, as revoked or in use.
    pub(crate) refused: watch::Sender<u64>,
    /// Each change ends every lease stream.
    pub(crate) hang_up: watch::Sender<()>,
}

impl Fake {
    /// Serves both identities in the world's run folder.
    pub(crate) fn start(world: &World) -> Self {
        Self::lying(world, None)
    }

    pub(crate) fn lying(world: &World, lie: Option<Lie>) -> Self {
        let authority = Arc::new(Authority::new(world, lie));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for role in [Role::Gateway, Role::Adapter] {
            let path = world.run_dir().join(format!("enrol-{role}.sock"));
            drop(std::fs::remove_file(&path));
            let socket = Socket::new(role, Arc::clone(&authority));
            tasks.spawn(socket.serve(path, stop.clone()));
        }
        Self { authority, stop, tasks }
    }

    /// Ends like a killed process: every connection is cut.
    pub(crate) async fn kill(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Answers no heartbeat from now on.
    pub(crate) fn mute(&self) {
        self.authority.answers.forget_permits(usize::MAX);
    }

    pub(crate) fn answer(&self, count: usize) {
        self.authority.answers.add_permits(count);
    }

    pub(crate) async fn heard(&self, count: u64) {
        crate::world::soon(self.authority.heard.subscribe().wait_for(|heard| *heard >= count)).await.unwrap();
    }

    pub(crate) fn ca_der(&self) -> rustls_pki_types::CertificateDer<'static> {
        self.authority.ca.der().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Authority {
    fn new(world: &World, lie: Option<Lie>) -> Self {
        let now = world.clock.unix();
        let mut boot_seed = [0; 32];
        aws_lc_rs::rand::fill(&mut boot_seed).unwrap();
        let mut guest = world.guest();
        match lie {
            Some(Lie::HostData) => guest.host_data = [1; 32],
            Some(Lie::Measurement) => guest.measurement = [1; 48],
            _ => {}
        }
        Self {
            ca: ca(now),
            foreign: ca(now),
            token_key: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            instance: hex::encode(&boot_seed[..8]),
            boot_seed,
            clock: world.clock.clone(),
            guest,
            policy_sha256: world.policy().sha256(),
            measured_sha256: *world.measured().sha256(),
            lie: Mutex::new(lie),
            epoch: AtomicU64::new(1),
            min_epoch: AtomicU64::new(1),
            revocations: Mutex::default(),
            notice: watch::Sender::new(()),
            answers: Semaphore::new(1_000_000),
            heard: watch::Sender::new(0),
            enrolled: watch::Sender::new(0),
            refused: watch::Sender::new(0),
            hang_up: watch::Sender::new(()),
        }
    }

    pub(crate) fn lie(&self, lie: Option<Lie>) {
        *self.lie.lock().unwrap() = lie;
    }

    fn tells(&self, lie: Lie) -> bool {
        *self.lie.lock().unwrap() == Some(lie)
    }

    fn withdrawn(&self) -> Option<&'static str> {
        let Some(Lie::WithdrawnInLease(reason)) = *self.lie.lock().unwrap() else { return None };
        Some(reason)
    }

    pub(crate) fn identity(&self, role: Role) -> SpiffeId {
        SpiffeId::new("demo.cube.internal", &self.instance, role).unwrap()
    }

    /// From now on it is `epoch`, and tokens of earlier ones are void.
    pub(crate) fn void_before(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        self.min_epoch.store(epoch, Ordering::SeqCst);
    }

    /// From now on it is `epoch`, and tokens of `role` of earlier ones are void.
    pub(crate) fn void_before_of(&self, role: Role, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
        let identity = self.identity(role).to_string();
        self.revocations.lock().unwrap().push(Revocation { identity, min_epoch: epoch });
    }

    fn issue(&self, san: SanType, key: &impl PublicKeyData) -> Bytes {
        let now = if self.tells(Lie::Expired) { self.clock.unix() - 7200 } else { self.clock.unix() };
        let mut params = params(now, 3600);
        params.subject_alt_names = vec![san];
        params.use_authority_key_identifier_extension = true;
        let of_a_listener =
            self.tells(Lie::ListenerIssuer) && matches!(params.subject_alt_names[..], [SanType::DnsName(_)]);
        let foreign = of_a_listener || self.tells(Lie::Ca) || self.tells(Lie::Issuer);
        let issuer = if foreign { &self.foreign } else { &self.ca };
        params.signed_by(key, issuer).unwrap().der().to_vec().into()
    }

    fn trusted(&self) -> Vec<Bytes> {
        let ca = if self.tells(Lie::Ca) { &self.foreign } else { &self.ca };
        if self.tells(Lie::NoCa) { vec![] } else { vec![ca.der().to_vec().into()] }
    }

    fn svid(&self, role: Role, key: &CertificateRequest) -> Bytes {
        let role = if self.tells(Lie::Role) { Role::Attestation } else { role };
        let uri = SanType::URI(self.identity(role).to_string().try_into().unwrap());
        let other = ServiceKey::generate().unwrap();
        if self.tells(Lie::SvidKey) { self.issue(uri, &other) } else { self.issue(uri, key.key()) }
    }

    fn listener_certificates(&self, listeners: &[(String, CertificateRequest)]) -> Vec<Bytes> {
        let name = || SanType::DnsName("localhost".try_into().unwrap());
        let missing = usize::from(self.tells(Lie::NoListener));
        listeners.iter().skip(missing).map(|(_, key)| self.issue(name(), key.key())).collect()
    }

    fn manifest(&self, gateway: &SpiffeId, listeners: &[(String, CertificateRequest)]) -> KeyManifest {
        let own = self.identity(Role::Attestation);
        let token_spki = spki(&self.token_key);
        let mut keys = vec![
            entry(KeyUse::Ca, "P-384", &self.ca.key().subject_public_key_info(), &own, None),
            entry(KeyUse::Token, "P-384", &token_spki, &own, None),
        ];
        if self.tells(Lie::NoTokenKey) {
            keys.pop();
        }
        if !self.tells(Lie::Listener) {
            let tls = |(name, key): &(String, CertificateRequest)| {
                entry(KeyUse::Tls, "P-256", key.spki_der(), gateway, Some(name.clone()))
            };
            keys.extend(listeners.iter().map(tls));
        }
        let domain = if self.tells(Lie::TrustDomain) { "other.internal" } else { own.trust_domain() };
        let (trust_domain, instance) = (domain.to_owned(), own.instance().to_owned());
        let boot_seed = snp_evidence::B64Url(self.boot_seed);
        KeyManifest { v: 1, trust_domain, instance, boot_seed, version: 1, prev: None, keys }
    }

    fn claims(&self) -> Vec<u8> {
        let policy = if self.tells(Lie::Policy) { [1; 32] } else { self.policy_sha256 };
        let measured = if self.tells(Lie::Measured) { [1; 32] } else { self.measured_sha256 };
        let claims = RuntimeClaims {
            eat_profile: snp_evidence::CLAIMS_PROFILE.to_owned(),
            bootseed: snp_evidence::B64Url(self.boot_seed),
            oemid: 3704,
            hwmodel: "genoa".to_owned(),
            dbgstat: DebugStatus::DisabledPermanently,
            swname: "fake".to_owned(),
            swversion: "0".to_owned(),
            measured_config_sha256: snp_evidence::B64Url(measured),
            policy_sha256: snp_evidence::B64Url(policy),
            audit_head: snp_evidence::B64Url([8; 32]),
            audit_seq: 2,
        };
        claims.to_bytes()
    }

    fn evidence(&self, nonce: [u8; 32], key: &CertificateRequest, role: Role, manifest: &[u8]) -> Vec<u8> {
        let spki = if self.tells(Lie::Key) { [1; 32] } else { key.spki_sha256() };
        let binder = Binder::enrolment(spki, &format!("enrol/{role}"));
        let reported = if self.tells(Lie::ReportNonce) || self.tells(Lie::Nonce) { [1; 32] } else { nonce };
        let told = if self.tells(Lie::Nonce) { [1; 32] } else { nonce };
        let claims = self.claims();
        let challenge = |nonce| Challenge { purpose: Purpose::Peer, nonce, binder: binder.clone() };
        let report_data = challenge(reported).report_data_alone(manifest, &claims);
        let processor = &machine().1;
        let evidence = Evidence {
            format: EvidenceFormat::SimulatedAmdSevSnp,
            report: processor.report(&self.guest, report_data.as_bytes()).unwrap(),
            endorsements: Endorsements {
                vek: Some(Vek::Vcek(processor.vek_der().to_vec())),
                ask: Some(processor.ask_der().to_vec()),
                ark: Some(processor.ark_der().to_vec()),
                ..Endorsements::default()
            },
        };
        let sent = if self.tells(Lie::Manifest) { swapped(manifest) } else { manifest.to_vec() };
        Bundle::new(&challenge(told), TreePosition::single(), &evidence, &sent, &claims).to_bytes()
    }

    fn token(&self, role: Role, spki_der: &[u8], nonce: [u8; 32]) -> String {
        let foreign = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let signer = if self.tells(Lie::TokenKey) { &foreign } else { &self.token_key };
        let other = ServiceKey::generate().unwrap();
        let bound_to = if self.tells(Lie::TokenBinding) { other.spki_der() } else { spki_der };
        let nonce = if self.tells(Lie::TokenNonce) { [1; 32] } else { nonce };
        let now = self.clock.unix();
        let claims = Claims {
            iss: self.identity(Role::Attestation).to_string(),
            sub: self.identity(role).to_string(),
            iat: now,
            nbf: now,
            exp: now + 90,
            jti: B64Url([0; 16]),
            cnf: Confirmation { jwk: Jwk::from_spki(bound_to).unwrap(), x5t_s256: B64Url([0; 32]) },
            eat_profile: health_token::PROFILE.to_owned(),
            eat_nonce: B64Url(nonce),
            bootseed: B64Url(self.boot_seed),
            hep: self.epoch.load(Ordering::SeqCst),
            att: Attested {
                report_sha256: B64Url([0; 32]),
                measurement: B64Url(MEASUREMENT),
                policy_sha256: B64Url(self.policy_sha256),
                key_manifest_sha384: B64Url([0; 48]),
            },
            ear_status: AFFIRMING.to_owned(),
        };
        let kid = TokenKey::from_spki(&spki(signer)).unwrap().kid().to_owned();
        let input = health_token::signing_input(&claims, &kid);
        let signature = signer.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", base64_url(signature.as_ref()))
    }
}
