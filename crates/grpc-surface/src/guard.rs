//! The guard before every method of a listener: who calls, and whether the table lets them.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use mtls::{Role, peer_of};
use proto::{
    access::{Caller, Method, Requires, method},
    reason,
};
use service_runtime::Connection;
use tonic::{Code, Status};
use tracing::{error, warn};

use crate::reflection;

/// How a listener knows its callers.
#[derive(Debug, Clone, Copy)]
pub enum Callers {
    /// Not at all: whoever reaches it is [`Caller::Public`].
    Public,
    /// By the SVID of their mutual TLS connection.
    Svid,
    /// By the kernel's word on who is at the other end of a unix socket (SO_PEERCRED): processes of `uid`
    /// are `caller`, root's may be administrators, and all others are nobody.
    Process {
        /// Whose processes they are.
        uid: u32,
        /// What they count as.
        caller: Caller,
    },
}

/// What the table says of one listener's methods. A cheap handle.
#[derive(Debug, Clone)]
pub struct Methods(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    callers: Callers,
    methods: HashMap<String, &'static Method>,
}

/// Lets a request on to its method, or refuses it with its body unread.
pub(crate) async fn guard(State(methods): State<Methods>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>();
    match methods.admit(connection.map(AsRef::as_ref), request.uri().path()) {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

impl Methods {
    pub(crate) fn new(callers: Callers, services: &[&str]) -> Self {
        Self(Arc::new(Inner { callers, methods: entries(services, method) }))
    }

    /// Whether `path` is a method of this listener that answers while the gate is shut.
    pub fn answers_while_shut(&self, path: &str) -> bool {
        self.0.methods.get(path).is_some_and(|method| method.requires == Requires::Nothing)
    }

    fn admit(&self, connection: Option<&Connection>, path: &str) -> Result<(), Status> {
        let caller = self.0.callers.identify(connection)?;
        let method = self.0.methods.get(path).ok_or_else(unknown_method)?;
        if method.allows(caller) {
            return Ok(());
        }
        let allowed: Vec<_> = method.callers.iter().map(Caller::to_string).collect();
        Err(not_allowed(format!("{caller} may not call this method; only {} may", allowed.join(" or "))))
    }
}

/// Each method of `services` with its entry. One without entry is left out, and so refused.
fn entries(
    services: &[&str],
    table: impl Fn(&str) -> Option<&'static Method>,
) -> HashMap<String, &'static Method> {
    let mut methods = HashMap::new();
    for path in reflection::methods_of(services) {
        if let Some(entry) = table(&path) {
            methods.insert(path, entry);
        } else {
            error!(method = path, "a defect: no entry in the authorization table; it is refused");
        }
    }
    methods
}

impl Callers {
    fn identify(self, connection: Option<&Connection>) -> Result<Caller, Status> {
        match self {
            Self::Public => Ok(Caller::Public),
            Self::Svid => by_svid(connection),
            Self::Process { uid, caller } => by_process(connection, uid, caller),
        }
    }
}

fn by_svid(connection: Option<&Connection>) -> Result<Caller, Status> {
    let nobody = || not_allowed("the connection shows no identity of this CVM".to_owned());
    let peer = connection.and_then(|connection| peer_of(connection).ok()).ok_or_else(nobody)?;
    Ok(match peer.role() {
        Role::Gateway => Caller::Gateway,
        Role::Attestation | Role::Adapter => Caller::Service,
    })
}

fn by_process(connection: Option<&Connection>, uid: u32, caller: Caller) -> Result<Caller, Status> {
    let peer = connection.and_then(|connection| connection.unix_peer.as_ref());
    let administrator = caller == Caller::Administrator;
    if peer.is_some_and(|peer| peer.uid == uid || (administrator && peer.uid == 0)) {
        return Ok(caller);
    }
    warn!(target: "audit", ?peer, expected = uid, "refused: wrong uid");
    let (reason, whose) = if administrator {
        (reason::ADMIN_WRONG_UID, format!("root and of uid {uid}"))
    } else {
        (reason::ENROLMENT_WRONG_UID, format!("uid {uid}"))
    };
    Err(proto::status(
        Code::PermissionDenied,
        reason,
        format!("this socket is for processes of {whose} only"),
    ))
}

fn not_allowed(message: String) -> Status {
    proto::status(Code::PermissionDenied, reason::PEER_NOT_ALLOWED, message)
}

/// The refusal of what does not exist.
pub fn unknown_method() -> Status {
    proto::status(Code::Unimplemented, reason::UNKNOWN_METHOD, "no such gRPC method")
}

#[cfg(test)]
mod tests;
