//! What exists only after the evidence was accepted: all that can vouch for anybody.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::SHA256;
use health_token::{AFFIRMING, Attested, B64Url, Claims, MAX_LIFE, PROFILE};
use mtls::{CertificateRequest, Material, Role, ServiceKey, SpiffeId, Svid};
use service_runtime::{Clock, MeasuredConfig, ServerTls};
use snp_evidence::{Challenge, Evidence, EvidenceFormat, Product, ReportData};
use tokio::sync::watch;
use tracing::error;

use crate::audit::Audit;
use crate::ca::{Ca, LEAF_LIFE};
use crate::config::Config;
use crate::enrolment::{Holder, Identity};
use crate::error::BootError;
use crate::judge::Judge;
use crate::keys::Keys;
use crate::manifest::{Manifests, Published, hash};
use crate::mesh::Workloads;
use crate::metrics::Metrics;
use crate::mint::{Mint, MintError};
use crate::prover::{Committed, Lane, ProverError};
use crate::reattest::Vouching;
use crate::roster::Roster;

/// The source of identity and health of one boot.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) keys: Keys,
    pub(crate) manifests: Manifests,
    pub(crate) public_names: Vec<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Arc<Audit>,
    /// Who can be enrolled.
    pub(crate) identities: Vec<Identity>,
    /// Who is, and which tokens are void.
    pub(crate) roster: Arc<watch::Sender<Roster>>,
    pub(crate) machine: Machine,
    /// Whether it may vouch for anybody at present.
    pub(crate) vouching: Vouching,
    pub(crate) judge: Judge,
    pub(crate) claims: Vec<u8>,
    /// Of others, behind a proxy in this CVM.
    pub(crate) workloads: Workloads,
    own: OwnIdentity,
}

/// What was judged at boot, and by what.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) product: Product,
    pub(crate) measurement: [u8; 48],
    pub(crate) policy_sha256: [u8; 32],
    pub(crate) measured_config_sha256: [u8; 32],
}

/// attestation-svc's own SVID, for the mutual TLS listener.
#[derive(Debug)]
struct OwnIdentity {
    key: ServiceKey,
    material: Material,
    /// What the clock shows in the first half of the certificate's life, in seconds since 1970.
    fresh: Mutex<Range<i64>>,
}

/// What a boot that went well hands over.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) judge: Judge,
    pub(crate) vouching: Vouching,
    pub(crate) ca: Ca,
    pub(crate) mint: Mint,
    pub(crate) manifests: Manifests,
    pub(crate) claims: Vec<u8>,
    pub(crate) machine: Machine,
    pub(crate) metrics: Metrics,
    pub(crate) audit: Arc<Audit>,
}

/// Evidence bundle v1, and the digest of the report in it.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) bundle: Vec<u8>,
    pub(crate) report_sha256: [u8; 32],
}

impl Authority {
    pub(crate) fn new(config: &Config, accepted: Accepted, clock: Arc<dyn Clock>) -> Result<Self, BootError> {
        let Accepted { judge, vouching, ca, mint, manifests, claims, machine, metrics, audit } = accepted;
        let own = OwnIdentity {
            key: ServiceKey::generate()?,
            material: Material::new(Arc::clone(&clock)),
            fresh: Mutex::new(0..0),
        };
        let (roster, identities) = identities(&config.measured)?;
        Ok(Self {
            keys: Keys::new(ca, mint, clock.boot()),
            manifests,
            public_names: config.measured.public_names.clone(),
            clock,
            metrics,
            audit,
            identities,
            roster,
            machine,
            vouching,
            judge,
            claims,
            workloads: Workloads::new(config.measured.mesh.as_ref())?,
            own,
        })
    }

    /// The SPIFFE ID of `role` in this instance.
    pub(crate) fn identity(&self, role: Role) -> SpiffeId {
        self.keys.ca().identity(role)
    }

    /// The form of this machine's evidence, which tells simulated hardware from real.
    pub(crate) fn evidence_format(&self) -> EvidenceFormat {
        self.judge.prover.format()
    }

