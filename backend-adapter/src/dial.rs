//! The connection to the model server. There is no other way to one, and this one needs a permit.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use service_runtime::BackendAddress;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tracing::warn;

use crate::{error::BackendError, owner, permit::Permit};

/// A connection to the model server. Only [`dial`] makes it; dropping it closes it.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Where the model server has to be, and who it has to be.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Loopback or a unix socket: the measured configuration has no other.
    pub(crate) address: BackendAddress,
    /// The user it runs as.
    pub(crate) uid: u32,
}

/// Connects to the model server, once, within `limit`, and to no other user's process that took its
/// place.
pub(crate) async fn dial<P: Permit>(
    endpoint: &Endpoint,
    permit: &P,
    limit: Duration,
) -> Result<Socket, BackendError> {
    permit.check().map_err(|_| BackendError::Lapsed)?;
    let Ok(connected) = timeout(limit, connect(&endpoint.address)).await else {
        return Err(BackendError::Unreachable("it did not accept the connection in time"));
    };
    let unreachable = |error| BackendError::Unreachable(why(&error));
    let (stranger, socket) =
        connected.and_then(|socket| Ok((socket.stranger(endpoint.uid)?, socket))).map_err(unreachable)?;
    match stranger {
        None => Ok(socket),
        Some(uid) => {
            warn!(address = %endpoint.address, uid, expected = endpoint.uid, "another user's process listens there");
            Err(BackendError::Stranger)
        }
    }
}

async fn connect(address: &BackendAddress) -> io::Result<Socket> {
    match address {
        BackendAddress::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // A request is one small write; waiting to fill a segment would cost 40 ms.
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }
        BackendAddress::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    }
}

impl Socket {
    /// Who is at the other end, if that is not `expected`.
    fn stranger(&self, expected: u32) -> io::Result<Option<u32>> {
        match self {
            Self::Tcp(stream) => owner::stranger(stream.peer_addr()?, stream.local_addr()?, expected),
            Self::Unix(stream) => Ok(Some(stream.peer_cred()?.uid()).filter(|uid| *uid != expected)),
        }
    }
}

fn why(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        "nobody listens at backend.address; start it"
    } else if error.kind() == io::ErrorKind::NotFound {
        "no socket at backend.address; start it"
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        "this user may not open the socket at backend.address"
    } else {
        "the connection failed"
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader},
        net::SocketAddr,
        os::unix::{fs::PermissionsExt, process::CommandExt},
        process::{Command, Stdio},
    };

    use nix::unistd::geteuid;
    use tokio::net::TcpListener;

    use super::*;
    use crate::permit::tests::TestPermit;

    const LIMIT: Duration = Duration::from_secs(10);

    fn mine(address: BackendAddress) -> Endpoint {
        Endpoint { address, uid: geteuid().as_raw() }
    }

    #[tokio::test]
    async fn every_dialled_tcp_socket_has_nodelay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = mine(BackendAddress::Tcp(listener.local_addr().unwrap()));
        let Socket::Tcp(stream) = dial(&endpoint, &TestPermit::default(), LIMIT).await.unwrap() else {
            panic!("not TCP");
        };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn without_leave_nothing_is_dialled() {
        let permit = TestPermit::default();
        permit.0.cancel();
        let endpoint = mine(BackendAddress::Unix("/nonexistent".into()));
        assert_eq!(dial(&endpoint, &permit, LIMIT).await.unwrap_err(), BackendError::Lapsed);
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for address in [BackendAddress::Tcp(gone), BackendAddress::Unix("/nonexistent".into())] {
            let error = dial(&mine(address), &TestPermit::default(), LIMIT).await.unwrap_err().to_string();
            assert!(error.contains("backend.address; start it"), "{error}");
        }
    }

    /// A process of another user: only root can start one.
    #[tokio::test]
    async fn a_squatter_is_told_apart_from_the_model_server() {
        if !geteuid().is_root() {
            println!("skipped: only root can start a process of another user");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let path = folder.path().join("backend.sock");
        let mut squatter = Command::new("python3");
        squatter.args(["-c", LISTEN]).arg(&path).uid(OTHER).gid(OTHER);
        let mut squatter = squatter.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(squatter.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let tcp = SocketAddr::from(([127, 0, 0, 1], said.trim().parse().unwrap()));
        for address in [BackendAddress::Tcp(tcp), BackendAddress::Unix(path)] {
            let refused = dial(&mine(address.clone()), &TestPermit::default(), LIMIT).await;
            assert_eq!(refused.unwrap_err(), BackendError::Stranger, "{address}");
            let theirs = Endpoint { address, uid: OTHER };
            dial(&theirs, &TestPermit::default(), LIMIT).await.unwrap();
        }
        squatter.kill().unwrap();
        squatter.wait().unwrap();
    }

    const OTHER: u32 = 64_999;
    /// Listens on both kinds of socket, says the port, and stays until it is killed.
    const LISTEN: &str = "import socket, sys\n\
        tcp, unix = socket.create_server(('127.0.0.1', 0)), socket.socket(socket.AF_UNIX)\n\
        unix.bind(sys.argv[1]); unix.listen()\n\
        print(tcp.getsockname()[1], flush=True)\n\
        sys.stdin.read()";
}
