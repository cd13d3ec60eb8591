//! Names that labels of metrics may have: they live as long as the process, so they are few.

use std::sync::{Mutex, PoisonError};

/// What every name beyond the bound is called, and every unknown one.
pub(super) const OTHER: &str = "other";

/// At most `most` names.
#[derive(Debug)]
pub(super) struct Names {
    most: usize,
    known: Mutex<Vec<&'static str>>,
}

impl Names {
    pub(super) const fn at_most(most: usize) -> Self {
        Self { most, known: Mutex::new(Vec::new()) }
    }

    /// The name, from now on a known one.
    pub(super) fn learn(&self, name: &str) -> &'static str {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|known| **known == name) {
            return same;
        }
        if known.len() == self.most {
            return OTHER;
        }
        // Never freed, and bounded.
        let name = String::leak(name.to_owned());
        known.push(name);
        name
    }

    /// The name, if it is known.
    pub(super) fn name(&self, name: &str) -> &'static str {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().copied().find(|known| *known == name).unwrap_or(OTHER)
    }
}
