//! Policies told rule by rule, compared, and held against advisories and evidence.

use snp_evidence::{ADVISORIES, Direction, ExaminedReport, Policy, Setting, TrustRoots, examine};

use crate::{
    support::{captured, edited, load, policy, policy_text, recorded},
    world::Case,
};

const ONE: &str = "0101010101010101010101010101010101010101010101010101010101010101";
const TWO: &str = "0202020202020202020202020202020202020202020202020202020202020202";

fn parse(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn direction(rule: &str, from: &str, to: &str) -> Direction {
    let key = rule.rsplit('.').next().unwrap();
    let [from, to] = [from, to].map(|value| edited("strict.toml", &[(key, value)]));
    let changes = from.compare(&to);
    let others: Vec<_> =
        changes.iter().filter(|c| c.from.id != rule && c.direction != Direction::Same).collect();
    assert!(others.is_empty(), "{others:?}");
    changes.iter().find(|change| change.from.id == rule).unwrap().direction
}

#[test]
fn every_rule_of_a_file_is_told_and_every_judged_rule_is_among_them() {
    let told: Vec<_> = policy("strict.toml").statements().into_iter().map(|s| s.id).collect();
    let file: toml::Table = policy_text("strict.toml").parse().unwrap();
    let mut stated = Vec::new();
    for (key, value) in &file {
        match value
            .as_table()
            .filter(|_| ["product", "guest_policy", "tcb", "vlek", "instance"].contains(&&**key))
        {
            Some(section) => stated.extend(section.keys().map(|rule| format!("{key}.{rule}"))),
            None if key == "version" => {}
            None => stated.push(key.clone()),
        }
    }
    let (mut sorted, mut own) = (stated.clone(), told.clone());
    sorted.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, sorted);
    let verdict = Case::new().judge().unwrap();
    let judged: Vec<_> =
        verdict.checks().iter().map(|check| check.id).filter(|id| told.contains(id)).collect();
    let order: Vec<_> = told.iter().filter(|id| !id.starts_with("product.")).copied().collect();
    assert_eq!(judged.len(), order.len());
    assert!(judged.iter().skip(2).eq(order.iter().skip(2)), "{judged:?} {order:?}");
}

#[test]
fn settings_and_reasons_are_told() {
    let told = policy("strict.toml").statements();
    let find = |id: &str| told.iter().find(|statement| statement.id == id).unwrap();
    assert_eq!(
        (find("guest_policy.debug").setting, &*find("guest_policy.debug").demand),
        (Setting::Required, "forbid")
    );
    assert_eq!(find("report_version").setting, Setting::Allowed);
    let off = find("vmpl");
    assert_eq!((off.setting, &*off.demand), (Setting::Off, ""));
    assert!(off.reason.as_ref().unwrap().starts_with("paravisors"));
    assert!(find("product.milan").reason.is_some());
}

#[test]
fn what_nothing_can_meet_is_told() {
    for (rule, value) in [
        ("measurement", "{ allow = [], covers = \"userspace\" }"),
        ("host_data", "{ allow = [] }"),
        ("guest_svn", "{ minimum = 4294967295 }"),
        ("firmware_version", "{ minimum = \"255.255.255\" }"),
        ("reported", "{ minimum = {} }"),
        ("report_id_ma", "{ allow = [] }"),
        ("identity", "{ ca_spki = [] }"),
    ] {
        let told = edited("strict.toml", &[(rule, value)]).statements();
        let found: Vec<_> = told.iter().filter(|s| s.accepts_nothing).map(|s| s.id).collect();
        assert!(found.len() == 1 && found[0].ends_with(rule), "{rule}: {found:?}");
    }
    assert!(policy("strict.toml").statements().iter().all(|statement| !statement.accepts_nothing));
}

