//! Notices: incidents that an operator may want to know, posted where they happen and collected by
//! the alerts.
//!
//! Posting never waits. Waiting notices are merged by kind and subject, so a thousand dead letters
//! of one target take the space of one. Not here: recipients and frequency.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::alert::OutcomeCounts;
use weir_core::delivery::{OnBlocked, Outcome};
use weir_core::event::EventType;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::retry::RetryPolicy;
use weir_core::time::Timestamp;
use weir_store::health::LostRows;
use weir_store::hold::Hold;
use weir_store::{AttemptRecord, Claim};

use super::shapes::ShapeChange;
use super::source_work::SourceError;
use crate::config::ConfigProblem;

/// Different waiting notices; further ones are only counted.
const WAITING_MAX: usize = 1_024;
/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// An incident that may raise an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A delivery became a dead letter.
    DeadLetter {
        target: Target,
        source: SourceName,
        event: EventId,
        delivery: DeliveryId,
        /// The outcome of its last attempt.
        outcome: Outcome,
        reason: Option<Box<str>>,
    },
    /// A delivery cannot be processed, and those behind it in its order wait.
    OrderBlocked {
        target: Target,
        source: SourceName,
        event: EventId,
        delivery: DeliveryId,
        attempts: u32,
        /// The outcome of its last attempt.
        outcome: Outcome,
        reason: Option<Box<str>>,
    },
    /// A handler's files were refused.
    LoadFailed {
        handler: HandlerName,
        reason: Box<str>,
        /// True if an older version continues to run.
        serves_on: bool,
    },
    /// The plugins folder is absent, unreadable or not mounted. Its handlers continue to run.
    PluginsAway { dir: Box<str>, reason: Box<str> },
    /// A provider file of the operator is invalid.
    ProviderLoadFailed {
        /// The provider of the file, else its path.
        provider: Box<str>,
        problem: ConfigProblem,
        /// True if its last good version continues to be used.
        serves_on: bool,
    },
    /// Too many attempts of a handler failed.
    HandlerFailing { handler: HandlerName, attempts: OutcomeCounts, window: Duration },
    /// The events of a source are unrouted, and were routed before.
    SourceUnrouted { source: SourceName },
    /// Too many requests of a source were refused.
    SourceRefusing {
        source: SourceName,
        requests: OutcomeCounts,
        /// The most frequent code.
        code: &'static str,
        /// The likely cause of that code.
        causes: Option<String>,
        window: Duration,
    },
    /// Too many attempts at the events of a source failed.
    SourceFailing {
        source: SourceName,
        attempts: OutcomeCounts,
        /// The last failure.
        error: Option<SourceError>,
        window: Duration,
    },
    /// The events of a source have other fields than before.
    SourceShapeChanged { source: SourceName, kind: EventType, changes: Vec<ShapeChange> },
    /// A source has accepted no request for longer than it should.
    SourceSilent { source: SourceName, silence: Duration },
    /// The server of a source cannot be reached, or gives no messages. Posted once.
    SourceDisconnected { source: SourceName, reason: Box<str>, at: Timestamp },
    /// The messages of a source are taken again.
    SourceConnected { source: SourceName, disconnected_for: Duration },
    /// A listener's certificate expires soon, or has expired.
    CertificateExpiring {
        /// The name of the listener in the configuration.
        listener: &'static str,
        file: Box<str>,
        not_after: Timestamp,
        left: Duration,
    },
    /// A hold is old.
    HoldOld {
        hold: Hold,
        /// The time at which the held deliveries become dead letters, if they will.
        until: Option<Timestamp>,
    },
    /// A handler version is paused after failures. Posted once, not again for each probe.
    HandlerHeld {
        handler: HandlerName,
        reason: Box<str>,
        at: Timestamp,
        /// The time of the next probe.
        next_try: Timestamp,
    },
    /// A version on probation failed, and the version before serves again.
    HandlerRolledBack {
        handler: HandlerName,
        /// The hash of the version that failed, in hex.
        from: Box<str>,
        to: Box<str>,
        /// Events on which only that version failed.
        strikes: usize,
        /// The reason of the last one.
        reason: Box<str>,
    },
    /// A probe succeeded: the handler's events are handled again.
    HandlerReleased { handler: HandlerName, held_for: Duration },
    /// A destination is paused after failures. Posted once, not again for each probe.
    DestinationFailing {
        destination: DestinationName,
        reason: Box<str>,
        at: Timestamp,
        /// The time of the next probe.
        next_try: Timestamp,
    },
    /// A probe succeeded: the destination's messages are sent again.
    DestinationOk { destination: DestinationName, at: Timestamp, failed_for: Duration },
    /// The disk is full: webhooks are refused.
    StoreFull { since: Timestamp },
    /// The disk has room again: webhooks are accepted.
    StoreHasRoom { full_for: Duration },
    /// The store is larger than `retention.max_bytes`, and what is left may not be deleted.
    StoreOverLimit { bytes: u64, max: u64 },
    /// Rows of the store are unreadable and were set aside; `weir unreadable` lists them.
    StoreUnreadable {
        /// The number since the start.
        rows: u64,
    },
    /// Rows that were acknowledged before the start are missing from the store.
    StoreLost { lost: Vec<LostRows> },
}

