//! Answers as operators and programs read them.

use std::io::{self, Write as _};

use proto::attestation::v1::{GetStateResponse, IdentityState, RevokeResponse};
use serde_json::{Value, json};

use crate::table;

/// What simulated evidence calls itself.
const SIMULATED: &str = "simulated-";

pub(super) fn print(text: &str) -> io::Result<()> {
    writeln!(table::stdout(), "{}", text.trim_end())
}

pub(super) fn json(state: &GetStateResponse) -> String {
    pretty(&json!({
        "version": state.version,
        "instance": state.instance,
        "trust_domain": state.trust_domain,
        "evidence_format": state.evidence_format,
        "product": state.product,
        "measurement": state.measurement,
        "policy_sha256": state.policy_sha256,
        "measured_config_sha256": state.measured_config_sha256,
        "manifest_version": state.manifest_version,
        "manifest_sha384": state.manifest_sha384,
        "epoch": state.epoch,
        "min_epoch": state.min_epoch,
        "report_age_seconds": state.report_age_seconds,
        "audit_records": state.audit_records,
        "audit_head": state.audit_head,
        "keys": state.keys.iter().map(|key| json!({ "key": key.key, "sha256": key.sha256, "phase": key.phase })).collect::<Vec<_>>(),
        "identities": state.identities.iter().map(identity).collect::<Vec<_>>(),
    }))
}

fn identity(state: &IdentityState) -> Value {
    let holder = state.holder.as_ref().map(|holder| {
        json!({
            "pid": holder.pid,
            "svid_serial": holder.svid_serial,
            "enrolled_age_seconds": holder.enrolled_age_seconds,
            "heartbeat_age_seconds": holder.heartbeat_age_seconds,
        })
    });
    json!({
        "role": state.role,
        "spiffe_id": state.spiffe_id,
        "uid": state.uid,
        "revoked": state.revoked,
        "min_epoch": state.min_epoch,
        "tokens_granted": state.tokens_granted,
        "holder": holder,
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// The state as a table; a holder's row has its certificate's serial number behind it.
pub(super) fn table(state: &GetStateResponse) -> String {
    let simulated = state.evidence_format.starts_with(SIMULATED);
    let proof = if simulated { ": SIMULATED HARDWARE, nothing is proven" } else { "" };
    let facts = [
        ("attestation-svc", state.version.clone()),
        ("instance", format!("{} of {}", state.instance, state.trust_domain)),
        ("evidence", format!("{}{proof}", state.evidence_format)),
        ("product", state.product.clone()),
        ("measurement", state.measurement.clone()),
        ("policy", state.policy_sha256.clone()),
        ("measured config", state.measured_config_sha256.clone()),
        ("key manifest", format!("version {}, {}", state.manifest_version, state.manifest_sha384)),
        ("health epoch", format!("{}; tokens below {} are void", state.epoch, state.min_epoch)),
        ("audit log", format!("{} records, head {}", state.audit_records, state.audit_head)),
        ("own report", format!("judged {} ago", age(state.report_age_seconds))),
    ];
    let mut text = String::new();
    for (name, value) in facts {
        line(&mut text, &format!("{name:16} {}", table::printable(&value)));
    }
    for key in &state.keys {
        let shown = format!("{:16} {}, {}", key.key, key.phase, key.sha256);
        line(&mut text, &table::printable(&shown));
    }
    line(&mut text, "");
    row(&mut text, ["identity", "uid", "state", "pid", "enrolled", "heartbeat", "tokens", "SVID"]);
    state
        .identities
        .iter()
        .for_each(|identity| row(&mut text, cells(identity).each_ref().map(String::as_str)));
    text
}

fn cells(state: &IdentityState) -> [String; 8] {
    let holder = state.holder.as_ref();
    let standing = match (state.revoked, holder) {
        (true, _) => "revoked",
        (false, Some(_)) => "held",
        (false, None) => "free",
    };
    let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        table::printable(&state.role),
        state.uid.to_string(),
        standing.to_owned(),
        of(holder.map(|holder| holder.pid.to_string())),
        of(holder.map(|holder| age(holder.enrolled_age_seconds))),
        of(holder.and_then(|holder| holder.heartbeat_age_seconds).map(age)),
        state.tokens_granted.to_string(),
        of(holder.map(|holder| table::printable(&holder.svid_serial))),
    ]
}

fn row(text: &mut String, [role, uid, state, pid, enrolled, heartbeat, tokens, svid]: [&str; 8]) {
    let cells = format!("{role:9} {uid:6} {state:8} {pid:8} {enrolled:9} {heartbeat:9} {tokens:7} {svid}");
    line(text, &cells);
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// In the two largest units.
fn age(seconds: u64) -> String {
    match (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, hours, _, _) => format!("{days}d{hours}h"),
    }
}

pub(super) fn revoked(role: Option<&str>, epochs: &RevokeResponse, json: bool) -> String {
    let RevokeResponse { epoch, min_epoch } = epochs;
    match role {
        _ if json => pretty(&json!({ "epoch": epoch, "min_epoch": min_epoch })),
        Some(role) => {
            format!("{role} is revoked and refused until `cube admin reinstate {role}`; epoch {epoch}")
        }
        None => format!("tokens of epochs below {min_epoch} are void; live services are getting new ones"),
    }
}

pub(super) fn reinstated(role: &str, json: bool) -> String {
    if json { pretty(&json!({})) } else { format!("{role} may enrol again") }
}

pub(super) fn rotated(roles: &[String], json: bool) -> String {
    if json {
        return pretty(&json!({ "roles": roles }));
    }
    let roles = if roles.is_empty() { "nobody holds an identity".to_owned() } else { roles.join(", ") };
    format!("told to enrol anew: {}; `cube admin state` shows the new SVIDs", table::printable(&roles))
}

#[cfg(test)]
mod tests {
    use proto::attestation::v1::IdentityHolder;

    use super::*;

    #[test]
    fn ages_are_told_in_two_units() {
        let told = [0, 59, 60, 3599, 3600, 86399, 90000].map(age);
        assert_eq!(told, ["0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d1h"]);
    }

    #[test]
    fn simulated_hardware_is_called_so() {
        let mut state =
            GetStateResponse { evidence_format: "amd-sev-snp-report".into(), ..Default::default() };
        assert!(!table(&state).contains("SIMULATED"));
        state.evidence_format.insert_str(0, "simulated-");
        assert!(table(&state).contains("SIMULATED HARDWARE"));
    }

    #[test]
    fn each_identity_is_a_row_that_says_how_it_stands() {
        let holder = Some(IdentityHolder { pid: 12, heartbeat_age_seconds: None, ..Default::default() });
        let identity = |role: &str, revoked, holder| IdentityState {
            role: role.into(),
            revoked,
            holder,
            ..Default::default()
        };
        let identities = vec![
            identity("gateway", false, holder),
            identity("adapter", true, None),
            identity("third", false, None),
        ];
        let text = table(&GetStateResponse { identities, ..Default::default() });
        let rows: Vec<_> = text.lines().rev().take(3).collect();
        assert!(rows[2].contains("held") && rows[2].contains("12"), "{text}");
        assert!(rows[1].contains("revoked") && rows[0].contains("free"), "{text}");
    }
}
