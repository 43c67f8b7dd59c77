//! Whether the process is alive, whether it takes webhooks, and a summary for people.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use weir_core::time::Timestamp;
use weir_store::Store;
use weir_store::condition::{LostRows, StoreHealth};
use weir_store::query::{CountRow, CountsFilter, OldestWaiting};
use weir_store::upkeep::IntegrityStatus;

use super::exposition::ScrapedState;
use super::metrics::Metrics;
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

    fn certificates(&self) -> Vec<(&'static str, Timestamp)> {
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
        self.store.poisoned().is_none()
    }

    /// Whether webhooks are taken, or one of [`STORE_POISONED`], [`DRAINING`], [`ROUTING_MISSING`], [`STORE_FULL`].
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.store.poisoned().is_some() {
            Err(STORE_POISONED)
        } else if self.drain.is_draining() {
            Err(DRAINING)
        } else if !self.routing_ready.load(Ordering::Acquire) {
            Err(ROUTING_MISSING)
        } else if self.store.condition().full_since.is_some() {
            Err(STORE_FULL)
        } else {
            Ok(())
        }
    }

    /// The state of the process in a few words; asks the store for nothing.
    #[must_use]
    pub fn summary(&self) -> Value {
        let ready = self.ready();
        let condition = self.store.condition();
        let degraded = condition.unreadable > 0 || !condition.lost.is_empty();
        let mut store = match self.store.poisoned() {
            None => of_condition(&condition),
            Some(reason) => json!({ "status": "poisoned", "reason": reason }),
        };
        store["look_over"] = look_over(&self.store.look_over());
        json!({
            "status": match ready {
                Err(_) => "unavailable",
                Ok(()) if degraded => "degraded",
                Ok(()) => "ok",
            },
            "reason": ready.err(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "store": store,
            "retention": match &*self.retention_stopped.lock() {
                None => json!({ "status": "ok" }),
                Some(reason) => json!({ "status": "stopped", "reason": reason }),
            },
            "certificates": self.certificates().into_iter()
                .map(|(listener, not_after)| json!({ "listener": listener, "not_after": not_after }))
                .collect::<Vec<_>>(),
            "plugins": match self.plugins_folder.away() {
                None => json!({ "status": "ok" }),
                Some(reason) => json!({ "status": "away", "reason": reason }),
            },
            "providers": provider_files(&self.provider_files.lock()),
        })
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
        let process = tokio::task::spawn_blocking(Process::read).await.ok().flatten();
        ScrapedState {
            states,
            oldest: oldest.into_iter().map(age).collect(),
            process,
            ready: self.ready().is_ok(),
            poisoned: self.store.poisoned().is_some(),
            plugins_away: self.plugins_folder.away().is_some(),
            condition: self.store.condition(),
            certificates: self.certificates(),
            deliveries: totals(CountsFilter::Deliveries).await,
            events: totals(CountsFilter::Events).await,
            unrouted: totals(CountsFilter::Unrouted).await,
        }
    }

    /// The summary with queues by target and state, sources, and the handlers as their keeper describes them. The
    /// queues are null if the store does not tell them.
    pub async fn report(&self, metrics: &Metrics, handlers: Value) -> Value {
        let mut report = self.summary();
        match self.store.counts(CountsFilter::Deliveries).await {
            Ok(rows) => report["queues"] = queues(rows),
            Err(error) => {
                tracing::warn!(%error, "store does not tell its totals");
                report["queues"] = Value::Null;
                if self.live() {
                    report["store"]["status"] = "failing".into();
                    report["store"]["reason"] = error.to_string().into();
                }
            }
        }
        // Without them there is a word about the store already.
        let unrouted = self.store.counts(CountsFilter::Unrouted).await.unwrap_or_default();
        report["sources"] = sources(metrics, &unrouted);
        report["handlers"] = handlers;
        report
    }
}

/// The troubles of a store that goes on working, for people.
fn of_condition(condition: &StoreHealth) -> Value {
    let StoreHealth { full_since, unreadable, lost: missing } = condition;
    let mut store = match full_since {
        Some(since) => json!({
            "status": "full",
            "since": since,
            "reason": "the disk is full: webhooks are refused until there is room",
        }),
        None if *unreadable > 0 || !missing.is_empty() => json!({ "status": "degraded" }),
        None => json!({ "status": "ok" }),
    };
    if *unreadable > 0 {
        store["unreadable"] = (*unreadable).into();
    }
    if !missing.is_empty() {
        store["lost"] = lost(missing);
    }
    store
}

/// Rows that were acknowledged and are missing, for people.
pub(super) fn lost(lost: &[LostRows]) -> Value {
    let of = |lost: &LostRows| {
        let LostRows { what, first, last, found_at } = lost;
        json!({ "what": what, "count": lost.count(), "first": first, "last": last, "found_at": found_at })
    };
    lost.iter().map(of).collect()
}

/// Which of the operator's provider files are wrong, how, and whether their last good version serves on.
fn provider_files(files: &[ProviderFile]) -> Value {
    let is_wrong = |file: &&ProviderFile| !file.problems.is_empty();
    let wrong = files.iter().filter(is_wrong).map(|file| {
        let problems = file.problems.iter().map(ToString::to_string).collect::<Vec<_>>();
        json!({
            "file": file.file, "provider": file.provider.as_deref(), "problems": problems,
            "serves_on": file.provider.is_some(),
        })
    });
    let wrong: Vec<_> = wrong.collect();
    json!({ "status": if wrong.is_empty() { "ok" } else { "load_failed" }, "files": wrong })
}

/// Whether the store is looked over whole, after a process that did not close it.
fn look_over(over: &IntegrityStatus) -> Value {
    match over {
        IntegrityStatus::Done => json!({ "status": "done" }),
        IntegrityStatus::InProgress { percent } => {
            json!({ "status": "under_way", "percent": percent })
        }
        IntegrityStatus::Damaged(reason) => json!({ "status": "damaged", "reason": reason }),
        IntegrityStatus::Failed(reason) => json!({ "status": "failed", "reason": reason }),
    }
}

fn queues(rows: Vec<CountRow>) -> Value {
    let mut queues = Map::new();
    for row in rows {
        let of = queues.entry(row.of).or_insert_with(|| json!({}));
        of[row.what] = row.count.into();
    }
    queues.into()
}

fn sources(metrics: &Metrics, unrouted: &[CountRow]) -> Value {
    let of = metrics.sources().into_iter().map(|(name, source)| {
        let (received, refused) = source.answers();
        let unrouted_now = unrouted.iter().find(|row| row.of == *name).map_or(0, |row| row.count);
        let facts = json!({
            "received": received,
            "stored": source.stored.get(),
            "duplicate": source.duplicate.get(),
            "unrouted": source.unrouted.get(),
            "unrouted_now": unrouted_now,
            "refused": refused,
            "seen": source.seen().as_deref(),
            "last_received_seconds_ago": source.silence().map(|d| d.as_secs()),
        });
        (name.into(), facts)
    });
    Value::Object(of.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_how_far_the_store_is_looked_over() {
        let under_way = look_over(&IntegrityStatus::InProgress { percent: 42 });
        assert_eq!(under_way, json!({ "status": "under_way", "percent": 42 }));
        assert_eq!(look_over(&IntegrityStatus::Done), json!({ "status": "done" }));
        let damaged = look_over(&IntegrityStatus::Damaged("event 7".into()));
        assert_eq!(damaged, json!({ "status": "damaged", "reason": "event 7" }));
    }
}
