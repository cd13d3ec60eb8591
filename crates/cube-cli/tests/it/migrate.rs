//! `cube migrate`, on files of the shape that Cube AI has.

use serde_json::json;

use crate::tool::{Run, cube_reading};

async fn env(text: &str) -> Run {
    cube_reading(&["migrate", "env", "-"], text).await
}

async fn routes(text: &str) -> Run {
    cube_reading(&["migrate", "routes", "-"], text).await
}

#[tokio::test]
async fn variables_become_keys_or_are_told_where_they_went() {
    let run = env("PATH=/bin\n# comment\nexport UV_CUBE_PROXY_PORT=8900\nUV_CUBE_PROXY_LOG_LEVEL=DEBUG\n\
         UV_CUBE_AGENT_TARGET_URL=\"http://localhost:11434\"\nUV_CUBE_AGENT_ATTESTED_TLS=true\n\
         UV_CUBE_PROXY_DB_HOST=db\nUV_CUBE_PROXY_ROUTER_CONFIG=docker/config.json\n")
    .await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = "# inference-gateway.toml\nlisten = \"0.0.0.0:8900\"\nlog.level = \"debug\"\n\n\
                    # measured.toml\nbackend.address = \"http://127.0.0.1:11434\"\nbackend.kind = \"ollama\"\n\n";
    assert_eq!(run.stdout, expected);
    for told in ["ATTESTED_TLS: cannot be off", "PROXY_DB_HOST: there is no database", "`cube migrate routes"]
    {
        assert!(run.stderr.contains(told), "{told}: {}", run.stderr);
    }
}

#[tokio::test]
async fn what_is_unknown_or_leads_elsewhere_has_to_be_decided() {
    let run = env(
        "UV_CUBE_AGENT_NEWER=1\nUV_CUBE_AGENT_TARGET_URL=http://ollama:11434\nUV_CUBE_AGENT_LOG_LEVEL=loud\n",
    )
    .await;
    assert_eq!((run.code, run.stdout.as_str()), (1, ""));
    for open in ["UV_CUBE_AGENT_NEWER: is unknown", "not on this machine", "log.level is one of"] {
        assert!(run.stderr.contains(open), "{open}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("loud"), "values may be secrets");
    assert_eq!(env("PATH=/bin\n").await.code, 2);
}

/// The set that Cube AI ships.
fn shipped() -> String {
    let route = |name: &str, priority: u32, target: &str, matchers: serde_json::Value| {
        json!({ "name": name, "priority": priority, "target_url": target, "matchers": matchers, "enabled": true,
                "atls": false, "strip_prefix": "", "default_rule": name == "agent", "event_type": "x" })
    };
    let path =
        |pattern: &str, regex: bool| json!([{ "condition": "path", "pattern": pattern, "is_regex": regex }]);
    let header = json!([{ "condition": "header", "field": "X-Guardrails-Request", "pattern": "true", "is_regex": false }]);
    let routes = [
        route("agent", 0, "http://cube-agent:8901", json!([])),
        route("guardrails-agent", 25, "http://cube-agent:8901", header),
        route("forward-to-guardrails", 20, "http://guardrails:8001", path("/api/chat$", true)),
        route("attestation", 15, "http://cube-agent:8901", path("/attestation", false)),
        route("audit", 10, "http://opensearch:9200", path("/audit", false)),
    ];
    json!({ "router": { "routes": routes, "default_url": "http://127.0.0.1:8000" }, "tls": { "enabled": false } }).to_string()
}

#[tokio::test]
async fn each_route_is_told_of_by_priority() {
    let run = routes(&shipped()).await;
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stdout.contains("backend.address = \"http://127.0.0.1:8000\"\nbackend.kind = \"openai\""));
    for told in [
        "route guardrails-agent (priority 25): whoever sends header X-Guardrails-Request",
        "route forward-to-guardrails (priority 20): path by a regular expression",
        "route attestation (priority 15): the gateway answers itself",
        "route audit (priority 10): leads out of the CVM",
        "route agent (priority 0): led to the agent",
        "tls: was never read",
    ] {
        assert!(run.stderr.contains(told), "{told}: {}", run.stderr);
    }
    let body = shipped().replace("\"header\"", "\"body_regex\"");
    assert!(routes(&body).await.stderr.contains("decides by what a prompt says"));
    for text in ["{}", "[]", "{\"router\":{\"routes\":[{\"name\":\"a\"}]}}", "{\"router\":{\"others\":1}}"] {
        assert_eq!(routes(text).await.code, 2, "{text}");
    }
}
