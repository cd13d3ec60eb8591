//! Enrolment: this process gets its identity, from an issuer whose evidence it judges itself.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use health_token::{TokenError, TokenKey};
use mtls::{CallerTrust, KeyError, MaterialError, Role, ServiceKey, SpiffeId, Svid};
use proto::{
    attestation::v1::{
        EnrollRequest, EnrollResponse, ListenerKey, identity_service_client::IdentityServiceClient,
    },
    reason::{ENROLMENT_WRONG_CONFIG, EVIDENCE_REFUSED, EVIDENCE_STALE, IDENTITY_REVOKED},
};
use rustls::{RootCertStore, client::verify_server_cert_signed_by_trust_anchor, server::ParsedCertificate};
use rustls_pki_types::CertificateDer;
use service_runtime::{Clock, Exit, MeasuredConfig, ServerTls, TaskTracker};
use snp_evidence::{
    Binder, Challenge, KeyManifest, Owner, Policy, Purpose, Refusal, RefusalClass, TrustRoots, UnixTime,
    VerifiedBundle, appraise,
};
use tokio::{net::UnixStream, time::timeout};
use tonic::Status;

use crate::{
    h2::Connection,
    holder::HolderConfig,
    lease::LeaseError,
    random,
    trust::{LeastEpochs, Trust},
};

/// For connecting to the socket.
const CONNECT: Duration = Duration::from_secs(2);
/// For the answer to `Enroll`; the secure processor may be busy with others' reports.
const ENROL: Duration = Duration::from_secs(20);

/// Asks for this process's identity. Keys are made once and kept for the life of the process.
#[derive(Debug)]
pub(crate) struct Enroller {
    role: Role,
    pub(crate) socket: PathBuf,
    measured: MeasuredConfig,
    policy: Policy,
    roots: TrustRoots,
    key: ServiceKey,
    listeners: Vec<(String, ServiceKey)>,
    callers: Option<CallerTrust>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tracker: TaskTracker,
}

/// An identity, with everything about it checked.
#[derive(Debug)]
pub(crate) struct Enrolment {
    /// The connection is the holder: the identity is free for others once it is gone.
    pub(crate) connection: Connection,
    pub(crate) trust: Trust,
    pub(crate) instance: (String, String),
    pub(crate) svid: Svid,
    pub(crate) trust_bundle: Vec<CertificateDer<'static>>,
    pub(crate) listeners: BTreeMap<String, ServerTls>,
}

impl Enroller {
    pub(crate) fn new(config: HolderConfig, tracker: TaskTracker) -> Result<Self, KeyError> {
        let listeners = config.listeners.into_iter().map(|name| Ok((name, ServiceKey::generate()?)));
        Ok(Self {
            role: config.role,
            socket: config.run_dir.join(format!("enrol-{}.sock", config.role)),
            measured: config.measured,
            policy: config.policy,
            roots: config.roots,
            key: ServiceKey::generate()?,
            listeners: listeners.collect::<Result<_, KeyError>>()?,
            callers: config.callers,
            clock: config.clock,
            tracker,
        })
    }

    pub(crate) async fn enrol(&self) -> Result<Enrolment, EnrolError> {
        let connection = self.connect().await?;
        let nonce = random::bytes()?;
        let mut client = IdentityServiceClient::new(connection.clone());
        let answer = timeout(ENROL, client.enroll(self.request(nonce)?))
            .await
            .map_err(|_| EnrolError::Silent("Enroll", ENROL))??;
        self.accept(connection, nonce, &answer.into_inner())
    }

    async fn connect(&self) -> Result<Connection, EnrolError> {
        let refused = |source| EnrolError::Connect { socket: self.socket.clone(), source };
        let connected = timeout(CONNECT, UnixStream::connect(&self.socket)).await;
        let stream = connected.map_err(|late| refused(late.into()))?.map_err(refused)?;
        Ok(Connection::open(stream, &self.tracker).await?)
    }

    fn request(&self, nonce: [u8; 32]) -> Result<EnrollRequest, KeyError> {
        let listener = |(name, key): &(String, ServiceKey)| {
            Ok(ListenerKey { listener: name.clone(), csr: key.csr_der()?.into() })
        };
        Ok(EnrollRequest {
            csr: self.key.csr_der()?.into(),
            listeners: self.listeners.iter().map(listener).collect::<Result<_, KeyError>>()?,
            nonce: Bytes::copy_from_slice(&nonce),
            measured_config_sha256: Bytes::copy_from_slice(self.measured.sha256()),
        })
    }

