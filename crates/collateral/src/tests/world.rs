//! Simulated machines, and a keeper on one of them.

use std::{
    fmt::{Debug, Write},
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use http::Uri;
use service_runtime::{ManualClock, Registry, https::ca_certificates};
use snp_evidence::{Endorsements, Evidence, EvidenceFormat, TrustRoots, Vek};
use snp_simulator::{ChipSpec, Guest, Product, SecureProcessor, SigningKey, SimulatedRoot, Tcb};
use tempfile::TempDir;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, set_default},
};

use super::fake_kds::FakeKds;
use crate::{Config, Keeper, Metrics, Unavailable, backoff::Backoff};

pub(super) const NOW: i64 = 1_790_000_000;
pub(super) const DAY: i64 = 86_400;
/// Long enough for whatever does come.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Three RSA keys take seconds to make, so that all tests share the roots.
pub(super) static GENOA: LazyLock<SimulatedRoot> =
    LazyLock::new(|| SimulatedRoot::generate(Product::Genoa, NOW - 60).unwrap());
pub(super) static TURIN: LazyLock<SimulatedRoot> =
    LazyLock::new(|| SimulatedRoot::generate(Product::Turin, NOW - 60).unwrap());
/// Somebody else's, with the same names.
pub(super) static STRANGER: LazyLock<SimulatedRoot> =
    LazyLock::new(|| SimulatedRoot::generate(Product::Genoa, NOW - 60).unwrap());

pub(super) fn chip(product: Product, id: u8, tcb: Tcb) -> ChipSpec {
    let mut chip_id = [0; 64];
    chip_id[..product.hwid_len()].fill(id);
    ChipSpec { chip_id, cpuid: product.cpuid(), tcb }
}

/// Of `root`, with id 7 and the levels that such chips have.
pub(super) fn processor(root: &SimulatedRoot, product: Product) -> SecureProcessor {
    root.make_processor(&chip(product, 7, product.tcb())).unwrap()
}

pub(super) fn genoa() -> SecureProcessor {
    processor(&GENOA, Product::Genoa)
}

/// A list that names nobody, its dates in days from [`NOW`].
pub(super) fn list(root: &SimulatedRoot, made: i64, next: i64) -> Vec<u8> {
    root.crl(&[], NOW + made * DAY, NOW + next * DAY).unwrap()
}

/// A report of `guest` on `processor`, without anything beside it.
pub(super) fn bare(processor: &SecureProcessor, guest: &Guest) -> Evidence {
    let report = processor.report(guest, &[9; 64]).unwrap();
    Evidence { format: EvidenceFormat::SimulatedAmdSevSnp, report, endorsements: Endorsements::default() }
}

/// A report with the certificate of its signer.
pub(super) fn offered(processor: &SecureProcessor) -> Evidence {
    let der = processor.vek_der().to_vec();
    let vek = match processor.signing_key() {
        SigningKey::Vcek => Vek::Vcek(der),
        SigningKey::Vlek => Vek::Vlek(der),
    };
    let endorsements = Endorsements { vek: Some(vek), ..Endorsements::default() };
    Evidence { endorsements, ..bare(processor, &Guest::default()) }
}

/// Where the server has the VCEK of [`genoa`].
pub(super) fn genoa_path() -> String {
    format!("/vcek/v1/Genoa/{}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=84", "07".repeat(64))
}

pub(super) const GENOA_LIST: &str = "/vcek/v1/Genoa/crl";

/// What a keeper is made of.
pub(super) struct World {
    pub(super) folder: TempDir,
    pub(super) config: Config,
    pub(super) roots: TrustRoots,
    pub(super) clock: Arc<ManualClock>,
    pub(super) list_required: bool,
    pub(super) registry: Registry,
}

impl World {
    /// Under the roots of [`GENOA`], asking `servers`.
    pub(super) fn new(servers: &[&FakeKds]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let urls = servers.iter().map(|server| server.url().parse::<Uri>().unwrap()).collect();
        let pem = servers.iter().find_map(|server| server.ca_pem.clone());
        let ca = pem.map(|pem| ca_certificates(pem.as_bytes()).unwrap()).unwrap_or_default();
        let backoff = Backoff { first: Duration::from_secs(8), most: Duration::from_mins(5) };
        let config = Config { urls, ca, backoff, ..Config::default() };
        Self {
            folder,
            config,
            roots: roots(&GENOA),
            clock: Arc::new(ManualClock::new(NOW)),
            list_required: false,
            registry: Registry::default(),
        }
    }

    /// With a cache, which outlives each keeper.
    pub(super) fn with_cache(mut self) -> Self {
        self.config.cache = Some(self.cache());
        self
    }

    /// With an operator's directory of these files.
    pub(super) fn with_directory(mut self, files: &[(&str, &[u8])]) -> Self {
        let directory = self.folder.path().join("operator");
        std::fs::create_dir_all(&directory).unwrap();
        for (name, bytes) in files {
            std::fs::write(directory.join(name), bytes).unwrap();
        }
        self.config.directory = Some(directory);
        self
    }

    pub(super) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// A process that starts now.
    pub(super) fn keeper(&mut self) -> Keeper {
        self.registry = Registry::default();
        let metrics = Metrics::register(&mut self.registry);
        let (config, roots) = (self.config.clone(), self.roots.clone());
        Keeper::new(config, self.list_required, roots, self.clock.clone(), metrics).unwrap()
    }

    /// Whether the metrics have this line.
    pub(super) fn counts(&self, line: &str) -> bool {
        self.registry.scrape().unwrap().lines().any(|found| found == line)
    }
}

pub(super) fn roots(root: &SimulatedRoot) -> TrustRoots {
    TrustRoots::simulated(root.root_pem().as_bytes()).unwrap()
}

/// The VCEK that `keeper` finds for a bare report of `processor`.
pub(super) async fn found(keeper: &Keeper, processor: &SecureProcessor) -> Result<Vec<u8>, Unavailable> {
    let endorsed = keeper.endorse(bare(processor, &Guest::default()), PATIENCE).await?;
    match endorsed.endorsements.vek {
        Some(Vek::Vcek(der)) => Ok(der),
        other => panic!("{other:?}"),
    }
}

/// The warnings of one module on this thread, each with its fields in one text.
#[derive(Clone, Debug)]
pub(super) struct Warnings {
    module: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Warnings {
    /// From now on, as long as the other half is kept.
    pub(super) fn of(module: &'static str) -> (Self, (Dispatch, DefaultGuard)) {
        let warnings = Self { module, lines: Arc::default() };
        // With one subscriber, the first thread to come by decides for all whether there is one; with two, nobody does.
        let second = Dispatch::new(warnings.clone());
        let guard = set_default(warnings.clone());
        (warnings, (second, guard))
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target() == self.module
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
