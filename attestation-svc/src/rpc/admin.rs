//! `AdminService`: what an operator sees and may do. Every call is in the audit log, with who made it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use audit_log::Event;
use mtls::Role;
use proto::attestation::v1::admin_service_server::AdminService;
use proto::attestation::v1::revoke_request::Target as Asked;
use proto::attestation::v1::{
    GetStateRequest, GetStateResponse, IdentityHolder, IdentityState, KeyState, ReinstateRequest,
    ReinstateResponse, RevokeRequest, RevokeResponse, RotateRequest, RotateResponse, RotationTarget,
};
use proto::reason;
use service_runtime::{Connection, UnixPeer};
use tonic::{Code, Request, Response, Status};
use tracing::info;

use crate::authority::{Authority, Machine};
use crate::enrolment::Identity;
use crate::keys::{Kind, RotateError};
use crate::roster::{Epochs, Roster, Standing};
use crate::rotation::Phase;
use crate::rpc::{internal, invalid};
use crate::standing::Closed;

/// Bytes of an operator's reason.
const MAX_REASON: usize = 256;

/// On the administrator's socket.
#[derive(Debug, Clone)]
pub(crate) struct Administration {
    pub(crate) authority: Arc<Authority>,
}

/// Whose tokens to void.
#[derive(Debug, Clone, Copy)]
enum Target {
    All,
    One(Role),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(role) => role.fmt(f),
        }
    }
}

#[tonic::async_trait]
impl AdminService for Administration {
    async fn get_state(
        &self,
        request: Request<GetStateRequest>,
    ) -> Result<Response<GetStateResponse>, Status> {
        let done = Ok(self.state());
        Order::new(caller(&request), "GetState", None::<Target>, "").log(&done);
        done.map(Response::new)
    }

    async fn revoke(&self, request: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        let (who, RevokeRequest { target, reason }) = (caller(&request), request.into_inner());
        let target = self.target(target.as_ref());
        let done = stated(&reason).and(target.clone()).map(|target| self.void(target));
        // What takes trust away does not wait for a record.
        let order = Order::new(who, "Revoke", target.ok(), &reason);
        self.authority.audit.note(self.recorded(&order, &done)).await;
        order.log(&done);
        done.map(Response::new)
    }

    async fn reinstate(
        &self,
        request: Request<ReinstateRequest>,
    ) -> Result<Response<ReinstateResponse>, Status> {
        let (who, ReinstateRequest { role, reason }) = (caller(&request), request.into_inner());
        let role = self.role(&role);
        let allowed = stated(&reason).and(role.clone());
        let order = Order::new(who, "Reinstate", role.ok(), &reason);
        let recorded = self.authority.audit.record(vec![self.recorded(&order, &allowed)]).await;
        let done = allowed.and_then(|role| recorded.map(|()| role).map_err(Status::from)).map(|role| {
            self.authority.roster.send_modify(|roster| roster.reinstate(role));
            ReinstateResponse {}
        });
        order.log(&done);
        done.map(Response::new)
    }

    async fn rotate(&self, request: Request<RotateRequest>) -> Result<Response<RotateResponse>, Status> {
        let (who, request) = (caller(&request), request.into_inner());
        let done = match stated(&request.reason) {
            Ok(()) => self.begin(request.target()).await,
            Err(refused) => Err(refused),
        };
        let order = Order::new(who, "Rotate", name(request.target()), &request.reason);
        self.authority.audit.note(self.recorded(&order, &done)).await;
        order.log(&done);
        done.map(Response::new)
    }
}