/// Each pair from looser to stricter; turned round, it is looser.
#[test]
fn the_stricter_of_two_is_known() {
    let (one, two) = (format!("{{ allow = [\"{ONE}\"] }}"), format!("{{ allow = [\"{TWO}\", \"{ONE}\"] }}"));
    let keys = |list: &str| format!("{{ ca_spki = [{list}] }}");
    let measured = |covers: &str| format!("{{ allow = [], covers = {covers} }}");
    for (rule, loose, strict) in [
        ("guest_policy.debug", "{ off = \"x\" }", "\"forbid\""),
        ("report_version", "{ allow = [3, 2] }", "{ allow = [3] }"),
        ("host_data", &*two, &*one),
        ("host_data", &*one, "{ allow = [] }"),
        ("report_id_ma", &format!("{{ allow = [\"{}\", \"{ONE}\"] }}", "ff".repeat(32)), "\"forbid\""),
        ("guest_svn", "{ minimum = 1 }", "{ minimum = 2 }"),
        ("guest_policy.abi", "{ minimum = \"0.200\" }", "{ minimum = \"1.0\" }"),
        ("firmware_version", "{ minimum = \"1.55.9\" }", "{ minimum = \"1.55.10\" }"),
        ("firmware_version", "{ minimum = \"1.55.9\" }", "{ minimum = { milan = \"1.55.9\" } }"),
        (
            "tcb.reported",
            "{ minimum = { milan = { bootloader = 1, tee = 0, snp = 9, microcode = 1 } } }",
            "{ minimum = { milan = { bootloader = 1, tee = 0, snp = 9, microcode = 2 } } }",
        ),
        ("platform_info", "{ set = [], clear = [] }", "{ set = [\"ecc\"], clear = [\"smt\"] }"),
        (
            "mitigations",
            "{ minimum = { turin = { launch = \"0x1\", current = \"0x1\" } } }",
            "{ minimum = { turin = { launch = \"0x3\", current = \"0x1\" } } }",
        ),
        ("crl", "{ stale_days = 3 }", "\"require\""),
        ("measurement", &measured("\"kernel-only\", reason = \"x\""), &measured("\"userspace\"")),
        ("instance.identity", &keys(&format!("\"{ONE}\", \"{TWO}\"")), &keys(&format!("\"{ONE}\""))),
    ] {
        assert_eq!(direction(rule, loose, strict), Direction::Stricter, "{rule}: {loose} to {strict}");
        assert_eq!(direction(rule, strict, loose), Direction::Looser, "{rule}: {strict} to {loose}");
        assert_eq!(direction(rule, strict, strict), Direction::Same, "{rule}: {strict}");
    }
}

#[test]
fn what_is_neither_looser_nor_stricter_is_told_apart() {
    let list = |value: &str| format!("{{ allow = [\"{value}\"] }}");
    for (rule, from, to, expected) in [
        ("host_data", &*list(ONE), &*list(TWO), Direction::Other),
        ("vmpl", "{ allow = [0, 1] }", "{ allow = [1, 0] }", Direction::Same),
        ("vmpl", "{ off = \"x\" }", "{ off = \"y\" }", Direction::Reason),
        ("report_id_ma", "\"forbid\"", &*list(&"ff".repeat(32)), Direction::Same),
        ("instance.identity", "\"require\"", &format!("{{ ca_spki = [\"{ONE}\"] }}"), Direction::Other),
        (
            "platform_info",
            "{ set = [\"ecc\"], clear = [] }",
            "{ set = [], clear = [\"smt\"] }",
            Direction::Other,
        ),
        (
            "tcb.current",
            "{ minimum = { milan = { bootloader = 2, tee = 0, snp = 9, microcode = 1 } } }",
            "{ minimum = { milan = { bootloader = 1, tee = 0, snp = 9, microcode = 2 } } }",
            Direction::Other,
        ),
        (
            "firmware_version",
            "{ minimum = { milan = \"1.2.3\" } }",
            "{ minimum = { genoa = \"1.2.3\" } }",
            Direction::Other,
        ),
    ] {
        assert_eq!(direction(rule, from, to), expected, "{rule}: {from} to {to}");
    }
}

