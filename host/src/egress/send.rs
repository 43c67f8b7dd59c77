//! One claimed delivery of a destination: send it, decide, settle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::OwnedSemaphorePermit;
use weir_core::delivery::{self, NextState, Outcome};
use weir_core::state::{ReadSet, StateQuota};
use weir_store::StoreError;
use weir_store::{Claim, RoutedEffects, Settled, Settlement};

use super::answers;
use super::decide::{self, FinishedSend, JudgedSend, SendDecision};
use super::forwarding::HeaderForwarding;
use super::outgoing::Outgoing;
use super::runtime::DestinationRuntime;
use super::transport::SendOutcome;
use crate::config::Destination;
use crate::delivery::claims::{ClaimCounter, CountedClaims};
use crate::delivery::flow_control::{AttemptEnd, AttemptPermit, Throttle};
use crate::delivery::seed;
use crate::delivery::spans::{count_for_source, keep_example};
use crate::delivery::worker::Worker;
use crate::observe::notice::Notice;
use crate::observe::tracer::{OpenSpan, Stage};
use crate::routing::Routes;
use crate::runtime::telemetry::FLOW;

/// Sends claimed deliveries.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) worker: Worker,
    pub(super) forwarding: HeaderForwarding,
    pub(super) routes: Arc<Routes>,
    /// Claims of all destinations that are neither settled nor given back, also of destinations
    /// that were removed meanwhile.
    pub(super) claims: Arc<ClaimCounter>,
}

/// A claimed delivery that may be sent.
pub(super) struct SendJob {
    pub(super) runtime: Arc<DestinationRuntime>,
    pub(super) claim: Claim,
    pub(super) attempt: AttemptPermit,
    /// A permit to send now; with none, the job waits for one.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// In the counts of its destination and of all.
    pub(super) counted: [CountedClaims; 2],
}

impl Dispatcher {
    /// Sends and settles a delivery, unless the drain stops waiting first: then it is given back.
    pub(super) async fn run(self: Arc<Self>, job: SendJob) {
        let SendJob { runtime, claim, attempt, permit, counted } = job;
        tokio::select! {
            () = self.send_and_settle(&runtime, &claim, attempt, permit) => {}
            () = self.worker.ctx.drain.waiting_stopped() => {}
        }
        drop(claim);
        drop(counted);
    }

