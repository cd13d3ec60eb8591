//! Which protocol the given model server speaks.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use service_runtime::BackendAddress;

use crate::prepare::Options;

/// The server's address; `localhost` is 127.0.0.1.
pub(super) fn address(url: &str) -> Result<BackendAddress> {
    let url = url.replacen("//localhost", "//127.0.0.1", 1);
    url.parse().map_err(anyhow::Error::msg).context("--backend")
}

/// `ollama` where the server answers Ollama's own version path, else `openai`.
pub(super) fn kind(address: &BackendAddress) -> Result<&'static str> {
    Ok(if get(address, "/api/version")?.starts_with("HTTP/1.1 200") { "ollama" } else { "openai" })
}

/// The name of the server's first model, for the lines that the demo prints.
pub(super) fn first_model(options: &Options) -> Result<String> {
    let (path, name) = match options.backend_kind.as_str() {
        "ollama" => ("/api/tags", "/models/0/name"),
        _ => ("/v1/models", "/data/0/id"),
    };
    let answer = get(&options.backend, path)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let model = json.pointer(name).and_then(|name| name.as_str());
    Ok(model.context("the model server offers no model; load one first")?.to_owned())
}

/// One answer, head and body as they came. HTTP/1.0, so that the body is not in chunks.
fn get(address: &BackendAddress, path: &str) -> Result<String> {
    let BackendAddress::Tcp(address) = address else {
        bail!("--backend: the demo needs http://127.0.0.1:PORT")
    };
    let limit = Duration::from_secs(5);
    let absent = || format!("no model server at {address}");
    let mut stream = TcpStream::connect_timeout(address, limit).with_context(absent)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).with_context(absent)?;
    Ok(String::from_utf8_lossy(&answer).replacen("HTTP/1.0", "HTTP/1.1", 1))
}

/// More than any list of models needs.
const MOST: u64 = 1 << 20;
