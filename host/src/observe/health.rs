//! The health of the hub: liveness, readiness, the values of a scrape, and a summary for operators.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::time::Timestamp;
use weir_store::Store;
use weir_store::health::LostRows;
use weir_store::query::{CountsFilter, OldestWaiting};

use super::exposition::ScrapedState;
use super::process::Process;
use crate::config::ProviderFile;
use crate::runtime::shutdown::Drain;
use crate::tls::TlsListener;

/// Not ready: the store accepts no more writes.
pub const STORE_POISONED: &str = "store_poisoned";
/// Not ready: there is no routing table yet.
pub const ROUTING_MISSING: &str = "routing_missing";
/// Not ready: the hub is stopping.
pub const DRAINING: &str = "draining";

/// The state of the plugins folder, set by its watcher. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PluginsFolder(Arc<Mutex<Option<String>>>);

impl PluginsFolder {
    /// Sets the reason why the folder cannot be read, or none.
    pub fn set(&self, away: Option<String>) {
        *self.0.lock() = away;
    }

    #[must_use]
    pub fn away(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Not ready: the disk is full.
pub const STORE_FULL: &str = "store_full";

#[derive(Debug)]
pub struct Health {
    store: Arc<dyn Store>,
    drain: Drain,
    routing_ready: AtomicBool,
    retention_stopped: Mutex<Option<String>>,
    provider_files: Mutex<Vec<ProviderFile>>,
    tls_listeners: Mutex<Vec<TlsListener>>,
    plugins_folder: PluginsFolder,
    started: Instant,
}

impl Health {
    /// Alive, and ready once there is a routing table.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, drain: Drain) -> Arc<Self> {
        Arc::new(Self {
            store,
            drain,
            routing_ready: AtomicBool::new(false),
            retention_stopped: Mutex::new(None),
            provider_files: Mutex::default(),
            tls_listeners: Mutex::default(),
            plugins_folder: PluginsFolder::default(),
            started: Instant::now(),
        })
    }

    /// Sets the reason why old data is not deleted, or none.
    pub fn set_retention(&self, stopped: Option<String>) {
        *self.retention_stopped.lock() = stopped;
    }

    /// Sets the state of the operator's provider files.
    pub fn set_provider_files(&self, files: Vec<ProviderFile>) {
        *self.provider_files.lock() = files;
    }

    /// Sets the listeners that speak TLS.
    pub fn set_tls_listeners(&self, listeners: Vec<TlsListener>) {
        *self.tls_listeners.lock() = listeners;
    }

    /// The handle to set the state of the plugins folder.
    #[must_use]
    pub fn plugins_folder(&self) -> PluginsFolder {
        self.plugins_folder.clone()
    }

    /// The reason why old data is not deleted, if it is not.
    #[must_use]
    pub fn retention_stopped(&self) -> Option<String> {
        self.retention_stopped.lock().clone()
    }

    /// The operator's own provider files, as they were last read.
    #[must_use]
    pub fn provider_files(&self) -> Vec<ProviderFile> {
        self.provider_files.lock().clone()
    }

    /// The time since the hub was started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The end of each listener's certificate.
    #[must_use]
    pub fn certificates(&self) -> Vec<(&'static str, Timestamp)> {
        let tls_listeners = self.tls_listeners.lock();
        tls_listeners
            .iter()
            .filter_map(|TlsListener { listener, tls }| Some((*listener, tls.not_after()?)))
            .collect()
    }

    /// Makes the hub ready: there is a routing table.
    pub fn set_routing_ready(&self) {
        self.routing_ready.store(true, Ordering::Release);
    }

    /// False if a supervisor should restart the process: a failed store needs a restart.
    #[must_use]
    pub fn live(&self) -> bool {
        self.store.health().poisoned.is_none()
    }

    /// Ok if webhooks are accepted, else one of [`STORE_POISONED`], [`DRAINING`],
    /// [`ROUTING_MISSING`], [`STORE_FULL`].
    pub fn ready(&self) -> Result<(), &'static str> {
        let health = self.store.health();
        if health.poisoned.is_some() {
            Err(STORE_POISONED)
        } else if self.drain.is_draining() {
            Err(DRAINING)
        } else if !self.routing_ready.load(Ordering::Acquire) {
            Err(ROUTING_MISSING)
        } else if health.full_since.is_some() {
            Err(STORE_FULL)
        } else {
            Ok(())
        }
    }

    /// The values of a scrape. Without totals if the store cannot give them: a scrape matters most
    /// when something is wrong. `states` are those of handlers and destinations; jobs and
    /// holds are not read.
    pub async fn scrape(&self, states: Vec<(String, String)>, now: Timestamp) -> ScrapedState {
        let totals = async |filter| {
            self.store.counts(filter).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read the totals of the store");
                Vec::new()
            })
        };
        let oldest = self.store.oldest_waiting().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the oldest waiting deliveries");
            Vec::new()
        });
        let age = |oldest: OldestWaiting| (oldest.target, now.since(oldest.received_at));
        let health = self.store.health();
        let process = tokio::task::spawn_blocking(Process::read).await.ok().flatten();
        ScrapedState {
            jobs: Vec::new(),
            paused: false,
            states,
            oldest: oldest.into_iter().map(age).collect(),
            process,
            ready: self.ready().is_ok(),
            poisoned: health.poisoned.is_some(),
            plugins_away: self.plugins_folder.away().is_some(),
            condition: health,
            certificates: self.certificates(),
            deliveries: totals(CountsFilter::Deliveries).await,
            events: totals(CountsFilter::Events).await,
            unrouted: totals(CountsFilter::Unrouted).await,
        }
    }
}

/// Acknowledged rows that are missing.
pub(super) fn lost(lost: &[LostRows]) -> Value {
    let of = |lost: &LostRows| {
        let LostRows { what, first, last, found_at } = lost;
        json!({ "what": what, "count": lost.count(), "first": first, "last": last, "found_at": found_at })
    };
    lost.iter().map(of).collect()
}
