//! A batch: claims of one handler that are run one after another and settled together.

use std::sync::Arc;

use tokio::sync::RwLock;
use weir_core::trace::TraceContext;
use weir_store::{Claim, Settlement};

use super::paired::TrialResult;
use super::reply_broker::ReplySender;
use super::responder_policy::ResponderPolicy;
use super::slots::RunSlots;
use crate::delivery::claims::CountedClaims;
use crate::delivery::flow_control::AttemptPermit;
use crate::delivery::worker::Worker;
use crate::invoker::handlers::runtime::{HandlerRuntime, ServingVersion};
use crate::invoker::handlers::table::LiveHandlers;
use crate::routing::Routes;

/// Conflicts of a claim before it is run without others of its handler.
const CONFLICTS_SHARED_MAX: u32 = 3;
/// Conflicts of a claim when run without others, which only another process can cause, before it is
/// given back.
const CONFLICTS_ALONE_MAX: u32 = 8;

/// Runs the batches of all handlers.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) worker: Arc<Worker>,
    pub(crate) live: Arc<LiveHandlers>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) responder_policy: ResponderPolicy,
    pub(crate) slots: RunSlots,
    /// Shared by every run. Exclusive for the run of a suspect, so that nothing else runs
    /// meanwhile.
    pub(crate) isolation: RwLock<()>,
}

/// Claims of one handler to run and settle together.
#[derive(Debug)]
pub(crate) struct RunBatch {
    pub(crate) runtime: Arc<HandlerRuntime>,
    pub(crate) claims: Vec<Claim>,
    /// Counts the claims until all are settled.
    pub(crate) counted: CountedClaims,
    /// Counts the batch until its runs have ended.
    pub(crate) running: CountedClaims,
    /// Gets the reply of the only claim, if a sender waits for it.
    pub(crate) reply: Option<ReplySender>,
    /// The permit of the only claim, if it is a probe.
    pub(crate) probe: Option<AttemptPermit>,
}

/// A finished run, ready to settle.
pub(super) struct FinishedRun<'a> {
    pub(super) claim: &'a Claim,
    pub(super) version: Arc<ServingVersion>,
    pub(super) settlement: Settlement,
    /// The trace with the span of the run, if it has one.
    pub(super) trace: Option<TraceContext>,
    /// The result for the probation of the version, if it is on one.
    pub(super) trial: Option<TrialResult>,
}

impl Runner {
    /// Runs and settles a batch, unless the drain stops waiting first: then what is unsettled is
    /// given back.
    pub(crate) async fn run_batch(self: Arc<Self>, batch: RunBatch) {
        let RunBatch { runtime, claims, counted, running, reply, probe } = batch;
        tokio::select! {
            () = self.run_until_settled(&runtime, &claims, running, reply.as_ref(), probe) => {}
            () = self.worker.ctx.drain.waiting_stopped() => {}
        }
        drop(claims);
        drop(counted);
    }

    /// Runs and settles claims, and runs those again whose state changed before they were settled.
    async fn run_until_settled(
        &self,
        runtime: &HandlerRuntime,
        claims: &[Claim],
        running: CountedClaims,
        reply: Option<&ReplySender>,
        mut probe: Option<AttemptPermit>,
    ) {
        let shared = runtime.conflict_lock.read().await;
        let mut open: Vec<&Claim> = claims.iter().collect();
        let mut running = Some(running);
        for _ in 0..CONFLICTS_SHARED_MAX {
            let finished = self.run_each(runtime, &open, reply.is_some(), &mut probe).await;
            // The next batch may start while this one is settled.
            running.take();
            open = self.settle(runtime, finished, reply).await;
            if open.is_empty() {
                return;
            }
        }
        drop(shared);
        for claim in open {
            let _exclusive = runtime.conflict_lock.write().await;
            let mut open = vec![claim];
            for _ in 0..CONFLICTS_ALONE_MAX {
                let finished = self.run_each(runtime, &open, reply.is_some(), &mut probe).await;
                open = self.settle(runtime, finished, reply).await;
                if open.is_empty() {
                    break;
                }
            }
        }
    }

    /// Runs claims one after another, while a version serves and its breaker is closed.
    async fn run_each<'a>(
        &self,
        runtime: &HandlerRuntime,
        claims: &[&'a Claim],
        sender_waits: bool,
        probe: &mut Option<AttemptPermit>,
    ) -> Vec<FinishedRun<'a>> {
        let mut finished = Vec::with_capacity(claims.len());
        let Some(first) = self.live.version(&runtime.name) else { return finished };
        // The semaphore is never closed. Without a permit, the slots still limit the runs.
        let _permit = first.permits.acquire().await.ok();
        for claim in claims {
            let Some(version) = self.live.version(&runtime.name) else { break };
            match self.admit_run(runtime, claim).await {
                Ok(admitted) => {
                    let permit = probe.take().or_else(|| runtime.flow.try_acquire());
                    let Some(permit) = permit else { break };
                    finished.push(self.run(runtime, claim, sender_waits, version, permit).await);
                    drop(admitted);
                }
                Err(error) => {
                    tracing::error!(
                        handler = %runtime.name, %error,
                        "cannot begin a run, the delivery is given back"
                    );
                    self.worker.delay_give_back().await;
                }
            }
        }
        finished
    }
}
