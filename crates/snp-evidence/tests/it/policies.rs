//! Policy files are read strictly, and all their problems are told at once.

use snp_evidence::Policy;

use crate::support::policy_text;

fn problems(text: &str) -> Vec<String> {
    Policy::parse(text.as_bytes()).unwrap_err().0
}

#[test]
fn the_committed_policies_parse_and_are_named_by_their_bytes() {
    for name in ["cryptographic.toml", "strict.toml"] {
        let text = policy_text(name);
        let policy = Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{name}: {errors}"));
        assert_eq!(policy.sha256(), crate::world::sha256(text.as_bytes()));
    }
}

#[test]
fn an_empty_policy_misses_every_rule() {
    let problems = problems("");
    assert!(problems.iter().all(|problem| problem.ends_with("missing; every check has to be stated")));
    assert_eq!(problems.len(), 35, "{problems:#?}");
}

#[test]
fn each_missing_rule_is_named() {
    let text = policy_text("strict.toml");
    let no_rule = |line: &&str| ["#", "allow = ", "reason = "].iter().any(|start| line.starts_with(start));
    for line in text.lines().filter(|line| line.contains(" = ") && !no_rule(line)) {
        let found = problems(&text.replace(&format!("{line}\n"), ""));
        let rule = line.split(' ').next().unwrap();
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(rule) && found[0].contains("missing"), "{line}: {found:?}");
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let text = policy_text("strict.toml")
        .replace("version = 1\n", "version = 2\n")
        .replace("debug = \"forbid\"", "debug = \"require\"")
        .replace(
            "vmpl = { off = \"paravisors and cloud agents ask at VMPL 1 or higher\" }",
            "vmpl = { off = \"\" }",
        )
        + "\n[extra]\nrule = 1\n";
    let found = problems(&text).join("\n");
    for expected in [
        "version: this program reads policies of version 1",
        "guest_policy.debug: need \"forbid\" or { off = \"why\" }",
        "vmpl: off stands alone and needs a reason",
        "extra: unknown",
    ] {
        assert!(found.contains(expected), "{expected} not in\n{found}");
    }
}

#[test]
fn wrong_values_are_refused() {
    let text = policy_text("strict.toml");
    let line =
        |rule: &str| text.lines().find(|line| line.starts_with(&format!("{rule} = "))).unwrap().to_owned();
    for (rule, value) in [
        ("report_version", "{ off = \"any\" }"),
        ("report_version", "[2]"),
        ("report_version", "{ allow = [1] }"),
        ("report_version", "{ allow = [6] }"),
        ("vmpl", "{ allow = [-1] }"),
        ("vmpl", "{ allow = [4] }"),
        ("vmpl", "{ allow = [0], off = \"why\" }"),
        ("vmpl", "\"require\""),
        ("firmware_version", "{ minimum = \"1.55\" }"),
        ("firmware_version", "{ minimum = \"+1.55.40\" }"),
        ("firmware_version", "{ minimum = { venice = \"1.55.40\" } }"),
        ("firmware_version", "{ minimum = { milan = \"1.55.40\", venice = \"1.55.40\" } }"),
        ("platform_info", "{ set = [\"colour\"], clear = [] }"),
        ("platform_info", "{ set = [\"smt\"], clear = [\"smt\"] }"),
        ("platform_info", "{ set = [\"smt\"] }"),
        ("platform_info", "{ milan = { set = [\"smt\"] } }"),
        ("platform_info", "{ milan = { set = [], clear = [] }, set = [], clear = [] }"),
        ("mitigations", "{ minimum = { turin = { launch = 1, current = 1 } } }"),
        ("mitigations", "{ minimum = { turin = { launch = \"0x+1\", current = \"0x1\" } } }"),
        ("mitigations", "{ minimum = { launch = \"0x1\", current = \"0x1\" } }"),
        ("id_key", "{ allow = [\"00\"] }"),
        ("report_id", "\"require\""),
        ("report_id_ma", "\"require\""),
        ("report_id_ma", "{ allow = [\"00\"] }"),
        ("crl", "\"forbid\""),
        ("crl", "{ stale_days = 0 }"),
        ("crl", "{ stale_days = 8 }"),
        ("guest_svn", "{ minimum = \"3\" }"),
        ("measurement", "{ allow = [] }"),
        ("measurement", "{ allow = [], covers = \"kernel-only\" }"),
        ("measurement", "{ allow = [], covers = \"userspace\", reason = \"none needed\" }"),
        ("measurement", "{ allow = [], covers = \"everything\" }"),
        (
            "reported",
            "{ minimum = { milan = { fmc = 1, bootloader = 1, tee = 1, snp = 1, microcode = 1 } } }",
        ),
        ("reported", "{ minimum = { turin = { bootloader = 1, tee = 1, snp = 1, microcode = 1 } } }"),
        ("reported", "{ minimum = { venice = { bootloader = 1, tee = 1, snp = 1, microcode = 1 } } }"),
        ("reported", "{ minimum = { milan = { bootloader = 256, tee = 1, snp = 1, microcode = 1 } } }"),
        ("identity", "\"yes\""),
        ("allow", "\"all\""),
        ("allow", "\"chips\""),
    ] {
        let changed = text.replacen(&line(rule), &format!("{rule} = {value}"), 1);
        assert_eq!(problems(&changed).len(), 1, "{rule} = {value}");
    }
}

#[test]
fn no_key_is_not_a_key() {
    let zero = format!("{{ allow = [\"{}\"] }}", "00".repeat(48));
    for rule in ["id_key", "author_key"] {
        let text = policy_text("strict.toml")
            .replace(&format!("{rule} = {{ off = \"names no deployment\" }}"), &format!("{rule} = {zero}"));
        assert!(problems(&text)[0].contains("zero is no key's digest"), "{rule}");
    }
}

#[test]
fn a_rule_stated_twice_is_refused() {
    let text = policy_text("strict.toml").replace("[vlek]", "debug = \"forbid\"\n[vlek]");
    assert!(problems(&text)[0].contains("unknown"));
    let text = policy_text("strict.toml").replace("smt =", "debug = \"forbid\"\nsmt =");
    assert!(problems(&text)[0].contains("not TOML"));
}

#[test]
fn kernel_only_measurements_say_what_they_do_not_cover() {
    let mut case = crate::world::Case::new();
    case.policy("covers = \"userspace\"", "covers = \"kernel-only\", reason = \"trial run\"");
    let verified = case.judge().unwrap_or_else(|refusal| panic!("{refusal}"));
    let measurement = verified.checks().iter().find(|check| check.id == "measurement").unwrap();
    assert!(measurement.expected.contains("the host can change the programs"), "{}", measurement.expected);
}
