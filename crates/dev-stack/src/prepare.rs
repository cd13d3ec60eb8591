//! Writes the folder of one run.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use service_runtime::{BackendAddress, Clock, MeasuredConfig};
use snp_evidence::Policy;
use snp_simulator::{ChipSpec, Guest, Product, SimulatedRoot};

use crate::files::{Files, Service};

/// What differs between runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// `openai` or `ollama`.
    pub backend_kind: String,
    /// The model server.
    pub backend: BackendAddress,
    /// Public address of the gateway.
    pub gateway: SocketAddr,
    /// mTLS address of attestation-svc.
    pub attestation: SocketAddr,
    /// mTLS address of the adapter.
    pub adapter: SocketAddr,
    /// Users of gateway, adapter and model server; our own, and the model server's as it is, without.
    pub users: Option<[u32; 3]>,
    /// Workloads that a mesh's proxy of our own user is handed certificates for; no proxy without.
    pub mesh: Vec<String>,
    /// Whether the services are inside what is measured: then their own policy cannot name the measurement.
    pub measured_image: bool,
    /// `log.level` of all three; without `info` of their own, nobody learns that they serve.
    pub log: &'static str,
}

impl Options {
    /// The ordinary ports on one loopback address.
    pub fn on(ip: std::net::IpAddr, backend_kind: &str, backend: BackendAddress) -> Self {
        Self {
            backend_kind: backend_kind.to_owned(),
            backend,
            gateway: (ip, 8443).into(),
            attestation: (ip, 8444).into(),
            adapter: (ip, 8445).into(),
            users: None,
            mesh: Vec::new(),
            measured_image: false,
            log: "info",
        }
    }
}

/// The generation that is simulated.
const PRODUCT: Product = Product::Genoa;

/// A root for simulated machines: made anew each run, valid for 24 hours. Takes seconds.
pub fn new_root(clock: &dyn Clock) -> Result<SimulatedRoot> {
    Ok(SimulatedRoot::generate(PRODUCT, clock.unix())?)
}

/// Launch measurement of the simulated guest; nothing real measures to it.
const MEASUREMENT: [u8; 48] = [0xC0; 48];

/// Makes a new simulated machine under `root`, and writes everything the services read.
pub fn prepare(folder: &Path, options: &Options, root: &SimulatedRoot) -> Result<Files> {
    let files = Files::below(folder);
    private_folder(folder)?;
    private_folder(&files.run_dir())?;
    let processor = root.make_processor(&ChipSpec::random(PRODUCT)?)?;
    write(&files.machine(), processor.to_json())?;
    write(&files.root(), root.root_pem())?;
    private_folder(&files.collateral())?;
    write(&files.collateral().join("crl.der"), root.empty_crl()?)?;
    let policy = policy_text(None, options);
    write(&files.policy(), &policy)?;
    let measured = measured_text(options, &Policy::parse(policy.as_bytes())?.sha256());
    write(&files.measured(), &measured)?;
    let refused = |problems| anyhow!("the measured configuration is refused:{problems}");
    let host_data = *MeasuredConfig::parse(measured.as_bytes()).map_err(refused)?.sha256();
    write(&files.client_policy(), policy_text(Some(&host_data), options))?;
    let guest = Guest { measurement: MEASUREMENT, host_data, ..Guest::default() };
    write(&files.guest(), guest.to_json())?;
    for service in Service::ALL {
        write(&files.config(service), config_text(service, options))?;
    }
    Ok(files)
}

fn private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| path.display().to_string())
}

/// Everything here is private to the run; the machine file holds a private key.
fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_ref())).with_context(|| path.display().to_string())
}

