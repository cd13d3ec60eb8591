//! The address of a gateway.

use std::{fmt, str::FromStr};

use http::uri::Authority;
use rustls_pki_types::ServerName;

/// `https://HOST[:PORT]`; the scheme may be left out, the port is 443 where none is given.
#[derive(Debug, Clone)]
pub struct Target {
    host: String,
    port: u16,
    authority: Authority,
}

/// The text is no address of a gateway.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is no gateway address: {problem}; write https://HOST:PORT")]
pub struct InvalidTarget {
    text: String,
    problem: &'static str,
}

impl Target {
    /// DNS name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The name for SNI and certificate validation.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.authority)
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        parse(text).map_err(|problem| InvalidTarget { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Target, &'static str> {
    let rest = match text.split_once("://") {
        Some(("https", rest)) => rest,
        Some(_) => return Err("only https can be attested"),
        None => text,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err("it has more than a host and a port");
    }
    let given: Authority = rest.parse().map_err(|_| "host or port is malformed")?;
    let port =
        if given.as_str() == given.host() { 443 } else { given.port_u16().ok_or("the port is malformed")? };
    let host = given.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let authority = format!("{}:{port}", given.host()).parse().map_err(|_| "the host is malformed")?;
    let target = Target { host, port, authority };
    target.server_name().map(|_| target).ok_or("the host is neither a DNS name nor an IP address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_defaults_are_read() {
        for (text, host, port, authority) in [
            ("https://localhost:8443/", "localhost", 8443, "localhost:8443"),
            ("cube.example", "cube.example", 443, "cube.example:443"),
            ("https://[::1]:8443", "::1", 8443, "[::1]:8443"),
            ("10.0.0.1:1", "10.0.0.1", 1, "10.0.0.1:1"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.host(), target.port(), target.to_string().as_str()), (host, port, authority));
        }
    }

    #[test]
    fn what_is_no_gateway_address_is_refused() {
        for text in
            ["http://localhost:1", "", "https://", "a/b", "user@host:1", "host:99999", "host:", "::1", "a b"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
