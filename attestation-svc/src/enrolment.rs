//! Who holds an identity: its socket says which, the kernel says who asks, and the connection that
//! enrolled is the holder until it closes, or until the identity is revoked.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use audit_log::Event;
use health_token::{Attested, Confirmation};
use mtls::{Role, SpiffeId};
use proto::reason;
use service_runtime::UnixPeer;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::roster::{Enrolled, Epochs, Refused, Roster, Ticket};

/// A holder that comes back may be quicker than the end of its former connection.
const GRACE: Duration = Duration::from_millis(500);

/// An identity that can be enrolled.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) role: Role,
    /// The only processes that may hold it.
    pub(crate) of: service_runtime::Identity,
    roster: Arc<watch::Sender<Roster>>,
}

impl Identity {
    pub(crate) fn new(role: Role, of: service_runtime::Identity, roster: Arc<watch::Sender<Roster>>) -> Self {
        Self { role, of, roster }
    }

    /// The one place of the holder.
    pub(crate) async fn take(&self) -> Result<Place, Status> {
        let mut changes = self.roster.subscribe();
        let taken = timeout(GRACE, async {
            loop {
                match self.try_take() {
                    // The sender lives as long as `self`.
                    Err(Refused::InUse) => drop(changes.changed().await),
                    taken => return taken,
                }
            }
        });
        taken.await.unwrap_or(Err(Refused::InUse)).map_err(|refused| self.refusal(refused))
    }

    /// Every change of the roster.
    pub(crate) fn changes(&self) -> watch::Receiver<Roster> {
        self.roster.subscribe()
    }

    fn try_take(&self) -> Result<Place, Refused> {
        let mut taken = Err(Refused::Revoked);
        self.roster.send_if_modified(|roster| {
            taken = roster.take(self.role);
            taken.is_ok()
        });
        Ok(Place { identity: self.clone(), ticket: taken? })
    }

    fn refusal(&self, refused: Refused) -> Status {
        let role = self.role;
        let (code, reason, message) = match refused {
            Refused::InUse => (
                Code::AlreadyExists,
                reason::IDENTITY_IN_USE,
                format!("identity {role} has a live holder; stop that process first"),
            ),
            Refused::Revoked => return revoked(role),
            Refused::Lost => (
                Code::FailedPrecondition,
                reason::NOT_ENROLLED,
                format!("identity {role} was revoked and reinstated meanwhile; enrol on a new connection"),
            ),
        };
        proto::status(code, reason, message)
    }
}

/// What whoever has a revoked identity is told.
pub(crate) fn revoked(role: Role) -> Status {
    let message = format!("an operator revoked identity {role}; it is refused until it is reinstated");
    proto::status(Code::PermissionDenied, reason::IDENTITY_REVOKED, message)
}

/// The one place of an identity's holder; free again when dropped, and taken away by a revocation.
#[derive(Debug)]
pub(crate) struct Place {
    identity: Identity,
    ticket: Ticket,
}

impl Place {
    /// Whether it was not taken away.
    pub(crate) fn check(&self) -> Result<(), Status> {
        let checked = self.identity.roster.borrow().check(self.identity.role, self.ticket);
        checked.map_err(|refused| self.identity.refusal(refused))
    }

    /// Whether a new enrolment was asked for.
    pub(crate) fn told_to_renew(&self) -> bool {
        self.identity.roster.borrow().told_to_renew(self.identity.role, self.ticket)
    }

    /// Notes a heartbeat. A token that answers it is of the returned epoch.
    pub(crate) fn heartbeat(&self, now: Duration) -> Result<Epochs, Status> {
        let mut noted = Err(Refused::Lost);
        // A rotation may wait for what it puts in force.
        self.identity.roster.send_if_modified(|roster| {
            let before = roster.in_force(self.identity.role);
            noted = roster.heartbeat(self.identity.role, self.ticket, now);
            before != roster.in_force(self.identity.role)
        });
        noted.map_err(|refused| self.identity.refusal(refused))
    }

    /// Notes that a token was granted.
    pub(crate) fn granted(&self) {
        self.identity.roster.send_if_modified(|roster| {
            roster.granted(self.identity.role);
            false
        });
    }

    /// No lease stream has to hear of it.
    fn enrolled(&self, holder: Enrolled) -> Result<(), Status> {
        let mut noted = Err(Refused::Lost);
        self.identity.roster.send_if_modified(|roster| {
            noted = roster.enrolled(self.identity.role, self.ticket, holder);
            false
        });
        noted.map_err(|refused| self.identity.refusal(refused))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.identity.roster.send_modify(|roster| roster.leave(self.identity.role, self.ticket));
    }
}

/// One connection to an enrolment socket.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    peer: Option<UnixPeer>,
    holder: OnceLock<Holder>,
}

/// The process at the other end is who the socket's identity belongs to.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) id: SpiffeId,
    pub(crate) confirmation: Confirmation,
    pub(crate) attested: Attested,
    pub(crate) place: Place,
}

impl Session {
    pub(crate) fn new(identity: Identity, peer: Option<UnixPeer>) -> Self {
        Self { identity, peer, holder: OnceLock::new() }
    }

    /// Whether the process belongs to the identity's unit, where one is named. Its user was checked before.
    pub(crate) fn check_unit(&self) -> Result<(), Status> {
        let unit = self.peer.as_ref().and_then(|peer| peer.unit.as_ref());
        match &self.identity.of.unit {
            Some(named) if unit != Some(named) => {
                let (role, of) = (self.identity.role, unit.map_or("no unit", String::as_str));
                let message = format!("identity {role} is {named}'s only; this process is of {of}");
                Err(proto::status(Code::PermissionDenied, reason::ENROLMENT_WRONG_UNIT, message))
            }
            _ => Ok(()),
        }
    }

    fn pid(&self) -> Option<i32> {
        self.peer.as_ref()?.pid
    }

    /// Makes this connection the holder, unless the identity was revoked meanwhile.
    pub(crate) fn enrol(
        &self,
        holder: Holder,
        at: Duration,
        svid_serial: String,
        spki_sha256: [u8; 32],
    ) -> Result<(), Status> {
        holder.place.enrolled(Enrolled { at, pid: self.pid(), svid_serial, spki_sha256 })?;
        // A connection enrols once: after a revocation only a new one helps.
        self.holder.set(holder).map_err(|_| self.identity.refusal(Refused::Lost))
    }

    /// What the audit log says of the enrolment of this connection.
    pub(crate) fn recorded(&self, svid_serial: String, manifest_version: u64) -> Event {
        Event::Enrolled {
            identity: self.identity.role.to_string(),
            pid: self.pid(),
            svid_serial,
            manifest_version,
        }
    }

    /// Resolves with the refusal once this connection has lost the identity.
    pub(crate) async fn lost(self: Arc<Self>) -> Status {
        let mut changes = self.identity.changes();
        loop {
            if let Err(lost) = self.holder() {
                return lost;
            }
            // The sender lives as long as `self`.
            drop(changes.changed().await);
        }
    }

    /// The holder, if this connection enrolled and has not lost the identity.
    pub(crate) fn holder(&self) -> Result<&Holder, Status> {
        let not = || {
            proto::status(
                Code::FailedPrecondition,
                reason::NOT_ENROLLED,
                "call Enroll on this connection first",
            )
        };
        let holder = self.holder.get().ok_or_else(not)?;
        holder.place.check().map(|()| holder)
    }
}
