//! The measured configuration: what relying parties can hold the CVM to.
//!
//! Its SHA-256 is HOST_DATA of the SNP report (or stands on the measured command
//! line), so one byte more or less is another deployment. Everything that may
//! change without asking them is operational configuration instead.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use crate::config::{ConfigError, Problems, read_config_file};

/// What the deployment is, as measured.
#[derive(Debug, Clone)]
pub struct MeasuredConfig {
    /// SPIFFE trust domain.
    pub trust_domain: String,
    /// Whose deployment this is.
    pub tenant: String,
    /// SHA-256 of the policy file.
    pub policy_sha256: [u8; 32],
    /// Who may enrol, by role name (`gateway`, `adapter`).
    pub identities: BTreeMap<String, Identity>,
    /// The model server.
    pub backend: Backend,
    /// DNS names and IP addresses of the public listener's certificate.
    pub public_names: Vec<String>,
    sha256: [u8; 32],
}

/// Who may hold an identity.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The service's user id.
    pub uid: u32,
}

/// The model server.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its protocol.
    pub kind: BackendKind,
    /// Where it listens.
    pub address: BackendAddress,
}

/// Protocol of the model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Ollama's native interface.
    Ollama,
    /// OpenAI's interface: vLLM, llama.cpp and others.
    Openai,
}

/// Where the model server listens: nothing that leaves the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendAddress {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::str::FromStr for BackendAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!("{text} is not absolute; write unix:/path"))
            };
        }
        let authority = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let address: SocketAddr = authority
            .and_then(|authority| authority.parse().ok())
            .ok_or_else(|| format!("{text} is neither http://127.0.0.1:PORT nor unix:/path"))?;
        if !address.ip().is_loopback() {
            return Err(format!("{text} leaves the machine; only loopback and unix sockets are allowed"));
        }
        Ok(Self::Tcp(address))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    trust_domain: String,
    tenant: String,
    policy_sha256: String,
    identity: BTreeMap<String, Identity>,
    backend: RawBackend,
    public: RawPublic,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBackend {
    kind: BackendKind,
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublic {
    names: Vec<String>,
}

impl MeasuredConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_config_file(path)?)
            .map_err(|problems| ConfigError::Content { path: path.to_owned(), problems })
    }

    /// Checks the exact bytes that are measured.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let text = problems.take("encoding", std::str::from_utf8(bytes));
        let Some(raw) = text.and_then(|text| problems.take("TOML", toml::from_str::<Raw>(text))) else {
            return Err(problems);
        };
        check_names(&raw, &mut problems);
        let policy = problems.take("policy_sha256", digest_from_hex(&raw.policy_sha256));
        let address = problems.take("backend.address", raw.backend.address.parse());
        let (Some(policy_sha256), Some(address), true) = (policy, address, problems.is_empty()) else {
            return Err(problems);
        };
        Ok(Self {
            trust_domain: raw.trust_domain,
            tenant: raw.tenant,
            policy_sha256,
            identities: raw.identity,
            backend: Backend { kind: raw.backend.kind, address },
            public_names: raw.public.names,
            sha256: sha256(bytes),
        })
    }

    /// SHA-256 of the exact bytes: the HOST_DATA to expect.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

fn check_names(raw: &Raw, problems: &mut Problems) {
    problems.require(is_trust_domain(&raw.trust_domain), || {
        format!(
            "trust_domain: {:?} is not a SPIFFE trust domain; use 1 to 255 of a-z 0-9 . - _",
            raw.trust_domain
        )
    });
    problems.require(!raw.tenant.is_empty(), || "tenant: is empty; name whose deployment this is".into());
    problems.require(!raw.public.names.is_empty(), || "public.names: is empty; clients need a name".into());
    for role in ["gateway", "adapter"] {
        problems.require(raw.identity.contains_key(role), || format!("identity.{role}: is missing"));
    }
    for role in raw.identity.keys().filter(|role| !matches!(role.as_str(), "gateway" | "adapter")) {
        problems.push(format!("identity.{role}: unknown role; known are gateway and adapter"));
    }
}

/// SPIFFE-ID section 2.1.
fn is_trust_domain(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

fn digest_from_hex(text: &str) -> Result<[u8; 32], String> {
    let problem = || format!("{text:?} is not 64 hexadecimal digits");
    if text.len() != 64 || !text.is_ascii() {
        return Err(problem());
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(index * 2..index * 2 + 2).ok_or_else(problem)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| problem())?;
    }
    Ok(bytes)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> String {
        format!(
            "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{}\"\n\
             [identity.gateway]\nuid = 1\n[identity.adapter]\nuid = 2\n\
             [backend]\nkind = \"openai\"\naddress = \"http://127.0.0.1:8080\"\n[public]\nnames = [\"localhost\"]\n",
            "ab".repeat(32)
        )
    }

    fn problems(text: &str) -> String {
        MeasuredConfig::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn digest_is_over_the_exact_bytes() {
        let one = MeasuredConfig::parse(sample().as_bytes()).unwrap();
        let two = MeasuredConfig::parse(format!("{}\n", sample()).as_bytes()).unwrap();
        assert_eq!(one.policy_sha256, [0xab; 32]);
        assert_ne!(one.sha256(), two.sha256());
    }

    #[test]
    fn backend_must_stay_on_the_machine() {
        for address in ["http://10.0.0.1:80", "http://example.com:80", "https://127.0.0.1:80", "unix:rel", ""]
        {
            let text = sample().replace("http://127.0.0.1:8080", address);
            assert!(problems(&text).contains("backend.address"), "{address}");
        }
    }

    #[test]
    fn every_problem_is_reported() {
        let text = sample()
            .replace("demo.cube.internal", "Not A Domain")
            .replace("tenant = \"demo\"", "tenant = \"\"");
        let text = text.replace("[identity.adapter]", "[identity.other]");
        let all = problems(&text);
        for part in ["trust_domain", "tenant", "identity.adapter", "identity.other"] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn unknown_key_is_refused() {
        assert!(problems(&format!("extra = 1\n{}", sample())).contains("extra"));
    }
}
