//! A client that leaves takes the backend's work with it, in every phase.

use std::{
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
};

use dev_stack::Service;
use e2e::fake_backend::{FakeBackend, Head, Script, Step};
use futures_util::{
    FutureExt,
    future::{Either, LocalBoxFuture, select},
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use proto::inference::v1::{ChatRequest, inference_service_client::InferenceServiceClient};
use tokio::io::AsyncWriteExt;

use crate::{
    chain::post,
    rig::{PATIENCE, Rig, spec},
};

/// With one place for all: whoever leaves gives it back, or nobody after it would be served.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_closes_the_backend_connection_and_gives_the_place_back() {
    for kind in ["openai", "ollama"] {
        let mut rig = Rig::prepared(kind).await;
        let config = rig.files().config(Service::Gateway);
        let places = "limits.concurrent = 1\nlimits.queue = 1\n".to_owned();
        std::fs::write(&config, places + &std::fs::read_to_string(&config).unwrap()).unwrap();
        rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
        let mut connection = 0;
        for silence in [Script::head(Head::Never), Script::answer([Step::Stall])] {
            // Prefill silence, streamed and unary.
            rig.backend.script(silence.clone());
            leave_once_received(&rig, connection, rig.stream_chat()).await;
            connection += 1;
            rig.backend.script(silence.clone());
            let channel = rig.channel().await;
            let mut client = InferenceServiceClient::new(channel);
            let unary = client.chat(ChatRequest { spec: Some(spec("hello")) });
            leave_once_received(&rig, connection, unary).await;
            connection += 1;
            // The same over HTTP.
            rig.backend.script(silence);
            leave_once_received(&rig, connection, post(&rig, true)).await;
            connection += 1;
        }
        // In mid-stream.
        rig.backend.script(Script::answer([Step::text("one"), Step::Stall]));
        let mut stream = rig.stream_chat().await.unwrap();
        stream.message().await.unwrap().unwrap();
        drop(stream);
        rig.backend.closed(connection).await.unwrap();
        let mut answer = rig.stream_chat().await.unwrap();
        while answer.message().await.unwrap().is_some() {}
    }
}

/// One works, one waits, and one more is refused. Who leaves while it waits makes room for the next to wait, which is then served.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_queue_makes_room_in_it() {
    let mut rig = Rig::prepared("openai").await;
    let config = rig.files().config(Service::Gateway);
    let places = "limits.concurrent = 1\nlimits.queue = 1\n".to_owned();
    std::fs::write(&config, places + &std::fs::read_to_string(&config).unwrap()).unwrap();
    rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
    rig.backend.script(Script::answer([Step::text("one"), Step::Wait, Step::end()]));
    let mut works = rig.stream_chat().await.unwrap();
    works.message().await.unwrap().unwrap();

    drop(waiting(&rig).await);
    let waits = waiting(&rig).await;
    assert_eq!(rig.backend.requests().iter().filter(|request| request.path.contains("chat")).count(), 1);
    rig.backend.go_on(1);
    while works.message().await.unwrap().is_some() {}
    assert_eq!(waits.await, Ok(()));
}

/// A request that stands in the queue: of two, whose place is one, the other is refused.
async fn waiting(rig: &Rig) -> LocalBoxFuture<'_, Result<(), tonic::Code>> {
    loop {
        let ask = || rig.stream_chat().map(|answer| answer.map(drop).map_err(|refused| refused.code()));
        let (one, other) = (ask().boxed_local(), ask().boxed_local());
        match select(one, other).await {
            Either::Left((Err(tonic::Code::Unavailable), other)) => return other,
            Either::Right((Err(tonic::Code::Unavailable), one)) => return one,
            // Whoever left may not have been missed yet, and then both are refused: the next pair finds the place.
            Either::Left(_) | Either::Right(_) => {}
        }
    }
}

/// A model server that takes no connection any more: who leaves while the adapter connects takes the attempt with it.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_while_the_adapter_connects_ends_the_attempt() {
    for kind in ["openai", "ollama"] {
        let full = FullServer::new();
        let mut rig = Rig::facing(kind, FakeBackend::start().await.unwrap(), full.address);
        rig.blocking(|rig| rig.stack.start_all(PATIENCE)).unwrap();
        leave_while_connecting(&full, rig.stream_chat()).await;
        leave_while_connecting(&full, post(&rig, true)).await;
        leave_while_connecting(&full, post(&rig, false)).await;
    }
}

async fn leave_while_connecting<F: Future>(full: &FullServer, call: F) {
    {
        let mut call = std::pin::pin!(call);
        tokio::select! {
            biased;
            () = full.until(|attempts| attempts > 0) => {}
            _ = call.as_mut() => unreachable!("the server takes no connection"),
        }
    }
    full.until(|attempts| attempts == 0).await;
}

/// It listens, and the kernel has as many connections waiting for it as it may.
struct FullServer {
    address: SocketAddr,
    _listener: OwnedFd,
    _waiting: Vec<TcpStream>,
}

impl FullServer {
    fn new() -> Self {
        let listener = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let own: SockaddrIn = getsockname(listener.as_raw_fd()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], own.port()));
        // One more than the backlog is taken, and the next has no answer.
        let waiting = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
        Self { address, _listener: listener, _waiting: waiting }
    }

    /// Until so many connections to it are begun and not answered (SYN_SENT), as the kernel has it.
    async fn until(&self, holds: impl Fn(usize) -> bool) {
        let to = format!("0100007F:{:04X} 02", self.address.port());
        let attempts = || std::fs::read_to_string("/proc/net/tcp").unwrap().matches(&to).count();
        let reached = async {
            while !holds(attempts()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }
}

/// A client of the older protocol leaves in the silence of a long prompt, streamed and not, with and
/// without bytes beyond its request.
#[tokio::test(flavor = "multi_thread")]
async fn leaving_over_http_1_closes_the_backend_connection() {
    let rig = Rig::serving("openai").await;
    let cases = [(true, ""), (false, ""), (true, "\r\n"), (false, "\r\n")];
    for (connection, (stream, beyond)) in cases.into_iter().enumerate() {
        rig.backend.script(Script::head(Head::Never));
        let mut tls = rig.http1().await;
        let body = format!(
            "{{\"model\":\"fake\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
        );
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: cube\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}{beyond}", body.len());
        tls.write_all(request.as_bytes()).await.unwrap();
        rig.backend.received(connection).await.unwrap();
        drop(tls);
        rig.backend.closed(connection).await.unwrap();
    }
}

/// Polls `call` until the backend has its request, drops it, and waits for the backend connection to close.
async fn leave_once_received<F: Future>(rig: &Rig, connection: usize, call: F) {
    {
        let mut call = std::pin::pin!(call);
        tokio::select! {
            biased;
            received = rig.backend.received(connection) => drop(received.unwrap()),
            _ = call.as_mut() => unreachable!("the backend is silent"),
        }
    }
    rig.backend.closed(connection).await.unwrap();
}
