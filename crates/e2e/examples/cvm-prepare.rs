//! The files of a simulated deployment that boots as a measured image: for `cargo xtask conformance cvm-image`.
//!
//! Arguments: the folder of what lies in the initrd (`/etc/cube`), and the folder of what the host and the relying party have.

use std::{error::Error, fs, path::PathBuf};

use dev_stack::{Options, Service, new_root, prepare};
use service_runtime::{BackendAddress, SystemClock};

/// As `deploy/cvm` has them.
const USERS: [u32; 3] = [6401, 6402, 6403];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (inside, outside) = (arguments.next().ok_or("two folders")?, arguments.next().ok_or("two folders")?);
    let server = BackendAddress::Tcp(([127, 0, 0, 1], 8000).into());
    let options = Options {
        users: Some(USERS),
        measured_image: true,
        ..Options::on([127, 0, 0, 1].into(), "openai", server)
    };
    let files = prepare(&inside, &options, &new_root(&SystemClock)?)?;
    fs::create_dir_all(&outside)?;
    for file in [files.guest(), files.client_policy(), files.root()] {
        fs::copy(&file, outside.join(file.file_name().ok_or("no name")?))?;
    }
    // The simulated hardware tells of the guest; the guest does not.
    fs::remove_file(files.guest())?;
    fs::remove_file(files.client_policy())?;
    for service in Service::ALL {
        let config = files.config(service);
        let text = fs::read_to_string(&config)?
            .replace("run_dir = \"run\"", "run_dir = \"/run/cube\"")
            .replace("audit.dir = \"audit\"", "audit.dir = \"/var/lib/cube/audit\"")
            .replace("listen = \"127.0.0.1:8443\"", "listen = \"0.0.0.0:8443\"");
        fs::write(config, text)?;
    }
    fs::write(inside.join("init.toml"), INIT)?;
    Ok(())
}

/// `deploy/cvm/init.toml` for services on simulated hardware, which is a disk here.
const INIT: &str = r#"
[[service]]
name = "attestation-svc"
command = ["/bin/attestation-svc", "--config", "/etc/cube/attestation-svc.toml", "--simulated-root",
  "/etc/cube/simulated-root.pem", "--machine", "/etc/cube/machine.json", "--guest", "/dev/vda"]
uid = 6400
folders = ["/run/cube", "/var/lib/cube"]
devices = ["/dev/vda"]
fatal = [2, 3, 4, 5]

[[service]]
name = "backend-adapter"
command = ["/bin/backend-adapter", "--config", "/etc/cube/backend-adapter.toml", "--simulated-root", "/etc/cube/simulated-root.pem"]
uid = 6402
fatal = [2, 3, 4]

[[service]]
name = "inference-gateway"
command = ["/bin/inference-gateway", "--config", "/etc/cube/inference-gateway.toml", "--simulated-root", "/etc/cube/simulated-root.pem"]
uid = 6401
opens_network = true
fatal = [2, 3, 4]

[[service]]
name = "model-server"
command = ["/disk/server/model-server", "127.0.0.1:8000"]
uid = 6403
"#;