#[test]
fn chips_are_compared_too() {
    let any = policy_text("strict.toml");
    let listed = |chips: &str| {
        let section = any.split("[product.turin]\n").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
        any.replace(
            &format!("[product.turin]\n{section}"),
            &format!("[product.turin]\nallow = \"chips\"\nchips = [{chips}]"),
        )
    };
    let (one, none) = (listed("\"0101010101010101\""), listed(""));
    for (from, to, expected) in [
        (&any, &one, Direction::Stricter),
        (&one, &none, Direction::Stricter),
        (&none, &any, Direction::Looser),
        (&any, &any.replace("stored evidence of unknown chips", "why not"), Direction::Reason),
    ] {
        let changes = parse(from).compare(&parse(to));
        let turin = changes.iter().find(|change| change.from.id == "product.turin").unwrap();
        assert_eq!(turin.direction, expected, "{turin:?}");
    }
}

/// A report's own rules, put in the place of those that ask for nothing.
fn tailored(examined: &ExaminedReport) -> Policy {
    let mut text = policy_text("cryptographic.toml");
    for observed in examined.observed_rules() {
        let (section, key) = observed.rule.split_once('.').unwrap_or(("", observed.rule));
        if section == "product" {
            let old = text
                .split(&format!("[product.{key}]\n"))
                .nth(1)
                .unwrap()
                .split("\n\n")
                .next()
                .unwrap()
                .to_owned();
            text = text.replace(&format!("[product.{key}]\n{old}"), "");
            text = text
                .replace("[guest_policy]", &format!("[product]\n{key} = {}\n[guest_policy]", observed.value));
            continue;
        }
        let line = text.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap().to_owned();
        text = text.replace(&format!("\n{line}"), &format!("\n{key} = {}", observed.value));
    }
    parse(&text)
}

#[test]
fn a_report_meets_the_rules_observed_in_it() {
    let Some(folder) = captured() else { return };
    let roots = TrustRoots::amd();
    let mut met = 0;
    for entry in recorded().unwrap().iter().filter(|entry| entry.cryptographic == "accept") {
        let evidence = load(&folder.join(&entry.id));
        let Ok(examined) = examine(&evidence, &roots, &policy("cryptographic.toml"), entry.verify_at) else {
            continue;
        };
        let own = tailored(&examined);
        if let Err(refusal) = examine(&evidence, &roots, &own, entry.verify_at) {
            panic!("{}: {refusal}", entry.id);
        }
        let stricter = policy("cryptographic.toml").compare(&own);
        let stricter = stricter.iter().filter(|change| change.direction == Direction::Stricter).count();
        assert!(stricter >= 9, "{}: {stricter}", entry.id);
        met += 1;
    }
    assert!(met >= 20, "{met}");
}

#[test]
fn a_simulated_guests_own_rules_are_all_observed() {
    let verified = Case::new().judge().unwrap();
    let observed = verified.report().observed_rules();
    let value =
        |rule: &str| observed.iter().find(|o| o.rule == rule).map(|o| o.value.clone()).unwrap_or_default();
    for (rule, expected) in [
        ("product.turin", "{ allow = \"chips\", chips = [\"0101010101010101\"] }"),
        ("guest_policy.smt", "\"forbid\""),
        ("guest_policy.single_socket", "\"require\""),
        ("guest_policy.features", "{ set = [\"ciphertext_hiding\"], clear = [] }"),
        ("guest_policy.abi", "{ minimum = \"1.55\" }"),
        ("vmpl", "{ allow = [1] }"),
        ("guest_svn", "{ minimum = 3 }"),
        ("mitigations", "{ minimum = { turin = { launch = \"0x3\", current = \"0x7\" } } }"),
        ("report_id_ma", "\"forbid\""),
        ("host_data", &format!("{{ allow = [\"{}\"] }}", "06".repeat(32))),
        ("vlek.csp", ""),
    ] {
        assert_eq!(value(rule), expected, "{rule}");
    }
}

