//! Invoker: permit, claim, run, decide, settle; for every handler. And which version of each that is.
//!
//! `run` sees a batch of claims through, `decide` says what a report means, `batching` how much to take on. `tracker`
//! says what to do about the plugins folder, `watch` looks at it, `reload` carries it out, `versions` holds what
//! serves, `archive` keeps it across restarts. `responders` runs those that a sender waits for, and `reply_broker` tells it.
//!
//! What may not live here: wasmtime's types (the engine hides them) and SQL.

mod archive;
mod batching;
mod cpu_timed;
mod decide;
mod engine;
mod folder;
mod held;
mod manifest;
mod reload;
mod reply_broker;
mod responders;
mod run;
mod settings;
mod slots;
#[cfg(test)]
mod tests;
mod tracker;
mod versions;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, RwLock, Semaphore, watch as tokio_watch};
use weir_core::name::{HandlerName, Target};
use weir_core::route::Pattern;
use weir_core::time::Clock;
use weir_engine::Engine;
use weir_store::{Claim, ClaimRequest};
use weir_store::{Store, StoreError};

pub use engine::engine_from_config;
pub use reply_broker::{ReplyReceiver, ReplySender, RunReply};
pub use responders::{ResponderHandle, RunPermit};
pub use versions::{HandlerState, HandlerStatus};

use crate::claims::Idle;
use crate::config::Config;
use crate::config::ConfiguredSources;
use crate::context::HubContext;
use crate::gate::{Admission, AttemptPermit, BreakerPersistence};
use crate::observe::health::PluginsFolder;
use crate::routing::Routes;
use crate::runtime::tasks::{OnFailure, Tasks};
use reload::{COMPILERS, Reloader};
use reply_broker::ReplyBroker;
use responders::ResponderPolicy;
use run::{Batch, Runner};
use slots::RunSlots;
use versions::{Handler, LiveHandlers};

/// The dependencies of [`Invoker`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The sources in force, some of which name who answers for them.
    pub sources: ConfiguredSources,
    /// What runs modules.
    pub engine: Engine,
    /// The routing table, which handlers change.
    pub routes: Arc<Routes>,
    /// Where it is said whether the plugins folder is there.
    pub folder: PluginsFolder,
    /// The runtime that guests run and compile on, so that they never hold up an answer.
    pub guests: Handle,
}

/// Runs handlers on what is due to them, and keeps them up to date with the plugins folder.
#[derive(Debug)]
pub struct Invoker {
    runner: Arc<Runner>,
    reloader: Reloader,
    tasks: Tasks,
    guests: Handle,
    slots: usize,
    reply_broker: ReplyBroker,
}

/// Asks about handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InvokerHandle {
    versions: Arc<LiveHandlers>,
    clock: Arc<dyn Clock>,
}

impl InvokerHandle {
    /// How it stands with every handler that is known, in the order of their names.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        self.versions.statuses(self.clock.now())
    }

    /// Rises with every change of what [`InvokerHandle::handlers`] says, but for runs.
    #[must_use]
    pub fn changes(&self) -> tokio_watch::Receiver<u64> {
        self.versions.changes()
    }

    /// Resolves when every module that lay in the folder has been loaded or refused once. While the folder cannot be
    /// read, or files in it keep changing, it does not: wait for it with a limit.
    pub async fn looked(&self) {
        // An error says that the invoker is gone, and there is nothing to wait for.
        let _ = self.versions.has_looked().wait_for(|looked| *looked).await;
    }
}

/// The subscriptions of the handlers that served when the process ended, for a routing table that stands before any
/// of them is loaded.
pub async fn restore(
    store: &dyn Store,
    config: &Config,
) -> Result<BTreeMap<HandlerName, Vec<Pattern>>, StoreError> {
    LiveHandlers::restore(store, config).await
}

impl Invoker {
    /// Puts the parts together; nothing is loaded and nothing runs yet.
    #[must_use]
    pub fn new(config: Arc<Config>, ctx: HubContext, deps: Deps) -> Self {
        let HubContext { store, clock, metrics, notices, drain, tasks } = ctx;
        let Deps { sources, engine, routes, folder, guests } = deps;
        let freed = Arc::new(Notify::new());
        let keeper =
            BreakerPersistence::new(store.clone(), clock.clone(), drain.clone(), freed.clone());
        let keeper = Arc::new(keeper);
        let versions = LiveHandlers::new(Arc::clone(&store), metrics.clone(), Arc::clone(&keeper));
        let versions = Arc::new(versions);
        let (slots, places) = (config.runs.slots, config.runs.places());
        let responder_policy = ResponderPolicy::new(sources.clone(), config.responders.keep);
        let reloader = Reloader {
            config,
            sources,
            store: Arc::clone(&store),
            engine,
            routes: Arc::clone(&routes),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            notices: notices.clone(),
            versions: Arc::clone(&versions),
            folder,
            guests: guests.clone(),
            compilers: Semaphore::new(COMPILERS),
            registry: Mutex::default(),
        };
        let runner = Arc::new(Runner {
            store,
            routes,
            clock,
            metrics,
            notices,
            drain,
            versions,
            freed,
            responder_policy,
            keeper,
            slots: RunSlots::new(slots, places),
            isolation: RwLock::default(),
        });
        Self { runner, reloader, tasks, guests, slots, reply_broker: ReplyBroker::default() }
    }

