//! Input and answer of `claim`: which deliveries a worker asks for, and the claims that it gets.

use std::fmt;
use std::sync::Arc;

use weir_core::delivery::Fence;
use weir_core::event::Event;
use weir_core::id::{DeliveryId, MessageId};
use weir_core::name::{HandlerName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

/// Kind of waiting work. The two are claimed apart, so that many of one cannot delay the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// First attempts that are due at once.
    Fresh,
    /// Retries, and delayed or replayed deliveries.
    Late,
}

/// A request for deliveries of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    pub target: Target,
    pub lane: Lane,
    pub limit: usize,
}

/// A delivery that this hub may attempt now. If it is dropped unsettled, the delivery is due again
/// and no attempt is counted.
pub struct Claim {
    pub delivery: DeliveryId,
    pub target: Target,
    /// Attempt and generation of this claim.
    pub fence: Fence,
    pub event: Arc<Event>,
    /// Part of the outward ids of its effects. Above 0 after a replay with new ids.
    pub id_round: u32,
    /// The message to send instead of the event, for a message of a handler.
    pub message: Option<ClaimedMessage>,
    /// Deliveries of its target with the same key wait for it.
    pub order_key: Option<Arc<str>>,
    /// Time of the claim, by the store's clock.
    pub now: Timestamp,
    /// True if the hub died during its last run. No other handler's delivery is claimed until this
    /// claim ends, and nothing should run beside it.
    pub suspect: bool,
    /// Ends the claim when dropped.
    pub guard: ClaimGuard,
}

impl Claim {
    /// True if deliveries with the same key wait for it.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.order_key.is_some()
    }
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
    /// Outward id.
    pub id: MessageId,
    pub handler: HandlerName,
    /// Headers and body. For a forwarded event, the event's body with its content type.
    pub payload: Arc<Payload>,
}

/// Ends a claim when dropped, in the way of its engine.
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

/// Record of a run, until dropped. If the process dies first, the next start charges the run.
#[derive(Debug)]
pub struct RunGuard(#[expect(dead_code, reason = "held for its drop")] ClaimGuard);

impl RunGuard {
    /// Calls `end` when dropped.
    #[must_use]
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self(ClaimGuard::new(end))
    }
}
