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

use crate::{error::BackendError, permit::Permit};

/// A connection to the model server. Only [`dial`] makes it; dropping it closes it.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects to the model server, once, within `limit`.
///
/// `address` is loopback or a unix socket: the measured configuration has no other.
pub(crate) async fn dial<P: Permit>(
    address: &BackendAddress,
    permit: &P,
    limit: Duration,
) -> Result<Socket, BackendError> {
    permit.check().map_err(|_| BackendError::Lapsed)?;
    match timeout(limit, connect(address)).await {
        Ok(connected) => connected.map_err(|error| BackendError::Unreachable(why(&error))),
        Err(_) => Err(BackendError::Unreachable("it did not accept the connection in time")),
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
    use super::*;
    use crate::permit::tests::TestPermit;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn every_dialled_tcp_socket_has_nodelay() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = BackendAddress::Tcp(listener.local_addr().unwrap());
        let Socket::Tcp(stream) = dial(&address, &TestPermit::default(), LIMIT).await.unwrap() else {
            panic!("not TCP");
        };
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn without_leave_nothing_is_dialled() {
        let permit = TestPermit::default();
        permit.0.cancel();
        let address = BackendAddress::Unix("/nonexistent".into());
        assert_eq!(dial(&address, &permit, LIMIT).await.unwrap_err(), BackendError::Lapsed);
    }

    #[tokio::test]
    async fn an_absent_server_is_named() {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for address in [BackendAddress::Tcp(gone), BackendAddress::Unix("/nonexistent".into())] {
            let error = dial(&address, &TestPermit::default(), LIMIT).await.unwrap_err().to_string();
            assert!(error.contains("backend.address; start it"), "{error}");
        }
    }
}
