//! The route file of Cube AI's proxy. One CVM has one model server, whose paths the gateway knows; so each route either is the
//! model server's, is the gateway's own, or is refused with its reason.

use serde::Deserialize;

use super::{Migration, local};

#[derive(Deserialize)]
struct File {
    router: Router,
    tls: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Router {
    #[serde(default)]
    routes: Vec<Route>,
    default_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    name: String,
    target_url: String,
    #[serde(default)]
    matchers: Vec<Matcher>,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    default_rule: bool,
    #[serde(default)]
    strip_prefix: String,
    enabled: Option<bool>,
    /// A label of its audit records, and nothing more.
    #[serde(rename = "event_type")]
    _event_type: Option<serde_json::Value>,
    /// The same.
    #[serde(rename = "atls")]
    _atls: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matcher {
    condition: String,
    #[serde(default)]
    field: String,
    #[serde(default)]
    pattern: serde_json::Value,
    #[serde(default)]
    is_regex: bool,
}

pub(super) fn read(bytes: &[u8], migration: &mut Migration) -> Result<(), String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| format!("no route file: {error}"))?;
    let mut routes = file.router.routes;
    routes.sort_by_key(|route| std::cmp::Reverse(route.priority));
    if file.tls.is_some() {
        migration.tell("tls", "was never read; here TLS 1.3 is not a setting");
    }
    for route in &routes {
        one(route, migration);
    }
    if let Some(url) = file.router.default_url.filter(|url| !url.is_empty()) {
        to_model_server("default_url", &url, migration);
    }
    Ok(())
}

fn one(route: &Route, migration: &mut Migration) {
    let what = format!("route {} (priority {})", route.name, route.priority);
    if route.enabled == Some(false) {
        return migration.tell(&what, "is not enabled");
    }
    match route.name.as_str() {
        "attestation" => {
            return migration.tell(
                &what,
                "the gateway answers itself: /attestation/report and /.well-known/cube-attestation",
            );
        }
        "health" => {
            return migration.tell(&what, "the gateway answers itself: health.listen, and gRPC health");
        }
        _ => {}
    }
    if let Some(why) = route.matchers.iter().find_map(refused) {
        return migration.open(&what, &why);
    }
    if route.default_rule || route.matchers.is_empty() {
        return to_model_server(&what, &route.target_url, migration);
    }
    match local(&route.target_url) {
        None => migration.open(&what, "leads out of the CVM, and prompts do not leave it; run the service inside, behind a proxy of the mesh (docs/deploy/mesh.md)"),
        Some(_) if !route.strip_prefix.is_empty() => {
            migration.open(&what, "strip_prefix: the gateway knows the model server's paths as they are (docs/apis.md)");
        }
        Some(_) => {
            let paths: Vec<_> = route.matchers.iter().map(|matcher| matcher.pattern.to_string()).collect();
            let becomes = format!("{}: the gateway knows the model server's paths itself (docs/apis.md); another server is another CVM", paths.join(", "));
            migration.tell(&what, &becomes);
        }
    }
}

/// Why a matcher cannot be had.
fn refused(matcher: &Matcher) -> Option<String> {
    let Matcher { condition, field, is_regex, .. } = matcher;
    match condition.as_str() {
        "path" | "method" if *is_regex => Some(format!(
            "{condition} by a regular expression that need not match the whole: say which paths are meant (docs/apis.md)"
        )),
        "path" | "method" => None,
        "header" => {
            Some(format!("whoever sends header {field} chooses the way: a caller could pass the guard by it"))
        }
        "query_param" => Some(format!("whoever sends {field} chooses the way")),
        "body_field" | "body_regex" => {
            Some("decides by what a prompt says; nothing here reads prompts to decide their way".to_owned())
        }
        other => Some(format!("condition {other} is unknown to this program")),
    }
}

fn to_model_server(what: &str, url: &str, migration: &mut Migration) {
    if local(url).is_some() {
        migration.backend(what, url);
        migration.tell(what, "is the model server: backend.address");
    } else {
        migration.tell(
            what,
            "led to the agent, a hop that is gone: the gateway is inside the CVM; the model server is the agent's \
             UV_CUBE_AGENT_TARGET_URL (`cube migrate env`)",
        );
    }
}
