//! A batch of claims of one handler: run each, decide, settle them together, and run again what conflicted.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};
use weir_core::delivery::{NextState, Outcome};
use weir_core::name::SourceName;
use weir_core::time::Clock;
use weir_engine::Run;
use weir_store::{Claim, NewReply, RunGuard, Settled, Settlement};
use weir_store::{Store, StoreError};

use super::batching::RunSample;
use super::cpu_timed::CpuTimed;
use super::decide::{self, RunContext};
use super::reply_broker::{ReplySender, RunReply};
use super::responders::ResponderPolicy;
use super::slots::{RunSlot, RunSlots};
use super::versions::{HandlerRuntime, LiveHandlers, ServingVersion};
use crate::claims::{self, Held};
use crate::gate::{AttemptPermit, BreakerPersistence};
use crate::observe::metrics::Metrics;
use crate::observe::notice::{Notice, Notices};
use crate::routing::Routes;
use crate::runtime::shutdown::Drain;
use crate::runtime::telemetry::FLOW;
use crate::seed;

/// Conflicts of one delivery before it runs alone.
const CONFLICTS_SHARED_MAX: u32 = 3;
/// Conflicts when alone, which only another host can cause, before it is given back.
const CONFLICTS_ALONE_MAX: u32 = 8;

/// What every batch works with.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
    pub(crate) drain: Drain,
    pub(crate) versions: Arc<LiveHandlers>,
    pub(crate) freed: Arc<Notify>,
    pub(crate) responder_policy: ResponderPolicy,
    /// Keeps across restarts which versions are left alone.
    pub(crate) keeper: Arc<BreakerPersistence>,
    /// Runs of all handlers together, as many as the store keeps account of.
    pub(crate) slots: RunSlots,
    /// Held by every run; whole by a suspect's, so that nothing runs beside it.
    pub(crate) isolation: RwLock<()>,
}

/// Claims of one handler, to be run one after another and settled together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) runtime: Arc<HandlerRuntime>,
    pub(crate) claims: Vec<Claim>,
    /// Until all of it is settled.
    pub(crate) in_hand: Held,
    /// Until its runs have ended.
    pub(crate) running: Held,
    /// In what a sender is answered with, if one waits for it.
    pub(crate) part: Option<ReplySender>,
    /// AttemptPermit for the only claim, where a version that is left alone is tried with it.
    pub(crate) probe: Option<AttemptPermit>,
}

/// A run that ended, ready to settle.
struct FinishedRun<'a> {
    claim: &'a Claim,
    serving: Arc<ServingVersion>,
    settlement: Settlement,
}

/// A run that has its place, until dropped.
struct ActiveRun<'a> {
    _noted: RunGuard,
    _slot: Option<RunSlot>,
    _quarters: IsolationGuard<'a>,
}

