//! A batch of claims of one handler: run each, decide, settle them together, and run again what conflicted.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};
use weir_core::delivery::{NextState, Outcome};
use weir_core::name::SourceName;
use weir_core::time::Clock;
use weir_engine::Run;
use weir_store::hot::{Claim, NewReply, RunGuard, Settled, Settlement};
use weir_store::{Store, StoreError};

use super::awaited::{Part, Said};
use super::decide::{self, Facts};
use super::effort::Effort;
use super::pace::Ran;
use super::responders::Answering;
use super::slots::{Slot, Slots};
use super::versions::{Desk, Serving, Versions};
use crate::claims::{self, Held};
use crate::gate::{Keeper, Leave};
use crate::logging::FLOW;
use crate::observe::metrics::Metrics;
use crate::observe::notice::{Notice, Notices};
use crate::routes::Routes;
use crate::seed;
use crate::shutdown::Drain;

/// Conflicts of one delivery before it runs alone.
const CONFLICTS_IN_COMPANY: u32 = 3;
/// Conflicts when alone, which only another host can cause, before it is given back.
const CONFLICTS_ALONE: u32 = 8;

/// What every batch works with.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) notices: Notices,
    pub(crate) drain: Drain,
    pub(crate) versions: Arc<Versions>,
    pub(crate) freed: Arc<Notify>,
    pub(crate) answering: Answering,
    /// Keeps across restarts which versions are left alone.
    pub(crate) keeper: Arc<Keeper>,
    /// Runs of all handlers together, as many as the store keeps account of.
    pub(crate) slots: Slots,
    /// Held by every run; whole by a suspect's, so that nothing runs beside it.
    pub(crate) quarters: RwLock<()>,
}

/// Claims of one handler, to be run one after another and settled together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) desk: Arc<Desk>,
    pub(crate) claims: Vec<Claim>,
    /// Until all of it is settled.
    pub(crate) in_hand: Held,
    /// Until its runs have ended.
    pub(crate) running: Held,
    /// In what a sender is answered with, if one waits for it.
    pub(crate) part: Option<Part>,
    /// Leave for the only claim, where a version that is left alone is tried with it.
    pub(crate) probe: Option<Leave>,
}

/// A run that ended, ready to settle.
struct Ended<'a> {
    claim: &'a Claim,
    serving: Arc<Serving>,
    settlement: Settlement,
}

/// A run that has its place, until dropped.
struct Begun<'a> {
    _noted: RunGuard,
    _slot: Option<Slot>,
    _quarters: Quarters<'a>,
}