    #[tracing::instrument(
        level = "debug",
        name = "send",
        skip_all,
        fields(
            event = %claim.event.public_id,
            delivery = %claim.delivery,
            destination = %runtime.name(),
        ),
    )]
    async fn send_and_settle(
        &self,
        runtime: &DestinationRuntime,
        claim: &Claim,
        attempt: AttemptPermit,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let permit = match permit {
            Some(permit) => Some(permit),
            // The semaphore is never closed.
            None => runtime.permits.clone().acquire_owned().await.ok(),
        };
        if !attempt.is_valid() {
            return;
        }
        let mut message = Outgoing::of(claim, runtime.name(), &self.forwarding);
        let alerts = runtime.alerts.as_ref();
        let made = message.shape(claim, runtime.name(), &self.forwarding, alerts);
        let span = self.worker.ctx.tracer.child(message.trace);
        let trace = span.as_ref().map(OpenSpan::context);
        message.trace = trace.or(message.trace);
        let answers_as = runtime.transport.answers_as(&message);
        let refused = match made {
            Ok(()) => answers_as.and_then(|_| answers::too_deep(claim)),
            Err(reason) => Some(SendOutcome::NotMade { outcome: Outcome::ConditionError, reason }),
        };
        let sent = match refused {
            None => self.send(runtime, &message).await,
            Some(outcome) => self.not_made(outcome),
        };
        drop(permit);
        let (took, started_at) = (sent.duration, sent.started_at);
        let random = &mut StdRng::from_seed(seed::of(claim.delivery, claim.fence));
        let Destination { retry, on_blocked, .. } = &*runtime.destination;
        let judged = match decide::decide(sent, claim.fence.attempt, retry, random) {
            SendDecision::Settle(judged) => *judged,
            SendDecision::GiveBack { signal, reason } => {
                let reason = Some(&*reason);
                let end = AttemptEnd { signal, throttle: Throttle::No, started_at, reason };
                return self.give_back(runtime, claim, attempt, &end);
            }
        };
        let JudgedSend { attempt: record, mut next, answer, signal, throttle } = judged;
        if claim.is_ordered() {
            next = delivery::at_the_head(next, *on_blocked, retry.longest());
        }
        let end = AttemptEnd { signal, throttle, started_at, reason: record.reason.as_deref() };
        self.worker.finish(&runtime.flow, attempt, &end);
        self.worker.wake.notify_one();
        tracing::debug!(
            target: FLOW,
            event = %claim.event.public_id, delivery = %claim.delivery, message_id = %message.id,
            destination = %runtime.name(), attempt = claim.fence.attempt,
            outcome = %record.outcome, ?took, reason = record.reason.as_deref(),
            trace = message.trace.map(|trace| tracing::field::display(trace.trace)), "message sent"
        );
        let effects = match (answer, answers_as) {
            (Some(answer), Some(kind)) => {
                let routes = self.routes.current();
                answers::event(*answer, kind, claim, &message, runtime.name(), &routes)
            }
            _ => RoutedEffects::default(),
        };
        let mut settlement = Arc::new(Settlement {
            delivery: claim.delivery,
            fence: claim.fence,
            attempt: record,
            next,
            effects,
            reads: ReadSet::default(),
            quota: StateQuota::NONE,
        });
        self.worker.end_attempt(span, Stage::Send, claim, &settlement);
        let settling = self.worker.begin_settle(trace);
        let mut settled = self.worker.settle_one(&settlement).await;
        if let Ok(Settled::Exhausted { descendants }) = settled {
            settlement = Arc::new(answers::exhausted(&settlement, descendants));
            settled = self.worker.settle_one(&settlement).await;
        }
        self.worker.end_settle(settling, claim, &settled);
        self.report(runtime, claim, &settlement, settled).await;
    }

    /// Ends an attempt that does not count. The caller drops the claim, which makes the delivery
    /// due again in its place; the open breaker keeps it there.
    fn give_back(
        &self,
        runtime: &DestinationRuntime,
        claim: &Claim,
        attempt: AttemptPermit,
        end: &AttemptEnd<'_>,
    ) {
        runtime.metrics.unavailable();
        self.worker.finish(&runtime.flow, attempt, end);
        self.worker.wake.notify_one();
        tracing::debug!(
            target: FLOW,
            event = %claim.event.public_id, delivery = %claim.delivery,
            destination = %runtime.name(), reason = end.reason,
            "message not sent, its destination is unavailable"
        );
    }

    fn not_made(&self, outcome: SendOutcome) -> FinishedSend {
        let started_at = self.worker.ctx.clock.now();
        FinishedSend { outcome, started_at, duration: Duration::ZERO }
    }

    async fn send(&self, runtime: &DestinationRuntime, message: &Outgoing) -> FinishedSend {
        let _running = self.worker.ctx.metrics.running().inc();
        let started_at = self.worker.ctx.clock.now();
        let watch = Instant::now();
        let outcome = runtime.transport.send(message, started_at).await;
        FinishedSend { outcome, started_at, duration: watch.elapsed() }
    }

    /// Counts a settled attempt, and makes an alert of a dead letter.
    async fn report(
        &self,
        runtime: &DestinationRuntime,
        claim: &Claim,
        settlement: &Settlement,
        settled: Result<Settled, StoreError>,
    ) {
        let metrics = &runtime.metrics;
        match settled {
            Ok(Settled::Applied { .. }) => {
                let attempt = &settlement.attempt;
                metrics.attempt(attempt.outcome, attempt.duration);
                keep_example(metrics, claim, settlement);
                count_for_source(&self.worker.ctx.metrics, claim, settlement);
                match settlement.next {
                    NextState::Processed => {}
                    NextState::Retry { delay } => {
                        metrics.retry_scheduled();
                        let Destination { retry, on_blocked, .. } = &*runtime.destination;
                        let blocked =
                            Notice::order_blocked(claim, attempt, delay, retry, *on_blocked);
                        blocked.into_iter().for_each(|it| self.worker.ctx.notices.post(it));
                    }
                    NextState::DeadLetter => {
                        metrics.dead_letter();
                        let reason = attempt.reason.as_deref();
                        let notice = Notice::dead_letter(claim, attempt.outcome, reason);
                        self.worker.ctx.notices.post(notice);
                    }
                }
            }
            Ok(Settled::Superseded) => metrics.superseded(),
            // Sending reads no state, and a dead letter emits nothing.
            Ok(
                Settled::StateConflict { .. }
                | Settled::StateFull { .. }
                | Settled::Exhausted { .. },
            ) => {}
            Err(error) => {
                tracing::error!(
                    destination = %runtime.name(), %error,
                    "cannot settle, the delivery is given back"
                );
                self.worker.delay_give_back().await;
            }
        }
    }
}
