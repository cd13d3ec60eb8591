//! Finds what a report needs, and keeps it: from the host, the operator's directory, the cache, the key server.
//!
//! Each item is judged by its name wherever it comes from; the first that is what its name says is taken. What is taken
//! stays in memory, so that a report of a known chip and TCB costs no file and no request. Of several that want the same,
//! one looks and the others wait for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use service_runtime::Clock;
use snp_evidence::{Endorsements, Evidence, Product, Signer, TrustRoots, UnixTime, Vek};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};
use tracing::warn;

use crate::{
    Config, as_der,
    cache::Cache,
    directory::Directory,
    item::{Issuer, Item, Sound},
    kds::{Kds, NotHad},
    list::Watch,
    metrics::{Metrics, Source},
    unavailable::Unavailable,
};

/// Certificates in memory; a machine has one chip, whose TCB changes when the host updates its firmware.
const MOST_HELD: usize = 16;

/// Certificates and lists of one machine.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) config: Config,
    pub(crate) roots: TrustRoots,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) kds: Kds,
    pub(crate) metrics: Metrics,
    pub(crate) watch: Watch,
    cache: Option<Cache>,
    held: Mutex<HashMap<Item, Sound>>,
    /// What the log says of directory and cache, by kind of item and place.
    told: Mutex<HashMap<(&'static str, &'static str), String>>,
    /// One looks for certificates at a time.
    looking: tokio::sync::Mutex<()>,
    /// The policy wants a list, and nobody has waited for one yet.
    list_due: AtomicBool,
}

impl Keeper {
    /// Judges by `roots` what it finds where `config` says. `list_required`: reports without a revocation list will be
    /// refused, so that the first waits for one.
    pub fn new(
        config: Config,
        list_required: bool,
        roots: TrustRoots,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, rustls::Error> {
        let kds = Kds::new(&config.urls, &config.ca, config.backoff, Arc::clone(&clock), metrics.clone())?;
        Ok(Self {
            cache: config.cache.clone().map(Cache),
            kds,
            roots,
            clock,
            metrics,
            watch: Watch::new(list_required),
            held: Mutex::default(),
            told: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            list_due: AtomicBool::new(list_required),
            config,
        })
    }

    /// The evidence with what its report needs: the VCEK of its chip at its reported TCB, or the VLEK with its ASVK, and
    /// the newest revocation list that is held. Ends within `within`, give or take a disk; each server is asked at most
    /// once, and none that asked to be left alone.
    ///
    /// What the host offers is replaced only where it is not what the report needs. A report that makes no sense stays as
    /// it is: verification says what is wrong with it.
    pub async fn endorse(&self, evidence: Evidence, within: Duration) -> Result<Evidence, Unavailable> {
        let end = Instant::now() + within;
        let Evidence { format, report, endorsements } = evidence;
        let mut have = as_der(endorsements);
        let list = match Signer::of(&report) {
            Some(Signer::Vcek(ids)) => {
                let wanted: Vec<_> = ids.into_iter().map(Item::Vcek).collect();
                have.vek = self.vcek(&wanted, have.vek, end).await?;
                have.vek.as_ref().and_then(Vek::product).map(|product| Item::List(Issuer::Ask, product))
            }
            Some(Signer::Vlek(product)) => self.vlek(&mut have, product, end).await?,
            None => None,
        };
        if let Some(list) = list {
            have.crl = self.newest(&list, have.crl).await;
        }
        Ok(Evidence { format, report, endorsements: have })
    }

    /// As [`Self::endorse`], for a start: goes on, as far as the servers allow, until `kds.deadline_seconds` have passed.
    /// The first time, it waits for a revocation list too, where the policy requires one.
    pub async fn endorse_patiently(&self, evidence: Evidence) -> Result<Evidence, Unavailable> {
        let end = Instant::now() + self.config.deadline;
        let endorsed = loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.endorse(evidence.clone(), left).await {
                Err(why) if pause(why.again, end).await => {}
                ended => break ended?,
            }
        };
        let (Some(list), true) = (self.watch.list(), self.list_due.swap(false, Ordering::Relaxed)) else {
            return Ok(endorsed);
        };
        self.await_list(&list, end).await?;
        let crl = self.held(&list).map(|held| held.der).or(endorsed.endorsements.crl);
        Ok(Evidence { endorsements: Endorsements { crl, ..endorsed.endorsements }, ..endorsed })
    }

