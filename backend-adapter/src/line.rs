//! HTTP/1.1 connections to the model server, and those that wait for their next exchange.
//!
//! One is kept where its answer has ended in order and the model server leaves it open; one that is dropped closes its
//! socket at once. Nobody drives it while it waits. Whoever takes it looks first whether it is still open, and whether
//! bytes came that nobody asked for: then it goes, since they could be taken for the next answer.

use std::{
    future::{Future, poll_fn, ready},
    pin::{Pin, pin},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::dial::Socket;

/// How many wait at most.
const MOST: usize = 32;

/// How long one waits at most: less than the 5 s after which vLLM's server closes it.
const LONGEST: Duration = Duration::from_secs(3);

/// One connection, for as long as there is something to drive.
pub(crate) struct Line {
    connection: Option<Pin<Box<Driver>>>,
    /// Dropping it would tell the connection that nobody needs it.
    sender: SendRequest<Full<Bytes>>,
}

type Driver = Connection<TokioIo<Socket>, Full<Bytes>>;

impl Line {
    pub(crate) async fn over(socket: Socket) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        Ok(Self { connection: Some(Box::pin(connection)), sender })
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let sent = self.sender.send_request(request);
        drive(&mut self.connection, sent).await
    }

    /// Waits for `work`, which makes progress only while the connection is driven.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        drive(&mut self.connection, work).await
    }

    /// Whether it takes another request.
    async fn is_free(&mut self) -> bool {
        self.drive(ready(())).await;
        self.connection.is_some() && self.sender.is_ready()
    }
}

async fn drive<C: Future, T>(connection: &mut Option<Pin<Box<C>>>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        // An ended connection has told `work` how it ended.
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Those that wait, each since when.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<(Line, Instant)>>);

impl Kept {
    /// The one that waited least, if it is still good.
    pub(crate) async fn take(&self) -> Option<Line> {
        loop {
            let mut line = self.pop()?;
            if line.is_free().await {
                return Some(line);
            }
        }
    }

    pub(crate) fn put(&self, line: Line) {
        let mut lines = self.fresh();
        if lines.len() < MOST {
            lines.push((line, Instant::now()));
        }
    }

    fn pop(&self) -> Option<Line> {
        self.fresh().pop().map(|(line, _)| line)
    }

    fn fresh(&self) -> MutexGuard<'_, Vec<(Line, Instant)>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|(_, since)| since.elapsed() < LONGEST);
        lines
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::geteuid;
    use service_runtime::BackendAddress;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        task::yield_now,
        time,
    };

    use crate::{
        backend::Dialect,
        dial::Endpoint,
        model_server::{AnswerLimits, ModelServer},
        permit::tests::TestPermit,
    };

    const MODELS: &str = r#"{"object":"list","data":[{"id":"own","object":"model"}]}"#;

    /// A model server that is played by hand.
    struct World {
        listener: TcpListener,
        server: ModelServer,
    }

    impl World {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = BackendAddress::Tcp(listener.local_addr().unwrap());
            let endpoint = Endpoint { address, uid: geteuid().as_raw() };
            Self { listener, server: ModelServer::new(Dialect::OpenAi, endpoint, AnswerLimits::default()) }
        }

        /// One exchange, on `socket` or on a connection that has to be made.
        async fn exchange(&self, socket: Option<TcpStream>) -> TcpStream {
            let answers = async {
                let mut socket = match socket {
                    Some(socket) => socket,
                    None => self.listener.accept().await.unwrap().0,
                };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(socket.read_u8().await.unwrap());
                }
                socket.write_all(answer(MODELS).as_bytes()).await.unwrap();
                socket
            };
            let (socket, models) = tokio::join!(answers, self.server.models(TestPermit::default()));
            assert_eq!(models.unwrap()[0].name, "models/own");
            socket
        }
    }

    fn answer(body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    }

    #[tokio::test]
    async fn one_connection_serves_one_exchange_after_the_other() {
        let world = World::new().await;
        let socket = world.exchange(None).await;
        let socket = world.exchange(Some(socket)).await;
        world.exchange(Some(socket)).await;
    }

    #[tokio::test]
    async fn one_that_was_closed_meanwhile_is_replaced() {
        let world = World::new().await;
        for seen in [false, true] {
            drop(world.exchange(None).await);
            if seen {
                yield_now().await;
            }
        }
        world.exchange(None).await;
    }

    #[tokio::test]
    async fn bytes_that_nobody_asked_for_are_nobodys_answer() {
        let world = World::new().await;
        let mut socket = world.exchange(None).await;
        socket.write_all(answer(&MODELS.replace("own", "strange")).as_bytes()).await.unwrap();
        yield_now().await;
        world.exchange(None).await;
    }

    #[tokio::test]
    async fn none_waits_for_long() {
        let world = World::new().await;
        let socket = world.exchange(None).await;
        // Only for a moment: paused, time runs to every limit while sockets are waited for.
        time::pause();
        time::advance(super::LONGEST).await;
        time::resume();
        world.exchange(None).await;
        drop(socket);
    }

    #[tokio::test]
    async fn without_leave_a_waiting_connection_is_not_used() {
        let world = World::new().await;
        let mut socket = world.exchange(None).await;
        let permit = TestPermit::default();
        permit.0.cancel();
        world.server.models(permit).await.unwrap_err();
        drop(world);
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "something was sent");
    }
}
