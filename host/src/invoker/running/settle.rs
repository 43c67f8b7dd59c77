//! Settles finished runs, counts them, and tells a waiting sender and the operator what they need
//! to know.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use weir_core::delivery::NextState;
use weir_core::name::SourceName;
use weir_store::{Claim, NewReply, Settled, Settlement, StoreError};

use super::batch::{FinishedRun, Runner};
use super::decide;
use super::paired::TrialResult;
use super::reply_broker::{ReplySender, RunReply};
use crate::delivery::seed;
use crate::delivery::spans::{count_for_source, keep_example};
use crate::invoker::handlers::runtime::{HandlerRuntime, ServingVersion};
use crate::observe::notice::Notice;
use crate::runtime::telemetry::FLOW;

impl Runner {
    /// Settles finished runs together. Returns the claims that must run again, because state that
    /// they read has changed.
    pub(super) async fn settle<'a>(
        &self,
        runtime: &HandlerRuntime,
        finished: Vec<FinishedRun<'a>>,
        reply: Option<&ReplySender>,
    ) -> Vec<&'a Claim> {
        let (runs, settlements): (Vec<_>, Vec<_>) = finished
            .into_iter()
            .map(|run| {
                let span = self.worker.begin_settle(run.trace);
                ((run.claim, run.version, span, run.trial), Arc::new(run.settlement))
            })
            .unzip();
        let answers = self.worker.settle(&settlements).await;
        let (mut conflicts, mut settled) = (Vec::new(), 0);
        for (((claim, version, span, trial), settlement), answer) in
            runs.into_iter().zip(settlements).zip(answers)
        {
            let (settlement, answer) =
                self.settle_refused(claim, &version, settlement, answer).await;
            self.worker.end_settle(span, claim, &answer);
            match answer {
                Ok(Settled::StateConflict { key }) => {
                    runtime.metrics.state_conflict();
                    tracing::debug!(
                        delivery = %claim.delivery, key, "state has changed, running again"
                    );
                    conflicts.push(claim);
                }
                Ok(answer) => {
                    settled += 1;
                    if let Some(reply) = reply {
                        reply.send(run_reply(&answer, &settlement));
                    }
                    self.report(runtime, (claim, &version), &answer, &settlement);
                    if let (Settled::Applied { .. }, Some(trial)) = (&answer, trial) {
                        self.count_trial(runtime, claim, &trial);
                    }
                }
                Err(error) => {
                    tracing::error!(
                        handler = %runtime.name, %error, "cannot settle, the delivery is given back"
                    );
                    self.worker.delay_give_back().await;
                }
            }
        }
        runtime.batching.lock().settled(settled, conflicts.len());
        conflicts
    }

    /// Counts a settled event for the probation of its version.
    fn count_trial(&self, runtime: &HandlerRuntime, claim: &Claim, ended: &TrialResult) {
        let TrialResult { trial, result, reason } = ended;
        let now = self.worker.ctx.clock.now();
        if trial.record(*result, claim.delivery, reason, now) {
            runtime.metrics.strike();
            tracing::warn!(
                handler = %runtime.name, delivery = %claim.delivery, event = %claim.event.public_id,
                handled_by = %trial.old.version(), reason,
                "the new version failed on an event that the version before handled"
            );
        }
    }

    /// Settles a run as failed if the store refused its settlement, since another run would be
    /// refused too.
    async fn settle_refused(
        &self,
        claim: &Claim,
        version: &ServingVersion,
        settlement: Arc<Settlement>,
        answer: Result<Settled, StoreError>,
    ) -> (Arc<Settlement>, Result<Settled, StoreError>) {
        let instead = match answer {
            Err(StoreError::Invalid(reason)) => {
                tracing::error!(
                    delivery = %claim.delivery, reason, "the store refuses a settlement"
                );
                let random = &mut StdRng::from_seed(seed::of(claim.delivery, claim.fence));
                let settlement = Arc::unwrap_or_clone(settlement);
                decide::impossible(settlement, &reason, &version.settings.retry, random)
            }
            Ok(Settled::StateFull { wanted }) => {
                let random = &mut StdRng::from_seed(seed::of(claim.delivery, claim.fence));
                let settlement = Arc::unwrap_or_clone(settlement);
                decide::state_full(settlement, wanted, &version.settings.retry, random)
            }
            Ok(Settled::Exhausted { descendants }) => {
                decide::exhausted(Arc::unwrap_or_clone(settlement), descendants)
            }
            answer => return (settlement, answer),
        };
        let instead = Arc::new(instead);
        let answer = self.worker.settle_one(&instead).await;
        (instead, answer)
    }

    /// Counts a settled run, and makes an alert of a dead letter.
    fn report(
        &self,
        runtime: &HandlerRuntime,
        (claim, version): (&Claim, &ServingVersion),
        settled: &Settled,
        settlement: &Settlement,
    ) {
        let metrics = &runtime.metrics;
        if *settled == Settled::Superseded {
            metrics.superseded();
            tracing::debug!(delivery = %claim.delivery, "superseded, its result is dropped");
            return;
        }
        let attempt = &settlement.attempt;
        let (outcome, took, reason) =
            (attempt.outcome, attempt.duration, attempt.reason.as_deref());
        metrics.attempt(outcome, took);
        keep_example(metrics, claim, settlement);
        count_for_source(&self.worker.ctx.metrics, claim, settlement);
        if claim.event.source == SourceName::hub() {
            metrics.attempt_on_alert(outcome);
        }
        match settlement.next {
            NextState::Processed => {}
            NextState::Retry { delay } => {
                metrics.retry_scheduled();
                let (retry, on_blocked) = (&version.settings.retry, version.settings.on_blocked);
                let blocked = Notice::order_blocked(claim, attempt, delay, retry, on_blocked);
                blocked.into_iter().for_each(|it| self.worker.ctx.notices.post(it));
            }
            NextState::DeadLetter => {
                metrics.dead_letter();
                self.worker.ctx.notices.post(Notice::dead_letter(claim, outcome, reason));
            }
        }
        tracing::debug!(
            target: FLOW,
            event = %claim.event.public_id, delivery = %claim.delivery, handler = %runtime.name,
            attempt = claim.fence.attempt, %outcome, ?took, reason,
            trace = claim.event.payload.trace().map(|trace| tracing::field::display(trace.trace)),
            "run ended"
        );
    }
}

/// The reply to a waiting sender.
fn run_reply(settled: &Settled, settlement: &Settlement) -> RunReply {
    match (settled, settlement.next, &settlement.effects.reply) {
        (Settled::Applied { .. }, NextState::Processed, Some(NewReply { status, payload, .. })) => {
            RunReply::Reply { status: *status, payload: Arc::new(payload.clone()) }
        }
        (Settled::Applied { .. }, NextState::Processed, None) => RunReply::Nothing,
        _ => RunReply::Failed,
    }
}