    /// The host's own where it is right; where it is not and there is nothing better, verification tells the mismatch.
    async fn vcek(
        &self,
        wanted: &[Item],
        offered: Option<Vek>,
        end: Instant,
    ) -> Result<Option<Vek>, Unavailable> {
        if let Some(Vek::Vcek(der)) = &offered {
            if wanted.iter().any(|item| self.take(item, der, Source::Host).is_ok()) {
                return Ok(offered);
            }
            self.metrics.dropped("vcek", Source::Host);
        }
        match self.find(wanted, offered.is_some(), end).await {
            Ok(sound) => Ok(Some(Vek::Vcek(sound.der))),
            Err(_) if offered.is_some() && (wanted.is_empty() || !self.kds.is_configured()) => Ok(offered),
            Err(why) => Err(why),
        }
    }

    /// A VLEK is the provider's to hand out, by the host or to the operator. Gives the list that covers its issuer.
    async fn vlek(
        &self,
        have: &mut Endorsements,
        product: Option<Product>,
        end: Instant,
    ) -> Result<Option<Item>, Unavailable> {
        if have.vek.is_none() {
            let found = self.directory_file("vlek.der").await.map_err(Unavailable::directory)?;
            have.vek = found.map(Vek::Vlek);
        }
        let vek = have.vek.as_ref().ok_or_else(|| Unavailable::vlek(self.config.directory.is_some()))?;
        let Some(product) = product.or_else(|| vek.product()) else { return Ok(None) };
        if have.asvk.is_none() {
            have.asvk = Some(self.find(&[Item::Asvk(product)], false, end).await?.der);
        }
        Ok(Some(Item::List(Issuer::Asvk, product)))
    }

    /// The newer of the host's list and ours. One that is no list of AMD's goes along only where there is no other, for
    /// verification to say what is wrong with it.
    async fn newest(&self, list: &Item, offered: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if let Some(der) = &offered
            && self.take(list, der, Source::Host).is_err()
        {
            self.metrics.dropped(list.kind(), Source::Host);
        }
        if self.watch.begins(list) {
            drop(self.look_here(list).await);
        }
        self.held(list).map(|held| held.der).or(offered)
    }

    /// The first of `wanted` that anybody has.
    async fn find(&self, wanted: &[Item], offered: bool, end: Instant) -> Result<Sound, Unavailable> {
        let held = || wanted.iter().find_map(|item| self.held(item));
        if let Some(held) = held() {
            return Ok(held);
        }
        let busy = |_| Unavailable::busy(wanted, self);
        let _alone = timeout_at(end, self.looking.lock()).await.map_err(busy)?;
        // Whoever had the turn before may have found it.
        if let Some(held) = held() {
            return Ok(held);
        }
        let mut tried = Vec::new();
        for item in wanted {
            match self.look_here(item).await {
                Ok(sound) => return Ok(sound),
                Err(met) => tried.extend(met),
            }
        }
        let not_had = match self.fetch(wanted, end).await {
            Ok(sound) => return Ok(sound),
            Err(not_had) => not_had,
        };
        tried.extend(not_had.tried);
        Err(Unavailable::new(wanted, offered, NotHad { tried, ..not_had }, self))
    }

