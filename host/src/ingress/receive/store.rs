//! The steps "store" and "answer": commits a request with its events, then makes the answer of what
//! was stored.

use std::time::Instant;

use weir_core::delivery::Outcome;
use weir_core::name::{SourceName, Target};
use weir_store::StoreError;
use weir_store::{EventIngested, Ingested, NewEvent, NewRequest};

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
use crate::observe::notice::{self, Notice, Notices};

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
        let stored = self.ingest_all(source, vec![request]).await.pop();
        stored.unwrap_or(Err(StoreError::Closed)).map_err(Refused::Store)
    }

    /// Stores requests in their order and in one commit, and counts their events even if the caller
    /// has gone by then.
    pub(super) async fn ingest_all(
        &self,
        source: &LiveSource,
        requests: Vec<NewRequest>,
    ) -> Vec<Result<Ingested, StoreError>> {
        let (store, metrics) = (self.store.clone(), source.metrics.clone());
        let told: Vec<_> = requests
            .iter()
            .map(|request| (FailedRoutes::of(request), StoredEventLog::of(request)))
            .collect();
        let samples: Vec<_> = requests.iter().map(|request| self.shapes.sample(request)).collect();
        let shapes = self.shapes.clone();
        let stored = RunToCompletion::new(&self.tasks, async move {
            let results = store.ingest(requests).await;
            for (result, sample) in results.iter().zip(samples) {
                let Ok(ingested) = result else { continue };
                ingested.events.iter().for_each(|event| count(&metrics, event));
                if let Some(sample) = sample {
                    shapes.offer(sample);
                }
            }
            results
        });
        let results = stored.await;
        for (result, (failed, log)) in results.iter().zip(told) {
            if let Ok(ingested) = result {
                log.write(source.name(), &ingested.events);
                failed.report(&source.config.name, &ingested.events, &self.notices);
            }
        }
        results
    }
}

/// Routes that could not be evaluated, by the place of their event in the request.
pub(super) struct FailedRoutes(Vec<(usize, Target, Box<str>)>);

impl FailedRoutes {
    pub(super) fn of(request: &NewRequest) -> Self {
        let first = |(place, event): (usize, &NewEvent)| {
            let failed = event.routed.deliveries.iter().find(|to| to.error.is_some())?;
            Some((place, failed.target.clone(), failed.error.clone()?))
        };
        Self(request.events.iter().enumerate().filter_map(first).collect())
    }

    /// Makes an alert of each, once it is stored as a dead letter.
    pub(super) fn report(self, source: &SourceName, stored: &[EventIngested], notices: &Notices) {
        for (place, target, reason) in self.0 {
            let Some(EventIngested::Stored { id, dead: Some(delivery), .. }) = stored.get(place)
            else {
                continue;
            };
            notices.post(Notice::DeadLetter {
                target,
                source: source.clone(),
                event: *id,
                delivery: *delivery,
                outcome: Outcome::ConditionError,
                reason: Some(notice::cut(&reason)),
            });
        }
    }
}

/// Counts an event in the metrics of its source.
pub(super) fn count(metrics: &SourceMetrics, event: &EventIngested) {
    match event {
        EventIngested::Stored { id_reused, unrouted, dead, .. } => {
            metrics.stored();
            if dead.is_some() {
                metrics.condition_failed();
            }
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
