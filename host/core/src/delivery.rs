//! The life of a delivery: its states, and the decision after each attempt.
//!
//! ```text
//! pending -> processing -> processed
//!               |  ^
//!               v  |  (due again)
//!            retrying            -> dead_letter        -> cancelled
//! ```
//! `processing` is a claim held by a running host; where one process owns the store it is never written.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use serde::Serialize;

use crate::bounds::{DESCENDANTS_MAX, HOST_LOST_MAX};
use crate::retry::RetryPolicy;
use crate::word_enum;

/// The stored state of a delivery. The numbers are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum DeliveryState {
    /// Waiting for its first attempt.
    Pending = 0,
    /// Claimed by a host.
    Processing = 1,
    /// Failed, and due again later.
    Retrying = 2,
    /// Done.
    Processed = 3,
    /// Given up; kept until a person acts or retention ends.
    DeadLetter = 4,
    /// Withdrawn before it ran.
    Cancelled = 5,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Processing,
        Self::Retrying,
        Self::Processed,
        Self::DeadLetter,
        Self::Cancelled,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Processed => "processed",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a stored number.
    #[must_use]
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Processed | Self::DeadLetter | Self::Cancelled)
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Proof of a claim: what settling compares with the stored row (INV-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Rises when an operator replays or requeues the delivery.
    pub generation: u32,
    /// The attempt that this claim makes, from 1 in each generation.
    pub attempt: u32,
}

word_enum! {
    /// How an attempt ended.
    Outcome {
        /// It worked.
        Ok = "ok",
        /// The handler asked to be run again.
        Retry = "retry",
        /// The handler gave the event up.
        Reject = "reject",
        /// The handler passed on a refusal of the host's.
        Refused = "refused",
        /// It ran past its deadline.
        Timeout = "timeout",
        /// It asked for more memory than it may have.
        OutOfMemory = "out_of_memory",
        /// It ran out of stack.
        StackOverflow = "stack_overflow",
        /// More crossed between host and guest than is allowed.
        TooMuchData = "too_much_data",
        /// It crashed: a panic, an uncaught exception, an illegal instruction.
        Crashed = "crashed",
        /// What a command printed could not be understood.
        BadOutput = "bad_output",
        /// The handler's module is not loaded.
        NotLoaded = "not_loaded",
        /// The endpoint answered with a failure.
        Status = "status",
        /// The endpoint could not be reached, or broke off.
        Network = "network",
        /// The address is not one that messages may go to.
        Blocked = "blocked",
        /// The line of events that it belongs to has led to as many as it may.
        DescendantsExhausted = "descendants_exhausted",
        /// The handler or destination was gone for longer than deliveries wait for one.
        Missing = "missing",
        /// The host died during the attempt.
        HostLost = "host_lost",
        /// The host itself failed.
        Internal = "internal",
    }
}

/// What an attempt's end says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Done,
    /// It may work later, not before the given wait if there is one.
    TryAgain {
        /// The least wait that was asked for: `Retry-After`, or `context.retry-after`.
        at_least: Option<Duration>,
    },
    /// It will never work.
    GiveUp,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextState {
    /// It is done.
    Processed,
    /// It is due again after this wait. The store counts it from its own now.
    Retry {
        /// The wait.
        delay: Duration,
    },
    /// It is given up.
    DeadLetter,
}

/// Decides what follows attempt number `attempt`. A wait that was asked for lengthens the planned one, up to
/// `longest_wait`, and never shortens it.
pub fn decide(
    verdict: Verdict,
    attempt: u32,
    policy: &RetryPolicy,
    longest_wait: Duration,
    random: &mut impl Rng,
) -> NextState {
    match verdict {
        Verdict::Done => NextState::Processed,
        Verdict::GiveUp => NextState::DeadLetter,
        Verdict::TryAgain { at_least } => match policy.delay_after(attempt, random) {
            None => NextState::DeadLetter,
            Some(planned) => {
                let asked = at_least.unwrap_or_default().min(longest_wait);
                NextState::Retry { delay: planned.max(asked) }
            }
        },
    }
}

/// Decides what follows an attempt that the host did not survive; `lost_before` counts such attempts before it, in
/// the same generation. It is tried again at once, `alone`: only a death that nothing else can have caused gives it
/// up, for the process may have been killed from outside while many ran.
#[must_use]
pub fn after_host_lost(lost_before: u32, alone: bool) -> NextState {
    if alone && lost_before.saturating_add(1) >= HOST_LOST_MAX {
        NextState::DeadLetter
    } else {
        NextState::Retry { delay: Duration::ZERO }
    }
}

