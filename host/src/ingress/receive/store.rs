//! The steps "store" and "answer": commits a request with its events, then makes the answer of what
//! was stored.

use std::time::Instant;

use weir_store::StoreError;
use weir_store::{EventIngested, Ingested, NewRequest};

use super::event_log::StoredEventLog;
use super::received::Received;
use super::{Pipeline, RoutedRequest};
use crate::ingress::answer::refused::Refused;
use crate::ingress::answer::{self, Accepted, IngressOutcome};
use crate::ingress::connection::run_to_completion::RunToCompletion;
use crate::ingress::request::budget::BudgetShare;
use crate::ingress::request::content::BodyFormat;
use crate::ingress::sources::live_source::LiveSource;
use crate::observe::metrics::SourceMetrics;

impl Pipeline {
    /// Stores a verified request, within the rate of its source. The answer is the hub's, the
    /// provider's, or a responder's reply.
    pub(super) async fn store_and_answer(
        &self,
        received: &Received<'_>,
        routed: RoutedRequest,
        share: BudgetShare,
    ) -> Result<Accepted, Refused> {
        self.count_verified(received)?;
        let mut accepted = match self.responder_of(received.source, &routed) {
            Some(responder) => {
                self.store_and_wait(received, responder, routed.request, share).await?
            }
            None => self.store(received, routed).await?,
        };
        if received.head.method.is_safe() {
            accepted.answer = answer::without_caching(accepted.answer);
        }
        Ok(accepted)
    }

    /// Credits the caller with a verified request, and counts it to the rate of its source.
    fn count_verified(&self, received: &Received<'_>) -> Result<(), Refused> {
        let Received { source, caller, .. } = received;
        caller.verified();
        if let Some(trace) = received.trace {
            trace.verified();
        }
        if let Some(network) = caller.network.filter(|_| source.verifier.fetches_keys()) {
            source.keys.mark_proven(network);
        }
        source.access.count_verified(self.since_start(Instant::now()))
    }

    /// Stores a request and answers it without a responder.
    pub(super) async fn store(
        &self,
        received: &Received<'_>,
        RoutedRequest { request, shape }: RoutedRequest,
    ) -> Result<Accepted, Refused> {
        let source = received.source;
        let format = BodyFormat::of(&request.payload);
        let Ingested { events, .. } = self.ingest(source, request).await?;
        received.record_event(&events);
        let outcome = IngressOutcome::of(&events);
        Ok(Accepted { outcome, answer: source.answer(&events, format, shape) })
    }

    /// Stores a request, and counts its events even if the sender has gone by then.
    pub(super) async fn ingest(
        &self,
        source: &LiveSource,
        request: NewRequest,
    ) -> Result<Ingested, Refused> {
        let (store, metrics) = (self.store.clone(), source.metrics.clone());
        let event_log = StoredEventLog::of(&request);
        let (shapes, sample) = (self.shapes.clone(), self.shapes.sample(&request));
        let stored = RunToCompletion::new(&self.tasks, async move {
            let result = store.ingest(vec![request]).await.pop();
            for event in result.iter().flatten().flat_map(|ingested| &ingested.events) {
                count(&metrics, event);
            }
            if let (Some(Ok(_)), Some(sample)) = (&result, sample) {
                shapes.offer(sample);
            }
            result
        });
        let ingested = stored.await.unwrap_or(Err(StoreError::Closed)).map_err(Refused::Store)?;
        event_log.write(source.name(), &ingested.events);
        Ok(ingested)
    }
}

/// Counts an event in the metrics of its source.
pub(super) fn count(metrics: &SourceMetrics, event: &EventIngested) {
    match event {
        EventIngested::Stored { id_reused, unrouted, .. } => {
            metrics.stored();
            if *id_reused {
                metrics.id_reused();
            }
            if *unrouted {
                metrics.unrouted();
            }
        }
        EventIngested::Duplicate { .. } => metrics.duplicate(),
    }
}