    /// A report for the `challenge` of a service that enrols, over the manifest `published` and the claims of this boot.
    pub(crate) async fn prove(
        &self,
        challenge: &Challenge,
        published: &Published,
    ) -> Result<Proof, ProverError> {
        let committed = Committed { manifest: &published.bytes, claims: &self.claims };
        let evidence = self.evidence(Lane::Inside, committed.report_data(challenge)).await?;
        let report_sha256 = hash(&SHA256, &evidence.report);
        Ok(Proof { bundle: committed.bundle(challenge, &evidence), report_sha256 })
    }

    /// Evidence for a caller that waits.
    pub(crate) async fn evidence(&self, lane: Lane, data: ReportData) -> Result<Evidence, ProverError> {
        let (since, limit) = (self.clock.boot(), self.judge.prover.limits.call);
        let evidence = self.judge.prover.evidence(lane, data, limit).await;
        self.metrics.report(lane, evidence.is_ok(), self.clock.boot().saturating_sub(since));
        evidence
    }

    /// What tokens say of the evidence behind them.
    pub(crate) fn attested(&self, proof: &Proof, published: &Published) -> Attested {
        Attested {
            report_sha256: B64Url(proof.report_sha256),
            measurement: B64Url(self.machine.measurement),
            policy_sha256: B64Url(self.machine.policy_sha256),
            key_manifest_sha384: B64Url(published.sha384),
        }
    }

    /// A new token of `epoch` for `holder`, answering `nonce`.
    pub(crate) fn token(&self, holder: &Holder, nonce: [u8; 32], epoch: u64) -> Result<String, MintError> {
        let now = self.clock.unix();
        let mut jti = [0; 16];
        aws_lc_rs::rand::fill(&mut jti).map_err(|_| MintError)?;
        let token = self.keys.mint().mint(&Claims {
            iss: self.identity(Role::Attestation).to_string(),
            sub: holder.id.to_string(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(MAX_LIFE),
            jti: B64Url(jti),
            cnf: holder.confirmation.clone(),
            eat_profile: PROFILE.to_owned(),
            eat_nonce: B64Url(nonce),
            bootseed: B64Url(self.manifests.current().manifest.boot_seed.0),
            hep: epoch,
            att: holder.attested.clone(),
            ear_status: AFFIRMING.to_owned(),
        })?;
        self.metrics.token(holder.id.role());
        Ok(token)
    }

    /// Mutual TLS with an SVID that is in the first half of its life.
    ///
    /// A clock that was set back past the date of issue asks for a new one as well: peers judge
    /// dates by the same clock, and would find the old one not valid yet until it had caught up.
    pub(crate) fn server_tls(&self) -> Option<ServerTls> {
        let now = self.clock.unix();
        let mut fresh = self.own.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if !fresh.contains(&now) {
            self.renew(now).inspect_err(|error| error!(%error, "own certificate cannot be renewed")).ok()?;
            *fresh = now..now.saturating_add(LEAF_LIFE / 2);
        }
        self.own.material.server_tls()
    }

    /// The next connection is shown a new SVID.
    pub(crate) fn renew_own_svid(&self) {
        *self.own.fresh.lock().unwrap_or_else(PoisonError::into_inner) = 0..0;
    }

    fn renew(&self, now: i64) -> Result<(), Box<dyn std::error::Error>> {
        let OwnIdentity { key, material, .. } = &self.own;
        let request = CertificateRequest::verify(&key.csr_der()?)?;
        let svid = self.keys.ca().issue_svid(Role::Attestation, &request, now)?;
        let own = self.identity(Role::Attestation);
        let svid = Svid { key: key.clone(), chain: vec![svid] };
        material.set(&svid, self.keys.trust_bundle(), own.trust_domain(), own.instance())?;
        Ok(())
    }
}

/// The identities of the deployment, which nobody holds yet.
fn identities(measured: &MeasuredConfig) -> Result<(Arc<watch::Sender<Roster>>, Vec<Identity>), BootError> {
    let named = measured.identities.iter().map(|(name, who)| {
        let role = name.parse().map_err(|_| BootError::Identity(name.clone()))?;
        Ok((role, who.clone()))
    });
    let named: Vec<(Role, service_runtime::Identity)> = named.collect::<Result<_, BootError>>()?;
    let roster = Arc::new(watch::Sender::new(Roster::new(named.iter().map(|(role, _)| *role))));
    let identities = named.into_iter().map(|(role, who)| Identity::new(role, who, Arc::clone(&roster)));
    let identities = identities.collect();
    Ok((roster, identities))
}
