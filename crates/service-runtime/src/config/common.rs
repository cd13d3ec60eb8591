//! The keys that services share, read in one place.

use std::{fmt::Display, net::SocketAddr, path::PathBuf, time::Duration};

use super::{Observability, Settings};
use crate::{
    accept::Limits,
    measured::{MeasuredConfig, sha256},
};

/// What every service is told. `P` is the policy, of which this crate knows the digest only.
#[derive(Debug)]
pub struct Common<P> {
    /// `measured`: the measured configuration.
    pub measured: MeasuredConfig,
    /// `policy`: what the evidence must satisfy; the one that the measured configuration names.
    pub policy: P,
    /// `run_dir`: folder of the enrolment sockets.
    pub run_dir: PathBuf,
    /// `listen`: the service's port.
    pub listen: SocketAddr,
    /// What operators are told, and where.
    pub observability: Observability,
}

impl<P> Common<P> {
    /// Reads the shared keys. `listen` is [`Settings::address`] or [`Settings::loopback`].
    pub fn read<E: Display>(
        settings: &mut Settings,
        listen: fn(&mut Settings, &str) -> Option<SocketAddr>,
        policy: impl FnOnce(&[u8]) -> Result<P, E>,
    ) -> Option<Self> {
        let measured = settings.file("measured", MeasuredConfig::parse);
        let policy = settings.file("policy", |bytes| policy(bytes).map(|policy| (policy, sha256(bytes))));
        if let (Some(measured), Some((_, used))) = (&measured, &policy) {
            check_policy_digest(settings, &measured.policy_sha256, used);
        }
        let run_dir = settings.path("run_dir");
        let listen = listen(settings, "listen");
        let observability = Observability::read(settings);
        Some(Self {
            measured: measured?,
            policy: policy?.0,
            run_dir: run_dir?,
            listen: listen?,
            observability,
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
        self.seconds("start_timeout_seconds", Duration::from_mins(1))
    }

    /// `limits.*`: bounds on connections.
    pub fn connection_limits(&mut self) -> Limits {
        let own = Limits::default();
        Limits {
            handshake: self.seconds("limits.handshake_seconds", own.handshake),
            headers: self.seconds("limits.headers_seconds", own.headers),
            keep_alive: self.seconds("limits.keep_alive_seconds", own.keep_alive),
            idle: self.seconds("limits.idle_seconds", own.idle),
            unread: self.seconds("limits.unread_seconds", own.unread),
            age: self.seconds("limits.age_seconds", own.age),
            streams: self.count("limits.streams", own.streams),
            connections: self.count("limits.connections", own.connections),
            drain: self.seconds("limits.drain_seconds", own.drain),
        }
    }
}