enum IsolationGuard<'a> {
    Shared(#[expect(dead_code, reason = "held until dropped")] RwLockReadGuard<'a, ()>),
    Whole(#[expect(dead_code, reason = "held until dropped")] RwLockWriteGuard<'a, ()>),
}

impl Runner {
    /// Sees a batch through, unless the drain stops waiting first: what is unsettled then is given back.
    pub(crate) async fn attend(self: Arc<Self>, batch: Batch) {
        let Batch { runtime, claims, in_hand, running, part, probe } = batch;
        tokio::select! {
            () = self.see_through(&runtime, &claims, running, part.as_ref(), probe) => {}
            () = self.drain.waiting_stopped() => {}
        }
        drop(claims);
        drop(in_hand);
    }

    async fn see_through(
        &self,
        runtime: &HandlerRuntime,
        claims: &[Claim],
        running: Held,
        part: Option<&ReplySender>,
        mut probe: Option<AttemptPermit>,
    ) {
        let conflict_lock = runtime.conflict_lock.read().await;
        let mut open: Vec<&Claim> = claims.iter().collect();
        let mut running = Some(running);
        for _ in 0..CONFLICTS_SHARED_MAX {
            let ended = self.run_all(runtime, &open, part.is_some(), &mut probe).await;
            // The next batch may begin while this one is being settled.
            running.take();
            open = self.settle(runtime, ended, part).await;
            if open.is_empty() {
                return;
            }
        }
        drop(conflict_lock);
        for claim in open {
            let _alone = runtime.conflict_lock.write().await;
            let mut open = vec![claim];
            for _ in 0..CONFLICTS_ALONE_MAX {
                let ended = self.run_all(runtime, &open, part.is_some(), &mut probe).await;
                open = self.settle(runtime, ended, part).await;
                if open.is_empty() {
                    break;
                }
            }
        }
    }

    /// Runs claims one after another, as long as a version serves that is not left alone.
    async fn run_all<'a>(
        &self,
        runtime: &HandlerRuntime,
        claims: &[&'a Claim],
        is_awaited: bool,
        probe: &mut Option<AttemptPermit>,
    ) -> Vec<FinishedRun<'a>> {
        let mut ended = Vec::with_capacity(claims.len());
        let Some(first) = self.versions.serving(&runtime.name) else { return ended };
        // Never closed. Without a permit the engine's own slots still bound what runs.
        let _permit = first.permits.acquire().await.ok();
        for claim in claims {
            let Some(serving) = self.versions.serving(&runtime.name) else { break };
            match self.begin(runtime, claim).await {
                Ok(begun) => {
                    let leave = probe.take().or_else(|| runtime.gate.enter());
                    let Some(leave) = leave else { break };
                    ended.push(self.run(runtime, claim, is_awaited, serving, leave).await);
                    drop(begun);
                }
                Err(error) => claims::gave_up_running(&runtime.target, &error, &self.drain).await,
            }
        }
        ended
    }

    /// Waits for its turn to run, and notes that it runs.
    async fn begin(
        &self,
        runtime: &HandlerRuntime,
        claim: &Claim,
    ) -> Result<ActiveRun<'_>, StoreError> {
        // IsolationGuard first: who waits for a slot then never keeps one from somebody who waits for quarters.
        let isolation = if claim.suspect {
            IsolationGuard::Whole(self.isolation.write().await)
        } else {
            IsolationGuard::Shared(self.isolation.read().await)
        };
        let run_class = runtime.batching.lock().run_class();
        let slot = self.slots.take(&runtime.name, run_class).await;
        let noted = self.store.begin(claim)?;
        Ok(ActiveRun { _noted: noted, _slot: slot, _quarters: isolation })
    }

    async fn run<'a>(
        &self,
        runtime: &HandlerRuntime,
        claim: &'a Claim,
        is_awaited: bool,
        serving: Arc<ServingVersion>,
        leave: AttemptPermit,
    ) -> FinishedRun<'a> {
        let settings = &serving.settings;
        let seed = seed::of(claim.delivery, claim.fence);
        let run = Run {
            event: Arc::clone(&claim.event),
            handler: runtime.name.clone(),
            config: Arc::clone(&settings.config),
            grants: Arc::clone(&settings.grants),
            limits: settings.limits,
            attempt: claim.fence.attempt,
            id_round: claim.id_round,
            now: claim.now,
            seed,
            state: Arc::clone(&runtime.state),
        };
        let counted = (runtime.running.take(1, &self.freed), self.metrics.running().inc());
        let started_at = self.clock.now();
        let (report, core) = CpuTimed::of(serving.module.run(run)).await;
        drop(counted);
        let ended = (report.outcome(), claim.fence.attempt, report.reason());
        self.passed(runtime, leave, ended, started_at);
        let ran = RunSample {
            took: report.duration,
            core,
            event_bytes: claim.event.payload.size(),
            stopped: report.outcome() == Outcome::Timeout,
        };
        let run_class = {
            let mut batching = runtime.batching.lock();
            batching.ran(ran);
            batching.run_class()
        };
        self.slots.ran(&runtime.name, run_class, core);
        let facts = RunContext {
            claim,
            handler: &runtime.name,
            version: serving.version(),
            started_at,
            policy: &settings.retry,
            routes: &self.routes.current(),
            keeps_reply: self.responder_policy.keeps(
                &claim.event.source,
                &runtime.name,
                is_awaited,
            ),
        };
        let settlement = decide::decide(facts, report, &mut StdRng::from_seed(seed));
        FinishedRun { claim, serving, settlement }
    }

    /// Settles what ended; gives the claims whose reads no longer hold.
    async fn settle<'a>(
        &self,
        runtime: &HandlerRuntime,
        ended: Vec<FinishedRun<'a>>,
        part: Option<&ReplySender>,
    ) -> Vec<&'a Claim> {
        let (rest, settlements): (Vec<_>, Vec<_>) =
            ended.into_iter().map(|e| ((e.claim, e.serving), e.settlement)).unzip();
        let answers = claims::settle(&*self.store, &self.drain, &settlements).await;
        let (mut conflicts, mut well) = (Vec::new(), 0);
        for (((claim, serving), settlement), answer) in
            rest.into_iter().zip(settlements).zip(answers)
        {
            let answer = match answer {
                Err(StoreError::Invalid(why)) => {
                    self.settle_as_impossible(claim, &serving, settlement, &why).await
                }
                Ok(Settled::Exhausted { descendants }) => {
                    self.settle_instead(decide::exhausted(settlement, descendants)).await
                }
                answer => answer.map(|settled| (settled, told(&settlement))),
            };
            match answer {
                Ok((Settled::StateConflict { key }, _)) => {
                    runtime.metrics.state_conflict();
                    tracing::debug!(delivery = %claim.delivery, key, "state changed meanwhile, running again");
                    conflicts.push(claim);
                }
                Ok((settled, told)) => {
                    well += 1;
                    if let Some(part) = part {
                        part.say(said(&settled, &told));
                    }
                    self.record(runtime, claim, &settled, told);
                }
                Err(error) => claims::gave_up_settling(&runtime.target, &error, &self.drain).await,
            }
        }
        runtime.batching.lock().settled(well, conflicts.len());
        conflicts
    }

    /// The store says that a settlement makes no sense. Left at that, it would be run for ever.
    async fn settle_as_impossible(
        &self,
        claim: &Claim,
        serving: &ServingVersion,
        settlement: Settlement,
        why: &str,
    ) -> Result<(Settled, SettlementSummary), StoreError> {
        tracing::error!(delivery = %claim.delivery, why, "the store refuses a settlement");
        let seed = seed::of(claim.delivery, claim.fence);
        let random = &mut StdRng::from_seed(seed);
        let policy = &serving.settings.retry;
        self.settle_instead(decide::impossible(settlement, why, policy, random)).await
    }

    async fn settle_instead(
        &self,
        settlement: Settlement,
    ) -> Result<(Settled, SettlementSummary), StoreError> {
        let told = told(&settlement);
        let answer = claims::settle(&*self.store, &self.drain, &[settlement]).await.pop();
        answer.unwrap_or(Err(StoreError::Closed)).map(|settled| (settled, told))
    }

    /// Counts and tells what was settled.
    fn record(
        &self,
        runtime: &HandlerRuntime,
        claim: &Claim,
        settled: &Settled,
        told: SettlementSummary,
    ) {
        let SettlementSummary { outcome, took, next, reason, .. } = told;
        let metrics = &runtime.metrics;
        if *settled == Settled::Superseded {
            metrics.superseded();
            tracing::debug!(delivery = %claim.delivery, "overtaken, its result is dropped");
            return;
        }
        metrics.attempt(outcome, took);
        if claim.event.source == SourceName::hub() {
            metrics.attempt_on_alert(outcome);
        }
        match next {
            NextState::Processed => {}
            NextState::Retry { .. } => metrics.retry_scheduled(),
            NextState::DeadLetter => {
                metrics.dead_letter();
                self.notices.tell(Notice::dead_letter(claim, outcome, reason.as_deref()));
            }
        }
        tracing::debug!(
            target: FLOW,
            event = %claim.event.public_id, delivery = %claim.delivery, handler = %runtime.name,
            attempt = claim.fence.attempt, %outcome, ?took, reason = reason.as_deref(), "run ended"
        );
    }
}

/// What is told of a settlement once it is stored.
#[derive(Debug)]
struct SettlementSummary {
    outcome: Outcome,
    took: std::time::Duration,
    next: NextState,
    reason: Option<Box<str>>,
    reply: Option<NewReply>,
}

fn told(settlement: &Settlement) -> SettlementSummary {
    SettlementSummary {
        outcome: settlement.attempt.outcome,
        took: settlement.attempt.duration,
        next: settlement.next,
        reason: settlement.attempt.reason.clone(),
        reply: settlement.effects.reply.clone(),
    }
}

/// What a sender who waits is told of a settlement.
fn said(settled: &Settled, told: &SettlementSummary) -> RunReply {
    match (settled, told.next, &told.reply) {
        (Settled::Applied { .. }, NextState::Processed, Some(NewReply { status, payload, .. })) => {
            RunReply::Reply { status: *status, payload: Arc::new(payload.clone()) }
        }
        (Settled::Applied { .. }, NextState::Processed, None) => RunReply::Nothing,
        _ => RunReply::Failed,
    }
}
