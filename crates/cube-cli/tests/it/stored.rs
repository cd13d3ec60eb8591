//! Stored reports of a simulated machine.

use crate::{
    fake_kds::{FakeKds, Mood},
    shared::policy,
    tool::{Run, cube},
    world::world,
};

/// Accepts whatever is genuine; software, freshness and channel are off.
fn genuine() -> String {
    policy("cryptographic.toml")
}

/// A report with these files beside it.
async fn verify(certs: &[(&str, &[u8])], more: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.bin");
    std::fs::write(&report, world().stored_report()).unwrap();
    for (name, content) in certs {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let (report, folder) = (report.to_str().unwrap(), folder.path().to_str().unwrap());
    cube(&[&["verify", "--report", report, "--certs", folder, "--json"], more].concat()).await
}

#[tokio::test]
async fn a_simulated_report_is_simulated_where_that_is_allowed_and_forged_elsewhere() {
    let (vcek, allow) = ([("vcek.der", world().vcek())], ["--allow-simulated", world().root_file()]);
    let run = verify(&vcek, &[&["--policy", &genuine()], &allow[..]].concat()).await;
    assert_eq!((run.code, run.verdict().as_str()), (0, "simulated"), "{}", run.stdout);
    assert_eq!((run.json()["scope"].as_str(), run.reason().as_str()), (Some("report"), ""));
    assert_eq!(run.json()["report"]["simulated"], true);
    let run = verify(&vcek, &["--policy", &genuine()]).await;
    assert_eq!((run.code, run.verdict().as_str()), (10, "refused"), "{}", run.stdout);
    let run = verify(&vcek, &allow).await;
    assert_eq!((run.code, run.reason().as_str()), (11, "policy.absent"), "{}", run.stdout);
    // A policy that demands a binding cannot be met by what is bound to nothing.
    let run = verify(&vcek, &[&["--policy", world().policy_file()], &allow[..]].concat()).await;
    assert_eq!((run.code, run.reason().as_str()), (13, "report_data"), "{}", run.stdout);
}

#[tokio::test]
async fn the_folder_may_hold_more_than_the_report_needs() {
    let root = std::fs::read(world().root_file()).unwrap();
    let more = ["--policy", &genuine(), "--allow-simulated", world().root_file()];
    let run = verify(&[("vcek.der", world().vcek()), ("vlek.der", world().vcek())], &more).await;
    assert_eq!((run.code, run.verdict().as_str()), (0, "simulated"), "{}{}", run.stdout, run.stderr);
    let run = verify(&[], &more).await;
    assert_eq!((run.code, run.reason().as_str()), (12, "collateral.vek"), "{}", run.stdout);
    for (file, content) in [("vcek.der", b"" as &[u8]), ("ask.pem", &root)] {
        let run = verify(&[(file, content)], &more).await;
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{file}");
        assert!(run.stderr.contains(file), "{}", run.stderr);
    }
}

#[tokio::test]
async fn what_a_report_lacks_is_fetched_where_that_is_asked_for() {
    let kds = FakeKds::start().await;
    kds.put(world().vcek_path(), world().vcek());
    kds.put("/vcek/v1/Genoa/crl", world().list());
    let folder = tempfile::tempdir().unwrap();
    let (report, policy) = (folder.path().join("report.bin"), folder.path().join("policy.toml"));
    std::fs::write(&report, world().stored_report()).unwrap();
    // The list is needed as well.
    let genuine = std::fs::read_to_string(genuine()).unwrap();
    let off = genuine.lines().find(|line| line.starts_with("crl = ")).unwrap();
    std::fs::write(&policy, genuine.replace(off, "crl = \"require\"")).unwrap();
    let (report, policy) = (report.to_str().unwrap(), policy.to_str().unwrap());
    let line = [
        "verify",
        "--report",
        report,
        "--json",
        "--policy",
        policy,
        "--allow-simulated",
        world().root_file(),
    ];
    let url = kds.url();
    let run = cube(&[&line[..], &["--fetch", &url]].concat()).await;
    assert_eq!((run.code, run.verdict().as_str()), (0, "simulated"), "{}{}", run.stdout, run.stderr);
    assert_eq!(kds.asked(), [world().vcek_path(), "/vcek/v1/Genoa/crl".to_owned()]);

    kds.is(Mood::Throttling(Some("60")));
    let run = cube(&[&line[..], &["--fetch", &url]].concat()).await;
    assert_eq!((run.code, run.reason().as_str()), (12, "collateral.vek"), "{}", run.stdout);
    assert!(run.stderr.contains("answers 429 Too Many Requests and asks for 60 s"), "{}", run.stderr);

    let run = cube(&line).await;
    assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{}", run.stderr);
    assert!(run.stderr.contains("--certs or --fetch"), "{}", run.stderr);
}
