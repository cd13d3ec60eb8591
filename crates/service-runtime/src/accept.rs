//! The accept loop of every listener: TCP with TLS, or a unix socket.
//!
//! It owns what no router can see: the handshake and its exporter, TCP_NODELAY,
//! limits, the age of connections, and the drain at the end.

use std::{
    convert::Infallible,
    fmt, io,
    os::fd::AsFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http::{Extensions, Request, Response};
use hyper::body::Incoming as RequestBody;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tracing::{Instrument, debug};

use crate::{
    connection::{Connection, ServerTls, TlsFacts, UnixPeer},
    lifetime::{Activity, TrackedBody, departure, end_of_life, jittered},
    observer::Observer,
    unit::unit_of,
};

static NEXT_CONNECTION: AtomicU64 = AtomicU64::new(1);

/// The TLS configuration for the next connection; `None` while there is none, and
/// then the connection is closed.
pub type TlsSource = Arc<dyn Fn() -> Option<ServerTls> + Send + Sync>;

/// Makes the extensions that every request of a new connection carries.
pub type Scope = Arc<dyn Fn(&Arc<Connection>) -> Extensions + Send + Sync>;

/// A scope that adds nothing.
pub fn no_scope() -> Scope {
    Arc::new(|_| Extensions::new())
}

/// A listener.
#[derive(Debug)]
pub enum Incoming {
    /// TCP; TLS is required.
    Tcp(TcpListener),
    /// A unix socket; no TLS, HTTP/2 with prior knowledge.
    Unix(UnixListener),
    /// TCP without TLS, for what this crate itself serves: health and metrics.
    #[non_exhaustive]
    Plaintext(TcpListener),
}

/// Bounds on connections. Defaults are those of the design.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For an HTTP/1.1 request's headers, the time before its first byte included: a kept connection
    /// without a request ends after this, not after `idle`.
    pub headers: Duration,
    /// Between HTTP/2 pings.
    pub keep_alive: Duration,
    /// For the answer to each.
    pub keep_alive_timeout: Duration,
    /// Without a request in flight.
    pub idle: Duration,
    /// For answers that the peer does not read, while it reads nothing else either.
    pub unread: Duration,
    /// Until a connection takes no more requests (± 10 %).
    pub age: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub streams: u32,
    /// Open connections.
    pub connections: usize,
    /// For open streams once a stop was asked for, and for a connection told to go that has none.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            keep_alive_timeout: Duration::from_secs(20),
            idle: Duration::from_mins(5),
            unread: Duration::from_mins(1),
            age: Duration::from_mins(30),
            streams: 256,
            connections: 10_000,
            drain: Duration::from_secs(30),
        }
    }
}

/// One listener's server.
#[derive(Clone)]
pub struct Server {
    /// Answers the requests; the whole layer stack.
    pub router: Router,
    /// TLS of a TCP listener. A TCP connection without one is closed.
    pub tls: Option<TlsSource>,
    /// Extensions of each connection's requests.
    pub scope: Scope,
    /// Bounds.
    pub limits: ConnectionLimits,
    /// Each change tells the connections of that moment to go (GOAWAY).
    pub recycle: watch::Receiver<u64>,
    /// Tells of connections and requests.
    pub observer: Observer,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Server {
    /// Serves until `shutdown`, then lets open streams end for at most `limits.drain`.
    pub async fn serve(self, incoming: Incoming, shutdown: CancellationToken) {
        let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let server = Arc::new(self);
        let mut refusing = false;
        loop {
            let next = async {
                // A place first: over the limit, connections wait in the kernel's queue.
                let place = places.clone().acquire_owned().await;
                (place, incoming.accept().await)
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                (place, accepted) = next => match (place, accepted) {
                    (Ok(place), Ok(socket)) => {
                        let ends = Ends { shutdown: shutdown.clone(), cut: cut.clone() };
                        tracker.spawn(server.clone().connection(socket, place, ends));
                        refusing = false;
                    }
                    (_, Err(error)) => wait_out(&error, std::mem::replace(&mut refusing, true)).await,
                    (Err(_), _) => break,
                },
            }
        }
        drop(incoming);
        tracker.close();
        if timeout(server.limits.drain, tracker.wait()).await.is_err() {
            cut.cancel();
            tracker.wait().await;
        }
    }

    async fn connection(self: Arc<Self>, socket: Socket, place: OwnedSemaphorePermit, ends: Ends) {
        let counted = self.observer.connection();
        let result = match socket {
            Socket::Tcp(stream) => self.tls_connection(stream, ends).await,
            Socket::Unix(stream) => self.unix_connection(stream, ends).await,
            Socket::Plaintext(stream) => self.plaintext_connection(stream, ends).await,
        };
        if let Err(error) = result {
            debug!(%error, "connection ended");
        }
        drop((place, counted));
    }

    async fn tls_connection(self: Arc<Self>, stream: TcpStream, ends: Ends) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let recycle = self.recycle_from_now();
        let tls = self.tls.as_ref().and_then(|source| source()).ok_or_else(no_credentials)?;
        let accept = TlsAcceptor::from(tls.config).accept(stream);
        let stream = tokio::select! {
            stream = timeout(self.limits.handshake, accept) => {
                stream.map_err(Into::into).flatten().inspect_err(|_| self.observer.handshake_failed())?
            }
            () = ends.shutdown.cancelled() => return Ok(()),
        };
        let facts = TlsFacts::of(stream.get_ref().1, tls.leaf_spki_sha256).map_err(io::Error::other)?;
        let http2 = facts.http2;
        let version = if http2 { Version::Http2 } else { Version::Http1 };
        // HTTP/2 is read all the time, and needs no second look.
        let socket = if http2 { None } else { Some(second_look(stream.get_ref().0)?) };
        let serving = self.http(stream, version, connection(Some(facts), None), recycle, ends);
        tokio::select! {
            ended = serving => ended,
            () = departure(socket) => Ok(()),
        }
    }

