//! Whether another process of this machine hands out reports. In a pod of Confidential Containers the guest's agent does, to
//! whoever reaches it: with the machine's real processor, over data of the asker's choice. What this service says of its
//! own connections would then be worth nothing, so it does not start.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// For whatever listens to say what it is.
const PATIENCE: Duration = Duration::from_millis(500);
/// As the REST helper of guest-components has it.
const ASK: &[u8] =
    b"GET /aa/evidence?runtime_data=cube HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";

/// Where such an agent is known to be.
#[derive(Debug)]
pub(crate) struct Reporters {
    rest: SocketAddr,
    sockets: Vec<PathBuf>,
}

/// Another process can obtain reports.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "another process of this machine hands out reports, at {0}; take it out of the guest (for Confidential Containers: \
     no attestation-agent and no api-server-rest with evidence), since only attestation-svc may obtain them"
)]
pub(crate) struct OtherReporter(String);

impl Default for Reporters {
    fn default() -> Self {
        let folder = Path::new("/run/confidential-containers/attestation-agent");
        Self {
            rest: (Ipv4Addr::LOCALHOST, 8006).into(),
            sockets: vec![folder.join("attestation-agent.sock"), folder.join("attestation-agent-ttrpc.sock")],
        }
    }
}

impl Reporters {
    /// Refuses a machine that has one.
    pub(crate) async fn check(&self) -> Result<(), OtherReporter> {
        for socket in &self.sockets {
            if answers(socket).await {
                return Err(OtherReporter(socket.display().to_string()));
            }
        }
        if self.rest_answers().await {
            return Err(OtherReporter(format!("http://{}/aa/evidence", self.rest)));
        }
        Ok(())
    }

    /// Something listens there, and does not say that it has no such path.
    async fn rest_answers(&self) -> bool {
        let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(self.rest)).await else { return false };
        let mut status = [0; 12];
        let asked = async {
            stream.set_nodelay(true)?;
            stream.write_all(ASK).await?;
            stream.read_exact(&mut status).await
        };
        let answered = timeout(PATIENCE, asked).await;
        let absent = [&b" 404"[..], &b" 405"[..]].into_iter().any(|code| status.ends_with(code));
        // Silence is no answer to go by, and the end of the connection says that this is no HTTP.
        !(absent || matches!(answered, Ok(Err(_))))
    }
}

/// Whether somebody could connect: a socket that is not ours to enter may be another's.
async fn answers(socket: &Path) -> bool {
    match UnixStream::connect(socket).await {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    async fn rest(answer: &'static [u8]) -> Result<(), OtherReporter> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let reporters = Reporters { rest: listener.local_addr().unwrap(), sockets: Vec::new() };
        let serving = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 16]).await.unwrap();
            stream.write_all(answer).await.unwrap();
            // It keeps the connection open where it says nothing.
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            checked = reporters.check() => checked,
            () = async { serving.await; std::future::pending().await } => unreachable!(),
        }
    }

    #[tokio::test]
    async fn an_agent_that_hands_out_reports_is_found() {
        assert!(rest(b"HTTP/1.1 200 OK\r\n\r\n").await.is_err());
        assert!(rest(b"HTTP/1.1 500 Internal\r\n\r\n").await.is_err());
        assert!(rest(b"").await.is_err(), "silence is not trusted");
        assert!(rest(b"HTTP/1.1 404 Not Found\r\n\r\n").await.is_ok(), "another service on that port");
        assert!(rest(b"SSH-2").await.is_ok());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attestation-agent.sock");
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let reporters = Reporters { rest: nobody, sockets: vec![path.clone()] };
        assert_eq!(reporters.check().await, Ok(()));
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(reporters.check().await, Err(OtherReporter(path.display().to_string())));
        drop(listener);
        assert_eq!(reporters.check().await, Ok(()), "a socket that nobody listens on");
    }
}
