//! A client as official SDKs are: one kept HTTP/1.1 connection over TLS, one stream after the other.

use std::time::Instant;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Door, Outcome, backend::PIECES};

const REQUEST: &str =
    r#"{"model":"bench","stream":true,"messages":[{"role":"user","content":"What is gravity?"}]}"#;

/// One connection.
pub(crate) struct Client {
    send: http1::SendRequest<Full<Bytes>>,
    started: Instant,
}

/// What was seen of a whole stream, in microseconds.
pub(crate) struct Seen {
    pub(crate) wall: f64,
    /// Of each piece, from its making to its reading.
    pub(crate) delays: Vec<f64>,
}

impl Client {
    pub(crate) async fn connect(door: &Door, started: Instant) -> Outcome<Self> {
        let stream = TcpStream::connect(door.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(door.address.ip().into());
        let stream = TlsConnector::from(door.tls.clone()).connect(name, stream).await?;
        let (send, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { send, started })
    }

    /// One stream to its proper end; anything else is an error.
    pub(crate) async fn stream(&mut self) -> Outcome<Seen> {
        let begun = Instant::now();
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(REQUEST))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        let (mut body, mut reading) = (answer.into_body(), Reading::default());
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                reading.take(&data, self.started.elapsed().as_secs_f64() * 1e6)?;
            }
        }
        reading.end(begun.elapsed().as_secs_f64() * 1e6)
    }
}

/// The events so far.
#[derive(Default)]
struct Reading {
    rest: String,
    delays: Vec<f64>,
    done: bool,
}

impl Reading {
    fn take(&mut self, data: &[u8], now: f64) -> Outcome<()> {
        self.rest.push_str(std::str::from_utf8(data)?);
        while let Some((event, rest)) = self.rest.split_once("\n\n") {
            self.done |= event == "data: [DONE]";
            if let Some(made) = made(event) {
                self.delays.push(now - made / 1e3);
            }
            self.rest = rest.to_owned();
        }
        Ok(())
    }

    fn end(self, wall: f64) -> Outcome<Seen> {
        if !self.done || self.delays.len() != PIECES as usize {
            return Err(format!("a stream of {} pieces, complete: {}", self.delays.len(), self.done).into());
        }
        Ok(Seen { wall, delays: self.delays })
    }
}

/// When the piece in `event` was made, in nanoseconds; `None` where it holds no text.
fn made(event: &str) -> Option<f64> {
    let (_, text) = event.split_once("\"content\":\"")?;
    text.split_once(' ')?.0.parse().ok()
}
