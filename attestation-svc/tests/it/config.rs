//! Configuration: every problem at once.

use std::fs;

use attestation_svc::Config;

use crate::world::World;

fn problems(world: &World) -> String {
    Config::load(&world.path("service.toml")).unwrap_err().to_string()
}

#[test]
fn a_good_configuration_is_summed_up() {
    let world = World::new();
    let summary = world.config().summary();
    let measured = hex::encode(world.config().measured.sha256());
    let policy = hex::encode(world.policy().sha256());
    assert!(summary.contains(&measured) && summary.contains(&policy), "{summary}");
    assert_eq!(world.config().check_policy_digest(), Ok(()));
}

#[test]
fn problems_of_all_files_are_reported_together() {
    let world = World::new();
    world.edit("service.toml", "127.0.0.1:8444", "0.0.0.0:8444");
    world.edit("measured.toml", "tenant = \"demo\"", "tenant = \"\"");
    world.edit("policy.toml", "report_data = \"require\"", "");
    let all = problems(&world);
    for part in ["listen: 0.0.0.0:8444", "tenant", "report_data"] {
        assert!(all.contains(part), "{part} in {all}");
    }
}

#[test]
fn unknown_keys_missing_files_and_bad_names_are_named() {
    let world = World::new();
    world.edit("measured.toml", "\"localhost\"", "\"local host\"");
    assert!(problems(&world).contains("local host"));
    fs::remove_file(world.path("measured.toml")).unwrap();
    assert!(problems(&world).contains("measured.toml"));
    world.edit("service.toml", "[log]", "surprise = 1\n[log]");
    assert!(problems(&world).contains("surprise"));
}

#[test]
fn a_policy_that_the_measured_configuration_does_not_name_is_told() {
    let world = World::new();
    world.edit("policy.toml", "reason = \"test\"", "reason = \"other\"");
    let told = world.config().check_policy_digest().unwrap_err().to_string();
    assert!(told.contains("policy.digest") && told.contains(&hex::encode(world.policy().sha256())), "{told}");
}
