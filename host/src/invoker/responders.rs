//! Responders, for ingress: runs a handler at once on an event whose sender waits for the reply.
//!
//! The run is like any other. Its claim was made in the commit that stored the event. Not
//! here: what a sender gets when there is no reply, which ingress decides.

use std::sync::Arc;

use tokio::runtime::Handle;
use weir_core::name::{HandlerName, SourceName};
use weir_store::{Claim, DedupKey};

use super::handlers::runtime::HandlerRuntime;
use super::running::batch::{RunBatch, Runner};
use super::running::reply_broker::{ReplyBroker, ReplyReceiver, ReplySender};
use crate::delivery::claims::CountedClaims;
use crate::runtime::tasks::OnFailure;

/// Runs responders. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ResponderHandle {
    pub(super) runner: Arc<Runner>,
    pub(super) guests: Handle,
    pub(super) reply_broker: ReplyBroker,
}

/// Permits one more event of a handler to be claimed and run.
#[derive(Debug)]
pub struct RunPermit {
    runtime: Arc<HandlerRuntime>,
    counted: CountedClaims,
}

impl ResponderHandle {
    /// A sender and a receiver of the reply to a request. Join before the request is stored, so
    /// that its repetitions wait for the same reply.
    #[must_use]
    pub fn join(
        &self,
        source: &SourceName,
        dedup: Option<&DedupKey>,
    ) -> (ReplySender, ReplyReceiver) {
        self.reply_broker.join(dedup.map(|key| (source.clone(), key.material.clone())))
    }

    /// A permit for one more event. None if no version of the handler serves, if it is paused, or
    /// if it has as many claims already as it may have.
    #[must_use]
    pub fn try_acquire(&self, handler: &HandlerName) -> Option<RunPermit> {
        let Runner { live, worker, .. } = &*self.runner;
        let runtime = live.runtime(handler)?;
        // The permit itself is acquired when the run begins. While probes are due, other events are
        // older.
        runtime.flow.try_acquire()?;
        let free = runtime.batching.lock().claims_max().saturating_sub(runtime.claims.count());
        if free == 0 || worker.ctx.drain.is_draining() {
            return None;
        }
        let counted = runtime.claims.add(1, &worker.wake);
        Some(RunPermit { runtime, counted })
    }

    /// Runs and settles a claimed event, even if its sender stops waiting.
    pub fn run(&self, permit: RunPermit, claim: Claim, reply: ReplySender) {
        let RunPermit { runtime, counted } = permit;
        let worker = &self.runner.worker;
        let running = runtime.batches.add(1, &worker.wake);
        let (claims, reply) = (vec![claim], Some(reply));
        let batch = RunBatch { runtime, claims, counted, running, reply, probe: None };
        let running = self.runner.clone().run_batch(batch);
        worker.ctx.tasks.spawn_on("responder", OnFailure::Log, &self.guests, running);
    }
}