impl Notice {
    /// The notice about a dead letter.
    #[must_use]
    pub fn dead_letter(claim: &Claim, outcome: Outcome, reason: Option<&str>) -> Self {
        Self::DeadLetter {
            target: claim.target.clone(),
            source: claim.event.source.clone(),
            event: claim.event.id,
            delivery: claim.delivery,
            outcome,
            reason: reason.map(cut),
        }
    }

    /// The notice about a delivery that would be a dead letter if its order did not wait for it.
    #[must_use]
    pub fn order_blocked(
        claim: &Claim,
        attempt: &AttemptRecord,
        delay: Duration,
        retry: &RetryPolicy,
        on_blocked: OnBlocked,
    ) -> Option<Self> {
        let attempts = claim.fence.attempt;
        let would_be_dead = attempts >= retry.max_attempts() || delay == retry.longest();
        let waits = claim.is_ordered() && on_blocked == OnBlocked::Wait;
        (waits && would_be_dead).then(|| Self::OrderBlocked {
            target: claim.target.clone(),
            source: claim.event.source.clone(),
            event: claim.event.id,
            delivery: claim.delivery,
            attempts,
            outcome: attempt.outcome,
            reason: attempt.reason.as_deref().map(cut),
        })
    }

    /// The type of the alert.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DeadLetter { .. } => "dead_letter",
            Self::OrderBlocked { .. } => "order.blocked",
            Self::LoadFailed { .. } => "handler.load_failed",
            Self::PluginsAway { .. } => "plugins.away",
            Self::ProviderLoadFailed { .. } => "provider.load_failed",
            Self::HandlerFailing { .. } => "handler.failing",
            Self::HandlerHeld { .. } => "handler.held",
            Self::HandlerReleased { .. } => "handler.released",
            Self::HandlerRolledBack { .. } => "handler.rolled_back",
            Self::SourceUnrouted { .. } => "source.unrouted",
            Self::SourceRefusing { .. } => "source.refusing",
            Self::SourceFailing { .. } => "source.failing",
            Self::SourceShapeChanged { .. } => "source.shape_changed",
            Self::SourceSilent { .. } => "source.silent",
            Self::SourceDisconnected { .. } => "source.disconnected",
            Self::SourceConnected { .. } => "source.connected",
            Self::CertificateExpiring { .. } => "certificate.expiring",
            Self::HoldOld { .. } => "hold.old",
            Self::DestinationFailing { .. } => "destination.failing",
            Self::DestinationOk { .. } => "destination.ok",
            Self::StoreFull { .. } => "store.full",
            Self::StoreHasRoom { .. } => "store.has_room",
            Self::StoreOverLimit { .. } => "store.over_limit",
            Self::StoreUnreadable { .. } => "store.unreadable",
            Self::StoreLost { .. } => "store.lost",
        }
    }

    /// The type of the alert that says the opposite of the same subject.
    #[must_use]
    pub const fn opposite(&self) -> Option<&'static str> {
        Some(match self {
            Self::HandlerHeld { .. } => "handler.released",
            Self::HandlerReleased { .. } => "handler.held",
            Self::DestinationFailing { .. } => "destination.ok",
            Self::DestinationOk { .. } => "destination.failing",
            Self::SourceDisconnected { .. } => "source.connected",
            Self::SourceConnected { .. } => "source.disconnected",
            Self::StoreFull { .. } => "store.has_room",
            Self::StoreHasRoom { .. } => "store.full",
            _ => return None,
        })
    }

    /// The subject: `handler:orders`, `source:github`, `provider:acme`, `certificate:server`,
    /// `destination:ops`.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::DeadLetter { target, .. } | Self::OrderBlocked { target, .. } => {
                target.to_string()
            }
            Self::LoadFailed { handler, .. }
            | Self::HandlerFailing { handler, .. }
            | Self::HandlerHeld { handler, .. }
            | Self::HandlerRolledBack { handler, .. }
            | Self::HandlerReleased { handler, .. } => {
                format!("handler:{handler}")
            }
            Self::PluginsAway { .. } => "plugins".to_owned(),
            Self::ProviderLoadFailed { provider, .. } => format!("provider:{provider}"),
            Self::SourceUnrouted { source }
            | Self::SourceRefusing { source, .. }
            | Self::SourceFailing { source, .. }
            | Self::SourceShapeChanged { source, .. }
            | Self::SourceDisconnected { source, .. }
            | Self::SourceConnected { source, .. }
            | Self::SourceSilent { source, .. } => format!("source:{source}"),
            Self::CertificateExpiring { listener, .. } => format!("certificate:{listener}"),
            Self::HoldOld { hold, .. } => hold.hold.scope.to_string(),
            Self::DestinationFailing { destination, .. }
            | Self::DestinationOk { destination, .. } => format!("destination:{destination}"),
            Self::StoreFull { .. }
            | Self::StoreHasRoom { .. }
            | Self::StoreOverLimit { .. }
            | Self::StoreUnreadable { .. }
            | Self::StoreLost { .. } => "store".into(),
        }
    }

    /// The other fields of the alert.
    #[must_use]
    pub fn facts(&self) -> Value {
        let seconds = |d: &Duration| d.as_secs();
        match self {
            Self::DeadLetter { source, event, delivery, outcome, reason, .. } => json!({
                "source": source, "event": event, "delivery": delivery, "outcome": outcome,
                "reason": reason,
            }),
            Self::OrderBlocked { source, event, delivery, attempts, outcome, reason, .. } => {
                json!({
                    "source": source, "event": event, "delivery": delivery, "attempts": attempts,
                    "outcome": outcome, "reason": reason,
                })
            }
            Self::LoadFailed { reason, serves_on, .. } => {
                json!({ "reason": reason, "serves_on": serves_on })
            }
            Self::PluginsAway { dir, reason } => json!({ "folder": dir, "reason": reason }),
            Self::ProviderLoadFailed { problem, serves_on, .. } => json!({
                "file": problem.file, "line": problem.line, "reason": cut(&problem.to_string()),
                "serves_on": serves_on,
            }),
            Self::HandlerFailing { attempts, window, .. } => json!({
                "failed": attempts.bad, "attempts": attempts.total(), "seconds": seconds(window),
            }),
            Self::SourceUnrouted { .. } => json!({}),
            Self::SourceSilent { silence, .. } => {
                json!({ "silent_seconds": seconds(silence) })
            }
            Self::SourceDisconnected { reason, at, .. } => {
                json!({ "reason": reason, "since": at })
            }
            Self::SourceConnected { disconnected_for, .. } => {
                json!({ "disconnected_seconds": seconds(disconnected_for) })
            }
            Self::SourceFailing { attempts, error, window, .. } => json!({
                "failed": attempts.bad, "attempts": attempts.total(), "seconds": seconds(window),
                "target": error.as_ref().map(|error| &error.target),
                "outcome": error.as_ref().map(|error| error.outcome),
                "reason": error.as_ref().and_then(|error| error.reason.as_deref()),
            }),
            Self::SourceShapeChanged { kind, changes, .. } => json!({
                "event_type": kind,
                "changes": changes.iter().map(shape_change).collect::<Value>(),
            }),
            Self::SourceRefusing { requests, code, causes, window, .. } => json!({
                "refused": requests.bad, "requests": requests.total(), "code": code, "causes": causes,
                "seconds": seconds(window),
            }),
            Self::CertificateExpiring { file, not_after, left, .. } => json!({
                "file": file, "not_after": not_after, "days_left": left.as_secs() / 86_400,
            }),
            Self::HoldOld { hold, until } => json!({
                "hold": hold.id, "reason": hold.hold.reason, "by": hold.hold.by, "since": hold.at,
                "until": until,
            }),
            Self::DestinationFailing { reason, at, next_try, .. }
            | Self::HandlerHeld { reason, at, next_try, .. } => {
                json!({ "reason": reason, "since": at, "next_try": next_try })
            }
            Self::HandlerRolledBack { from, to, strikes, reason, .. } => json!({
                "from": from, "to": to, "strikes": strikes, "reason": reason,
            }),
            Self::HandlerReleased { held_for, .. } => {
                json!({ "held_seconds": seconds(held_for) })
            }
            Self::DestinationOk { failed_for, .. } => {
                json!({ "failing_seconds": seconds(failed_for) })
            }
            Self::StoreFull { since } => json!({ "since": since }),
            Self::StoreHasRoom { full_for } => json!({ "full_seconds": seconds(full_for) }),
            Self::StoreOverLimit { bytes, max } => json!({ "bytes": bytes, "max_bytes": max }),
            Self::StoreUnreadable { rows } => json!({ "rows": rows }),
            Self::StoreLost { lost } => json!({ "lost": super::health::lost(lost) }),
        }
    }

    /// True if it is about an alert that failed. An alert about that would fail too.
    fn is_about_an_alert(&self) -> bool {
        matches!(self, Self::DeadLetter { source, .. } if *source == SourceName::hub())
    }
}

