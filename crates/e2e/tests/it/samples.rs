//! The samples in `deploy/config`, as they lie there.

use std::{path::Path, process::Command};

use dev_stack::Role;

use crate::rig::program;

#[test]
fn every_sample_passes_check_config() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
    for role in Role::ALL {
        let config = folder.join(format!("{}.toml", role.service()));
        let mut command = Command::new(program(role.service()));
        let output = command.arg("--config").arg(config).arg("--check-config").output().unwrap();
        assert!(output.status.success(), "{role:?}: {}", String::from_utf8_lossy(&output.stderr));
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            shown.contains("measured     trust_domain") && shown.contains("operational  listen"),
            "{shown}"
        );
    }
}
