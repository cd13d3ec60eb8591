//! `UV_CUBE_…`, as agent and proxy of Cube AI read them.

use super::Migration;

/// What begins every name.
const PREFIX: &str = "UV_CUBE_";

/// What has another place, or none: names behind the prefix (`*` is whatever follows), and what to do.
const ELSEWHERE: &[(&str, &str)] = &[
    ("AGENT_HOST", "the agent's port is gone: inference-gateway is the only door, inside the CVM"),
    ("AGENT_PORT", "the agent's port is gone: inference-gateway is the only door, inside the CVM"),
    ("AGENT_URL", "the hop from proxy to agent is gone: the gateway is inside the CVM"),
    ("AGENT_TIMEOUT", "limits.unary_seconds and limits.first_token_seconds have defaults of their own"),
    ("AGENT_INSTANCE_ID", "the instance is named by its evidence at each boot"),
    ("AGENT_SERVER_*", "no certificate comes from outside: the CVM has a CA of its own, in memory"),
    (
        "AGENT_CLIENT_CA_CERTS",
        "callers by certificate: callers.ca and callers.trust_domain (docs/callers.md)",
    ),
    ("AGENT_CLIENT_*", "no certificate comes from outside: the CVM has a CA of its own, in memory"),
    ("AGENT_ATTESTED_TLS", "cannot be off: clients check evidence on their own connection (docs/verify.md)"),
    ("AGENT_CERTS_TOKEN", "no token comes from outside; remove it where it is kept"),
    ("AGENT_ENTITY_ID", "identities are SPIFFE IDs of trust_domain in measured.toml"),
    ("AGENT_CVM_ID", "identities are SPIFFE IDs of trust_domain in measured.toml"),
    ("AGENT_CA_URL", "the CVM has a CA of its own, in memory"),
    ("AGENT_MAA_URL", "Microsoft's service is not asked: `cube verify --azure` checks the evidence itself"),
    ("AGENT_OS_*", "the measurement says what runs: `cube measure`"),
    ("AGENT_VMPL", "`vmpl` of the policy"),
    ("AGENT_ATTESTATION_POLICY", "`cube policy import --from cube FILE`"),
    ("AGENT_PRODUCT_NAME", "[product.…] of the policy"),
    ("ATOM_*", "no identity provider outside is needed; callers have keys or certificates (docs/callers.md)"),
    (
        "PROXY_ATOM_*",
        "no identity provider outside is needed; callers have keys or certificates (docs/callers.md)",
    ),
    (
        "AGENT_ATOM_*",
        "no identity provider outside is needed; callers have keys or certificates (docs/callers.md)",
    ),
    ("PROXY_TARGET_URL", "the hop from proxy to agent is gone: the gateway is inside the CVM"),
    ("PROXY_INSTANCE_ID", "the instance is named by its evidence at each boot"),
    ("PROXY_ROUTER_CONFIG", "`cube migrate routes FILE`"),
    ("PROXY_SERVER_CERT", "the gateway's certificate is of the CVM's own CA; clients get it by `cube trust`"),
    ("PROXY_SERVER_KEY", "the gateway's key never leaves the CVM's memory; remove this one"),
    (
        "PROXY_SERVER_READ_TIMEOUT",
        "limits.headers_seconds and limits.unary_seconds have defaults of their own",
    ),
    ("PROXY_SERVER_WRITE_TIMEOUT", "no answer is cut while it goes on: limits.stream_idle_seconds"),
    ("PROXY_DB_*", "there is no database: routes and policy are files"),
    ("OPENSEARCH_URL", "prompts are not stored; the audit log has decisions (`cube audit`)"),
];

/// Lines of NAME=VALUE, as `env` prints them and Docker's env files have them.
pub(super) fn read(bytes: &[u8], migration: &mut Migration) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let variables: Vec<_> = text.lines().filter_map(variable).collect();
    if variables.is_empty() {
        return Err(format!("has no variable {PREFIX}…"));
    }
    let value = |name| variables.iter().rfind(|(known, _)| *known == name).map(|(_, value)| *value);
    if let Some(port) = value("PROXY_PORT") {
        listen(value("PROXY_HOST").unwrap_or_default(), port, migration);
    }
    for (name, value) in &variables {
        one(name, value, migration);
    }
    Ok(())
}

/// The name behind the prefix, and the value.
fn variable(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    Some((name.strip_prefix(PREFIX)?, value.trim_matches(['"', '\''])))
}

fn one(name: &str, value: &str, migration: &mut Migration) {
    let full = format!("{PREFIX}{name}");
    match name {
        // Taken together.
        "PROXY_HOST" | "PROXY_PORT" => {}
        "PROXY_LOG_LEVEL" => level(&full, value, "inference-gateway.toml", migration),
        "AGENT_LOG_LEVEL" => level(&full, value, "backend-adapter.toml", migration),
        "AGENT_TARGET_URL" => migration.backend(&full, value),
        _ => match ELSEWHERE.iter().find(|(pattern, _)| matches(pattern, name)) {
            Some((_, becomes)) => migration.tell(&full, becomes),
            None => migration.open(&full, "is unknown to this program"),
        },
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

fn listen(host: &str, port: &str, migration: &mut Migration) {
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    match (host.parse::<std::net::IpAddr>(), port.parse::<u16>()) {
        (Ok(ip), Ok(port)) => {
            let address = std::net::SocketAddr::new(ip, port);
            migration.set("inference-gateway.toml", "listen", format!("\"{address}\""));
        }
        _ => migration.open("UV_CUBE_PROXY_HOST, _PORT", "listen has to be ADDRESS:PORT"),
    }
}

fn level(name: &str, value: &str, file: &'static str, migration: &mut Migration) {
    let value = value.to_ascii_lowercase();
    if ["trace", "debug", "info", "warn", "error"].contains(&value.as_str()) {
        migration.set(file, "log.level", format!("\"{value}\""));
    } else {
        migration.open(name, "log.level is one of trace, debug, info, warn, error");
    }
}
