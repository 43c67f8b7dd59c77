//! Which version of each handler serves now, and what is known about those that do not.
//!
//! Readers take a snapshot; a change swaps the whole table. A run keeps the version that it started with.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{RwLock, Semaphore, watch};
use weir_core::breaker::BreakerPolicy;
use weir_core::name::{HandlerName, Target};
use weir_core::route::Pattern;
use weir_core::state::StateReader;
use weir_core::time::Timestamp;
use weir_engine::{Module, Version};
use weir_store::{Store, StoreError};

use super::archive;
use super::batching::Batching;
use super::folder::FolderId;
use super::settings::{self, EffectiveSettings, Requested};
use crate::claims::ClaimCounter;
use crate::config::Config;
use crate::gate::{self, BreakerPersistence, FlowControl, TargetHealth};
use crate::observe::metrics::{Metrics, TargetMetrics};

/// One version of a handler with its settings, serving. Immutable.
#[derive(Debug)]
pub(crate) struct ServingVersion {
    pub(crate) module: Module,
    pub(crate) about: Option<String>,
    /// What the module asks for; what it gets is in the settings.
    pub(crate) asks: Vec<Pattern>,
    pub(crate) sidecar: Option<String>,
    pub(crate) settings: EffectiveSettings,
    /// Runs at once.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) since: Timestamp,
}

impl ServingVersion {
    pub(crate) fn version(&self) -> Version {
        self.module.version()
    }
}

/// What a handler keeps whatever version serves.
pub(crate) struct HandlerRuntime {
    pub(crate) name: HandlerName,
    pub(crate) target: Target,
    pub(crate) state: Arc<dyn StateReader>,
    pub(crate) metrics: Arc<TargetMetrics>,
    /// Whether it is run at all.
    pub(crate) gate: Arc<FlowControl>,
    /// Claims made and neither settled nor given back.
    pub(crate) in_hand: Arc<ClaimCounter>,
    /// Batches whose runs have not ended.
    pub(crate) batches: Arc<ClaimCounter>,
    /// Runs going on.
    pub(crate) running: Arc<ClaimCounter>,
    pub(crate) batching: Mutex<Batching>,
    /// Held by every batch from its first run until it is settled; wholly by a run that must be alone.
    pub(crate) conflict_lock: RwLock<()>,
}

impl std::fmt::Debug for HandlerRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerRuntime").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A handler in service.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub(crate) runtime: Arc<HandlerRuntime>,
    pub(crate) serving: Arc<ServingVersion>,
}

/// How it stands with a handler, for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HandlerState {
    /// It serves.
    Ready,
    /// Its file is gone; it serves until its grace ends, then its deliveries are on hold.
    Missing,
    /// No version of it could be loaded.
    Failed,
    /// Its first version is being loaded.
    Loading,
}

/// A handler, for the API.
#[derive(Debug, Clone, Serialize)]
pub struct HandlerStatus {
    /// Its name.
    pub name: HandlerName,
    /// The hash of the module that serves, in hex; none if none does.
    pub version: Option<String>,
    /// `component` or `command`.
    pub kind: Option<&'static str>,
    /// What it says it does.
    pub about: Option<String>,
    /// The patterns by which it gets events.
    pub subscriptions: Vec<String>,
    /// How it stands.
    pub state: HandlerState,
    /// Since when this version serves, or since when it stands so.
    pub since: Timestamp,
    /// Why what lies in the folder was refused, if it was. An older version may be serving.
    pub last_error: Option<String>,
    /// Runs going on.
    pub running: usize,
    /// `ok`: its events are handled. `failing`: its version failed with nearly all of them, so they wait, and one is
    /// tried now and then. `paused`: an operator holds it.
    pub health: TargetHealth,
    /// The reason, if it is not ok.
    pub health_reason: Option<Box<str>>,
    /// Time of the next try, if not at once.
    pub next_try: Option<Timestamp>,
    /// Events that were tried without success since it is failing.
    pub failed_tries: u32,
}

/// What is known about a handler beside the version that serves.
#[derive(Debug, Clone)]
struct Standing {
    state: HandlerState,
    since: Timestamp,
    refused: Option<Refused>,
}

/// A content of the folder that was refused.
#[derive(Debug, Clone)]
struct Refused {
    content: Version,
    reason: String,
}

/// The handlers of this process.
#[derive(Debug)]
pub(crate) struct LiveHandlers {
    serving: ArcSwap<BTreeMap<HandlerName, Handler>>,
    standing: Mutex<BTreeMap<HandlerName, Standing>>,
    runtimes: Mutex<BTreeMap<HandlerName, Arc<HandlerRuntime>>>,
    changes: watch::Sender<u64>,
    looked: watch::Sender<bool>,
    /// The folder in which handlers lie.
    folder: Mutex<Option<FolderId>>,
    store: Arc<dyn Store>,
    metrics: Metrics,
    keeper: Arc<BreakerPersistence>,
}

