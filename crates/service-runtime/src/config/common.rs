//! The keys that services share, read in one place.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Observability, Settings};
use crate::{
    accept::ConnectionLimits,
    measured::{MeasuredConfig, sha256},
};

/// What every service is told. `P` is the policy, of which this crate knows the digest only.
#[derive(Debug)]
pub struct Common<P> {
    /// `measured`: the measured configuration.
    pub measured: MeasuredConfig,
    /// `policy`: what the evidence must satisfy; the one that the measured configuration names.
    pub policy: P,
    /// `run_dir`: folder of the enrolment sockets and of `admin.sock`.
    pub run_dir: PathBuf,
    /// `listen`: the service's port.
    pub listen: SocketAddr,
    /// What operators are told, and where.
    pub observability: Observability,
}

impl<P> Common<P> {
    /// Reads the shared keys. `listen` reads the key of that name, which has a purpose of its own in
    /// each service.
    pub fn read<E: Display>(
        settings: &mut Settings,
        listen: impl FnOnce(&mut Settings) -> Option<SocketAddr>,
        policy: impl FnOnce(&[u8]) -> Result<P, E>,
    ) -> Option<Self> {
        let measured = settings.file(
            "measured",
            "The measured configuration: its SHA-256 is HOST_DATA.",
            MeasuredConfig::parse,
        );
        let policy = settings.file(
            "policy",
            "What the evidence of this machine must satisfy: the file whose SHA-256 stands in the measured configuration.",
            |bytes| policy(bytes).map(|policy| (policy, sha256(bytes))),
        );
        if let (Some(measured), Some((_, used))) = (&measured, &policy) {
            check_policy_digest(settings, &measured.policy_sha256, used);
        }
        let run_dir = settings.path(
            "run_dir",
            "Folder of the enrolment sockets and `admin.sock`; only root or attestation-svc's user may write there.",
        );
        let listen = listen(settings);
        let observability = Observability::read(settings);
        Some(Self {
            measured: measured?,
            policy: policy?.0,
            run_dir: run_dir?,
            listen: listen?,
            observability: observability?,
        })
    }
}

/// The measured configuration must name the very policy that evidence is judged by.
fn check_policy_digest(settings: &mut Settings, named: &[u8; 32], used: &[u8; 32]) {
    if named != used {
        settings.problems.refuse(format!(
            "check policy.digest failed: observed policy {}, expected {}; give the policy file that the \
             measured configuration names in policy_sha256, or measure anew",
            hex::encode(used),
            hex::encode(named)
        ));
    }
}

impl Settings {
    /// `start_timeout_seconds`: for the first lease.
    pub fn start_timeout(&mut self) -> Duration {
        let purpose = "For the first lease after the start; without one the process ends with exit code 7.";
        self.seconds("start_timeout_seconds", purpose, Duration::from_mins(1))
    }

    /// `limits.*`: bounds on connections; `own` where the file says nothing.
    pub fn connection_limits(&mut self, own: &ConnectionLimits) -> ConnectionLimits {
        ConnectionLimits {
            handshake: self.seconds(
                "limits.handshake_seconds",
                "For the TLS handshake of a new connection.",
                own.handshake,
            ),
            headers: self.seconds(
                "limits.headers_seconds",
                "For the headers of an HTTP/1.1 request, the silence before them included.",
                own.headers,
            ),
            keep_alive: self.seconds(
                "limits.keep_alive_seconds",
                "Between two HTTP/2 pings to a client.",
                own.keep_alive,
            ),
            keep_alive_timeout: self.seconds(
                "limits.keep_alive_timeout_seconds",
                "For the answer to an HTTP/2 ping, after which the connection is closed.",
                own.keep_alive_timeout,
            ),
            idle: self.seconds(
                "limits.idle_seconds",
                "How long a connection is kept without a request in flight.",
                own.idle,
            ),
            unread: self.seconds(
                "limits.unread_seconds",
                "How long answers may wait for a client that reads none of them, before its connection is cut.",
                own.unread,
            ),
            age: self.seconds(
                "limits.age_seconds",
                "When a connection is told to go (GOAWAY), give or take 10 %; its open streams go on.",
                own.age,
            ),
            streams: self.count(
                "limits.streams",
                "HTTP/2 streams that one connection may have open.",
                own.streams,
            ),
            connections: self.count(
                "limits.connections",
                "Connections that may be open; more wait in the kernel's queue.",
                own.connections,
            ),
            drain: self.seconds(
                "limits.drain_seconds",
                "For open streams once a stop was asked for; then they are cut.",
                own.drain,
            ),
        }
    }
}
