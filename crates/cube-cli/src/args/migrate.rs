//! `cube migrate`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(subcommand)]
    pub(crate) command: MigrateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// From the variables of Cube AI's agent and proxy (UV_CUBE_…) to configuration files.
    Env(FileArgs),
    /// From the route file of Cube AI's proxy to what becomes of each route.
    Routes(FileArgs),
}

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct FileArgs {
    /// The file to read; `-` is stdin.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

const HELP: &str = "\
Examples:
  cube migrate env docker/.env > cube.toml
  docker exec cube-agent env | cube migrate env -
  cube migrate routes docker/config.json

What Cube has is printed as TOML, under the name of the file it belongs to; on stderr each line says what becomes of
the rest, and where to. Exit code 1: something has to be decided first. `cube policy import --from cube` has the policy.
docs/migrate-from-cube.md is a worked example.";
