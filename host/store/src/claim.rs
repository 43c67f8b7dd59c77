//! Input and answer of `claim`: which deliveries a worker asks for, and the claims that it gets.

use std::fmt;
use std::sync::Arc;

use weir_core::delivery::Fence;
use weir_core::event::Event;
use weir_core::id::{DeliveryId, MessageId};
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

/// Fresh work and late retries are claimed apart, so that a pile of one cannot starve the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// First attempts.
    Fresh,
    /// Retries, and what was delayed or requeued.
    Late,
}

/// A wish for work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// For whom.
    pub target: Target,
    /// Which.
    pub lane: Lane,
    /// At most so many.
    pub limit: usize,
}

/// A delivery that this host may attempt now. Dropping it unsettled gives it back with no attempt spent.
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// For whom.
    pub target: Target,
    /// Which attempt of which generation this is.
    pub fence: Fence,
    /// The event it came of.
    pub event: Arc<Event>,
    /// Part of the outward ids of what follows from it; above 0 where a replay asked for new ones.
    pub id_round: u32,
    /// For a message that a handler sent: what to send instead of the event.
    pub message: Option<ClaimedMessage>,
    /// The store's time at the claim.
    pub now: Timestamp,
    /// The host did not survive its last run. No other handler's delivery is claimed until this claim has ended, and
    /// nothing should run beside it.
    pub suspect: bool,
    /// Ends the claim when dropped.
    pub guard: ClaimGuard,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("delivery", &self.delivery)
            .field("target", &self.target)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// A message that a handler sent.
#[derive(Debug, Clone)]
pub struct ClaimedMessage {
    /// Its outward id.
    pub id: MessageId,
    /// Who sent it.
    pub handler: HandlerName,
    /// Headers and body; for a forwarded event the event's body with its content type.
    pub payload: Arc<Payload>,
}

/// Ends a claim when it is dropped. An engine puts its own end in here.
pub struct ClaimGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl ClaimGuard {
    /// A guard that calls `end` when dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

impl fmt::Debug for ClaimGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimGuard")
    }
}

/// Says that a delivery runs, until dropped: should the process die before that, the next start charges the run.
#[derive(Debug)]
pub struct RunGuard(#[expect(dead_code, reason = "what counts is when it is dropped")] ClaimGuard);

impl RunGuard {
    /// Calls `end` when dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(ClaimGuard::new(end))
    }
}
