//! Retention, checks and redriving.

use std::time::Duration;

use weir_core::id::{DeliveryId, EventId};
use weir_core::name::Target;

use crate::Routed;

/// How long finished things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Requests, events and payloads.
    pub payload_life: Duration,
    /// Attempts with their logs.
    pub attempt_life: Duration,
    /// Dedup keys: a duplicate within this is recognised.
    pub dedup_life: Duration,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    fn default() -> Self {
        Self { payload_life: 30 * DAY, attempt_life: 30 * DAY, dedup_life: 35 * DAY }
    }
}

/// What one call of `prune` removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events, with their requests, payloads, deliveries and attempts.
    pub events: u64,
    /// Dedup keys.
    pub keys: u64,
    /// Whether there is more to do now.
    pub more: bool,
}

/// What to make due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Which.
    pub what: ReplaySelection,
    /// At most so many in one call.
    pub limit: usize,
    /// Two redrives with the same name are one.
    pub request: String,
    /// Whether what follows from it gets new outward ids, so that receivers take it for something new.
    pub new_ids: bool,
}

/// Which deliveries to make due again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplaySelection {
    /// One delivery, dead or processed.
    Delivery(DeliveryId),
    /// Those of these that are dead letters.
    DeadOf(Vec<DeliveryId>),
    /// All dead letters of an event.
    Event(EventId),
    /// Dead letters, of one target or of all.
    DeadLetters(Option<Target>),
    /// Events, to whom the routes say now: a delivery that is over is raised to the next generation, one that there
    /// was none of is made, and one that is not over yet is left alone.
    Events(Vec<ReroutedEvent>),
    /// The same for those of these events that are `unrouted`; others are left alone.
    Unrouted(Vec<ReroutedEvent>),
}

/// The deliveries to make due at once, of those that wait for a retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryNow {
    /// One delivery.
    Delivery(DeliveryId),
    /// An event's deliveries, and the messages that they led to.
    Event(EventId),
    /// Everything for one target.
    Target(Target),
}

/// The result: deliveries that are due now and were due later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetriedNow {
    /// The deliveries. What is being tried already is left out.
    pub deliveries: Vec<DeliveryId>,
    /// Whether there are more.
    pub more: bool,
}

/// An event with its routes as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReroutedEvent {
    /// Which.
    pub event: EventId,
    /// Who gets it.
    pub routed: Routed,
}

/// What became of a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayOutcome {
    /// Deliveries that are due again.
    pub deliveries: Vec<DeliveryId>,
    /// Whether the limit left some.
    pub more: bool,
}

/// How far a store has been looked over since it was opened, where the process before this one did not close it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntegrityStatus {
    /// All of it, or there was no need.
    Done,
    /// What was written last, before anything was taken in; the rest is looked at while work goes on.
    InProgress {
        /// Of the rest, 0 to 99.
        percent: u8,
    },
    /// What was found to be wrong. The store takes no more writes.
    Damaged(String),
    /// Why the rest could not be looked at.
    Failed(String),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// What is wrong, a sentence each; empty when all is well.
    pub problems: Vec<String>,
    /// Deliveries looked at.
    pub deliveries: u64,
    /// Bytes of the store's files.
    pub bytes: u64,
}