fn shape_change(changed: &ShapeChange) -> Value {
    let ShapeChange { field, change, before, now, .. } = changed;
    json!({ "field": field, "change": change, "before": before, "now": now })
}

/// The reason, cut to [`REASON_BYTES_MAX`].
#[must_use]
pub fn cut(reason: &str) -> Box<str> {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].into()
}

/// The queue of notices. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// The number and the latest notice, by kind and subject.
    notices: BTreeMap<(&'static str, String), (u64, Notice)>,
    missed: u64,
}

impl Notices {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Posts a notice. Never waits.
    pub fn post(&self, notice: Notice) {
        if notice.is_about_an_alert() {
            return;
        }
        let key = (notice.kind(), notice.subject());
        let mut waiting = self.0.lock();
        if let Some((count, latest)) = waiting.notices.get_mut(&key) {
            *count += 1;
            *latest = notice;
        } else if waiting.notices.len() < WAITING_MAX {
            waiting.notices.insert(key, (1, notice));
        } else {
            waiting.missed += 1;
        }
    }

    /// Takes all waiting notices with their numbers, and the number of those that had no space.
    #[must_use]
    pub fn take(&self) -> (Vec<(u64, Notice)>, u64) {
        let Waiting { notices, missed } = std::mem::take(&mut *self.0.lock());
        (notices.into_values().collect(), missed)
    }
}