impl Administration {
    fn state(&self) -> GetStateResponse {
        let Authority { manifests, clock, identities, roster, machine, vouching, .. } =
            self.authority.as_ref();
        let Machine { product, measurement, policy_sha256, measured_config_sha256 } = machine;
        let (now, own, manifest) =
            (clock.boot(), self.authority.identity(Role::Attestation), manifests.current());
        let roster = roster.borrow().clone();
        let (epochs, (audit_records, audit_head)) = (roster.epochs(), self.authority.audit.head());
        GetStateResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: own.instance().to_owned(),
            trust_domain: own.trust_domain().to_owned(),
            evidence_format: self.authority.evidence_format().to_string(),
            product: product.to_string(),
            measurement: hex::encode(measurement),
            policy_sha256: hex::encode(policy_sha256),
            measured_config_sha256: hex::encode(measured_config_sha256),
            manifest_version: manifest.manifest.version,
            manifest_sha384: hex::encode(manifest.sha384),
            epoch: epochs.epoch,
            min_epoch: epochs.min_epoch,
            report_age_seconds: vouching.age().as_secs(),
            audit_records,
            audit_head: audit_head.to_string(),
            identities: identities.iter().map(|identity| self.identity(identity, &roster, now)).collect(),
            keys: self.authority.keys.phases().iter().map(key).collect(),
        }
    }

    fn identity(&self, identity: &Identity, roster: &Roster, now: Duration) -> IdentityState {
        let standing = roster.standing(identity.role).cloned().unwrap_or_default();
        let holder = standing.holder().map(|(holder, heartbeat)| IdentityHolder {
            pid: holder.pid.unwrap_or_default(),
            svid_serial: holder.svid_serial.clone(),
            enrolled_age_seconds: age(now, holder.at),
            heartbeat_age_seconds: heartbeat.map(|at| age(now, at)),
        });
        let Standing { revoked, min_epoch, tokens, .. } = standing;
        IdentityState {
            role: identity.role.to_string(),
            spiffe_id: self.authority.identity(identity.role).to_string(),
            uid: identity.of.uid,
            revoked,
            min_epoch,
            tokens_granted: tokens,
            holder,
        }
    }

    fn void(&self, target: Target) -> RevokeResponse {
        let mut answer = RevokeResponse::default();
        self.authority.roster.send_modify(|roster| {
            match target {
                Target::All => roster.revoke_all(),
                Target::One(role) => roster.revoke(role),
            }
            let Epochs { epoch, min_epoch, .. } = roster.epochs();
            answer = RevokeResponse { epoch, min_epoch };
        });
        answer
    }

    async fn begin(&self, target: RotationTarget) -> Result<RotateResponse, Status> {
        let told = match target {
            RotationTarget::Unspecified => {
                return Err(invalid("target: name what to rotate, such as ROTATION_TARGET_SVIDS"));
            }
            RotationTarget::Svids => self.renew_svids(),
            RotationTarget::Ca => self.replace(Kind::Ca).await?,
            RotationTarget::TokenKey => self.replace(Kind::Token).await?,
        };
        Ok(RotateResponse { roles: told.iter().map(ToString::to_string).collect() })
    }

    /// Goes on where the administrator hangs up: a report may take longer than they wait, and no step goes unrecorded.
    async fn replace(&self, kind: Kind) -> Result<Vec<Role>, Status> {
        let authority = Arc::clone(&self.authority);
        let rotation = tokio::spawn(async move { authority.rotate(kind).await });
        rotation.await.map_err(internal)?.map_err(not_rotated)
    }

    fn renew_svids(&self) -> Vec<Role> {
        self.authority.renew_own_svid();
        let mut roles = Vec::new();
        self.authority.roster.send_modify(|roster| (_, roles) = roster.renew_all());
        roles
    }

    /// `order` in the audit log, with the epochs that are in force now.
    fn recorded<T>(&self, order: &Order, done: &Result<T, Status>) -> Event {
        let Epochs { epoch, min_epoch, .. } = self.authority.roster.borrow().epochs();
        let Order { who, call, target, reason } = order;
        Event::Admin {
            uid: who.as_ref().map(|who| who.uid),
            pid: who.as_ref().and_then(|who| who.pid),
            call: (*call).to_owned(),
            target: target.clone(),
            reason: reason.clone(),
            outcome: outcome(done),
            epoch,
            min_epoch,
        }
    }

    fn target(&self, asked: Option<&Asked>) -> Result<Target, Status> {
        match asked {
            Some(Asked::All(_)) => Ok(Target::All),
            Some(Asked::Role(role)) => self.role(role).map(Target::One),
            None => Err(invalid("target: name all or a role")),
        }
    }

    /// Only what can be enrolled can be revoked.
    fn role(&self, name: &str) -> Result<Role, Status> {
        let mut roles = self.authority.identities.iter().map(|identity| identity.role);
        roles.find(|role| role.as_str() == name).ok_or_else(|| {
            let roles: Vec<_> = self.authority.identities.iter().map(|it| it.role.as_str()).collect();
            invalid(format!("role: no such identity; there is: {}", roles.join(", ")))
        })
    }
}

