//! What could not be had, where it was looked for, and what an operator can do.

use std::{fmt, time::Duration};

use crate::{Keeper, item::Item, kds::NotHad};

/// A certificate or list that nobody gave in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unavailable {
    what: &'static str,
    tried: Vec<String>,
    fix: String,
    /// How long until it may be tried again with another outcome.
    pub(crate) again: Option<Duration>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, tried, fix, .. } = self;
        write!(f, "{what} cannot be had: {}; {fix}", tried.join("; "))
    }
}

impl Unavailable {
    /// Of `wanted`, of which the host `offered` another or none; `not_had` is what the other places gave instead.
    pub(crate) fn new(wanted: &[Item], offered: bool, not_had: NotHad, keeper: &Keeper) -> Self {
        let NotHad { tried, again } = not_had;
        let host = match (wanted.first(), offered) {
            (None, _) => "the report names no chip to ask for, since the host masks it",
            (Some(_), true) => "the host offers another",
            (Some(_), false) => "none from the host",
        };
        let mut places = vec![host.to_owned()];
        let config = &keeper.config;
        let told = |place: &str| tried.iter().any(|line| line.contains(place));
        for (place, set) in [
            ("collateral.directory", config.directory.is_some()),
            ("collateral.cache", config.cache.is_some()),
        ] {
            if !set {
                places.push(format!("{place} is not set"));
            } else if !told(place) {
                places.push(format!("none in {place}"));
            }
        }
        if !keeper.kds.is_configured() {
            places.push("kds.urls is empty".to_owned());
        }
        places.extend(tried);
        Self { what: what(wanted), tried: places, fix: fix(wanted, keeper), again }
    }

    /// Another call looks for it already, and did not end in time.
    pub(crate) fn busy(wanted: &[Item], keeper: &Keeper) -> Self {
        let tried = vec!["another call is looking for it".to_owned()];
        Self { what: what(wanted), tried, fix: fix(wanted, keeper), again: None }
    }

    pub(crate) fn vlek(directory: bool) -> Self {
        let directory =
            if directory { "no vlek.der in collateral.directory" } else { "collateral.directory is not set" };
        Self {
            what: "the VLEK that signed the report",
            tried: vec!["none from the host".to_owned(), directory.to_owned()],
            fix: "only the cloud provider hands it out: have the host offer it, or put it into collateral.directory as \
                  vlek.der"
                .to_owned(),
            again: None,
        }
    }

    /// `error` says what to do already.
    pub(crate) fn directory(error: String) -> Self {
        let fix = "only the cloud provider hands it out".to_owned();
        Self { what: "the VLEK that signed the report", tried: vec![error], fix, again: None }
    }
}

fn what(wanted: &[Item]) -> &'static str {
    match wanted.first() {
        Some(Item::Vcek(_)) | None => "the VCEK of this chip at its reported TCB",
        Some(Item::Asvk(_)) => "the ASVK, issuer of the VLEK",
        Some(Item::List(..)) => "the revocation list that the policy requires",
    }
}

fn fix(wanted: &[Item], keeper: &Keeper) -> String {
    match wanted.first() {
        Some(item) => format!(
            "have the host offer it, reach a server of kds.urls, or put {} into collateral.directory as {}",
            keeper.kds.url(item),
            item.file()
        ),
        None => "have the host unmask it, or offer the VCEK".to_owned(),
    }
}
