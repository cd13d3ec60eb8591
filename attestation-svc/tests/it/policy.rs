//! A policy for the simulated machine.

use crate::world::MEASUREMENT;

/// Accepts the measurement [`MEASUREMENT`] on any simulated Genoa.
pub(crate) fn policy() -> String {
    TEMPLATE.replace("@MEASUREMENT@", &hex::encode(MEASUREMENT))
}

const TEMPLATE: &str = r#"
version = 1
report_version = { allow = [5] }
vmpl = { allow = [0] }
firmware_version = { off = "test" }
platform_info = { off = "test" }
mitigations = { off = "test" }
id_key = { off = "test" }
author_key = { off = "test" }
family_id = { off = "test" }
image_id = { off = "test" }
guest_svn = { off = "test" }
report_id = { off = "test" }
report_id_ma = "forbid"
host_data = { off = "attestation-svc compares it with the measured configuration" }
report_data = "require"
crl = { off = "test" }
gpu_evidence = { off = "test" }
[measurement]
allow = ["@MEASUREMENT@"]
covers = "kernel-only"
reason = "test"
[product.milan]
allow = "any"
reason = "test"
[product.genoa]
allow = "any"
reason = "test"
[product.turin]
allow = "any"
reason = "test"
[guest_policy]
debug = "forbid"
migration_agent = "forbid"
smt = { off = "test" }
single_socket = { off = "test" }
abi = { off = "test" }
features = { off = "test" }
[tcb]
reported = { off = "test" }
committed = { off = "test" }
launch = { off = "test" }
current = { off = "test" }
committed_is_current = "require"
ordered = "require"
[vlek]
csp = { off = "test" }
[instance]
identity = { off = "test" }
"#;