    /// Report → manifest → CA and token keys → certificates: nothing in the answer is believed before
    /// what vouches for it.
    fn accept(
        &self,
        connection: Connection,
        nonce: [u8; 32],
        answer: &EnrollResponse,
    ) -> Result<Enrolment, EnrolError> {
        let bundle = self.judge(nonce, &answer.evidence_bundle)?;
        self.check_deployment(&bundle)?;
        let manifest = bundle.manifest();
        let trust_bundle: Vec<_> = answer.trust_bundle.iter().map(certificate).collect();
        let issuer = Issuer::new(manifest, &trust_bundle, self.clock.unix())?;

        let svid = certificate(&answer.svid);
        issuer.issued(&svid, &self.key)?;
        let identity = SpiffeId::from_certificate(&svid)?;
        let expected = SpiffeId::new(&manifest.trust_domain, &manifest.instance, self.role)?;
        ensure(identity == expected, "the SVID is for another identity than this socket's")?;

        Ok(Enrolment {
            connection,
            listeners: self.listener_tls(&issuer, &answer.listener_certificates)?,
            instance: (manifest.trust_domain.clone(), manifest.instance.clone()),
            trust: self.trust(identity, manifest)?,
            svid: Svid { key: self.key.clone(), chain: vec![svid] },
            trust_bundle,
        })
    }

    /// The report must be for our own nonce and our own key: another holder's answer proves nothing.
    fn judge(&self, nonce: [u8; 32], bundle: &[u8]) -> Result<VerifiedBundle, EnrolError> {
        let binder = Binder::enrolment(self.key.spki_sha256(), &format!("enrol/{}", self.role));
        let challenge = Challenge { purpose: Purpose::Peer, nonce, binder };
        let now = UnixTime(self.clock.unix());
        Ok(appraise(bundle, &self.roots, &self.policy, &challenge, now).map_err(Box::new)?)
    }

    /// The CVM must be the deployment that this process was configured for.
    fn check_deployment(&self, bundle: &VerifiedBundle) -> Result<(), EnrolError> {
        let (claims, measured, policy) = (bundle.claims(), self.measured.sha256(), self.policy.sha256());
        let claimed = claims.measured_config_sha256.0;
        let same = |holds, what| if holds { Ok(()) } else { Err(EnrolError::OtherDeployment(what)) };
        same(bundle.report().host_data() == measured, "HOST_DATA is not the digest of this measured config")?;
        same(claimed == *measured, "attestation-svc runs with another measured config")?;
        same(claims.policy_sha256.0 == policy, "attestation-svc judged itself by another policy")?;
        same(self.measured.policy_sha256 == policy, "the measured config names another policy")?;
        same(bundle.manifest().trust_domain == self.measured.trust_domain, "the trust domain is another")
    }

    fn listener_tls(
        &self,
        issuer: &Issuer<'_>,
        certificates: &[Bytes],
    ) -> Result<BTreeMap<String, ServerTls>, EnrolError> {
        ensure(certificates.len() == self.listeners.len(), "not one certificate per listener")?;
        let one = |((name, key), der): (&(String, ServiceKey), &Bytes)| {
            let leaf = certificate(der);
            issuer.issued(&leaf, key)?;
            let listed = issuer.manifest.tls_key(&key.spki_sha256(), owner(self.role), name).is_some();
            ensure(listed, "the manifest does not list the key of a listener")?;
            // With the CA behind it, so that a client can take the CA that the evidence vouches for.
            let chain = [vec![leaf], issuer.cas.to_vec()].concat();
            Ok((name.clone(), mtls::public_server_tls(key, chain, self.callers.as_ref())?))
        };
        self.listeners.iter().zip(certificates).map(one).collect()
    }

    fn trust(&self, identity: SpiffeId, manifest: &KeyManifest) -> Result<Trust, EnrolError> {
        let token_keys: Result<Vec<_>, _> =
            manifest.token_keys().map(|key| TokenKey::from_spki(&key.spki.0)).collect();
        let token_keys =
            token_keys.map_err(|_| EnrolError::Answer("a token key of the manifest is unusable"))?;
        ensure(!token_keys.is_empty(), "the manifest lists no token key")?;
        let (spki, boot_seed) = (self.key.spki_der().to_vec(), manifest.boot_seed.0);
        Ok(Trust { identity, spki, boot_seed, token_keys, least: LeastEpochs::default() })
    }
}

/// The CVM's CA, as far as the manifest vouches for it.
struct Issuer<'a> {
    manifest: &'a KeyManifest,
    cas: &'a [CertificateDer<'static>],
    roots: RootCertStore,
    now: rustls_pki_types::UnixTime,
}

impl<'a> Issuer<'a> {
    fn new(
        manifest: &'a KeyManifest,
        cas: &'a [CertificateDer<'static>],
        now: i64,
    ) -> Result<Self, EnrolError> {
        let mut roots = RootCertStore::empty();
        for ca in cas {
            let spki = mtls::spki_of(ca)?;
            let listed = manifest.ca_keys().any(|key| key.spki.0 == spki);
            ensure(listed, "the manifest does not list a CA of the trust bundle")?;
            roots.add(ca.clone())?;
        }
        ensure(!roots.is_empty(), "the trust bundle is empty")?;
        let now = Duration::from_secs(u64::try_from(now).unwrap_or(0));
        Ok(Self { manifest, cas, roots, now: rustls_pki_types::UnixTime::since_unix_epoch(now) })
    }

    /// `leaf` must certify `key`, be valid now and chain to a listed CA.
    fn issued(&self, leaf: &CertificateDer<'_>, key: &ServiceKey) -> Result<(), EnrolError> {
        ensure(
            mtls::spki_of(leaf)? == key.spki_der(),
            "a certificate is for another key than the request's",
        )?;
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, &[], self.now, algorithms)?;
        Ok(())
    }
}