    async fn unix_connection(self: Arc<Self>, stream: UnixStream, ends: Ends) -> io::Result<()> {
        let peer = stream.peer_cred()?;
        let unit = unit_of(&stream).unwrap_or_else(|error| {
            debug!(%error, "the kernel does not tell the unit of a process");
            None
        });
        let peer = UnixPeer { uid: peer.uid(), pid: peer.pid(), unit };
        let recycle = self.recycle_from_now();
        self.http(stream, Version::Http2, connection(None, Some(peer)), recycle, ends).await
    }

    async fn plaintext_connection(self: Arc<Self>, stream: TcpStream, ends: Ends) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let recycle = self.recycle_from_now();
        self.http(stream, Version::Either, connection(None, None), recycle, ends).await
    }

    /// What was recycled before does not concern a connection; what is from here on, does, the
    /// handshake included: it may show a certificate that is replaced meanwhile.
    fn recycle_from_now(&self) -> watch::Receiver<u64> {
        let mut recycle = self.recycle.clone();
        recycle.mark_unchanged();
        recycle
    }

    async fn http<IO>(
        &self,
        io: IO,
        version: Version,
        connection: Connection,
        recycle: watch::Receiver<u64>,
        ends: Ends,
    ) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = Arc::new(connection);
        let mut extensions = (self.scope)(&connection);
        extensions.insert(connection.clone());
        let activity = Arc::new(Activity::default());
        let service = hyper::service::service_fn(|request| {
            answer(self.router.clone(), extensions.clone(), activity.clone(), self.observer.clone(), request)
        });
        let builder = self.builder(version);
        let mut serving = pin!(builder.serve_connection(TokioIo::new(io), service));
        let age = jittered(self.limits.age, connection.id);
        let end = end_of_life(age, self.limits.idle, &activity, recycle);
        let mut unread = pin!(activity.unread_for(self.limits.unread));
        tokio::select! {
            ended = serving.as_mut() => return ended.map_err(io::Error::other),
            () = unread.as_mut() => return Err(io::Error::other("the peer does not read its answers")),
            () = end => {}
            () = ends.shutdown.cancelled() => {}
        }
        serving.as_mut().graceful_shutdown();
        tokio::select! {
            ended = serving => ended.map_err(io::Error::other),
            () = unread => Err(io::Error::other("the peer does not read its answers")),
            // It has no stream left and does not go, or never spoke HTTP at all.
            () = activity.idle_for(self.limits.drain) => Ok(()),
            () = ends.cut.cancelled() => Ok(()),
        }
    }

    fn builder(&self, version: Version) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.headers);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.limits.keep_alive)
            .keep_alive_timeout(self.limits.keep_alive_timeout)
            .max_concurrent_streams(self.limits.streams);
        match version {
            Version::Http1 => builder.http1_only(),
            Version::Http2 => builder.http2_only(),
            Version::Either => builder,
        }
    }
}

/// How a connection learns of the service's end: first asked to finish, then cut.
struct Ends {
    shutdown: CancellationToken,
    cut: CancellationToken,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Plaintext(TcpStream),
}

/// What a connection speaks.
#[derive(Clone, Copy)]
enum Version {
    Http1,
    Http2,
    /// Its first bytes tell.
    Either,
}

impl Incoming {
    async fn accept(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => Socket::Tcp(listener.accept().await?.0),
            Self::Unix(listener) => Socket::Unix(listener.accept().await?.0),
            Self::Plaintext(listener) => Socket::Plaintext(listener.accept().await?.0),
        })
    }
}

async fn answer(
    router: Router,
    extensions: Extensions,
    activity: Arc<Activity>,
    observer: Observer,
    mut request: Request<RequestBody>,
) -> Result<Response<TrackedBody>, Infallible> {
    let (in_flight, mut seen) = (activity.begin(), observer.seen(&request));
    request.extensions_mut().extend(extensions);
    let response = router.oneshot(request).instrument(seen.span().clone()).await?;
    seen.answered(&response);
    Ok(response.map(|body| TrackedBody::new(body, in_flight, seen)))
}

fn connection(tls: Option<TlsFacts>, unix_peer: Option<UnixPeer>) -> Connection {
    Connection { id: NEXT_CONNECTION.fetch_add(1, Ordering::Relaxed), tls, unix_peer }
}

/// The same socket once more, for [`departure`].
fn second_look(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.as_fd().try_clone_to_owned()?.into())
}

fn no_credentials() -> io::Error {
    io::Error::other("no certificate to show yet")
}

/// Out of file descriptors or the like: the next accept would fail at once, again.
async fn wait_out(error: &io::Error, said: bool) {
    if !said {
        tracing::warn!(%error, "connections cannot be accepted");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}
