//! All sources in force: a snapshot that requests use, and that is replaced when a source changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use weir_core::name::SourceName;
use weir_core::verify::Secret;

use super::live_source::{LiveSource, SourceDeps};
use crate::config::Source;

/// The sources in force, by name.
#[derive(Debug)]
pub(crate) struct LiveSources {
    current: ArcSwap<FxHashMap<Box<str>, Arc<LiveSource>>>,
    /// Locked from a change until the new snapshot is in force.
    inputs: Mutex<Inputs>,
    context: SourceDeps,
}

/// The inputs that a snapshot is made from.
#[derive(Debug)]
struct Inputs {
    sources: BTreeMap<SourceName, Arc<Source>>,
    /// The secrets that were handed over.
    handed_over: BTreeMap<SourceName, Secret>,
}

impl LiveSources {
    pub(crate) fn new(sources: BTreeMap<SourceName, Arc<Source>>, context: SourceDeps) -> Self {
        let inputs = Mutex::new(Inputs { sources, handed_over: BTreeMap::new() });
        let live_sources = Self { current: ArcSwap::default(), inputs, context };
        live_sources.apply(&live_sources.inputs.lock());
        live_sources
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<LiveSource>> {
        self.current.load().get(name).cloned()
    }

    /// All sources, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<LiveSource>> {
        let mut all: Vec<_> = self.current.load().values().cloned().collect();
        all.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        all
    }

    /// Replaces all sources. Requests under way finish with those that they began with.
    pub(crate) fn replace_sources(&self, sources: BTreeMap<SourceName, Arc<Source>>) {
        let mut inputs = self.inputs.lock();
        inputs.sources = sources;
        self.apply(&inputs);
    }

    /// Sets the secrets that were handed over; `None` removes one.
    pub(crate) fn set_handed_over(
        &self,
        secrets: impl IntoIterator<Item = (SourceName, Option<Secret>)>,
    ) {
        let mut inputs = self.inputs.lock();
        for (name, secret) in secrets {
            match secret {
                Some(secret) => drop(inputs.handed_over.insert(name, secret)),
                None => drop(inputs.handed_over.remove(&name)),
            }
        }
        self.apply(&inputs);
    }

    /// Makes a snapshot of the inputs and puts it in force.
    fn apply(&self, inputs: &Inputs) {
        let before = self.current.load();
        let live = |config: &Arc<Source>| {
            let name = config.name.as_str();
            let (before, secret) = (before.get(name), inputs.handed_over.get(name));
            let source = LiveSource::new(config, before.map(Arc::as_ref), &self.context, secret);
            (name.into(), Arc::new(source))
        };
        self.current.store(Arc::new(inputs.sources.values().map(live).collect()));
    }
}
