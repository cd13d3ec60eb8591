//! LLM gateways between client and model server: one hop, without TLS, as their users run them. What each is told beyond
//! that is only what it needs to start, to be quiet, and to use one process.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{
    Outcome,
    http::Http,
    way::{Door, Socket},
};

/// Until the first answer; Python imports for long.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(200);

/// The names by which `cargo xtask bench gateway` gives their programs.
pub(crate) const NAMES: [&str; 4] = ["litellm", "sglang-router", "smg", "vllm-router"];

/// A running gateway; it ends when dropped.
pub(crate) struct Peer {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Peer {
    /// Returns when it has answered.
    pub(crate) async fn start(name: &str, program: &Path, backend: SocketAddr) -> Outcome<Self> {
        let (folder, address) = (tempfile::tempdir()?, free()?);
        let mut command = Command::new(program);
        if name == "litellm" {
            litellm(&mut command, folder.path(), backend)?;
        } else {
            router(&mut command, name, backend)?;
        }
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        let child = command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let peer = Self { child, address, _folder: folder };
        peer.answers().await.map_err(|error| format!("{name} did not start: {error}"))?;
        Ok(peer)
    }

    pub(crate) fn process(&self) -> Outcome<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    pub(crate) fn door(&self) -> Door {
        Door::to(self.address, None)
    }

    async fn answers(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let tried = match Http::connect(&Socket { address: self.address, tls: None }, begun).await {
                Ok(mut client) => client.unary().await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(_) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Three that grew from one; they take the same flags.
fn router(command: &mut Command, name: &str, backend: SocketAddr) -> Outcome<()> {
    if name != "vllm-router" {
        command.arg("launch");
    }
    command.args([
        "--worker-urls",
        &format!("http://{backend}"),
        "--policy",
        "round_robin",
        "--log-level",
        "error",
    ]);
    command.args(["--prometheus-port", &free()?.port().to_string()]);
    Ok(())
}

fn litellm(command: &mut Command, folder: &Path, backend: SocketAddr) -> Outcome<()> {
    let config = folder.join("config.yaml");
    let model = format!("model: openai/bench, api_base: \"http://{backend}/v1\", api_key: none");
    fs::write(&config, format!("model_list:\n  - model_name: bench\n    litellm_params: {{ {model} }}\n"))?;
    command.arg("--config").arg(config).args(["--num_workers", "1"]);
    // Its own five seconds are over before the last of so many clients has had an answer.
    command.args(["--keepalive_timeout", "75"]);
    command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
    // Without it, no start; with a key, its check would count too.
    command.env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
    Ok(())
}

fn free() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