impl LiveHandlers {
    /// The subscriptions of the handlers that served when the process ended, so that there is a routing table
    /// before any of them is loaded.
    pub(crate) async fn restore(
        store: &dyn Store,
        config: &Config,
    ) -> Result<BTreeMap<HandlerName, Vec<Pattern>>, StoreError> {
        let mut subscriptions = BTreeMap::new();
        for (name, manifest) in archive::all(store).await? {
            if manifest.retired {
                continue;
            }
            let asked = manifest.patterns().unwrap_or_else(|error| {
                tracing::error!(handler = %name, %error, "stored subscriptions cannot be read");
                Vec::new()
            });
            // A sidecar that no longer fits the configuration is told of when the handler is loaded.
            let said = settings::said(&name, manifest.sidecar.as_deref(), config)
                .unwrap_or_else(|_| config.handlers.get(&name).cloned().unwrap_or_default());
            let asks = Requested { kind: manifest.kind(), subscriptions: &asked };
            let on = settings::subscriptions(&name, asks, &said);
            subscriptions.insert(name, on);
        }
        Ok(subscriptions)
    }

    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Metrics,
        keeper: Arc<BreakerPersistence>,
    ) -> Self {
        Self {
            serving: ArcSwap::default(),
            standing: Mutex::default(),
            runtimes: Mutex::default(),
            changes: watch::Sender::new(0),
            looked: watch::Sender::new(false),
            folder: Mutex::default(),
            store,
            metrics,
            keeper,
        }
    }

    /// The handlers that serve now.
    pub(crate) fn current(&self) -> Arc<BTreeMap<HandlerName, Handler>> {
        self.serving.load_full()
    }

    /// The version of a handler that serves now.
    pub(crate) fn serving(&self, name: &HandlerName) -> Option<Arc<ServingVersion>> {
        self.serving.load().get(name).map(|handler| Arc::clone(&handler.serving))
    }

    /// The desk of a handler that serves now.
    pub(crate) fn runtime_of(&self, name: &HandlerName) -> Option<Arc<HandlerRuntime>> {
        self.serving.load().get(name).map(|handler| Arc::clone(&handler.runtime))
    }

    /// Puts a version into service. Runs that have started finish on the one before. It is not called ready until
    /// events are routed to it too: see [`LiveHandlers::agree`].
    pub(crate) fn swap(&self, name: &HandlerName, serving: ServingVersion) {
        let runtime = self.runtime(name);
        let policy = serving.settings.breaker.clone();
        if runtime.gate.serves(&serving.version().to_hex(), policy) {
            self.keeper.tell();
        }
        let handler = Handler { runtime, serving: Arc::new(serving) };
        let mut next = BTreeMap::clone(&self.serving.load());
        next.insert(name.clone(), handler);
        self.serving.store(Arc::new(next));
    }

    /// Takes a handler out of service.
    pub(crate) fn retire(&self, name: &HandlerName, now: Timestamp) {
        let mut next = BTreeMap::clone(&self.serving.load());
        next.remove(name);
        self.serving.store(Arc::new(next));
        self.stand(name, HandlerState::Missing, now, None);
    }

    /// Its file is gone, for now.
    pub(crate) fn miss(&self, name: &HandlerName, now: Timestamp) {
        let refused = self.standing.lock().get(name).and_then(|s| s.refused.clone());
        self.stand(name, HandlerState::Missing, now, refused);
    }

    /// It never served and its file is gone: there is nothing to say about it.
    pub(crate) fn forget(&self, name: &HandlerName) {
        self.standing.lock().remove(name);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Its first version is being loaded.
    pub(crate) fn loading(&self, name: &HandlerName, now: Timestamp) {
        if self.serving(name).is_none() {
            self.stand(name, HandlerState::Loading, now, None);
        }
    }

    /// What serves is what should, and gets its events.
    pub(crate) fn agree(&self, name: &HandlerName, now: Timestamp) {
        self.stand(name, HandlerState::Ready, now, None);
    }

    /// What lies in the folder was refused. What serves goes on serving.
    pub(crate) fn refuse(
        &self,
        name: &HandlerName,
        content: Version,
        reason: String,
        now: Timestamp,
    ) {
        self.stand(name, self.served_state(name), now, Some(Refused { content, reason }));
    }

    /// Whether this content was the last one to be refused, in which case there is nothing new to say about it.
    pub(crate) fn is_refused(&self, name: &HandlerName, content: Version, now: Timestamp) -> bool {
        let refused = self.standing.lock().get(name).and_then(|s| s.refused.clone());
        let Some(refused) = refused.filter(|r| r.content == content) else { return false };
        self.stand(name, self.served_state(name), now, Some(refused));
        true
    }

    fn served_state(&self, name: &HandlerName) -> HandlerState {
        match self.serving(name) {
            Some(_) => HandlerState::Ready,
            None => HandlerState::Failed,
        }
    }

    /// The folder in which handlers lie is this one.
    pub(crate) fn lies_in(&self, folder: Option<FolderId>) {
        *self.folder.lock() = folder;
    }

    /// See [`LiveHandlers::lies_in`].
    pub(crate) fn folder(&self) -> Option<FolderId> {
        *self.folder.lock()
    }

    /// The bytes of compiled code of all handlers that serve but one.
    pub(crate) fn code_bytes_beside(&self, name: &HandlerName) -> usize {
        let serving = self.serving.load();
        let others = serving.iter().filter(|(other, _)| *other != name);
        others.map(|(_, handler)| handler.serving.module.code_bytes()).sum()
    }

    /// Everything in the folder has been loaded or refused once.
    pub(crate) fn looked(&self) {
        self.looked.send_replace(true);
    }

    /// Turns true when everything in the folder has been loaded or refused once.
    pub(crate) fn has_looked(&self) -> watch::Receiver<bool> {
        self.looked.subscribe()
    }

    /// Rises with every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All handlers that are known, in the order of their names.
    pub(crate) fn statuses(&self, now: Timestamp) -> Vec<HandlerStatus> {
        let serving = self.serving.load_full();
        let standing = self.standing.lock();
        let status = |(name, standing)| status(name, standing, serving.get(name), now);
        standing.iter().map(status).collect()
    }

    fn stand(
        &self,
        name: &HandlerName,
        state: HandlerState,
        now: Timestamp,
        refused: Option<Refused>,
    ) {
        let mut standing = self.standing.lock();
        let since = match standing.get(name) {
            Some(before) if before.state == state => before.since,
            _ => now,
        };
        standing.insert(name.clone(), Standing { state, since, refused });
        drop(standing);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Every handler that ever served in this process.
    pub(crate) fn runtimes(&self) -> Vec<Arc<HandlerRuntime>> {
        self.runtimes.lock().values().cloned().collect()
    }

    fn runtime(&self, name: &HandlerName) -> Arc<HandlerRuntime> {
        let mut runtimes = self.runtimes.lock();
        let runtime = runtimes.entry(name.clone()).or_insert_with(|| {
            let target = Target::Handler(name.clone());
            let metrics = self.metrics.target(&target);
            // The policy comes with the version that serves; nothing else bounds what runs together here.
            let policy = BreakerPolicy::for_handlers();
            let gate = FlowControl::new(target.clone(), policy, usize::MAX, Arc::clone(&metrics));
            let gate = Arc::new(gate);
            self.keeper.watch(&gate);
            Arc::new(HandlerRuntime {
                state: self.store.state(name),
                metrics,
                gate,
                name: name.clone(),
                target,
                in_hand: Arc::default(),
                batches: Arc::default(),
                running: Arc::default(),
                batching: Mutex::default(),
                conflict_lock: RwLock::default(),
            })
        });
        Arc::clone(runtime)
    }
}

fn status(
    name: &HandlerName,
    standing: &Standing,
    handler: Option<&Handler>,
    now: Timestamp,
) -> HandlerStatus {
    let serving = handler.map(|h| &h.serving);
    let ready = standing.state == HandlerState::Ready;
    let gate = handler.map(|h| h.runtime.gate.standing(now));
    let failed_tries =
        gate.as_ref().and_then(|gate| Some(gate.record.as_ref()?.breaker.failed_probes));
    HandlerStatus {
        name: name.clone(),
        version: serving.map(|s| s.version().to_hex()),
        kind: serving.map(|s| s.module.kind().as_str()),
        about: serving.and_then(|s| s.about.clone()),
        subscriptions: serving
            .map(|s| s.settings.on.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        state: standing.state,
        since: serving.filter(|_| ready).map_or(standing.since, |s| s.since),
        last_error: standing.refused.as_ref().map(|r| r.reason.clone()),
        running: handler.map_or(0, |h| h.runtime.running.count()),
        health: gate.as_ref().map_or(TargetHealth::Ok, gate::Standing::health),
        next_try: gate.as_ref().and_then(gate::Standing::next_try),
        health_reason: gate.as_ref().and_then(gate::Standing::reason),
        failed_tries: failed_tries.unwrap_or(0),
    }
}