/// The CVM's own policy cannot pin HOST_DATA, whose digest covers this policy's; the services compare
/// HOST_DATA with the measured configuration themselves. A relying party's policy pins it.
fn policy_text(host_data: Option<&[u8; 32]>, options: &Options) -> String {
    let relying_party = host_data.is_some();
    let (host_data, identity) = match host_data {
        Some(digest) => (format!("{{ allow = [\"{}\"] }}", hex::encode(digest)), "\"require\""),
        None => (
            "{ off = \"the services compare it with the measured configuration\" }".to_owned(),
            "{ off = \"the services are inside the instance\" }",
        ),
    };
    let template = [Product::Milan, Product::Genoa, Product::Turin].into_iter().fold(
        include_str!("policy.toml").to_owned(),
        |text, one| {
            let place = format!("\"@{}@\"", one.name().to_uppercase());
            text.replace(&place, if one == PRODUCT { OWN_PRODUCT } else { OTHER_PRODUCT })
        },
    );
    let template = match (options.measured_image, relying_party) {
        (true, false) => template.replace(MEASURED, "").replace(FIRST, &format!("{FIRST}{UNMEASURED}")),
        (true, true) => template.replace(KERNEL_ONLY, "covers = \"userspace\"\n"),
        (false, _) => template,
    };
    template
        .replace("@MEASUREMENT@", &hex::encode(MEASUREMENT))
        .replace("\"@HOST_DATA@\"", &host_data)
        .replace("\"@IDENTITY@\"", identity)
}

/// Parts of the policy.
const FIRST: &str = "version = 1\n";
const MEASURED: &str = "[measurement]\nallow = [\"@MEASUREMENT@\"]\ncovers = \"kernel-only\"\nreason = \"simulated hardware measures nothing\"\n";
const KERNEL_ONLY: &str = "covers = \"kernel-only\"\nreason = \"simulated hardware measures nothing\"\n";
const UNMEASURED: &str =
    "measurement = { off = \"this file is inside what is measured; relying parties pin the measurement\" }\n";

const OWN_PRODUCT: &str = "allow = \"any\"\nreason = \"the simulated root vouches for one chip alone\"";
const OTHER_PRODUCT: &str = "allow = \"chips\"\nchips = []";

fn measured_text(options: &Options, policy: &[u8; 32]) -> String {
    let uid = nix::unistd::getuid().as_raw();
    let policy = hex::encode(policy);
    let own = || [uid, uid, backend_uid(&options.backend).unwrap_or(uid)];
    let [gateway, adapter, backend_uid] = options.users.unwrap_or_else(own);
    let (kind, address, ip) = (&options.backend_kind, &options.backend, options.gateway.ip());
    let workloads = &options.mesh;
    let mesh = if workloads.is_empty() {
        String::new()
    } else {
        format!("\n[mesh]\nuid = {uid}\nworkloads = {workloads:?}\n")
    };
    format!(
        "trust_domain = \"demo.cube.internal\"\ntenant = \"demo\"\npolicy_sha256 = \"{policy}\"\n\n\
         [identity.gateway]\nuid = {gateway}\n\n[identity.adapter]\nuid = {adapter}\n\n\
         [backend]\nkind = \"{kind}\"\naddress = \"{address}\"\nuid = {backend_uid}\n\n\
         [public]\nnames = [\"localhost\", \"{ip}\"]\n{mesh}"
    )
}

/// Whoever listens there by now; otherwise it will be a child of ours.
fn backend_uid(backend: &BackendAddress) -> Option<u32> {
    match backend {
        BackendAddress::Tcp(address) => backend_adapter::listener_uid(*address).ok().flatten(),
        BackendAddress::Unix(path) => fs::metadata(path).map(|socket| socket.uid()).ok(),
    }
}

fn config_text(service: Service, options: &Options) -> String {
    let common = "measured = \"measured.toml\"\npolicy = \"policy.toml\"\nrun_dir = \"run\"\n";
    let own = match service {
        // The simulator's table has no room for the revocation list, as real ones often have none in it.
        Service::Attestation => {
            // Nobody throttles the simulated processor, and nobody should wait for it.
            let own = "audit.dir = \"audit\"\ncollateral.directory = \"collateral\"\nlimits.reports_per_second = 100\n";
            format!("listen = \"{}\"\n{own}", options.attestation)
        }
        Service::Adapter => format!("listen = \"{}\"\n", options.adapter),
        Service::Gateway => format!(
            "listen = \"{}\"\nattestation_svc = \"{}\"\nadapter = \"{}\"\naccess = \"anonymous\"\n",
            options.gateway, options.attestation, options.adapter
        ),
    };
    format!("{common}{own}\n[log]\nlevel = \"{}\"\n", options.log)
}