fn name(target: RotationTarget) -> Option<&'static str> {
    match target {
        RotationTarget::Unspecified => None,
        RotationTarget::Svids => Some("svids"),
        RotationTarget::Ca => Some(Kind::Ca.name()),
        RotationTarget::TokenKey => Some(Kind::Token.name()),
    }
}

/// Nothing has changed then.
fn not_rotated(error: RotateError) -> Status {
    match error {
        RotateError::UnderWay | RotateError::Outrun => {
            let message = format!("{error}; `cube admin state` shows how far it is");
            proto::status(Code::FailedPrecondition, reason::ROTATION_UNDER_WAY, message)
        }
        RotateError::Judged(error) if error.is_refusal() => Closed::Refused.into(),
        RotateError::Judged(error) => {
            let message = format!("the new keys are not attested, and the old ones stay: {error}");
            proto::status(Code::Unavailable, reason::EVIDENCE_UNAVAILABLE, message)
        }
        RotateError::Ca(_) | RotateError::Mint(_) => internal(error),
    }
}

fn key(&(kind, sha256, phase): &(Kind, [u8; 32], Phase)) -> KeyState {
    let (key, phase) = (kind.name().to_owned(), phase.name().to_owned());
    KeyState { key, sha256: hex::encode(sha256), phase }
}

fn age(now: Duration, then: Duration) -> u64 {
    now.saturating_sub(then).as_secs()
}

/// Whoever reads the audit log later wants to know why, and no more than one line of it.
fn stated(reason: &str) -> Result<(), Status> {
    let printable = !reason.chars().any(char::is_control);
    if !reason.trim().is_empty() && reason.len() <= MAX_REASON && printable {
        return Ok(());
    }
    Err(invalid(format!("reason: 1 to {MAX_REASON} bytes of one line, for the audit log")))
}

fn caller<T>(request: &Request<T>) -> Option<UnixPeer> {
    request.extensions().get::<Arc<Connection>>()?.unix_peer.clone()
}

/// What an administrator asked for.
struct Order {
    who: Option<UnixPeer>,
    call: &'static str,
    target: Option<String>,
    reason: Option<String>,
}

impl Order {
    fn new(
        who: Option<UnixPeer>,
        call: &'static str,
        target: Option<impl fmt::Display>,
        reason: &str,
    ) -> Self {
        let reason = Some(reason).filter(|reason| stated(reason).is_ok()).map(str::to_owned);
        Self { who, call, target: target.map(|target| target.to_string()), reason }
    }

    fn log<T>(&self, done: &Result<T, Status>) {
        let Self { who, call, target, reason } = self;
        let (uid, pid, outcome) =
            (who.as_ref().map(|who| who.uid), who.as_ref().and_then(|who| who.pid), outcome(done));
        info!(target: "audit", uid, pid, call, what = target, reason, outcome, "administrator's call");
    }
}

/// `done`, or the reason of the refusal.
fn outcome<T>(done: &Result<T, Status>) -> String {
    done.as_ref().map_or_else(|status| proto::reason_of(status).unwrap_or_default(), |_| "done".to_owned())
}
