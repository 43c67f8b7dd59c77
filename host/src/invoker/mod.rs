//! The invoker: runs the due deliveries of every handler, and keeps handlers up to date with the
//! plugins folder.
//!
//! The path of an event: [`crate::delivery::worker`] claims it, [`Invoker`] makes batches of the
//! claims, and `running` runs and settles them. `handlers` has the versions that serve, and
//! `plugins` loads them. `responders` runs handlers whose reply a sender waits for.
//!
//! The limits on the runs of handlers, from the claim to the run:
//!
//! | limit | unit | why |
//! |---|---|---|
//! | `HandlerRuntime::flow` | claims | pauses a version that fails on nearly every event |
//! | `Batching::claims_max` | claims of a handler | bounds conflicts about state, and memory |
//! | `Batching::batch_size` | claims in a batch | few commits, and short waits behind slow runs |
//! | `HandlerRuntime::batches` | batches of a handler | no more claims than can start soon |
//! | `ServingVersion::permits` | batches of a handler | `limits.concurrency`, across versions |
//! | `Runner::isolation` | runs of the hub | the run of a suspect runs alone |
//! | `RunSlots` | runs of the hub | shares processor time between handlers |
//! | `HandlerRuntime::conflict_lock` | batches of a handler | runs a conflicting claim alone |
//! | the engine's slots | instances | bounds the memory of instances |
//!
//! Not here: wasmtime's types (the engine hides them) and SQL.

mod engine;
mod handlers;
mod plugins;
mod rerun;
mod responders;
mod running;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore};
use weir_core::name::{HandlerName, Target};
use weir_core::time::{Clock, Timestamp};
use weir_engine::Engine;
use weir_store::{Claim, ClaimRequest, Store, StoreError};

pub use engine::engine_from_config;
pub use handlers::status::{HandlerState, HandlerStatus, ProbationStatus};
pub(crate) use plugins::manifest::{KeptVersion, Manifest, VersionEvent};
pub(crate) use plugins::reload::Reloader as VersionReader;
pub(crate) use plugins::versions::{VersionActError, VersionComparison, VersionRequest};
pub(crate) use plugins::{HandlerFiles, read_handler_files};
pub(crate) use rerun::{NotRerunnable, PastRun, Repeated, Reruns};
pub use responders::{ResponderHandle, RunPermit};
pub(crate) use running::recorded_reads::{ReadsRecord, ValueRecord};
pub use running::reply_broker::{ReplyReceiver, ReplySender, RunReply};

use crate::config::Config;
use crate::config::ConfiguredSources;
use crate::context::HubContext;
use crate::delivery::flow_control::{Admission, AttemptPermit};
use crate::delivery::worker::{Consumer, Worker};
use crate::observe::health::PluginsFolder;
use crate::routing::{Routes, Subscription};
use crate::runtime::tasks::OnFailure;
use handlers::status::HandlerStates;
use handlers::table::{LiveHandler, LiveHandlers};
use plugins::reload::{self, Reloader};
use running::batch::{RunBatch, Runner};
use running::reply_broker::ReplyBroker;
use running::responder_policy::ResponderPolicy;
use running::slots::RunSlots;

/// The dependencies of [`Invoker`] besides the [`HubContext`].
#[derive(Debug)]
pub struct Deps {
    /// The sources in force. Some of them have a responder.
    pub sources: ConfiguredSources,
    pub engine: Engine,
    /// The routing table, which changes with the handlers' subscriptions.
    pub routes: Arc<Routes>,
    /// Shows in the health whether the plugins folder exists.
    pub folder: PluginsFolder,
    /// The runtime that guests run and compile on, so that they never delay an answer.
    pub guests: Handle,
}

/// Runs handlers on their due deliveries.
#[derive(Debug)]
pub struct Invoker {
    runner: Arc<Runner>,
    states: Arc<HandlerStates>,
    reloader: Arc<Reloader>,
    reruns: Arc<Reruns>,
    guests: Handle,
    /// The most runs of a handler at the same time.
    slots: usize,
    reply_broker: ReplyBroker,
}