/// Whether a line of events that has led to `before` may lead to `more` (see [`DESCENDANTS_MAX`]).
#[must_use]
pub fn fits_lineage_limit(before: u64, more: usize) -> bool {
    before.saturating_add(more as u64) <= DESCENDANTS_MAX
}

word_enum! {
    /// An event's status is the worst of its deliveries: the last of these that one of them gives.
    EventStatus {
        /// All its deliveries are done, or were cancelled.
        Processed = "processed",
        /// One waits for its first attempt.
        Pending = "pending",
        /// One is being tried.
        Processing = "processing",
        /// One is due but on hold.
        Held = "held",
        /// One failed and is due again.
        Retrying = "retrying",
        /// One was given up.
        DeadLetter = "dead_letter",
        /// It matched no subscription and no route.
        Unrouted = "unrouted",
    }
}

impl EventStatus {
    /// The status that these deliveries give; `held` says that the delivery is under a hold.
    pub fn of(deliveries: impl IntoIterator<Item = (DeliveryState, bool)>) -> Self {
        let rank = |(state, held)| match state {
            DeliveryState::Processed | DeliveryState::Cancelled => Self::Processed,
            DeliveryState::DeadLetter => Self::DeadLetter,
            DeliveryState::Retrying => Self::Retrying,
            DeliveryState::Pending if held => Self::Held,
            DeliveryState::Pending => Self::Pending,
            DeliveryState::Processing => Self::Processing,
        };
        deliveries.into_iter().map(rank).max().unwrap_or(Self::Unrouted)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::retry::Backoff;

    fn policy(attempts: u32) -> RetryPolicy {
        let wait = Backoff::List(vec![Duration::from_secs(10)]);
        RetryPolicy::try_new(wait, attempts, 0.0).unwrap()
    }

    fn decided(verdict: Verdict, attempt: u32) -> NextState {
        let cap = Duration::from_secs(3600);
        decide(verdict, attempt, &policy(3), cap, &mut StdRng::seed_from_u64(0))
    }

    #[test]
    fn the_last_failed_attempt_makes_a_dead_letter() {
        let again = Verdict::TryAgain { at_least: None };
        assert_eq!(decided(again, 2), NextState::Retry { delay: Duration::from_secs(10) });
        assert_eq!(decided(again, 3), NextState::DeadLetter);
    }

    #[test]
    fn a_wait_that_was_asked_for_only_ever_lengthens_and_has_an_end() {
        let wait =
            |secs| decided(Verdict::TryAgain { at_least: Some(Duration::from_secs(secs)) }, 1);
        assert_eq!(wait(3), NextState::Retry { delay: Duration::from_secs(10) });
        assert_eq!(wait(60), NextState::Retry { delay: Duration::from_secs(60) });
        assert_eq!(wait(999_999), NextState::Retry { delay: Duration::from_secs(3600) });
    }

    #[test]
    fn what_the_host_did_not_survive_is_tried_once_more_and_then_given_up() {
        let again = NextState::Retry { delay: Duration::ZERO };
        assert_eq!(after_host_lost(0, true), again);
        assert_eq!(after_host_lost(1, true), NextState::DeadLetter);
        assert_eq!(after_host_lost(u32::MAX, true), NextState::DeadLetter);
        assert_eq!((after_host_lost(1, false), after_host_lost(9, false)), (again, again));
    }

    #[test]
    fn a_line_of_events_ends_at_its_limit_and_never_past_it() {
        assert!(
            fits_lineage_limit(0, 10_000)
                && fits_lineage_limit(9_999, 1)
                && fits_lineage_limit(10_000, 0)
        );
        assert!(!fits_lineage_limit(9_999, 2) && !fits_lineage_limit(u64::MAX, 1));
    }

    #[test]
    fn an_event_is_as_bad_as_its_worst_delivery() {
        use DeliveryState as D;
        let of = |states: &[D]| EventStatus::of(states.iter().map(|s| (*s, false)));
        assert_eq!(of(&[]), EventStatus::Unrouted);
        assert_eq!(of(&[D::Processed, D::Cancelled]), EventStatus::Processed);
        assert_eq!(of(&[D::Processed, D::Pending]), EventStatus::Pending);
        assert_eq!(of(&[D::Retrying, D::DeadLetter, D::Processed]), EventStatus::DeadLetter);
        assert_eq!(EventStatus::of([(D::Pending, true)]), EventStatus::Held);
    }

    #[test]
    fn stored_numbers_never_move() {
        for (number, state) in DeliveryState::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, number);
            assert_eq!(DeliveryState::from_stored(state as u8), Some(state));
        }
        assert_eq!(DeliveryState::from_stored(6), None);
    }
}