fn certificate(der: &Bytes) -> CertificateDer<'static> {
    CertificateDer::from(der.to_vec())
}

fn owner(role: Role) -> Owner {
    match role {
        Role::Attestation => Owner::Attestation,
        Role::Gateway => Owner::Gateway,
        Role::Adapter => Owner::Adapter,
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), EnrolError> {
    if holds { Ok(()) } else { Err(EnrolError::Answer(otherwise)) }
}

/// Why there is no identity or lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrolError {
    /// Nobody listens on the socket, or this process may not connect to it.
    #[error("cannot connect to {}: {source}; is attestation-svc running, and is the socket this user's?", socket.display())]
    Connect {
        /// The enrolment socket.
        socket: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to attestation-svc failed: {0}")]
    Http(#[from] hyper::Error),
    /// attestation-svc refused, with a reason of its own (`IDENTITY_IN_USE`, …), or the stream broke.
    #[error("attestation-svc answered {}: {}", proto::reason_or_code(.0), .0.message())]
    Refused(#[from] Status),
    /// No answer in time.
    #[error("attestation-svc did not answer {0} within {1:?}")]
    Silent(&'static str, Duration),
    /// attestation-svc vouches for nobody at present.
    #[error("attestation-svc answered the first heartbeat without a health token")]
    NoToken,
    /// attestation-svc ended the lease stream.
    #[error("attestation-svc ended the lease stream")]
    Ended,
    /// The SVID has lived half its life; a new enrolment renews it. Not a failure.
    #[error("the SVID is due for renewal")]
    Renewal,
    /// The evidence was refused.
    #[error("the evidence of attestation-svc is refused: {0}")]
    Evidence(#[from] Box<Refusal>),
    /// Genuine evidence of another deployment.
    #[error(
        "the evidence is of another deployment: {0}; give both services the same measured config and policy"
    )]
    OtherDeployment(&'static str),
    /// The answer does not hang together with the evidence.
    #[error("the enrolment answer is refused: {0}")]
    Answer(&'static str),
    /// A certificate of the answer names no service.
    #[error("the enrolment answer is refused: {0}")]
    Identity(#[from] mtls::IdentityError),
    /// A certificate of the answer does not chain to the CVM's CA, or is not valid now.
    #[error("a certificate of the enrolment answer is refused: {0}")]
    Certificate(#[from] rustls::Error),
    /// The material cannot be used for TLS.
    #[error("the enrolment answer is refused: {0}")]
    Material(#[from] MaterialError),
    /// The health token was refused.
    #[error("the health token is refused ({reason}): {0}", reason = .0.reason())]
    Token(#[from] TokenError),
    /// The lease stream broke its rules.
    #[error("the lease stream is refused: {0}")]
    Lease(#[from] LeaseError),
    /// A key could not be made, used or read.
    #[error("enrolment failed: {0}")]
    Key(#[from] KeyError),
}

impl EnrolError {
    /// Whether attestation-svc has withdrawn its word, for this process (an operator revoked its identity) or for all (it
    /// does not vouch for the machine any more): nothing that rests on it may go on.
    pub(crate) fn is_withdrawal(&self) -> bool {
        self.is_refused(&[IDENTITY_REVOKED, EVIDENCE_REFUSED, EVIDENCE_STALE])
    }

    fn is_refused(&self, reasons: &[&str]) -> bool {
        let Self::Refused(status) = self else { return false };
        proto::reason_of(status).is_some_and(|reason| reasons.contains(&reason.as_str()))
    }

    /// How a service that has never served ends on this; `None` where trying again may help.
    pub fn exit(&self) -> Option<Exit> {
        match self {
            Self::Evidence(refusal) => Some(match refusal.class() {
                RefusalClass::Malformed | RefusalClass::Untrusted | RefusalClass::Channel => Exit::Evidence,
                RefusalClass::OutOfPolicy => Exit::Policy,
                RefusalClass::Stale | RefusalClass::Unavailable => Exit::Collateral,
            }),
            Self::OtherDeployment(_) => Some(Exit::Policy),
            Self::Refused(_) if self.is_refused(&[ENROLMENT_WRONG_CONFIG]) => Some(Exit::Policy),
            Self::Answer(_)
            | Self::Identity(_)
            | Self::Certificate(_)
            | Self::Material(_)
            | Self::Token(_)
            | Self::Lease(_) => Some(Exit::Evidence),
            Self::Connect { .. }
            | Self::Http(_)
            | Self::Refused(_)
            | Self::Silent(..)
            | Self::NoToken
            | Self::Ended
            | Self::Renewal
            | Self::Key(_) => None,
        }
    }
}
