//! Whether the process is alive, whether it takes webhooks, and a summary for people.

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

/// Why webhooks are not taken: the store takes no more writes.
pub const STORE_POISONED: &str = "store_poisoned";
/// Why webhooks are not taken: it is not yet known who gets them.
pub const ROUTING_MISSING: &str = "routing_missing";
/// Why webhooks are not taken: the process is on its way out.
pub const DRAINING: &str = "draining";

/// Whether the plugins folder is there, as the watcher of the folder says. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct PluginsFolder(Arc<Mutex<Option<String>>>);

impl PluginsFolder {
    /// Why it is away, or none if it is there.
    pub fn set(&self, away: Option<String>) {
        *self.0.lock() = away;
    }

    /// See [`PluginsFolder::set`].
    #[must_use]
    pub fn away(&self) -> Option<String> {
        self.0.lock().clone()
    }
}

/// Why webhooks are not taken: the disk is full.
pub const STORE_FULL: &str = "store_full";

/// The health of the process.
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

    /// Why nothing old is let go, or none if it is.
    pub fn set_retention(&self, stopped: Option<String>) {
        *self.retention_stopped.lock() = stopped;
    }

    /// What is made of the operator's own provider files.
    pub fn set_provider_files(&self, files: Vec<ProviderFile>) {
        *self.provider_files.lock() = files;
    }

    /// The listeners that speak TLS.
    pub fn set_tls_listeners(&self, listeners: Vec<TlsListener>) {
        *self.tls_listeners.lock() = listeners;
    }

    /// Where is said whether the plugins folder is there.
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

    /// There is a routing table.
    pub fn set_routing_ready(&self) {
        self.routing_ready.store(true, Ordering::Release);
    }

    /// Whether a supervisor should leave the process alone. A poisoned store heals only by a restart.
    #[must_use]
    pub fn live(&self) -> bool {
        self.store.health().poisoned.is_none()
    }

    /// Whether webhooks are taken, or one of [`STORE_POISONED`], [`DRAINING`], [`ROUTING_MISSING`], [`STORE_FULL`].
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

    /// What the store and this have to add to the metrics. Without the totals if the store cannot tell them: a
    /// scrape must work best when something is wrong. `states` are those of the handlers and destinations.
    pub async fn scrape(&self, states: Vec<(String, String)>, now: Timestamp) -> ScrapedState {
        let totals = async |filter| {
            self.store.counts(filter).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "store does not tell its totals");
                Vec::new()
            })
        };
        let oldest = self.store.oldest_waiting().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "store does not tell what waits longest");
            Vec::new()
        });
        let age = |oldest: OldestWaiting| (oldest.target, now.since(oldest.received_at));
        let health = self.store.health();
        let process = tokio::task::spawn_blocking(Process::read).await.ok().flatten();
        ScrapedState {
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

/// Rows that were acknowledged and are missing, for people.
pub(super) fn lost(lost: &[LostRows]) -> Value {
    let of = |lost: &LostRows| {
        let LostRows { what, first, last, found_at } = lost;
        json!({ "what": what, "count": lost.count(), "first": first, "last": last, "found_at": found_at })
    };
    lost.iter().map(of).collect()
}
