//! Notices: what happened that a person may want to be told of, posted where it happens and taken by [`super::alerts`].
//!
//! Posting never waits. What waits to be taken is counted by what it is about, so that a storm of dead letters takes as
//! much room as one. What may not live here: who is told, and how often.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_core::alert::OutcomeCounts;
use weir_core::delivery::Outcome;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{DestinationName, HandlerName, SourceName, Target};
use weir_core::time::Timestamp;
use weir_store::Claim;
use weir_store::health::LostRows;
use weir_store::hold::Hold;

use crate::config::ConfigProblem;

/// Different things that wait to be taken; further ones are only counted.
const WAITING_MAX: usize = 1_024;
/// As much of a reason is told, in bytes.
const REASON_BYTES_MAX: usize = 500;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A delivery was given up.
    DeadLetter {
        /// Who it was for.
        target: Target,
        /// Where its event came in.
        source: SourceName,
        /// Its event.
        event: EventId,
        /// Which.
        delivery: DeliveryId,
        /// How its last attempt ended.
        outcome: Outcome,
        /// Why.
        reason: Option<Box<str>>,
    },
    /// A handler's files were refused.
    LoadFailed {
        /// Whose.
        handler: HandlerName,
        /// Why.
        reason: Box<str>,
        /// Whether an older version serves on.
        serves_on: bool,
    },
    /// The plugins folder is gone, cannot be read or is not mounted. Its handlers serve on.
    PluginsAway {
        /// The folder.
        dir: Box<str>,
        /// Why.
        reason: Box<str>,
    },
    /// A provider file of the operator's own cannot be used.
    ProviderLoadFailed {
        /// The provider that is known by it, else the file.
        provider: Box<str>,
        /// What is wrong.
        problem: ConfigProblem,
        /// Whether its last good version serves on.
        serves_on: bool,
    },
    /// Too many attempts of a handler fail.
    HandlerFailing {
        /// Which.
        handler: HandlerName,
        /// Its attempts.
        attempts: OutcomeCounts,
        /// In how long.
        window: Duration,
    },
    /// A source's events go to nobody, and used to go to somebody.
    SourceUnrouted {
        /// Which.
        source: SourceName,
    },
    /// Too many requests of a source are refused.
    SourceRefusing {
        /// Which.
        source: SourceName,
        /// Its requests.
        requests: OutcomeCounts,
        /// The code that most of them were refused with.
        code: &'static str,
        /// What the set-up shows about that.
        causes: Option<String>,
        /// In how long.
        window: Duration,
    },
    /// A source has taken nothing for longer than it should.
    SourceSilent {
        /// Which.
        source: SourceName,
        /// How long it is silent.
        silence: Duration,
    },
    /// A certificate that a listener shows is soon no longer valid, or is not already.
    CertificateExpiring {
        /// The listener, as the configuration calls it.
        listener: &'static str,
        /// The file.
        file: Box<str>,
        /// Until when it is valid.
        not_after: Timestamp,
        /// How long that is.
        left: Duration,
    },
    /// Something is held for long.
    HoldOld {
        /// The hold.
        hold: Hold,
        /// When what waits will be given up, if it will.
        until: Option<Timestamp>,
    },
    /// A version of a handler does little else than fail: its events wait. Told once, not again for each that is tried.
    HandlerHeld {
        /// Whose.
        handler: HandlerName,
        /// Why, for people.
        reason: Box<str>,
        /// When.
        at: Timestamp,
        /// When one event will be tried.
        next_try: Timestamp,
    },
    /// It went well with one: its events are handled again.
    HandlerReleased {
        /// Whose.
        handler: HandlerName,
        /// For how long they waited.
        held_for: Duration,
    },
    /// A destination is failing: its messages wait. Told once, not again for each message that is tried.
    DestinationFailing {
        /// Which.
        destination: DestinationName,
        /// Why, for people.
        reason: Box<str>,
        /// When.
        at: Timestamp,
        /// When one message will be tried.
        next_try: Timestamp,
    },
    /// It is ok: messages go out again.
    DestinationOk {
        /// Which.
        destination: DestinationName,
        /// When.
        at: Timestamp,
        /// For how long it was failing.
        failed_for: Duration,
    },
    /// The disk is full: webhooks are refused.
    StoreFull {
        /// Since when.
        since: Timestamp,
    },
    /// The disk has room again: webhooks are accepted.
    StoreHasRoom {
        /// For how long it was full.
        full_for: Duration,
    },
    /// Rows of the store cannot be read and were set aside; `weir unreadable` lists them.
    StoreUnreadable {
        /// How many, since the start.
        rows: u64,
    },
    /// Rows that were acknowledged before the start are not in the store any more.
    StoreLost {
        /// Which rows.
        lost: Vec<LostRows>,
    },
}

impl Notice {
    /// That a claimed delivery was given up.
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