    /// Asks about handlers, from anywhere.
    #[must_use]
    pub fn handle(&self) -> InvokerHandle {
        let clock = Arc::clone(&self.runner.clock);
        InvokerHandle { versions: Arc::clone(&self.runner.versions), clock }
    }

    /// Runs responders, for ingress.
    #[must_use]
    pub fn responders(&self) -> ResponderHandle {
        ResponderHandle {
            runner: Arc::clone(&self.runner),
            tasks: self.tasks.clone(),
            guests: self.guests.clone(),
            reply_broker: self.reply_broker.clone(),
        }
    }

    /// Loads, claims and runs until the drain stops claiming, then waits for what runs until it stops waiting.
    pub async fn run(self) {
        let Runner { drain, freed, versions, keeper, .. } = &*self.runner;
        tokio::select! {
            () = self.work() => {}
            () = drain.claiming_stopped() => {}
        }
        let busy = || versions.runtimes().iter().any(|runtime| runtime.in_hand.count() > 0);
        while busy() {
            tokio::select! {
                () = freed.notified() => {}
                () = drain.waiting_stopped() => return,
            }
        }
        keeper.keep().await;
    }

    async fn work(&self) {
        // Before any version is loaded, for it may be one that is left alone.
        self.runner.keeper.restore().await;
        let keeper = Arc::clone(&self.runner.keeper);
        self.tasks.spawn("breakers", OnFailure::Stop, async move { keeper.run().await });
        tokio::select! {
            () = self.claim_and_run() => {}
            () = watch::run(&self.reloader) => {}
        }
    }

    async fn claim_and_run(&self) {
        let Runner { store, freed, versions, .. } = &*self.runner;
        let mut changes = versions.changes();
        let mut idle = Idle::default();
        loop {
            let handlers = versions.current();
            let wanted: Vec<ClaimRequest> =
                handlers.values().filter_map(|h| self.wanted(h)).flatten().collect();
            if wanted.is_empty() {
                tokio::select! {
                    () = freed.notified() => {}
                    _ = changes.changed() => {}
                }
                continue;
            }
            match store.claim(&wanted).await {
                Ok(claims) if claims.is_empty() => {
                    tokio::select! {
                        () = idle.wait(&**store, freed) => {}
                        _ = changes.changed() => {}
                    }
                }
                Ok(claims) => {
                    idle.worked();
                    self.hand_out(&handlers, claims);
                }
                Err(error) => idle.failed("claim events to handle", &error).await,
            }
        }
    }

    /// What a handler has room for: a batch for each run that may start.
    fn wanted(&self, handler: &Handler) -> Option<[ClaimRequest; 2]> {
        let runtime = &handler.runtime;
        let (batch, window) = {
            let batching = runtime.batching.lock();
            (batching.batch(), batching.window())
        };
        let free = self.free(handler);
        let limit = (free * batch).min(window.saturating_sub(runtime.in_hand.count()));
        runtime.gate.wanted(limit, 0, self.runner.clock.now())
    }

    /// Batches of a handler that may start.
    fn free(&self, handler: &Handler) -> usize {
        let most = handler.serving.settings.concurrency.min(self.slots);
        most.saturating_sub(handler.runtime.batches.count())
    }

    /// Spreads claims over as many batches as may start. What a version that is left alone is not tried with is given
    /// back.
    fn hand_out(&self, handlers: &BTreeMap<HandlerName, Handler>, claims: Vec<Claim>) {
        let mut by_handler: BTreeMap<&HandlerName, Vec<Claim>> = BTreeMap::new();
        for claim in claims {
            let Target::Handler(name) = &claim.target else { continue };
            let Some((name, _)) = handlers.get_key_value(name) else { continue };
            by_handler.entry(name).or_default().push(claim);
        }
        for (name, claims) in by_handler {
            let handler = &handlers[name];
            let ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
            match handler.runtime.gate.admit(&ids) {
                Admission::All => {}
                Admission::Probe(index, leave) => {
                    let probe = claims.into_iter().nth(index).into_iter().collect();
                    self.start(handler, probe, Some(leave));
                    continue;
                }
                Admission::Nothing => continue,
            }
            let size = claims.len().div_ceil(self.free(handler).max(1));
            let mut claims = claims.into_iter().peekable();
            while claims.peek().is_some() {
                let claims: Vec<Claim> = claims.by_ref().take(size).collect();
                self.start(handler, claims, None);
            }
        }
    }

    fn start(&self, handler: &Handler, claims: Vec<Claim>, probe: Option<AttemptPermit>) {
        let freed = &self.runner.freed;
        let runtime = Arc::clone(&handler.runtime);
        let in_hand = runtime.in_hand.take(claims.len(), freed);
        let running = runtime.batches.take(1, freed);
        let batch = Batch { runtime, claims, in_hand, running, part: None, probe };
        let attending = Arc::clone(&self.runner).attend(batch);
        self.tasks.spawn_on("batch", OnFailure::Log, &self.guests, attending);
    }
}
