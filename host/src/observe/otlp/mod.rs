//! The export of traces, metrics and logs to a collector, by OTLP over HTTP with protobuf.
//!
//! One task for each signal takes batches from its bounded queue and posts them. Nothing waits for
//! it: what the queues cannot hold, and a batch that fails three times, is dropped and counted, and
//! the log says so once a minute. The messages are those of `opentelemetry-proto`. Their SDK is not
//! used: it cannot take over finished histograms, and hides what its queues drop.

mod client;
mod encode;
mod metrics;
mod queue;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::client::Poster;
use self::queue::collect;
use super::exposition::{self, ScrapedState};
use super::metrics::{Metrics, Signal};
use super::tracer::{FinishedSpans, Tracer};
use crate::config::OtlpSettings;
use crate::runtime::log_export::ExportedRecords;
use crate::tls::roots::RootsError;

/// The longest time for the last batches when the hub stops.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Reads the values that a scrape needs.
pub type Scrape = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ScrapedState> + Send>> + Send + Sync>;

/// The export, ready to run.
pub struct Exporter {
    settings: Arc<OtlpSettings>,
    metrics: Metrics,
    traces: Option<(Poster, FinishedSpans)>,
    logs: Option<(Poster, ExportedRecords)>,
    of_metrics: Option<Poster>,
    stop: CancellationToken,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Ends the export.
#[derive(Debug, Clone)]
pub struct ExportStop(CancellationToken);

impl ExportStop {
    /// Lets the export send its last batches and end.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

impl Exporter {
    /// Prepares the export, and the tracer that it exports from. The tracer is off if no traces are
    /// exported.
    ///
    /// # Errors
    /// If a file with certificate authorities cannot be used.
    pub fn new(
        settings: Arc<OtlpSettings>,
        metrics: Metrics,
        logs: Option<ExportedRecords>,
        seed: [u8; 32],
    ) -> Result<(Self, Tracer), RootsError> {
        let poster = |signal: Signal, target: &Option<_>| {
            let Some(target) = target else { return Ok(None) };
            Poster::new(signal, target, &settings, metrics.clone()).map(Some)
        };
        let (tracer, traces) = match poster(Signal::Traces, &settings.traces)? {
            None => (Tracer::default(), None),
            Some(poster) => {
                let dropped = metrics.exported(Signal::Traces).dropped.clone();
                let (tracer, spans) = Tracer::new(settings.sample, seed, dropped);
                (tracer, Some((poster, spans)))
            }
        };
        let exporter = Self {
            traces,
            logs: poster(Signal::Logs, &settings.logs)?.zip(logs),
            of_metrics: poster(Signal::Metrics, &settings.metrics)?,
            stop: CancellationToken::new(),
            settings: settings.clone(),
            metrics,
        };
        Ok((exporter, tracer))
    }

    /// The handle that ends the export.
    #[must_use]
    pub fn stop_handle(&self) -> ExportStop {
        ExportStop(self.stop.clone())
    }

    /// Exports until it is stopped, and then sends what waits, within a deadline.
    pub async fn run(self, scrape: Scrape) {
        let resource = encode::resource(&self.settings.resource);
        let stop = self.stop.clone();
        let work = async {
            tokio::join!(
                traces(self.traces, &resource, &stop),
                logs(self.logs, &resource, &stop),
                metrics(self.of_metrics, &self.metrics, &self.settings, (&resource, scrape), &stop),
            );
        };
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(FLUSH_MAX).await;
        };
        tokio::select! {
            () = work => {}
            () = deadline => tracing::warn!("the collector took no more telemetry before the end"),
        }
    }
}

async fn traces(
    of: Option<(Poster, FinishedSpans)>,
    resource: &Resource,
    stop: &CancellationToken,
) {
    let Some((mut poster, mut spans)) = of else { return };
    loop {
        let (batch, is_last) = collect(&mut spans, stop).await;
        if !batch.is_empty() {
            let count = batch.len();
            poster.post(encode::spans(resource, batch), count, stop).await;
        }
        poster.report();
        if is_last {
            return;
        }
    }
}

async fn logs(
    of: Option<(Poster, ExportedRecords)>,
    resource: &Resource,
    stop: &CancellationToken,
) {
    let Some((mut poster, mut queue)) = of else { return };
    loop {
        let (batch, is_last) = collect(&mut queue.records, stop).await;
        poster.drop_records(queue.dropped.swap(0, Relaxed));
        if !batch.is_empty() {
            let count = batch.len();
            poster.post(encode::logs(resource, batch), count, stop).await;
        }
        poster.report();
        if is_last {
            return;
        }
    }
}

async fn metrics(
    of: Option<Poster>,
    counted: &Metrics,
    settings: &OtlpSettings,
    (resource, scrape): (&Resource, Scrape),
    stop: &CancellationToken,
) {
    let Some(mut poster) = of else { return };
    let mut ticks = interval(settings.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_last = tick_or_stop(&mut ticks, stop).await;
        let scraped = scrape().await;
        let families = exposition::collect(counted, &scraped);
        let message = metrics::request(resource, &families.0, counted.started_at());
        poster.post(message, 1, stop).await;
        poster.report();
        if is_last {
            return;
        }
    }
}

/// Waits for the next tick. True if the export is to end.
async fn tick_or_stop(ticks: &mut tokio::time::Interval, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => true,
        _ = ticks.tick() => false,
    }
}