enum Quarters<'a> {
    Shared(#[expect(dead_code, reason = "held until dropped")] RwLockReadGuard<'a, ()>),
    Whole(#[expect(dead_code, reason = "held until dropped")] RwLockWriteGuard<'a, ()>),
}

impl Runner {
    /// Sees a batch through, unless the drain stops waiting first: what is unsettled then is given back.
    pub(crate) async fn attend(self: Arc<Self>, batch: Batch) {
        let Batch { desk, claims, in_hand, running, part, probe } = batch;
        tokio::select! {
            () = self.see_through(&desk, &claims, running, part.as_ref(), probe) => {}
            () = self.drain.waiting_stopped() => {}
        }
        drop(claims);
        drop(in_hand);
    }

    async fn see_through(
        &self,
        desk: &Desk,
        claims: &[Claim],
        running: Held,
        part: Option<&Part>,
        mut probe: Option<Leave>,
    ) {
        let company = desk.company.read().await;
        let mut open: Vec<&Claim> = claims.iter().collect();
        let mut running = Some(running);
        for _ in 0..CONFLICTS_IN_COMPANY {
            let ended = self.run_all(desk, &open, part.is_some(), &mut probe).await;
            // The next batch may begin while this one is being settled.
            running.take();
            open = self.settle(desk, ended, part).await;
            if open.is_empty() {
                return;
            }
        }
        drop(company);
        for claim in open {
            let _alone = desk.company.write().await;
            let mut open = vec![claim];
            for _ in 0..CONFLICTS_ALONE {
                let ended = self.run_all(desk, &open, part.is_some(), &mut probe).await;
                open = self.settle(desk, ended, part).await;
                if open.is_empty() {
                    break;
                }
            }
        }
    }

    /// Runs claims one after another, as long as a version serves that is not left alone.
    async fn run_all<'a>(
        &self,
        desk: &Desk,
        claims: &[&'a Claim],
        is_awaited: bool,
        probe: &mut Option<Leave>,
    ) -> Vec<Ended<'a>> {
        let mut ended = Vec::with_capacity(claims.len());
        let Some(first) = self.versions.serving(&desk.name) else { return ended };
        // Never closed. Without a permit the engine's own slots still bound what runs.
        let _permit = first.permits.acquire().await.ok();
        for claim in claims {
            let Some(serving) = self.versions.serving(&desk.name) else { break };
            match self.begin(desk, claim).await {
                Ok(begun) => {
                    let leave = probe.take().or_else(|| desk.gate.enter());
                    let Some(leave) = leave else { break };
                    ended.push(self.run(desk, claim, is_awaited, serving, leave).await);
                    drop(begun);
                }
                Err(error) => claims::gave_up_running(&desk.target, &error, &self.drain).await,
            }
        }
        ended
    }

    /// Waits for its turn to run, and notes that it runs.
    async fn begin(&self, desk: &Desk, claim: &Claim) -> Result<Begun<'_>, StoreError> {
        // Quarters first: who waits for a slot then never keeps one from somebody who waits for quarters.
        let quarters = if claim.suspect {
            Quarters::Whole(self.quarters.write().await)
        } else {
            Quarters::Shared(self.quarters.read().await)
        };
        let manners = desk.pace.lock().manners();
        let slot = self.slots.take(&desk.name, manners).await;
        let noted = self.store.begin(claim)?;
        Ok(Begun { _noted: noted, _slot: slot, _quarters: quarters })
    }

    async fn run<'a>(
        &self,
        desk: &Desk,
        claim: &'a Claim,
        is_awaited: bool,
        serving: Arc<Serving>,
        leave: Leave,
    ) -> Ended<'a> {
        let settings = &serving.settings;
        let seed = seed::of(claim.delivery, claim.fence);
        let run = Run {
            event: Arc::clone(&claim.event),
            handler: desk.name.clone(),
            config: Arc::clone(&settings.config),
            grants: Arc::clone(&settings.grants),
            limits: settings.limits,
            attempt: claim.fence.attempt,
            id_round: claim.id_round,
            now: claim.now,
            seed,
            state: Arc::clone(&desk.state),
        };
        let counted = (desk.running.take(1, &self.freed), self.metrics.running().inc());
        let started_at = self.clock.now();
        let (report, core) = Effort::of(serving.module.run(run)).await;
        drop(counted);
        let ended = (report.outcome(), claim.fence.attempt, report.reason());
        self.passed(desk, leave, ended, started_at);
        let ran = Ran {
            took: report.duration,
            core,
            event_bytes: claim.event.payload.size(),
            stopped: report.outcome() == Outcome::Timeout,
        };
        let manners = {
            let mut pace = desk.pace.lock();
            pace.ran(ran);
            pace.manners()
        };
        self.slots.set_manners(&desk.name, manners);
        let facts = Facts {
            claim,
            handler: &desk.name,
            version: serving.version(),
            started_at,
            policy: &settings.retry,
            routes: &self.routes.current(),
            keeps_reply: self.answering.keeps(&claim.event.source, &desk.name, is_awaited),
        };
        let settlement = decide::decide(facts, report, &mut StdRng::from_seed(seed));
        Ended { claim, serving, settlement }
    }

    /// Settles what ended; gives the claims whose reads no longer hold.
    async fn settle<'a>(
        &self,
        desk: &Desk,
        ended: Vec<Ended<'a>>,
        part: Option<&Part>,
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
                    desk.metrics.state_conflict();
                    tracing::debug!(delivery = %claim.delivery, key, "state changed meanwhile, running again");
                    conflicts.push(claim);
                }
                Ok((settled, told)) => {
                    well += 1;
                    if let Some(part) = part {
                        part.say(said(&settled, &told));
                    }
                    self.record(desk, claim, &settled, told);
                }
                Err(error) => claims::gave_up_settling(&desk.target, &error, &self.drain).await,
            }
        }
        desk.pace.lock().settled(well, conflicts.len());
        conflicts
    }

    /// The store says that a settlement makes no sense. Left at that, it would be run for ever.
    async fn settle_as_impossible(
        &self,
        claim: &Claim,
        serving: &Serving,
        settlement: Settlement,
        why: &str,
    ) -> Result<(Settled, Told), StoreError> {
        tracing::error!(delivery = %claim.delivery, why, "the store refuses a settlement");
        let seed = seed::of(claim.delivery, claim.fence);
        let random = &mut StdRng::from_seed(seed);
        let policy = &serving.settings.retry;
        self.settle_instead(decide::impossible(settlement, why, policy, random)).await
    }

    async fn settle_instead(&self, settlement: Settlement) -> Result<(Settled, Told), StoreError> {
        let told = told(&settlement);
        let answer = claims::settle(&*self.store, &self.drain, &[settlement]).await.pop();
        answer.unwrap_or(Err(StoreError::Closed)).map(|settled| (settled, told))
    }

    /// Counts and tells what was settled.
    fn record(&self, desk: &Desk, claim: &Claim, settled: &Settled, told: Told) {
        let Told { outcome, took, next, reason, .. } = told;
        let metrics = &desk.metrics;
        if *settled == Settled::Superseded {
            metrics.superseded();
            tracing::debug!(delivery = %claim.delivery, "overtaken, its result is dropped");
            return;
        }
        metrics.attempt(outcome, took);
        if claim.event.source == SourceName::hub() {
            metrics.was_at_alert(outcome);
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
            event = %claim.event.public_id, delivery = %claim.delivery, handler = %desk.name,
            attempt = claim.fence.attempt, %outcome, ?took, reason = reason.as_deref(), "run ended"
        );
    }
}

/// What is told of a settlement once it is stored.
#[derive(Debug)]
struct Told {
    outcome: Outcome,
    took: std::time::Duration,
    next: NextState,
    reason: Option<Box<str>>,
    reply: Option<NewReply>,
}

fn told(settlement: &Settlement) -> Told {
    Told {
        outcome: settlement.attempt.outcome,
        took: settlement.attempt.duration,
        next: settlement.next,
        reason: settlement.attempt.reason.clone(),
        reply: settlement.effects.reply.clone(),
    }
}

/// What a sender who waits is told of a settlement.
fn said(settled: &Settled, told: &Told) -> Said {
    match (settled, told.next, &told.reply) {
        (Settled::Applied { .. }, NextState::Processed, Some(NewReply { status, payload, .. })) => {
            Said::Reply { status: *status, payload: Arc::new(payload.clone()) }
        }
        (Settled::Applied { .. }, NextState::Processed, None) => Said::Nothing,
        _ => Said::Failed,
    }
}