    /// The type of the event that tells it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DeadLetter { .. } => "dead_letter",
            Self::LoadFailed { .. } => "handler.load_failed",
            Self::PluginsAway { .. } => "plugins.away",
            Self::ProviderLoadFailed { .. } => "provider.load_failed",
            Self::HandlerFailing { .. } => "handler.failing",
            Self::HandlerHeld { .. } => "handler.held",
            Self::HandlerReleased { .. } => "handler.released",
            Self::SourceUnrouted { .. } => "source.unrouted",
            Self::SourceRefusing { .. } => "source.refusing",
            Self::SourceSilent { .. } => "source.silent",
            Self::CertificateExpiring { .. } => "certificate.expiring",
            Self::HoldOld { .. } => "hold.old",
            Self::DestinationFailing { .. } => "destination.failing",
            Self::DestinationOk { .. } => "destination.ok",
            Self::StoreFull { .. } => "store.full",
            Self::StoreHasRoom { .. } => "store.has_room",
            Self::StoreUnreadable { .. } => "store.unreadable",
            Self::StoreLost { .. } => "store.lost",
        }
    }

    /// What it is about: `handler:orders`, `source:github`, `provider:acme`, `certificate:server`, `destination:ops`.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::DeadLetter { target, .. } => target.to_string(),
            Self::LoadFailed { handler, .. }
            | Self::HandlerFailing { handler, .. }
            | Self::HandlerHeld { handler, .. }
            | Self::HandlerReleased { handler, .. } => {
                format!("handler:{handler}")
            }
            Self::PluginsAway { .. } => "plugins".to_owned(),
            Self::ProviderLoadFailed { provider, .. } => format!("provider:{provider}"),
            Self::SourceUnrouted { source }
            | Self::SourceRefusing { source, .. }
            | Self::SourceSilent { source, .. } => format!("source:{source}"),
            Self::CertificateExpiring { listener, .. } => format!("certificate:{listener}"),
            Self::HoldOld { hold, .. } => hold.hold.scope.to_string(),
            Self::DestinationFailing { destination, .. }
            | Self::DestinationOk { destination, .. } => format!("destination:{destination}"),
            Self::StoreFull { .. }
            | Self::StoreHasRoom { .. }
            | Self::StoreUnreadable { .. }
            | Self::StoreLost { .. } => "store".into(),
        }
    }

    /// What else there is to say, by name.
    #[must_use]
    pub fn facts(&self) -> Value {
        let seconds = |d: &Duration| d.as_secs();
        match self {
            Self::DeadLetter { source, event, delivery, outcome, reason, .. } => json!({
                "source": source, "event": event, "delivery": delivery, "outcome": outcome,
                "reason": reason,
            }),
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
            Self::HandlerReleased { held_for, .. } => {
                json!({ "held_seconds": seconds(held_for) })
            }
            Self::DestinationOk { failed_for, .. } => {
                json!({ "failing_seconds": seconds(failed_for) })
            }
            Self::StoreFull { since } => json!({ "since": since }),
            Self::StoreHasRoom { full_for } => json!({ "full_seconds": seconds(full_for) }),
            Self::StoreUnreadable { rows } => json!({ "rows": rows }),
            Self::StoreLost { lost } => json!({ "lost": super::health::lost(lost) }),
        }
    }

    /// Whether it is about an alert on its way: an alert about that would go the same way.
    fn is_about_an_alert(&self) -> bool {
        matches!(self, Self::DeadLetter { source, .. } if *source == SourceName::hub())
    }
}

/// The beginning of a reason.
#[must_use]
pub fn cut(reason: &str) -> Box<str> {
    reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].into()
}

/// Where notices are posted and taken. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// By kind and subject: how many, and the latest.
    notices: BTreeMap<(&'static str, String), (u64, Notice)>,
    missed: u64,
}

impl Notices {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whoever takes it. Never waits.
    pub fn tell(&self, notice: Notice) {
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

    /// What was told since the last call, each with how often, and how much had no room.
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
    fn a_storm_takes_as_much_room_as_one_and_loses_no_count() {
        let notices = Notices::new();
        for n in 0..10_000 {
            notices.tell(dead("handler:orders", "github", n));
        }
        notices.tell(dead("handler:other", "github", 1));
        let (taken, missed) = notices.take();
        assert_eq!(taken[0], (10_000, dead("handler:orders", "github", 9_999)));
        assert_eq!((taken.len(), taken[1].0, missed), (2, 1, 0));
        assert_eq!(notices.take(), (Vec::new(), 0));
    }

    #[test]
    fn things_past_the_limit_are_counted() {
        let notices = Notices::new();
        for n in 0..WAITING_MAX + 5 {
            notices.tell(dead(&format!("handler:h{n}"), "github", 1));
        }
        let (taken, missed) = notices.take();
        assert_eq!((taken.len(), missed), (WAITING_MAX, 5));
    }

    #[test]
    fn an_alert_that_fails_on_its_way_raises_none() {
        let notices = Notices::new();
        notices.tell(dead("destination:ops", "weir", 1));
        assert_eq!(notices.take(), (Vec::new(), 0));
    }

    #[test]
    fn what_is_told_has_a_type_that_patterns_may_name() {
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
