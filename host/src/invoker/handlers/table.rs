//! The table of handlers in service. Readers take a snapshot; a change replaces the whole table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use weir_core::name::{HandlerName, Target};

use super::runtime::{HandlerRuntime, ServingVersion};
use crate::delivery::worker::Worker;

/// A handler in service.
#[derive(Debug, Clone)]
pub(crate) struct LiveHandler {
    pub(crate) runtime: Arc<HandlerRuntime>,
    pub(crate) version: Arc<ServingVersion>,
}

type HandlerTable = BTreeMap<HandlerName, LiveHandler>;

/// The handlers in service.
#[derive(Debug)]
pub(crate) struct LiveHandlers {
    serving: ArcSwap<HandlerTable>,
    /// Of every handler that ever served in this process.
    runtimes: Mutex<BTreeMap<HandlerName, Arc<HandlerRuntime>>>,
    worker: Arc<Worker>,
}

impl LiveHandlers {
    pub(crate) fn new(worker: Arc<Worker>) -> Self {
        Self { serving: ArcSwap::default(), runtimes: Mutex::default(), worker }
    }

    pub(crate) fn current(&self) -> Arc<HandlerTable> {
        self.serving.load_full()
    }

    /// The version of a handler that serves now.
    pub(crate) fn version(&self, name: &HandlerName) -> Option<Arc<ServingVersion>> {
        self.serving.load().get(name).map(|handler| handler.version.clone())
    }

    /// The runtime of a handler in service.
    pub(crate) fn runtime(&self, name: &HandlerName) -> Option<Arc<HandlerRuntime>> {
        self.serving.load().get(name).map(|handler| handler.runtime.clone())
    }

    /// Puts a version into service. Runs that have started finish on the version before.
    pub(crate) fn serve(&self, name: &HandlerName, version: ServingVersion) {
        let runtime = self.runtime_or_new(name);
        let policy = version.settings.breaker.clone();
        if runtime.flow.set_version(&version.version().to_hex(), policy) {
            self.worker.breakers.notify_changed();
        }
        runtime.metrics.set_on_probation(version.trial.is_some());
        let handler = LiveHandler { runtime, version: Arc::new(version) };
        let mut next = HandlerTable::clone(&self.serving.load());
        next.insert(name.clone(), handler);
        self.serving.store(Arc::new(next));
        self.worker.wake.notify_one();
    }

    /// Takes a handler out of service.
    pub(crate) fn remove(&self, name: &HandlerName) {
        let mut next = HandlerTable::clone(&self.serving.load());
        next.remove(name);
        self.serving.store(Arc::new(next));
    }

    /// Forgets the runtime of a handler that has another name now, which gets its breaker.
    pub(crate) async fn forget(&self, from: &HandlerName, to: &HandlerName) {
        let [from, to] = [from, to].map(|name| Target::Handler(name.clone()));
        self.worker.breakers.rename(&from, &to).await;
        self.runtimes.lock().retain(|name, _| Target::Handler(name.clone()) != from);
    }

    /// Bytes of compiled code of all handlers in service but one.
    pub(crate) fn code_bytes_of_others(&self, name: &HandlerName) -> usize {
        let serving = self.serving.load();
        let others = serving.iter().filter(|(other, _)| *other != name);
        others.map(|(_, handler)| handler.version.code_bytes()).sum()
    }

    /// True while any handler has claims that are neither settled nor given back.
    pub(crate) fn is_busy(&self) -> bool {
        self.runtimes.lock().values().any(|runtime| runtime.claims.count() > 0)
    }

    fn runtime_or_new(&self, name: &HandlerName) -> Arc<HandlerRuntime> {
        let mut runtimes = self.runtimes.lock();
        let new = || Arc::new(HandlerRuntime::new(name, &self.worker));
        runtimes.entry(name.clone()).or_insert_with(new).clone()
    }
}
