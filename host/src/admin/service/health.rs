//! The report of `/health`: the state of the store, the folders, the sources and the handlers, for
//! people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_core::time::Timestamp;
use weir_store::health::IntegrityStatus;
use weir_store::query::{CountRow, CountsFilter};

use super::AdminService;
use crate::api::{
    CertificateState, HealthReport, HealthSummary, IntegrityState, LostRowsView, PartState,
    ProviderFileState, ProviderFilesState, SourceErrorView, SourceHealth, StoreState,
};
use crate::config::ProviderFile;
use crate::observe::exposition::ScrapedState;
use crate::observe::metrics::{Metrics, SourceMetrics};

impl AdminService {
    /// Reports the state of everything. The queues are null if the store does not answer.
    pub(crate) async fn health_report(&self) -> HealthReport {
        let mut summary = self.health_summary();
        let queues = match self.store.counts(CountsFilter::Deliveries).await {
            Ok(rows) => Some(queues(rows)),
            Err(error) => {
                tracing::warn!(%error, "totals cannot be read from the store");
                if self.health.live() {
                    summary.store.status = "failing".to_owned();
                    summary.store.reason = Some(error.to_string());
                }
                None
            }
        };
        let paused = self.hub_hold().await.map(|held| super::targets::reason(&held));
        summary.deliveries = PartState::of("paused", paused);
        // If this fails too, the report says so about the store already.
        let unrouted = self.store.counts(CountsFilter::Unrouted).await.unwrap_or_default();
        let sources = sources(&self.metrics, &unrouted, self.clock.now());
        HealthReport { summary, queues, sources, handlers: self.handlers().await }
    }

    /// The counts and states of all sources, by name.
    pub(super) async fn source_health(&self) -> BTreeMap<String, SourceHealth> {
        let unrouted = self.store.counts(CountsFilter::Unrouted).await.unwrap_or_default();
        sources(&self.metrics, &unrouted, self.clock.now())
    }

    /// The values of a scrape.
    pub(in crate::admin) async fn scrape(&self) -> ScrapedState {
        let states = self.target_states().await;
        let jobs = self.job_counts().await;
        let paused = self.hub_hold().await.is_some();
        ScrapedState { jobs, paused, ..self.health.scrape(states, self.clock.now()).await }
    }

    fn health_summary(&self) -> HealthSummary {
        let (ready, store) = (self.health.ready(), self.store_state());
        let degraded = store.unreadable.is_some() || store.lost.is_some();
        let status = match ready {
            Err(_) => "unavailable",
            Ok(()) if degraded => "degraded",
            Ok(()) => "ok",
        };
        let certificates = self.health.certificates().into_iter();
        HealthSummary {
            status: status.to_owned(),
            reason: ready.err().map(str::to_owned),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.health.uptime().as_secs(),
            store,
            deliveries: PartState::of("paused", None),
            retention: PartState::of("stopped", self.health.retention_stopped()),
            certificates: certificates
                .map(|(listener, not_after)| CertificateState {
                    listener: listener.to_owned(),
                    not_after,
                })
                .collect(),
            plugins: PartState::of("away", self.health.plugins_folder().away()),
            providers: provider_files(&self.health.provider_files()),
        }
    }

    fn store_state(&self) -> StoreState {
        let health = self.store.health();
        let (unreadable, lost) = (health.unreadable, &health.lost);
        let degraded = unreadable > 0 || !lost.is_empty();
        let full = "the disk is full: webhooks are refused until there is room".to_owned();
        let (status, reason) = match (health.poisoned, health.full_since) {
            (Some(reason), _) => ("poisoned", Some(reason)),
            (None, Some(_)) => ("full", Some(full)),
            (None, None) if degraded => ("degraded", None),
            (None, None) => ("ok", None),
        };
        let lost_rows = lost.iter().map(|rows| LostRowsView {
            what: rows.what.to_owned(),
            count: rows.count(),
            first: rows.first,
            last: rows.last,
            found_at: rows.found_at,
        });
        StoreState {
            status: status.to_owned(),
            since: health.full_since.filter(|_| status == "full"),
            reason,
            unreadable: (unreadable > 0).then_some(unreadable),
            lost: (!lost.is_empty()).then(|| lost_rows.collect()),
            integrity: integrity(&health.integrity),
        }
    }
}