/// Answers questions about handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InvokerHandle {
    states: Arc<HandlerStates>,
    /// None where nothing runs.
    reruns: Option<Arc<Reruns>>,
    clock: Arc<dyn Clock>,
    /// None in tests without an invoker that runs.
    reloader: Option<Arc<Reloader>>,
}

impl InvokerHandle {
    /// The state of every known handler, by name.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        self.states.statuses(self.clock.now())
    }

    /// Repeats past runs.
    pub(crate) fn reruns(&self) -> Option<Arc<Reruns>> {
        self.reruns.clone()
    }

    /// The versions of handlers, to look at. None in tests without an invoker that runs.
    pub(crate) fn versions(&self) -> Option<&Reloader> {
        self.reloader.as_deref()
    }

    /// Changes the versions of a handler. The act is finished also if its caller stops waiting.
    pub(crate) async fn change_versions<T, A>(
        &self,
        act: impl FnOnce(Arc<Reloader>) -> A,
    ) -> Result<T, VersionActError>
    where
        T: Send + 'static,
        A: Future<Output = Result<T, VersionActError>> + Send + 'static,
    {
        let reloader = self.reloader.clone().ok_or(VersionActError::Unavailable)?;
        let guests = reloader.guests();
        let acting = guests.spawn(act(reloader));
        acting.await.unwrap_or(Err(VersionActError::Unavailable))
    }

    /// Uses the handlers' settings of this configuration from now on.
    pub(crate) async fn reconfigure(&self, config: Arc<Config>) {
        let Some(reloader) = self.reloader.clone() else { return };
        reloader.reconfigure(config).await;
    }

    /// Resolves when every handler in the plugins folder has been loaded or refused once. It may
    /// never resolve while the folder cannot be read or its files keep changing: wait with a limit.
    pub async fn folder_read(&self) {
        // An error says that the invoker is gone, so there is nothing to wait for.
        let _ = self.states.folder_read().wait_for(|read| *read).await;
    }
}

#[cfg(test)]
impl InvokerHandle {
    /// Shows handlers of these names as ready, without an invoker that runs them.
    pub(crate) fn with_ready(names: &[&str], ctx: &HubContext) -> Self {
        let live = Arc::new(LiveHandlers::new(Arc::new(Worker::new(ctx.clone()))));
        let states = HandlerStates::new(live);
        names.iter().for_each(|name| states.ready(&name.parse().unwrap(), ctx.clock.now()));
        let states = Arc::new(states);
        Self { states, reruns: None, clock: ctx.clock.clone(), reloader: None }
    }
}

/// The subscriptions of the handlers that served when the process ended. They route events before
/// any of them is loaded.
pub async fn stored_subscriptions(
    store: &dyn Store,
    config: &Config,
) -> Result<BTreeMap<HandlerName, Subscription>, StoreError> {
    plugins::stored_subscriptions(store, config).await
}

impl Invoker {
    /// Nothing is loaded and nothing runs yet.
    #[must_use]
    pub fn new(config: Arc<Config>, ctx: HubContext, deps: Deps) -> Self {
        let Deps { sources, engine, routes, folder, guests } = deps;
        let worker = Arc::new(Worker::new(ctx.clone()));
        let live = Arc::new(LiveHandlers::new(worker.clone()));
        let states = Arc::new(HandlerStates::new(live.clone()));
        let slots = config.runs.slots;
        let runner = Arc::new(Runner {
            worker,
            live: live.clone(),
            routes: routes.clone(),
            responder_policy: ResponderPolicy::new(sources.clone(), config.responders.keep),
            slots: RunSlots::new(slots, config.runs.places()),
            isolation: RwLock::default(),
        });
        let reruns = Arc::new(Reruns {
            engine: engine.clone(),
            guests: guests.clone(),
            live: live.clone(),
            one: Semaphore::new(1),
        });
        let deps = reload::Deps {
            sources,
            engine,
            routes,
            folder,
            guests: guests.clone(),
            live,
            states: states.clone(),
        };
        let reloader = Arc::new(Reloader::new(config, ctx, deps));
        Self {
            runner,
            states,
            reloader,
            reruns,
            guests,
            slots,
            reply_broker: ReplyBroker::default(),
        }
    }

