//! Problems gathered before any is reported, so that one run shows them all.

use std::fmt;

use crate::exit::Exit;

/// What is wrong with a configuration; one line each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems(Vec<(Exit, String)>);

impl Problems {
    /// Notes a mistake: which key, what it says, what it should say.
    pub(crate) fn push(&mut self, mistake: impl Into<String>) {
        self.0.push((Exit::Config, mistake.into()));
    }

    /// Notes what is well-formed and not what the deployment was measured with.
    pub(crate) fn refuse(&mut self, why: String) {
        self.0.push((Exit::Policy, why));
    }

    /// Notes a mistake unless `holds`.
    pub(crate) fn require(&mut self, holds: bool, mistake: impl FnOnce() -> String) {
        if !holds {
            self.push(mistake());
        }
    }

    /// Unwraps `result`, or notes its error under `key`.
    pub(crate) fn take<T, E: fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(format!("{key}: {error}"))).ok()
    }

    /// Whether nothing was noted.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The code to end with: mistakes come before what only policy refuses.
    pub(crate) fn exit(&self) -> Exit {
        let refused = self.0.iter().all(|(exit, _)| *exit == Exit::Policy);
        if refused { Exit::Policy } else { Exit::Config }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(_, problem)| write!(f, "\n  {problem}"))
    }
}
