//! `docs/configuration.md`: every key of every file.

use service_runtime::{Absent, Configuration, Key, MeasuredConfig, config_keys};

use crate::{row, wrapped};

/// One configuration file.
pub(crate) struct File {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    class: &'static str,
    pub(crate) keys: Vec<Key>,
}

/// Every configuration file but the policy, whose rules are docs/spec/policy.md.
pub(crate) fn files() -> [File; 4] {
    [
        File {
            name: "measured.toml",
            about: "What relying parties can hold the CVM to. The SHA-256 of this file, as it lies here, is HOST_DATA: one \
                    byte more or less is another deployment.",
            class: "measured",
            keys: MeasuredConfig::config_keys(),
        },
        service::<attestation_svc::Config>(
            "attestation-svc.toml",
            "What attestation-svc is started with. Paths start at the folder of this file.",
        ),
        service::<inference_gateway::Config>(
            "inference-gateway.toml",
            "What inference-gateway is started with. Paths start at the folder of this file.",
        ),
        service::<backend_adapter::Config>(
            "backend-adapter.toml",
            "What backend-adapter is started with. Paths start at the folder of this file.",
        ),
    ]
}

fn service<C: Configuration>(name: &'static str, about: &'static str) -> File {
    File { name, about, class: "operational", keys: config_keys::<C>() }
}

pub(crate) fn page(files: &[File]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for File { name, about, class, keys } in files {
        page.extend(["\n## ", name, "\n\n", &wrapped("", about), "\n", HEAD]);
        page.extend(keys.iter().map(|key| {
            let (name, absent) = (format!("`{}`", key.name), absent(&key.absent));
            row(&[&name, key.kind, &key.range, &absent, class, key.purpose])
        }));
    }
    page + CONSTANTS
}

fn absent(absent: &Absent) -> String {
    match absent {
        Absent::Refused => "required".to_owned(),
        Absent::Unset => "not set".to_owned(),
        Absent::Default(value) => format!("`{value}`"),
    }
}

const HEAD: &str = "\
| key | type, unit | range | default | class | what it is for |
|---|---|---|---|---|---|
";

const INTRODUCTION: &str = "\
# Configuration

This page is generated from the code that reads the keys; `cargo xtask codegen` renews it. `deploy/config/` has a sample
of each file, with every key and what it is for.

Each service reads one file of its own, `--config FILE`, and the two that this file names: the measured configuration and
the policy, which are the same for the three services. Files are TOML, at most 1 MiB, and not writable by everybody.
Nothing about trust has a default. A key that is missing, unknown, of another type or out of its range is an error, and
one run reports the errors of all files; the service then ends with exit code 2 ([errors.md](errors.md)).

**Class.** A *measured* key is part of what relying parties can hold the CVM to, through HOST_DATA. An *operational* key
can be changed without asking them, and cannot make a service serve what it must not. The policy has rules instead of keys
([spec/policy.md](spec/policy.md)); its digest is measured.

`<service> --config FILE --check-config` starts nothing. It prints each key with its class and the value in force, marked
`(default)` or `(not set)` where the file does not say it, and the two digests; or every problem. No key holds a secret:
what is secret will be named by a path.

**Types.** *seconds*, *bytes* and *number* are whole numbers, written without quotes; every other value is a text in
quotes. A relative *path* starts at the folder of the file that says it. A dot in a key leads into a table: `log.level` is
`level` below `[log]`.
";

const CONSTANTS: &str = "
## What is no key

Changing these would change what a lease or a token is worth, so they are constants, stated in
[spec/lease.md](spec/lease.md) and [spec/health-token.md](spec/health-token.md): a heartbeat every 5 s, lapse 15 s after
the last that was answered, tokens of 90 s renewed every 30 s, SVIDs of an hour, eight connections from gateway to adapter.
There is no key and no flag that turns a check off; rules of the policy that are off say why in the policy.
";