fn integrity(status: &IntegrityStatus) -> IntegrityState {
    let (word, percent, reason) = match status {
        IntegrityStatus::Done => ("done", None, None),
        IntegrityStatus::InProgress { percent } => ("in_progress", Some(*percent), None),
        IntegrityStatus::Damaged(reason) => ("damaged", None, Some(reason.clone())),
        IntegrityStatus::Failed(reason) => ("failed", None, Some(reason.clone())),
    };
    IntegrityState { status: word.to_owned(), percent, reason }
}

/// The operator's provider files that could not be loaded.
fn provider_files(files: &[ProviderFile]) -> ProviderFilesState {
    let failed = files.iter().filter(|file| !file.problems.is_empty());
    let failed = failed.map(|file| ProviderFileState {
        file: file.file.clone(),
        provider: file.provider.as_deref().map(Into::into),
        problems: file.problems.iter().map(ToString::to_string).collect(),
        serves_on: file.provider.is_some(),
    });
    let files: Vec<_> = failed.collect();
    let status = if files.is_empty() { "ok" } else { "load_failed" };
    ProviderFilesState { status: status.to_owned(), files }
}

/// The number of deliveries by target and state.
fn queues(rows: Vec<CountRow>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut queues = BTreeMap::<String, BTreeMap<String, u64>>::new();
    for row in rows {
        queues.entry(row.of).or_default().insert(row.what.to_owned(), row.count);
    }
    queues
}

fn sources(
    metrics: &Metrics,
    unrouted: &[CountRow],
    now: Timestamp,
) -> BTreeMap<String, SourceHealth> {
    let of = |(name, source): (Box<str>, Arc<SourceMetrics>)| {
        let unrouted_now = unrouted.iter().find(|row| row.of == *name).map_or(0, |row| row.count);
        (name.into(), source_health(&source, unrouted_now, now))
    };
    metrics.sources().into_iter().map(of).collect()
}

fn source_health(source: &SourceMetrics, unrouted_now: u64, now: Timestamp) -> SourceHealth {
    let (received, refused) = source.answers();
    let (stored, duplicate, unrouted) = source.event_counts();
    let (processed, failed) = source.work.counts();
    let (average, p99) = source.work.durations().unzip();
    let silence = source.silence();
    let millis = |took: Duration| took.as_secs_f64() * 1_000.0;
    SourceHealth {
        received,
        stored,
        duplicate,
        unrouted,
        unrouted_now,
        refused,
        seen: source.seen().as_deref().map(Into::into),
        last_received_seconds_ago: silence.map(|silence| silence.as_secs()),
        state: source.work.state(),
        processed,
        failed,
        average_ms: average.map(millis),
        p99_ms: p99.map(millis),
        last_received_at: silence.map(|silence| now.before(silence)),
        last_error: source.work.last_error().map(|error| SourceErrorView {
            at: error.at,
            target: error.target,
            outcome: error.outcome,
            reason: error.reason.map(Into::into),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_check_of_the_store_is_reported() {
        let reported = |status| serde_json::to_value(integrity(&status)).unwrap();
        let in_progress = reported(IntegrityStatus::InProgress { percent: 42 });
        assert_eq!(in_progress, json!({ "status": "in_progress", "percent": 42 }));
        assert_eq!(reported(IntegrityStatus::Done), json!({ "status": "done" }));
        let damaged = reported(IntegrityStatus::Damaged("event 7".into()));
        assert_eq!(damaged, json!({ "status": "damaged", "reason": "event 7" }));
    }
}
