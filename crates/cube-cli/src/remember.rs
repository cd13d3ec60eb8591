//! `cube verify --remember FILE`: nothing may have gone back since the verdict before.
//!
//! What is compared is the word of the measured software. It shows a host that gave the CVM an older disk, or its policy of
//! last month; the evidence alone cannot, since each is genuine. A refusal changes nothing in the file.

use std::{collections::BTreeMap, fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use attested_client::Target;
use serde::{Deserialize, Serialize};
use snp_evidence::{CheckResult, VerifiedBundle};

use crate::{failure::Failure, input, verdict::Row};

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    v: u32,
    /// By HOST:PORT.
    gateways: BTreeMap<String, Seen>,
}

/// What the last good verdict saw of one gateway; bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    boot_seed: String,
    manifest_version: u64,
    audit_seq: u64,
    audit_head: String,
    /// Digests of the policies that the CVM applied to itself, the newest last.
    policies: Vec<String>,
}

/// The rows that the table gets, after what was seen now is in the file, if nothing went back.
pub(crate) fn compare(file: &Path, target: &Target, now: &VerifiedBundle) -> Result<Vec<Row>, Failure> {
    let mut memory = read(file)?;
    let gateway = memory.gateways.entry(target.to_string());
    let mut now = Seen::of(now);
    let rows = match &gateway {
        std::collections::btree_map::Entry::Vacant(_) => vec![first()],
        std::collections::btree_map::Entry::Occupied(before) => now.after(before.get()),
    };
    if rows.iter().all(|row| row.result == CheckResult::Pass) {
        gateway.insert_entry(now);
        write(file, &memory)?;
    }
    Ok(rows)
}

impl Seen {
    fn of(bundle: &VerifiedBundle) -> Self {
        let (manifest, claims) = (bundle.manifest(), bundle.claims());
        Self {
            boot_seed: hex::encode(manifest.boot_seed.0),
            manifest_version: manifest.version,
            audit_seq: claims.audit_seq,
            audit_head: hex::encode(claims.audit_head.0),
            policies: vec![hex::encode(claims.policy_sha256.0)],
        }
    }

    /// What there is to say of this after `before`, whose policies it takes over.
    fn after(&mut self, before: &Self) -> Vec<Row> {
        let rows = vec![self.manifest(before), self.audit_log(before), self.policy(before)];
        let own = self.policies.last().filter(|own| before.policies.last() != Some(own)).cloned();
        self.policies = before.policies.iter().cloned().chain(own).collect();
        rows
    }

    fn same_boot(&self, before: &Self) -> bool {
        self.boot_seed == before.boot_seed
    }

    fn manifest(&self, before: &Self) -> Row {
        let met = !self.same_boot(before) || self.manifest_version >= before.manifest_version;
        let boot = if self.same_boot(before) { "the same boot" } else { "another boot" };
        row(
            "remembered.manifest",
            met,
            format!("version {}, {boot}", self.manifest_version),
            format!("version {} or later, within one boot", before.manifest_version),
            "an earlier answer of this boot was played back; ask again, and send nothing if it stays",
        )
    }

    /// A boot has one verdict in the log, so that its record never changes; a later boot's comes later.
    fn audit_log(&self, before: &Self) -> Row {
        let place = |seen: &Self| format!("record {}, {}", seen.audit_seq, seen.audit_head);
        let (met, expected) = if self.same_boot(before) {
            (place(self) == place(before), place(before))
        } else {
            (self.audit_seq > before.audit_seq, format!("a record after {}", before.audit_seq))
        };
        row(
            "remembered.audit_log",
            met,
            place(self),
            expected,
            "the log was lost or an older one put in its place: ask the operator for it, and `cube audit verify` it",
        )
    }

