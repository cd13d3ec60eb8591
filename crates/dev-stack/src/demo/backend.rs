//! Which protocol the given model server speaks.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};
use service_runtime::BackendAddress;

/// The server's address; `localhost` is 127.0.0.1.
pub(super) fn address(url: &str) -> Result<BackendAddress> {
    let url = url.replacen("//localhost", "//127.0.0.1", 1);
    url.parse().map_err(anyhow::Error::msg).context("--backend")
}

/// `ollama` where the server answers Ollama's own version path, else `openai`.
pub(super) fn kind(address: &BackendAddress) -> Result<&'static str> {
    match address {
        BackendAddress::Tcp(address) => {
            let answer = version(*address).with_context(|| format!("no model server at {address}"))?;
            Ok(if answer.starts_with("HTTP/1.1 200") { "ollama" } else { "openai" })
        }
        BackendAddress::Unix(_) => Ok("openai"),
    }
}

fn version(address: SocketAddr) -> Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET /api/version HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}
