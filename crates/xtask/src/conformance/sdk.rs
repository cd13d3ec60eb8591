//! Official clients of OpenAI's and Ollama's interfaces.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use super::example;
use crate::{
    backend,
    ci::clients,
    shell::{cache, is_there, progress, run},
};

/// Versions of the packages for Node.
const NODE: &[(&str, &str)] = &[("ollama", "0.6.4"), ("openai", "7.57.0")];

/// The run `name` with Python.
pub(super) fn python(name: &str) -> Result<Command> {
    driver(name, clients()?.join("python"))
}

/// The run `name` with Node and this package.
pub(super) fn node(name: &str, package: &str) -> Result<Command> {
    let wanted = NODE.iter().find(|(known, _)| *known == package).context("an unknown package")?;
    let home = packages(&[*wanted])?;
    let mut driver = driver(name, PathBuf::from("node"))?;
    // Where Node looks for packages of a script that is no file.
    driver.current_dir(home);
    Ok(driver)
}

/// Installs packages for Node, with their versions; the folder in which it finds them.
pub(super) fn packages(wanted: &[(&str, &str)]) -> Result<PathBuf> {
    ensure!(
        is_there("node") && is_there("npm"),
        "node and npm are needed (Debian: apt-get install nodejs npm)"
    );
    let home = cache().join("node");
    for (package, version) in wanted {
        if home.join("node_modules").join(package).exists() {
            continue;
        }
        progress(&format!("installing {package}@{version} into .cache/node (once)"));
        fs::create_dir_all(&home)?;
        let mut npm = Command::new("npm");
        npm.current_dir(&home).args(["install", "--no-audit", "--no-fund", "--silent"]);
        run(npm.arg(format!("{package}@{version}")))?;
    }
    Ok(home)
}

fn driver(name: &str, interpreter: PathBuf) -> Result<Command> {
    backend::install()?;
    let mut driver = example("sdk")?;
    driver.arg(name).arg(interpreter);
    Ok(driver)
}
