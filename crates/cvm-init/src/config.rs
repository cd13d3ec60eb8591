//! `/etc/cube/init.toml`, which lies in the measured initrd: what runs, and as whom.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Doing, Stop};

/// What the image runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: Vec<Service>,
}

/// One process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    pub(crate) uid: u32,
    /// Made for it, and its own.
    #[serde(default)]
    pub(crate) folders: Vec<PathBuf>,
    /// Given to it; one that this machine has not is passed over.
    #[serde(default)]
    pub(crate) devices: Vec<PathBuf>,
    /// NAME=VALUE; nothing else is in its environment.
    #[serde(default)]
    pub(crate) environment: Vec<String>,
    /// The network comes up when it says that it serves.
    #[serde(default)]
    pub(crate) opens_network: bool,
    /// Exit codes with which the machine stops: it can never serve here.
    #[serde(default)]
    pub(crate) fatal: Vec<i32>,
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, Stop> {
        let text = std::fs::read_to_string(path).doing(format!("reading {}", path.display()))?;
        Self::parse(&text).doing(path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        for (at, service) in config.service.iter().enumerate() {
            let others = config.service.iter().take(at);
            if others.clone().any(|other| other.name == service.name || other.uid == service.uid) {
                return Err(format!("service {:?} has the name or the user of another", service.name));
            }
            if service.uid == 0 || service.command.is_empty() || service.name.contains('/') {
                return Err(format!(
                    "service {:?} needs a command, and a user that is not root",
                    service.name
                ));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_read() {
        let config = Config::parse(include_str!("../../../deploy/cvm/init.toml")).unwrap();
        let names: Vec<_> = config.service.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["attestation-svc", "backend-adapter", "inference-gateway", "model-server"]);
        let opening: Vec<_> = config.service.iter().filter(|service| service.opens_network).collect();
        assert!(opening.len() == 1 && opening[0].name == "inference-gateway");
    }

    #[test]
    fn each_process_has_a_user_of_its_own_and_none_is_root() {
        let one = |name: &str, uid: u32| {
            format!("[[service]]\nname = \"{name}\"\ncommand = [\"/bin/a\"]\nuid = {uid}\n")
        };
        assert!(Config::parse(&(one("a", 1) + &one("b", 2))).is_ok());
        for text in [
            one("a", 0),
            one("a", 1) + &one("b", 1),
            one("a", 1) + &one("a", 2),
            one("a/b", 1),
            one("a", 1).replace("[\"/bin/a\"]", "[]"),
            one("a", 1) + "other = 1\n",
        ] {
            assert!(Config::parse(&text).is_err(), "{text}");
        }
    }
}
