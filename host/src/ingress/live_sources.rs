//! The sources in force: a snapshot that requests take, and that is replaced whole when a source changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use weir_core::name::SourceName;
use weir_core::verify::Secret;

use super::way::LiveSource;
use crate::config::{Server, Source};
use crate::egress::fetch::Fetcher;
use crate::observe::metrics::Metrics;

/// The sources in force.
#[derive(Debug)]
pub(super) struct LiveSources {
    current: ArcSwap<FxHashMap<Box<str>, Arc<LiveSource>>>,
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
    handed_over: BTreeMap<SourceName, Secret>,
}

impl LiveSources {
    pub(super) fn new(
        sources: BTreeMap<SourceName, Arc<Source>>,
        server: Server,
        metrics: Metrics,
        fetcher: Arc<Fetcher>,
    ) -> Self {
        let from = From { sources, handed_over: BTreeMap::new() };
        let current = ArcSwap::default();
        let live_sources = Self { current, from: Mutex::new(from), server, metrics, fetcher };
        live_sources.put_in_force(&live_sources.from.lock());
        live_sources
    }

    /// The source of that name.
    pub(super) fn get(&self, name: &str) -> Option<Arc<LiveSource>> {
        self.current.load().get(name).map(Arc::clone)
    }

    /// All of them, by name.
    pub(super) fn all(&self) -> Vec<Arc<LiveSource>> {
        let mut all: Vec<_> = self.current.load().values().map(Arc::clone).collect();
        all.sort_by(|a, b| a.source.name.cmp(&b.source.name));
        all
    }

    /// Puts other sources in force. Requests under way finish by those that they began with.
    pub(super) fn replace_sources(&self, sources: BTreeMap<SourceName, Arc<Source>>) {
        let mut from = self.from.lock();
        from.sources = sources;
        self.put_in_force(&from);
    }

    /// Gives a source the secret that was handed over for it, or takes it away.
    pub(super) fn set_handed_over(
        &self,
        handed_over: impl IntoIterator<Item = (SourceName, Option<Secret>)>,
    ) {
        let mut from = self.from.lock();
        for (name, secret) in handed_over {
            match secret {
                Some(secret) => drop(from.handed_over.insert(name, secret)),
                None => drop(from.handed_over.remove(&name)),
            }
        }
        self.put_in_force(&from);
    }

    fn put_in_force(&self, from: &From) {
        let before = self.current.load();
        let way = |source: &Arc<Source>| {
            let name = source.name.as_str();
            let (before, handed_over) =
                (before.get(name).map(Arc::as_ref), from.handed_over.get(name));
            let Self { server, metrics, fetcher, .. } = self;
            let way = LiveSource::new(source, before, server, metrics, fetcher, handed_over);
            (name.into(), Arc::new(way))
        };
        self.current.store(Arc::new(from.sources.values().map(way).collect()));
    }
}
