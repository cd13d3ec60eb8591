//! The files of a simulated deployment whose services run in containers, each as a user of its own: for `cargo xtask conformance
//! containers`.
//!
//! Argument: the folder. It may be read by everybody; the machine in it lives for a day and proves nothing.

use std::{
    error::Error,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use dev_stack::{Options, Service, new_root, prepare};
use service_runtime::{BackendAddress, SystemClock};

/// As `deploy/containers` has them.
const USERS: [u32; 3] = [6401, 6402, 6403];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("name the folder")?);
    let server = BackendAddress::Tcp(([127, 0, 0, 1], 8000).into());
    let options = Options { users: Some(USERS), ..Options::on([127, 0, 0, 1].into(), "openai", server) };
    let files = prepare(&folder, &options, &new_root(&SystemClock)?)?;
    for service in Service::ALL {
        let config = files.config(service);
        let text = fs::read_to_string(&config)?.replace("run_dir = \"run\"", "run_dir = \"/run/cube/svc\"");
        fs::write(config, text.replace("audit.dir = \"audit\"", "audit.dir = \"/run/cube/audit\""))?;
    }
    for entry in [files.folder().to_owned(), files.collateral(), files.run_dir()] {
        fs::set_permissions(&entry, Permissions::from_mode(0o755))?;
        for file in fs::read_dir(entry)? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::set_permissions(file.path(), Permissions::from_mode(0o644))?;
            }
        }
    }
    Ok(())
}
