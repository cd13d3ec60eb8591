//! An Envoy with one of the committed files.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::sleep};

/// For it to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// It ends when dropped.
pub(crate) struct Envoy {
    child: Child,
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Envoy {
    /// Runs `text`, which listens on `address`.
    pub(crate) async fn start(program: &Path, text: &str, address: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(81);
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("envoy.yaml"), folder.path().join("log"));
        fs::write(&file, text).unwrap();
        let id = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let child = Command::new(program)
            .arg("-c")
            .arg(file)
            .args(["--concurrency", "2", "-l", "warning", "--disable-hot-restart", "--base-id", &id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        let envoy = Self { child, address, folder };
        envoy.listens().await;
        envoy
    }

    /// What it said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn listens(&self) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < end, "Envoy does not listen: {}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A file of `deploy/mesh/envoy`, each pair of texts replaced, which it has to have.
pub(crate) fn committed(name: &str, replaced: &[(&str, String)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/mesh/envoy").join(name);
    let text = fs::read_to_string(path).unwrap();
    replaced.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{name} has no {from}");
        text.replace(from, to)
    })
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
