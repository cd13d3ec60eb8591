//! Configuration: every problem at once.

use std::fs;

use attestation_svc::{Config, ConfigError, ReportLimits};
use service_runtime::{Exit, describe_config};

use crate::world::World;

fn refused(world: &World) -> ConfigError {
    Config::load(&world.path("service.toml")).unwrap_err()
}

#[test]
fn a_good_configuration_is_summed_up() {
    let world = World::new();
    let summary = describe_config::<Config>(&world.path("service.toml")).unwrap();
    let measured = hex::encode(world.config().measured.sha256());
    let policy = hex::encode(world.policy().sha256());
    assert!(summary.contains(&measured) && summary.contains(&policy), "{summary}");
    assert!(summary.contains("operational  collateral.directory  (not set)"), "{summary}");
}

#[test]
fn the_folder_of_certificates_is_beside_the_file() {
    let world = World::new();
    let found = world.config().collateral;
    assert!(found.directory.is_none() && found.cache.is_none(), "{found:?}");
    world.edit("service.toml", "[log]", "[collateral]\ndirectory = \"amd\"\ncache = \"kept\"\n[log]");
    let found = world.config().collateral;
    assert_eq!((found.directory, found.cache), (Some(world.path("amd")), Some(world.path("kept"))));
}

#[test]
fn nothing_is_fetched_unless_servers_are_named() {
    let world = World::new();
    assert!(world.config().collateral.urls.is_empty());
    let servers = "[kds]\nurls = [\"https://mirror.example:8443/amd\", \"http://[::1]:1/\"]\nrefresh_seconds = 60\n[log]";
    world.edit("service.toml", "[log]", servers);
    let found = world.config().collateral;
    assert_eq!((found.urls.len(), found.refresh.as_secs(), found.deadline.as_secs()), (2, 60, 30));
    world.edit("service.toml", "https://mirror.example:8443/amd", "http://mirror.example");
    world.edit("service.toml", "http://[::1]:1/", "https://kds.example/?a=b");
    let all = refused(&world).to_string();
    for url in ["http://mirror.example", "https://kds.example/?a=b"] {
        assert!(all.contains(&format!("kds.urls: \"{url}\" is neither https://")), "{all}");
    }
}

#[test]
fn limits_have_the_defaults_of_the_design_and_can_be_set() {
    let world = World::new();
    let config = world.config();
    let ReportLimits { boot, call, waiting, every } = config.reports;
    assert_eq!((boot.as_secs(), call.as_secs(), waiting, every.as_millis()), (60, 5, 16_384, 1_000));
    assert_eq!((config.connections.drain.as_secs(), config.connections.streams), (5, 256));
    let limits = "start_timeout_seconds = 9\n[limits]\nreport_seconds = 8\nwaiting_reports = 7\nreports_per_second = 4\ndrain_seconds = 6\n[log]";
    world.edit("service.toml", "[log]", limits);
    let config = world.config();
    let ReportLimits { boot, call, waiting, every } = config.reports;
    assert_eq!((boot.as_secs(), call.as_secs(), waiting, every.as_millis()), (9, 8, 7, 250));
    assert_eq!(config.connections.drain.as_secs(), 6);
}

#[test]
fn problems_of_all_files_are_reported_together() {
    let world = World::new();
    world.edit("service.toml", "127.0.0.1:8444", "0.0.0.0:8444");
    world.edit("service.toml", "[log]", "surprise = 1\n[collateral]\n[log]");
    world.edit("measured.toml", "tenant = \"demo\"", "tenant = \"\"");
    world.edit("measured.toml", "\"localhost\"", "\"local host\"");
    world.edit("policy.toml", "report_data = \"require\"", "");
    let error = refused(&world);
    let all = error.to_string();
    for part in ["listen: 0.0.0.0:8444", "surprise: unknown key", "tenant", "local host", "report_data"] {
        assert!(all.contains(part), "{part} in {all}");
    }
    fs::remove_file(world.path("measured.toml")).unwrap();
    let all = refused(&world).to_string();
    assert!(all.contains("measured.toml: cannot be opened") && all.contains("surprise"), "{all}");
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn another_policy_than_the_measured_one_is_refused() {
    let world = World::new();
    world.edit("policy.toml", "debug = \"forbid\"", "debug = { off = \"convenient\" }");
    let error = refused(&world);
    let told = error.to_string();
    assert!(told.contains("policy.digest") && told.contains(&hex::encode(world.policy().sha256())), "{told}");
    assert_eq!(error.exit(), Exit::Policy);
}
