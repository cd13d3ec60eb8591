//! `cube proxy`: an endpoint of this machine's own for clients that cannot check evidence themselves.
//!
//! Flow of a request: [`guard`] (it comes from a program of this user, and from no web page) → [`forward`] (over a
//! connection that is verified, and verified again every ten minutes) → the answer, piece by piece. Whatever is
//! not verified upstream is told to the client in its own dialect, and nothing of its request has left.

mod forward;
mod guard;

use std::{
    convert::Infallible,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use attested_client::{AttestedClient, Demands, fresh_nonce};
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use service_runtime::{CancellationToken, TaskTracker, shutdown_on_signals};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    time::timeout,
};
use tonic::body::Body;

use self::{forward::Upstream, guard::Guard};
use crate::{args::proxy::ProxyArgs, ask::connect, failure::Failure, input, table};

/// For a request's headers.
const HEADERS: Duration = Duration::from_secs(10);
/// For answers that are under way when the proxy is stopped.
const DRAIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: ProxyArgs) -> Result<u8, Failure> {
    let (judgement, channel) = connect(&args.gateway).await?;
    if channel.is_none() {
        table::summary(&judgement, &mut table::stderr())?;
        return Ok(judgement.exit_code());
    }
    table::limits(&judgement, &mut table::stderr())?;
    let api_key = args.api_key_file.as_deref().map(one_line).transpose()?;
    let door = Door::open(&args).await?;
    let guard = Guard::new(&fresh_nonce()?, door.port());
    let gateway = args.gateway;
    let demands = Demands {
        target: gateway.url.clone(),
        trust: input::server_trust(&gateway.server)?,
        limits: gateway.server.limits(),
        roots: input::roots(&gateway.roots)?,
        policy: input::policy(&gateway.policy)?,
        clock: input::now,
    };
    door.tell(&guard)?;
    table::progress(&format!("verified; requests go to {} until Ctrl-C", gateway.url));
    let upstream = Upstream::new(AttestedClient::new(demands), api_key.as_deref())?;
    let shutdown = shutdown_on_signals()?;
    door.serve(Proxy { guard, upstream }, shutdown).await;
    // What went through was worth what the verdict was.
    Ok(judgement.exit_code())
}

/// Where clients come in.
enum Door {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, PathBuf),
}

impl Door {
    async fn open(args: &ProxyArgs) -> Result<Self, Failure> {
        if let Some(path) = &args.socket {
            let problem = |error| Failure::file("listen on", path, &error);
            let listener = UnixListener::bind(path).map_err(problem)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(problem)?;
            return Ok(Self::Unix(listener, path.clone()));
        }
        let problem = |error| Failure::Usage(format!("cannot listen on {}: {error}", args.listen));
        let listener = TcpListener::bind(args.listen).await.map_err(problem)?;
        let address = listener.local_addr().map_err(problem)?;
        Ok(Self::Tcp(listener, address))
    }

    fn port(&self) -> Option<u16> {
        if let Self::Tcp(_, address) = self { Some(address.port()) } else { None }
    }

    /// What a client needs, as lines that a shell can take in.
    fn tell(&self, guard: &Guard) -> Result<(), Failure> {
        let (mut out, key) = (table::stdout(), guard.key());
        match self {
            Self::Tcp(_, address) => {
                writeln!(out, "OPENAI_BASE_URL=http://{address}/v1\nOPENAI_API_KEY={key}")?;
                writeln!(out, "OLLAMA_HOST=http://{address}\nOLLAMA_API_KEY={key}")?;
            }
            Self::Unix(_, path) => writeln!(out, "CUBE_SOCKET={}\nCUBE_API_KEY={key}", path.display())?,
        }
        Ok(out.flush()?)
    }

    async fn serve(self, proxy: Proxy, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        while let Some(accepted) = shutdown.run_until_cancelled(self.accept()).await {
            let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
            match accepted {
                Ok(Socket::Tcp(stream)) => drop(tasks.spawn(proxy.connection(stream, shutdown))),
                Ok(Socket::Unix(stream)) => drop(tasks.spawn(proxy.connection(stream, shutdown))),
                // Such as too many open files; those that are open go on meanwhile.
                Err(error) => {
                    table::progress(&format!("a connection cannot be accepted: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        tasks.close();
        drop(timeout(DRAIN, tasks.wait()).await);
        if let Self::Unix(_, path) = self {
            drop(fs::remove_file(path));
        }
    }

    async fn accept(&self) -> std::io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener, _) => {
                let stream = listener.accept().await?.0;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            Self::Unix(listener, _) => Socket::Unix(listener.accept().await?.0),
        })
    }
}

enum Socket {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// What answers requests; a cheap handle.
#[derive(Clone)]
struct Proxy {
    guard: Guard,
    upstream: Upstream,
}

impl Proxy {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.guard.check(&request) {
            Ok(()) => self.upstream.forward(request).await,
            Err(refusal) => refusal.answer(&request),
        }
    }

    async fn connection<IO>(self, io: IO, shutdown: CancellationToken)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(move |request| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
        builder.http2().timer(TokioTimer::new());
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
        tokio::select! {
            // How a client goes is its own matter.
            ended = serving.as_mut() => return drop(ended),
            () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        drop(serving.await);
    }
}

/// A secret as it stands in a file, its line end apart.
fn one_line(path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(input::file(path)?);
    let text = text.map_err(|_| Failure::Usage(format!("{} is not UTF-8", path.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
