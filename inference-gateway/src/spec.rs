//! A chat request that may be passed on.

use std::fmt;

use proto::{
    inference::v1::{ChatSpec, Sampling},
    spec::{SpecError, check},
};

/// A request that a backend may be asked. Only its check makes it.
pub struct ValidSpec(ChatSpec);

impl ValidSpec {
    /// Refuses a request that no backend could answer.
    pub(crate) fn check(spec: ChatSpec) -> Result<Self, SpecError> {
        check(&spec).map(|()| Self(spec))
    }

    /// The model that is asked.
    pub(crate) fn model(&self) -> &str {
        &self.0.model
    }

    /// How many answers are asked for.
    pub(crate) fn choices(&self) -> u32 {
        self.0.n.unwrap_or(1)
    }

    /// How to sample, where the request says so.
    pub(crate) fn sampling(&self) -> Option<&Sampling> {
        self.0.sampling.as_ref()
    }

    /// The request, for the wire.
    pub fn into_inner(self) -> ChatSpec {
        self.0
    }
}

impl fmt::Debug for ValidSpec {
    // Holds a prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidSpec").finish_non_exhaustive()
    }
}
