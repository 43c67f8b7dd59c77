//! The sources in force: a snapshot that requests take, and that is replaced whole when a source changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use weir_core::name::SourceName;
use weir_core::verify::Secret;

use super::way::Way;
use crate::config::{Server, Source};
use crate::egress::fetch::Fetcher;
use crate::observe::metrics::Metrics;

/// The sources in force.
#[derive(Debug)]
pub(super) struct Ways {
    current: ArcSwap<FxHashMap<Box<str>, Arc<Way>>>,
    /// What they are made from. Whoever changes anything holds it until the new ones are in force.
    from: Mutex<From>,
    server: Server,
    metrics: Metrics,
    fetcher: Arc<Fetcher>,
}

#[derive(Debug)]
struct From {
    sources: BTreeMap<SourceName, Arc<Source>>,
    /// Secrets that were handed over.
    learned: BTreeMap<SourceName, Secret>,
}

impl Ways {
    pub(super) fn new(
        sources: BTreeMap<SourceName, Arc<Source>>,
        server: Server,
        metrics: Metrics,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        let from = From { sources, learned: BTreeMap::new() };
        let current = ArcSwap::default();
        let ways = Self { current, from: Mutex::new(from), server, metrics, fetcher };
        ways.put_in_force(&ways.from.lock());
        ways
    }

    /// The source of that name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Way>> {
        self.current.load().get(name).map(Arc::clone)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<Arc<Way>> {
        let mut all: Vec<_> = self.current.load().values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.source.name.cmp(&b.source.name));
        all
    }

    /// Puts other sources in force. Requests under way finish by those that they began with.
    pub(super) fn adopt(&self, sources: BTreeMap<SourceName, Arc<Source>>) {
        let mut from = self.from.lock();
        from.sources = sources;
        self.put_in_force(&from);
    }

    /// Gives a source the secret that was handed over for it, or takes it away.
    pub(super) fn learn(&self, learned: impl IntoIterator<Item = (SourceName, Option<Secret>)>) {
        let mut from = self.from.lock();
        for (name, secret) in learned {
            match secret {
                Some(secret) => drop(from.learned.insert(name, secret)),
                None => drop(from.learned.remove(&name)),
            }
        }
        self.put_in_force(&from);
    }

    fn put_in_force(&self, from: &From) {
        let before = self.current.load();
        let way = |source: &Arc<Source>| {
            let name = source.name.as_str();
            let (before, learned) = (before.get(name).map(Arc::as_ref), from.learned.get(name));
            let Self { server, metrics, fetcher, .. } = self;
            let way = Way::new(source, before, server, metrics, fetcher, learned);
            (name.into(), Arc::new(way))
        };
        self.current.store(Arc::new(from.sources.values().map(way).collect()));
    }
}
