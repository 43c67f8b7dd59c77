//! The facts that are told of each attempt at an event of a source: its spans, its trace as an
//! example, and its part in the health of the source.

use std::borrow::Cow;

use weir_core::delivery::Outcome;
use weir_core::trace::TraceContext;
use weir_store::{Claim, Settled, Settlement, StoreError};

use super::worker::Worker;
use crate::observe::metrics::{Metrics, TargetMetrics};
use crate::observe::tracer::{OpenSpan, SpanFact, Stage};

impl Worker {
    /// Ends the span of an attempt, before it is settled.
    pub(crate) fn end_attempt(
        &self,
        span: Option<OpenSpan>,
        stage: Stage,
        claim: &Claim,
        settlement: &Settlement,
    ) {
        let outcome = settlement.attempt.outcome;
        let failure = (outcome != Outcome::Ok).then(|| outcome.as_str());
        self.ctx.tracer.end(span, stage, failure, || {
            let mut facts = facts(claim);
            facts.push(("weir.outcome", outcome.as_str().into()));
            facts
        });
    }

    /// Begins the span of a settlement below the span of its attempt.
    pub(crate) fn begin_settle(&self, attempt: Option<TraceContext>) -> Option<OpenSpan> {
        self.ctx.tracer.child(attempt)
    }

    /// Ends the span of a settlement.
    pub(crate) fn end_settle(
        &self,
        span: Option<OpenSpan>,
        claim: &Claim,
        settled: &Result<Settled, StoreError>,
    ) {
        let (word, failure) = match settled {
            Ok(Settled::Applied { .. }) => ("applied", None),
            Ok(Settled::Superseded) => ("superseded", Some("superseded")),
            Ok(Settled::StateConflict { .. }) => ("state_conflict", None),
            Ok(Settled::Exhausted { .. }) => ("exhausted", Some("exhausted")),
            Ok(Settled::StateFull { .. }) => ("state_full", Some("state_full")),
            Err(_) => ("failed", Some("failed")),
        };
        self.ctx.tracer.end(span, Stage::Settle, failure, || {
            let mut facts = facts(claim);
            facts.push(("weir.outcome", word.into()));
            facts
        });
    }
}

/// Keeps the trace of an attempt as an example of its duration, if it is sampled.
pub(crate) fn keep_example(metrics: &TargetMetrics, claim: &Claim, settlement: &Settlement) {
    let trace = claim.event.payload.trace().filter(TraceContext::is_sampled);
    if let Some(trace) = trace {
        metrics.example(settlement.attempt.duration, trace.trace);
    }
}

/// Counts a settled attempt to the source of its event.
pub(crate) fn count_for_source(metrics: &Metrics, claim: &Claim, settlement: &Settlement) {
    let Some(source) = metrics.known_source(&claim.event.source) else { return };
    let attempt = &settlement.attempt;
    match attempt.outcome {
        Outcome::Ok => source.work.succeeded(attempt.duration),
        outcome => {
            let why = (outcome, attempt.reason.as_deref());
            source.work.failed(attempt.duration, attempt.started_at, &claim.target, why);
        }
    }
}

fn facts(claim: &Claim) -> Vec<SpanFact> {
    let event = &claim.event;
    vec![
        ("weir.event.id", Cow::Owned(event.public_id.to_string())),
        ("weir.source", Cow::Owned(event.source.to_string())),
        ("weir.event.type", Cow::Owned(event.kind.to_string())),
        ("weir.delivery.id", Cow::Owned(claim.delivery.to_string())),
        ("weir.target", Cow::Owned(claim.target.to_string())),
        ("weir.attempt", Cow::Owned(claim.fence.attempt.to_string())),
    ]
}