    fn policy(&self, before: &Self) -> Row {
        let own = self.policies.last();
        let earlier = before.policies.split_last().map_or(&[][..], |(_, earlier)| earlier);
        let known = before.policies.last() == own;
        let observed = own.cloned().unwrap_or_default();
        let is = if known { "the same" } else { "new" };
        row(
            "remembered.policy",
            known || own.is_some_and(|own| !earlier.contains(own)),
            format!("{observed}, {is}"),
            "the CVM's own policy as before, or one that was never replaced".to_owned(),
            "the CVM went back to a policy that it had given up: ask the operator why",
        )
    }
}

fn first() -> Row {
    let (observed, expected) = ("seen for the first time".to_owned(), "nothing to compare with".to_owned());
    row("remembered", true, observed, expected, "")
}

fn row(id: &str, met: bool, observed: String, expected: String, fix: &str) -> Row {
    Row {
        id: id.to_owned(),
        result: if met { CheckResult::Pass } else { CheckResult::Fail },
        unjudged: false,
        observed,
        expected,
        source: "the measured CVM".to_owned(),
        fix: fix.to_owned(),
    }
}

fn read(file: &Path) -> Result<Memory, Failure> {
    let Some(bytes) = input::file_if_any(file)? else {
        return Ok(Memory { v: 1, gateways: BTreeMap::new() });
    };
    let memory: Option<Memory> = serde_json::from_slice(&bytes).ok();
    memory.filter(|memory| memory.v == 1).ok_or_else(|| {
        let mend = "keep it if you can find out what changed it; another name begins anew";
        Failure::Usage(format!("{} is not what --remember wrote: {mend}", file.display()))
    })
}

/// In one step, so that no crash leaves half a memory.
fn write(file: &Path, memory: &Memory) -> Result<(), Failure> {
    let fresh = file.with_added_extension("new");
    let written = || {
        let mut out =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer_pretty(&mut out, memory)?;
        out.write_all(b"\n")?;
        out.sync_all()?;
        fs::rename(&fresh, file)
    };
    written().map_err(|error| Failure::file("write", file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(boot: &str, manifest_version: u64, audit_seq: u64, policies: &[&str]) -> Seen {
        let policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
        let (boot_seed, audit_head) = (boot.to_owned(), format!("head of {boot}"));
        Seen { boot_seed, manifest_version, audit_seq, audit_head, policies }
    }

    /// The rows that fail.
    fn refused(before: &Seen, mut now: Seen) -> Vec<String> {
        let rows = now.after(before).into_iter();
        rows.filter(|row| row.result == CheckResult::Fail).map(|row| row.id).collect()
    }

    #[test]
    fn what_goes_on_is_accepted() {
        let before = seen("a", 3, 2, &["p", "q"]);
        for now in [before.clone(), seen("a", 4, 2, &["q"]), seen("b", 1, 3, &["q"]), seen("b", 1, 9, &["r"])]
        {
            assert_eq!(refused(&before, now), [""; 0]);
        }
    }

    #[test]
    fn what_went_back_is_refused_by_name() {
        let before = seen("a", 3, 5, &["p", "q"]);
        let rewritten = Seen { audit_head: "another".to_owned(), ..before.clone() };
        for (now, id) in [
            (seen("a", 2, 5, &["q"]), "remembered.manifest"),
            (rewritten, "remembered.audit_log"),
            (seen("a", 3, 6, &["q"]), "remembered.audit_log"),
            (seen("b", 1, 5, &["q"]), "remembered.audit_log"),
            (seen("b", 1, 6, &["p"]), "remembered.policy"),
        ] {
            assert_eq!(refused(&before, now), [id]);
        }
    }

    #[test]
    fn policies_are_kept_in_their_order() {
        let mut now = seen("b", 1, 6, &["r"]);
        now.after(&seen("a", 3, 5, &["p", "q"]));
        assert_eq!(now.policies, ["p", "q", "r"]);
        let mut same = seen("b", 1, 6, &["r"]);
        same.after(&now);
        assert_eq!(same.policies, ["p", "q", "r"]);
    }
}
