//! Is every check of tokens, leases, attachments and enrolments needed?
//!
//! In a copy of the sources one check after the other is taken out. A case passes where a test then fails, so each is a
//! check that some test notices the loss of. The verifiers' checks are shown otherwise: by evidence (`common/proofs.rs`).

mod list;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use self::list::{Change, Suite};
use super::{Case, Outcome, print};
use crate::shell::{output, target, workspace};

/// For a build, and for the tests of one suite. Tests that do not end have noticed as well.
const BUILD: &str = "15m";
const TESTS: &str = "2m";

/// A case for each check that is taken out.
pub(super) fn removed() -> Result<Vec<Case>> {
    let copy = Copy::make()?;
    let changes = list::changes(&copy.sources)?;
    let mut suites: Vec<_> = changes.iter().map(|change| change.suite).collect();
    suites.sort_unstable();
    suites.dedup();
    for suite in suites {
        ensure!(copy.passes(suite)?, "{suite:?} fails with every check in place");
    }
    let case = |change: &Change| {
        let (result, why) = copy.without(change)?;
        let case = Case { id: format!("unit:removed:{}", change.id), result, why };
        print(&case);
        Ok(case)
    };
    changes.iter().map(case).collect()
}

/// A copy of the sources with a target folder of its own.
struct Copy {
    sources: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// What is the same as before keeps its time, and is not built anew.
    fn make() -> Result<Self> {
        let home = target()?.join("mutants");
        let copy = Self { sources: home.join("sources"), target: home.join("target") };
        let mut git = Command::new("git");
        git.current_dir(workspace()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        for name in String::from_utf8(output(&mut git)?)?.lines() {
            copy.take(name).with_context(|| name.to_owned())?;
        }
        Ok(copy)
    }

    fn take(&self, name: &str) -> Result<()> {
        let (from, to) = (workspace().join(name), self.sources.join(name));
        if !from.exists() {
            return if to.exists() { Ok(fs::remove_file(to)?) } else { Ok(()) };
        }
        let now = fs::read(from)?;
        if fs::read(&to).is_ok_and(|before| before == now) {
            return Ok(());
        }
        fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
        Ok(fs::write(to, now)?)
    }

    fn without(&self, change: &Change) -> Result<(Outcome, String)> {
        let file = self.sources.join(change.file);
        let whole = fs::read_to_string(&file)?;
        fs::write(&file, change.applied(&whole)?)?;
        let built = self.cargo(change.suite, true)?;
        let noticed = if built { Some(!self.passes(change.suite)?) } else { None };
        fs::write(&file, whole)?;
        Ok(match noticed {
            Some(true) => (Outcome::Pass, String::new()),
            Some(false) => (Outcome::Fail, "no test fails without it".to_owned()),
            None => (Outcome::Fail, format!("without it {} cannot be built", change.file)),
        })
    }

    fn passes(&self, suite: Suite) -> Result<bool> {
        ensure!(self.cargo(suite, true)?, "{suite:?} cannot be built");
        self.cargo(suite, false)
    }

    /// Whether a suite can be built, or passes. `timeout` ends what the tests have started with them.
    fn cargo(&self, suite: Suite, only_build: bool) -> Result<bool> {
        let log = File::create(self.target.with_extension("log"))?;
        let mut command = Command::new("timeout");
        command
            .arg(if only_build { BUILD } else { TESTS })
            .arg(env!("CARGO"))
            .args(["test", "--locked", "--quiet"]);
        command.args(suite.arguments()).args(only_build.then_some("--no-run"));
        command.current_dir(&self.sources).env("CARGO_TARGET_DIR", &self.target);
        Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()?.success())
    }
}
