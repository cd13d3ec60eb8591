//! `cube proxy`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::GatewayArgs;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
    /// Where to listen, on loopback; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
    /// Listen on this unix socket instead, which is made with mode 0600.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(crate) socket: Option<PathBuf>,
    /// The gateway's own API key, which is put in place of the proxy's.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "need ADDRESS:PORT, such as 127.0.0.1:8080".to_owned())?;
    let allowed = address.ip().is_loopback();
    if allowed {
        Ok(address)
    } else {
        Err("what is not loopback could be reached by others; need 127.0.0.1 or [::1]".to_owned())
    }
}

const HELP: &str = "\
Example:
  cube proxy https://HOST:8443 --policy policy.toml > proxy.env &
prints OPENAI_BASE_URL, OPENAI_API_KEY, OLLAMA_HOST and OLLAMA_API_KEY, one a line, and stays.
A client that is started with them speaks to the gateway over connections that are verified
before the first request on each, and every ten minutes again. One that is not verified is
502 to the client, with the reason, and nothing of the request has left.

The key is new in each run. Requests without it, of web pages (Origin), or under another Host
are refused. Exit codes are those of `cube verify`.";
