//! One handler at work: the version that serves, and what stays when the version changes.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{RwLock, Semaphore};
use weir_core::breaker::BreakerPolicy;
use weir_core::name::{HandlerName, Target};
use weir_core::state::StateReader;
use weir_core::time::Timestamp;
use weir_engine::{Description, Module, Version};

use super::batching::Batching;
use super::trial::Trial;
use crate::config::EffectiveSettings;
use crate::delivery::claims::{ClaimCounter, RunCounter};
use crate::delivery::flow_control::FlowControl;
use crate::delivery::worker::Worker;
use crate::observe::metrics::TargetMetrics;

/// A version of a handler with its settings. Never changed.
#[derive(Debug, Clone)]
pub(crate) struct ServingVersion {
    pub(crate) module: Module,
    /// The handler's description of itself. The subscriptions in force are in the settings.
    pub(crate) description: Description,
    pub(crate) sidecar: Option<String>,
    /// Identifies the fixtures that it passed; none if there are none, or after a restart.
    pub(crate) fixtures: Option<Version>,
    /// The text of its signature file.
    pub(crate) signature: Option<String>,
    pub(crate) settings: EffectiveSettings,
    /// One for each batch that may run at the same time.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) since: Timestamp,
    /// Bytes of the module.
    pub(crate) size: u64,
    /// Its probation, until that ends.
    pub(crate) trial: Option<Arc<Trial>>,
}

impl ServingVersion {
    /// The same version without a probation.
    pub(crate) fn proven(&self) -> Self {
        Self { trial: None, ..self.clone() }
    }

    /// Bytes of compiled code, of both versions during a probation.
    pub(crate) fn code_bytes(&self) -> usize {
        let old = self.trial.as_ref().map_or(0, |trial| trial.old.module.code_bytes());
        self.module.code_bytes().saturating_add(old)
    }

    pub(crate) fn version(&self) -> Version {
        self.module.version()
    }
}

/// The parts of a handler that stay when its version changes.
pub(crate) struct HandlerRuntime {
    pub(crate) name: HandlerName,
    pub(crate) state: Arc<dyn StateReader>,
    pub(crate) metrics: Arc<TargetMetrics>,
    pub(crate) flow: Arc<FlowControl>,
    /// Claims that are neither settled nor given back.
    pub(crate) claims: Arc<ClaimCounter>,
    /// Batches whose runs have not ended.
    pub(crate) batches: Arc<ClaimCounter>,
    /// Runs under way.
    pub(crate) running: RunCounter,
    pub(crate) batching: Mutex<Batching>,
    /// Shared by every batch from its first run until it is settled. Exclusive for a run that keeps
    /// conflicting with others of its handler.
    pub(crate) conflict_lock: RwLock<()>,
}

impl HandlerRuntime {
    pub(super) fn new(name: &HandlerName, worker: &Worker) -> Self {
        let target = Target::Handler(name.clone());
        // The policy comes with the version that serves. Concurrency is limited elsewhere.
        let policy = BreakerPolicy::for_handlers();
        Self {
            name: name.clone(),
            state: worker.ctx.store.state(name),
            metrics: worker.ctx.metrics.target(&target),
            flow: worker.flow_control(target, policy, usize::MAX),
            claims: Arc::default(),
            batches: Arc::default(),
            running: RunCounter::default(),
            batching: Mutex::default(),
            conflict_lock: RwLock::default(),
        }
    }
}

impl fmt::Debug for HandlerRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerRuntime").field("name", &self.name).finish_non_exhaustive()
    }
}
