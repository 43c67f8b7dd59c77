//! One run: waits for its turn, runs the handler, and decides what follows from the report.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};
use weir_core::delivery::Outcome;
use weir_engine::RunReport;
use weir_store::{Claim, RunGuard, StoreError};

use super::batch::{FinishedRun, Runner};
use super::decide::{self, RunContext};
use super::paired::PairedRun;
use super::slots::RunSlot;
use super::version_health;
use crate::delivery::flow_control::{AttemptEnd, AttemptPermit, Throttle};
use crate::delivery::seed;
use crate::invoker::handlers::batching::RunSample;
use crate::invoker::handlers::runtime::{HandlerRuntime, ServingVersion};
use crate::observe::tracer::{OpenSpan, Stage};

/// Holds what a run needs to go on, until dropped.
pub(super) struct ActiveRun<'a> {
    _noted: RunGuard,
    _slot: Option<RunSlot>,
    _isolation: IsolationGuard<'a>,
}

enum IsolationGuard<'a> {
    Shared(#[expect(dead_code, reason = "held until dropped")] RwLockReadGuard<'a, ()>),
    Exclusive(#[expect(dead_code, reason = "held until dropped")] RwLockWriteGuard<'a, ()>),
}

impl Runner {
    /// Waits until a run may begin, and notes in the store that it does.
    pub(super) async fn admit_run(
        &self,
        runtime: &HandlerRuntime,
        claim: &Claim,
    ) -> Result<ActiveRun<'_>, StoreError> {
        // Before the slot, so that no run holds a slot while it waits for another run to end.
        let isolation = if claim.suspect {
            IsolationGuard::Exclusive(self.isolation.write().await)
        } else {
            IsolationGuard::Shared(self.isolation.read().await)
        };
        let run_class = runtime.batching.lock().run_class();
        let slot = self.slots.take(&runtime.name, run_class).await;
        let noted = self.worker.ctx.store.begin_run(claim)?;
        Ok(ActiveRun { _noted: noted, _slot: slot, _isolation: isolation })
    }

    /// Runs one claim and decides what follows.
    #[tracing::instrument(
        level = "debug",
        skip_all,
        fields(event = %claim.event.public_id, delivery = %claim.delivery, handler = %runtime.name),
    )]
    pub(super) async fn run<'a>(
        &self,
        runtime: &HandlerRuntime,
        claim: &'a Claim,
        sender_waits: bool,
        version: Arc<ServingVersion>,
        permit: AttemptPermit,
    ) -> FinishedRun<'a> {
        let seed = seed::of(claim.delivery, claim.fence);
        let metrics = &self.worker.ctx.metrics;
        let counted = (runtime.running.add(), metrics.running().inc());
        let span = self.worker.ctx.tracer.child(claim.event.payload.trace());
        let started_at = self.worker.ctx.clock.now();
        let paired = self.run_paired(runtime, claim, version, (started_at, seed)).await;
        let PairedRun { version, report, core, reads, other, trial } = paired;
        drop(counted);
        let (outcome, attempt) = (report.outcome(), claim.fence.attempt);
        if let Some(signal) = version_health::signal(outcome, attempt) {
            let (throttle, reason) = (Throttle::No, report.reason());
            let end = AttemptEnd { signal, throttle, started_at, reason };
            self.worker.finish(&runtime.flow, permit, &end);
        }
        self.update_class(runtime, claim, &report, core);
        let trace = span.as_ref().map(OpenSpan::context);
        let context = RunContext {
            claim,
            trace,
            handler: &runtime.name,
            version: version.version(),
            other: other.as_ref(),
            started_at,
            policy: &version.settings.retry,
            quota: version.settings.state,
            reads: reads.as_ref(),
            routes: &self.routes.current(),
            on_blocked: version.settings.on_blocked,
            ordered: &version.settings.ordered,
            keeps_reply: self.responder_policy.keeps(
                &claim.event.source,
                &runtime.name,
                sender_waits,
            ),
        };
        let settlement = decide::decide(context, report, &mut StdRng::from_seed(seed));
        self.worker.end_attempt(span, Stage::Run, claim, &settlement);
        FinishedRun { claim, version, settlement, trace, trial }
    }

    /// Takes a run into account for the batches and the run class of its handler.
    fn update_class(
        &self,
        runtime: &HandlerRuntime,
        claim: &Claim,
        report: &RunReport,
        core: std::time::Duration,
    ) {
        let sample = RunSample {
            took: report.duration,
            core,
            event_bytes: claim.event.payload.size(),
            stopped: report.outcome() == Outcome::Timeout,
        };
        let run_class = {
            let mut batching = runtime.batching.lock();
            batching.add(sample);
            batching.run_class()
        };
        self.slots.ran(&runtime.name, run_class, core);
    }
}
