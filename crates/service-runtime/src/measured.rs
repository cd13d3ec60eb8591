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
    str::FromStr,
};

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::ServerName;

use crate::config::{ConfigError, Key, Problems, Settings, read_config_file};

/// Who may enrol, and what the user of each is for.
const ROLES: [(&str, &str); 2] = [
    ("gateway", "User of inference-gateway: no other may enrol as it, and no other service runs as it."),
    ("adapter", "User of backend-adapter: no other may enrol as it, and no other service runs as it."),
];

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
    /// A proxy of a service mesh inside this CVM, where there is one.
    pub mesh: Option<Mesh>,
    keys: Vec<Key>,
    sha256: [u8; 32],
}

/// Who may hold an identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The service's user id.
    pub uid: u32,
    /// The systemd unit that its process has to belong to, where one is named.
    pub unit: Option<String>,
}

/// The model server.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Its protocol.
    pub kind: BackendKind,
    /// Where it listens.
    pub address: BackendAddress,
    /// The user it runs as; a listener of another user is sent nothing.
    pub uid: u32,
}

/// A proxy inside this CVM, and the workloads behind it.
#[derive(Debug, Clone)]
pub struct Mesh {
    /// The user it runs as.
    pub uid: u32,
    /// The workloads that it is handed certificates for.
    pub workloads: Vec<String>,
}

/// Protocol of the model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl FromStr for BackendKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ollama" => Ok(Self::Ollama),
            "openai" => Ok(Self::Openai),
            _ => Err(format!("{text:?} is neither \"ollama\" nor \"openai\"")),
        }
    }
}

impl FromStr for BackendAddress {
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

impl MeasuredConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read_config_file(path)?)
            .map_err(|problems| ConfigError::Content { path: path.to_owned(), problems })
    }

    /// Checks the exact bytes that are measured.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        // It names no file, so the folder does not matter.
        let mut settings = Settings::parse(PathBuf::new(), bytes)?;
        let config = Self::read(&mut settings, sha256(bytes));
        let keys = settings.finish()?;
        // `None` has left a problem behind, which is returned by now.
        config.map(|config| Self { keys, ..config }).ok_or_else(Problems::default)
    }

    /// Every key of the file, in the order in which it is read.
    pub fn config_keys() -> Vec<Key> {
        Settings::keys_of(|settings| Self::read(settings, [0; 32]))
    }

    fn read(settings: &mut Settings, sha256: [u8; 32]) -> Option<Self> {
        let trust_domain = settings.parsed(
            "trust_domain",
            "SPIFFE trust domain of the services' identities.",
            "1 to 255 of a-z 0-9 . - _",
            trust_domain,
        );
        let tenant = settings.parsed("tenant", "Whose deployment this is.", "not empty", tenant);
        let policy_sha256 = settings.parsed(
            "policy_sha256",
            "SHA-256 of the policy that the services judge this machine by: `sha256sum policy.toml`.",
            "64 hexadecimal digits",
            digest_from_hex,
        );
        let identities = ROLES.map(|(role, purpose)| {
            let uid = settings.number(&format!("identity.{role}.uid"), purpose, 0..=u32::MAX);
            let unit = settings.optional(
                &format!("identity.{role}.unit"),
                "Its systemd unit: no process outside of it may enrol, whatever its user (Linux 6.5 or newer).",
                "NAME.service",
                unit,
            );
            uid.map(|uid| (role.to_owned(), Identity { uid, unit }))
        });
        let kind = settings.parsed(
            "backend.kind",
            "Interface of the model server: ollama, or openai for vLLM, llama.cpp and others.",
            "ollama, openai",
            str::parse,
        );
        let address = settings.parsed(
            "backend.address",
            "Where the model server listens; it has to be on this machine.",
            "http://127.0.0.1:PORT, unix:/path",
            str::parse,
        );
        let backend_uid = settings.number(
            "backend.uid",
            "User of the model server: nothing is sent to a process of another. No service runs as it.",
            0..=u32::MAX,
        );
        let public_names = settings.list(
            "public.names",
            "What the certificate of the public port is for.",
            "DNS names and IP addresses",
            public_name,
        );
        let mesh = mesh(settings);
        Some(Self {
            trust_domain: trust_domain?,
            tenant: tenant?,
            policy_sha256: policy_sha256?,
            identities: identities.into_iter().collect::<Option<_>>()?,
            backend: Backend { kind: kind?, address: address?, uid: backend_uid? },
            public_names: public_names?,
            mesh,
            keys: Vec::new(),
            sha256,
        })
    }

    /// SHA-256 of the exact bytes: the HOST_DATA to expect.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The keys of the file, with what it says.
    pub(crate) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