#[test]
fn weak_spots_are_told() {
    let strict: Vec<_> = policy("strict.toml").weaknesses().iter().map(|weak| weak.id).collect();
    assert_eq!(strict, ["measurement", "instance.identity", "product.milan", "report_version"]);
    let demanding = parse(include_str!("demanding.toml"));
    assert_eq!(demanding.weaknesses(), []);
    for (edit, expected) in [
        (("debug", "{ off = \"x\" }"), "guest_policy.debug"),
        (("vmpl", "{ allow = [0, 4294967295] }"), "vmpl"),
        (("host_data", &*format!("{{ allow = [\"{}\"] }}", "00".repeat(32))), "host_data"),
        (("measurement", "{ allow = [], covers = \"kernel-only\", reason = \"x\" }"), "measurement"),
    ] {
        let weak = edited("strict.toml", &[edit]).weaknesses();
        assert!(weak.iter().any(|weak| weak.id == expected), "{expected}: {weak:?}");
    }
    let pinned = edited("strict.toml", &[("identity", &format!("{{ ca_spki = [\"{ONE}\"] }}"))]);
    assert!(pinned.weaknesses().iter().all(|weak| weak.id != "instance.identity"));
}

fn unmet(policy: &Policy) -> Vec<&'static str> {
    let unmet =
        ADVISORIES.iter().filter(|advisory| advisory.demands.iter().any(|demand| !demand.met_by(policy)));
    unmet.map(|advisory| advisory.id).collect()
}

#[test]
fn a_floor_below_an_advisorys_is_told() {
    let level = |snp: u8| {
        let tcb = format!("{{ bootloader = 0, tee = 0, snp = {snp}, microcode = 0 }}");
        edited("strict.toml", &[("reported", &format!("{{ minimum = {{ milan = {tcb}, genoa = {tcb} }} }}"))])
    };
    for (policy, expected) in [(policy("strict.toml"), true), (level(23), true), (level(24), false)] {
        assert_eq!(unmet(&policy).contains(&"AMD-SB-3019"), expected);
    }
    let bits = |bit: &str, build: &str| {
        let (bits, version) =
            (format!("{{ set = [{bit}], clear = [] }}"), format!("{{ minimum = \"{build}\" }}"));
        edited("strict.toml", &[("platform_info", &bits), ("firmware_version", &version)])
    };
    assert!(unmet(&bits("", "1.55.38")).contains(&"AMD-SB-3015"));
    assert!(unmet(&bits("\"alias_check_complete\"", "1.55.37")).contains(&"AMD-SB-3015"));
    assert!(!unmet(&bits("\"alias_check_complete\"", "1.55.38")).contains(&"AMD-SB-3015"));
    assert!(unmet(&policy("strict.toml")).contains(&"arXiv 2605.12990"));
    assert!(!unmet(&parse(include_str!("demanding.toml"))).contains(&"arXiv 2605.12990"));
}

#[test]
fn problems_name_their_lines() {
    let text = policy_text("strict.toml").replace("debug = \"forbid\"", "debug = \"allow\"\nextra = 1");
    let line = |word: &str| text.lines().position(|line| line.starts_with(word)).unwrap() + 1;
    let problems = Policy::parse(text.as_bytes()).unwrap_err().0;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].starts_with(&format!("line {}: guest_policy.debug: ", line("debug"))),
        "{problems:?}"
    );
    assert_eq!(problems[1], format!("line {}: guest_policy.extra: unknown", line("extra")));
    let broken = Policy::parse(b"a = 1\nb = \nc = = 2\n").unwrap_err().0;
    assert!(broken.len() >= 2, "{broken:?}");
    assert!(
        broken[0].starts_with("line 2: policy is not TOML") && broken[1].starts_with("line 3: "),
        "{broken:?}"
    );
}