#[cfg(test)]
mod tests {
    use weir_core::alert::ALERT_TYPES;

    use super::*;

    fn dead(target: &str, source: &str, delivery: u128) -> Notice {
        Notice::DeadLetter {
            target: target.parse().unwrap(),
            source: SourceName::stored(source),
            event: EventId::from_bits(1),
            delivery: DeliveryId::from_bits(delivery),
            outcome: Outcome::Reject,
            reason: None,
        }
    }

    #[test]
    fn equal_notices_are_merged_and_counted() {
        let notices = Notices::new();
        for n in 0..10_000 {
            notices.post(dead("handler:orders", "github", n));
        }
        notices.post(dead("handler:other", "github", 1));
        let (taken, missed) = notices.take();
        assert_eq!(taken[0], (10_000, dead("handler:orders", "github", 9_999)));
        assert_eq!((taken.len(), taken[1].0, missed), (2, 1, 0));
        assert_eq!(notices.take(), (Vec::new(), 0));
    }

    #[test]
    fn notices_above_the_limit_are_counted() {
        let notices = Notices::new();
        for n in 0..WAITING_MAX + 5 {
            notices.post(dead(&format!("handler:h{n}"), "github", 1));
        }
        let (taken, missed) = notices.take();
        assert_eq!((taken.len(), missed), (WAITING_MAX, 5));
    }

    #[test]
    fn a_failed_alert_raises_no_alert() {
        let notices = Notices::new();
        notices.post(dead("destination:ops", "weir", 1));
        assert_eq!(notices.take(), (Vec::new(), 0));
    }

    #[test]
    fn every_notice_has_a_type_that_patterns_may_name() {
        let notice = dead("handler:orders", "github", 1);
        assert!(ALERT_TYPES.contains(&notice.kind()));
        let source = SourceName::stored("github");
        assert!(ALERT_TYPES.contains(&Notice::SourceUnrouted { source }.kind()));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(cut("short").as_ref(), "short");
        let long = "é".repeat(REASON_BYTES_MAX);
        assert_eq!(cut(&format!("a{long}")).len(), REASON_BYTES_MAX - 1);
    }
}