    /// In the operator's directory and in the cache; or what is there instead.
    pub(crate) async fn look_here(&self, item: &Item) -> Result<Sound, Vec<String>> {
        let mut tried = Vec::new();
        let directory = self.directory_file(item.file()).await;
        for (source, read) in [(Source::Directory, directory), (Source::Cache, self.cache_file(item).await)] {
            let why = match read {
                Ok(None) => continue,
                Ok(Some(bytes)) => match self.take(item, &bytes, source) {
                    Ok(sound) => return Ok(sound),
                    Err(why) => why,
                },
                Err(error) => error,
            };
            self.metrics.dropped(item.kind(), source);
            let met = format!("collateral.{}: {why}", source.as_str());
            if self.is_news(item, source, &met) {
                warn!(item = item.path(), place = source.as_str(), why, "what is kept there is passed over");
            }
            tried.push(met);
        }
        Err(tried)
    }

    /// Whether the log does not say it yet: strangers decide how often we look.
    fn is_news(&self, item: &Item, source: Source, met: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((item.kind(), source.as_str()), met.to_owned()).as_deref() != Some(met)
    }

    async fn fetch(&self, wanted: &[Item], end: Instant) -> Result<Sound, NotHad> {
        if wanted.is_empty() {
            return Err(NotHad::default());
        }
        let accept = |item: &Item, bytes: &[u8]| {
            self.take(item, bytes, Source::Kds).map(|sound| (item.clone(), sound))
        };
        let (item, sound) = self.kds.get(wanted, end, accept).await?;
        self.store(&item, &sound.der).await;
        Ok(sound)
    }

    /// What is held once `bytes` were taken up, or why they are not `item`. Of lists, the newer one stays.
    pub(crate) fn take(&self, item: &Item, bytes: &[u8], source: Source) -> Result<Sound, String> {
        if let Some(held) = self.held(item).filter(|held| held.der == bytes) {
            return Ok(held);
        }
        Ok(self.hold(item, item.read(bytes, &self.roots, self.now())?, source))
    }

    pub(crate) fn hold(&self, item: &Item, sound: Sound, source: Source) -> Sound {
        let mut all = self.all_held();
        match all.get(item) {
            Some(held) if *held == sound || !sound.is_as_new_as(held) => return held.clone(),
            Some(_) | None => {}
        }
        if all.len() >= MOST_HELD {
            all.retain(|held, _| matches!(held, Item::List(..)));
        }
        all.insert(item.clone(), sound.clone());
        self.metrics.taken(item, source);
        sound
    }

    pub(crate) fn held(&self, item: &Item) -> Option<Sound> {
        self.all_held().get(item).cloned()
    }

    pub(crate) fn now(&self) -> UnixTime {
        UnixTime(self.clock.unix())
    }

    /// A disk that takes nothing costs the next start a request, and this one nothing.
    pub(crate) async fn store(&self, item: &Item, der: &[u8]) {
        let Some(cache) = self.cache.clone() else { return };
        let (path, der, folder) = (item.path(), der.to_vec(), cache.0.display().to_string());
        match spawn_blocking(move || cache.write(&path, &der)).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => warn!(
                folder,
                %error,
                fix = "give attestation-svc's user a folder with room as collateral.cache",
                "what was fetched cannot be kept; the next start has to fetch it again"
            ),
        }
    }

    async fn directory_file(&self, name: &'static str) -> Result<Option<Vec<u8>>, String> {
        let Some(folder) = self.config.directory.clone() else { return Ok(None) };
        let read = spawn_blocking(move || Directory::open(&folder)?.read(name)).await;
        read.unwrap_or(Ok(None)).map_err(|error| error.to_string())
    }

    async fn cache_file(&self, item: &Item) -> Result<Option<Vec<u8>>, String> {
        let Some(cache) = self.cache.clone() else { return Ok(None) };
        let path = item.path();
        let read = spawn_blocking(move || cache.read(&path)).await;
        read.unwrap_or(Ok(None)).map_err(|error| error.to_string())
    }

    /// A panic elsewhere cannot have left an item half held.
    fn all_held(&self) -> MutexGuard<'_, HashMap<Item, Sound>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for `again` if that ends before `end`; else says that it does not.
pub(crate) async fn pause(again: Option<Duration>, end: Instant) -> bool {
    let Some(again) = again.filter(|again| Instant::now() + *again < end) else { return false };
    sleep(again).await;
    true
}