    #[must_use]
    pub fn handle(&self) -> InvokerHandle {
        let clock = self.runner.worker.ctx.clock.clone();
        let (reruns, reloader) = (Some(self.reruns.clone()), Some(self.reloader.clone()));
        InvokerHandle { states: self.states.clone(), reruns, clock, reloader }
    }

    /// Runs responders, for ingress.
    #[must_use]
    pub fn responders(&self) -> ResponderHandle {
        ResponderHandle {
            runner: self.runner.clone(),
            guests: self.guests.clone(),
            reply_broker: self.reply_broker.clone(),
        }
    }

    /// Loads, claims and runs until the drain stops claiming, then waits for runs until it stops
    /// waiting.
    pub async fn run(self) {
        let watching = Box::pin(async {
            tokio::join!(
                plugins::watch::run(&self.reloader),
                plugins::probation::run(&self.reloader),
            );
        });
        self.runner.worker.run(&self, watching).await;
    }

    /// The batches of a handler that may start now.
    fn free_batches(&self, handler: &LiveHandler) -> usize {
        let most = handler.version.settings.concurrency.min(self.slots);
        most.saturating_sub(handler.runtime.batches.count())
    }

    fn start_batch(&self, handler: &LiveHandler, claims: Vec<Claim>, probe: Option<AttemptPermit>) {
        let Worker { ctx, wake, .. } = &*self.runner.worker;
        let runtime = handler.runtime.clone();
        let counted = runtime.claims.add(claims.len(), wake);
        let running = runtime.batches.add(1, wake);
        let batch = RunBatch { runtime, claims, counted, running, reply: None, probe };
        let running = self.runner.clone().run_batch(batch);
        ctx.tasks.spawn_on("batch", OnFailure::Log, &self.guests, running);
    }
}

impl Consumer for Invoker {
    const CLAIMS: &'static str = "events to handle";

    /// A batch of each handler for each run that may start.
    fn wanted(&self, now: Timestamp) -> Vec<ClaimRequest> {
        let wanted = |handler: &LiveHandler| {
            let runtime = &handler.runtime;
            let (batch_size, claims_max) = {
                let batching = runtime.batching.lock();
                (batching.batch_size(), batching.claims_max())
            };
            let free = claims_max.saturating_sub(runtime.claims.count());
            let limit = (self.free_batches(handler) * batch_size).min(free);
            runtime.flow.wanted(limit, 0, now)
        };
        self.runner.live.current().values().filter_map(wanted).flatten().collect()
    }

    /// Spreads claims over as many batches as may start.
    fn start(&self, target: &Target, claims: Vec<Claim>) {
        let Target::Handler(name) = target else { return };
        let live = self.runner.live.current();
        let Some(handler) = live.get(name) else { return };
        let ids: Vec<_> = claims.iter().map(|claim| claim.delivery).collect();
        match handler.runtime.flow.admit(&ids) {
            Admission::All => {}
            Admission::Probe(index, permit) => {
                let probe = claims.into_iter().nth(index).into_iter().collect();
                self.start_batch(handler, probe, Some(permit));
                return;
            }
            Admission::None => return,
        }
        let size = claims.len().div_ceil(self.free_batches(handler).max(1));
        let mut claims = claims.into_iter().peekable();
        while claims.peek().is_some() {
            let batch: Vec<Claim> = claims.by_ref().take(size).collect();
            self.start_batch(handler, batch, None);
        }
    }

    fn is_busy(&self) -> bool {
        self.runner.live.is_busy()
    }
}