fn mesh(settings: &mut Settings) -> Option<Mesh> {
    let uid = settings.optional_number(
        "mesh.uid",
        "User of a mesh's proxy inside this CVM, the only one that may ask on `mesh.sock`; without it there is no such socket. \
         No service runs as it.",
        0..=u32::MAX,
    );
    let workloads = settings.list_or_none(
        "mesh.workloads",
        "Names of workloads that this proxy is handed certificates for, by SDS; their keys are then that user's to read. Never \
         Cube's own services.",
        "1 to 63 of a-z 0-9 -",
        workload,
    );
    if uid.is_none() && !workloads.is_empty() {
        return settings.checked("mesh.workloads", Err("count for nothing without mesh.uid"));
    }
    uid.map(|uid| Mesh { uid, workloads })
}

/// A segment of a SPIFFE ID's path, and a label of DNS.
fn workload(name: &str) -> Result<String, String> {
    let allowed = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(format!("{name:?} is not the name of a workload; use 1 to 63 of a-z 0-9 -"))
}

/// SPIFFE-ID section 2.1.
fn trust_domain(name: &str) -> Result<String, String> {
    let allowed = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if (1..=255).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(format!("{name:?} is not a SPIFFE trust domain; use 1 to 255 of a-z 0-9 . - _"))
}

fn tenant(name: &str) -> Result<String, &'static str> {
    if name.is_empty() { Err("is empty; name whose deployment this is") } else { Ok(name.to_owned()) }
}

/// systemd.unit(5): what a unit of a service may be called.
fn unit(name: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    let stem = name.strip_suffix(".service").filter(|stem| !stem.is_empty() && stem.bytes().all(allowed));
    stem.map(|_| name.to_owned())
        .ok_or_else(|| format!("{name:?} is not the name of a unit; write NAME.service"))
}

fn public_name(name: &str) -> Result<String, String> {
    let known = ServerName::try_from(name).map(|_| name.to_owned());
    known.map_err(|_| format!("{name:?} is neither a DNS name nor an IP address"))
}

fn digest_from_hex(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(format!("{text:?} is not 64 hexadecimal digits")),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// A measured configuration of a policy with the digest ABAB….
#[cfg(test)]
pub(crate) fn sample() -> String {
    format!(
        "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{}\"\n\
         [identity.gateway]\nuid = 1\n[identity.adapter]\nuid = 2\n\
         [backend]\nkind = \"openai\"\naddress = \"http://127.0.0.1:8080\"\nuid = 3\n[public]\nnames = [\"localhost\"]\n",
        "ab".repeat(32)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut text = sample();
        for (good, bad) in [
            ("demo.cube.internal", "Not A Domain"),
            ("\"demo\"", "\"\""),
            ("abab", "abxy"),
            ("uid = 1", "uid = -1"),
            ("[identity.adapter]", "unit = \"a b.service\"\n[identity.other]"),
            ("openai", "grpc"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("localhost", "local host"),
        ] {
            text = text.replacen(good, bad, 1);
        }
        let all = problems(&format!("extra = 1\n{text}"));
        for part in [
            "trust_domain: \"Not A Domain\"",
            "tenant: is empty",
            "policy_sha256: ",
            "identity.gateway.uid: is -1, must be",
            "identity.gateway.unit: \"a b.service\" is not",
            "identity.adapter.uid: is missing",
            "identity.other: unknown key",
            "backend.kind: \"grpc\"",
            "backend.address: ",
            "public.names: \"local host\"",
            "extra: unknown key",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
    }

    #[test]
    fn uid_of_root_and_digest_in_capitals_are_read() {
        let text = sample().replace("uid = 1", "uid = 0").replace("ab", "AB");
        let measured = MeasuredConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(measured.identities["gateway"].uid, 0);
        assert_eq!(measured.policy_sha256, [0xab; 32]);
    }

    #[test]
    fn its_keys_are_known_with_and_without_a_file() {
        let measured = MeasuredConfig::parse(sample().as_bytes()).unwrap();
        let known = MeasuredConfig::config_keys();
        assert!(measured.keys().iter().map(|key| &key.name).eq(known.iter().map(|key| &key.name)));
        assert!(known.iter().any(|key| key.name == "identity.adapter.unit") && known.len() == 13);
    }
}
