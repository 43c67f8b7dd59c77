//! Input and answers of retention, checks, copies, replays, retries and cancellations.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{SourceName, Target};

use crate::Routed;

/// Times for which finished data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Requests, events and payloads.
    pub payload_life: Duration,
    /// The same of sources that have lives of their own.
    pub source_lives: BTreeMap<SourceName, Duration>,
    /// Bytes in use above which finished events are removed before their time, the oldest first.
    /// Dead letters and unrouted events are not: an operator may still want them.
    pub max_bytes: Option<u64>,
    /// Attempts with their logs.
    pub attempt_life: Duration,
    /// Dedup keys. A duplicate within this time is recognised.
    pub dedup_life: Duration,
    /// Entries of the audit log.
    pub audit_life: Duration,
    /// Number of entries of the audit log.
    pub audit_rows: u64,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    fn default() -> Self {
        Self {
            payload_life: 30 * DAY,
            source_lives: BTreeMap::new(),
            max_bytes: None,
            attempt_life: 30 * DAY,
            dedup_life: 35 * DAY,
            audit_life: 365 * DAY,
            audit_rows: 100_000,
        }
    }
}

/// Result of one call of `prune`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events, with their requests, payloads, deliveries and attempts.
    pub events: u64,
    /// Those of them that were removed before their time, because the store was too large.
    pub early: u64,
    /// Bytes in use before this call, if they are above the limit.
    pub too_large: Option<u64>,
    /// Dedup keys.
    pub keys: u64,
    /// True if there is more to remove now.
    pub more: bool,
}

/// Deliveries to make due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    pub what: ReplaySelection,
    /// Limit of deliveries in one call.
    pub limit: usize,
    /// Idempotency key: a second request with the same key does nothing.
    pub request: String,
    /// True if its effects get new outward ids, so that receivers do not skip them as duplicates.
    pub new_ids: bool,
}

/// Selection of deliveries to make due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaySelection {
    /// One finished delivery.
    Delivery(DeliveryId),
    /// The dead letters among these deliveries.
    DeadOf(Vec<DeliveryId>),
    /// All dead letters of an event.
    Event(EventId),
    /// Dead letters, of one target or of all.
    DeadLetters(Option<Target>),
    /// Events by their current routes: a finished delivery gets a new generation, a missing one is
    /// made, and an unfinished one does not change.
    Events(Vec<ReroutedEvent>),
    /// The same for the `unrouted` events among these.
    Unrouted(Vec<ReroutedEvent>),
}

/// Selection of deliveries that wait for a retry, to make due at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryNow {
    /// One delivery.
    Delivery(DeliveryId),
    /// An event's deliveries, and the messages that they led to.
    Event(EventId),
    /// Everything for one target.
    Target(Target),
}

/// Result of a retry: the deliveries that are due now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetriedNow {
    /// The deliveries, without those that are claimed already.
    pub deliveries: Vec<DeliveryId>,
    /// True if the limit left some.
    pub more: bool,
}

/// Selection of deliveries to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelSelection {
    /// One delivery.
    Delivery(DeliveryId),
    /// An event's deliveries, and the messages that they led to.
    Event(EventId),
}

/// Result of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CancelOutcome {
    /// The deliveries that were not finished, and are cancelled now.
    pub deliveries: Vec<DeliveryId>,
    /// Number of those of which an attempt was running. Its result is refused.
    pub running: usize,
}

/// Result of erasing events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Erased {
    /// The events whose contents are gone now, with those that handlers emitted while they handled
    /// them.
    pub events: Vec<EventId>,
    /// Number of deliveries that were not finished or were dead letters, and are cancelled now.
    pub cancelled: usize,
}

/// An event with its current routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReroutedEvent {
    pub event: EventId,
    pub routed: Routed,
}

/// Result of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayOutcome {
    /// Deliveries that are due again.
    pub deliveries: Vec<DeliveryId>,
    /// True if the limit left some.
    pub more: bool,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// The problems, one sentence each.
    pub problems: Vec<String>,
    /// Deliveries checked.
    pub deliveries: u64,
    /// Bytes of the store's files.
    pub bytes: u64,
}

/// Progress of a copy of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Bytes that are copied.
    pub done: u64,
    /// Bytes to copy in all.
    pub all: u64,
}

/// Format of a store beside the one that this program writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFormat {
    /// Format of the store.
    pub found: u32,
    /// Format of this program.
    pub known: u32,
    /// Additions that the next start makes, one sentence each.
    pub pending: Vec<String>,
}
