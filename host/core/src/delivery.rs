//! The life of a delivery: its states, and the decision after each attempt. Pure.
//!
//! ```text
//! pending ---> processing ---> processed
//!    |            |   ^   \
//!    v            v   |    `-> dead_letter
//! cancelled     retrying
//! ```
//! A claim makes a delivery `processing`; where one process owns the store, that is never written.

use std::time::Duration;

use rand::Rng;

use crate::bounds::{DESCENDANTS_MAX, HOST_LOST_MAX};
use crate::retry::RetryPolicy;
use crate::word_enum;

word_enum! {
    /// The state of a delivery. Its number is stored, so that the order never changes.
    DeliveryState {
        /// Waits for its first attempt.
        Pending = "pending",
        /// Claimed for an attempt.
        Processing = "processing",
        /// Failed, and due again later.
        Retrying = "retrying",
        Processed = "processed",
        /// Given up. Kept until an operator acts or retention ends.
        DeadLetter = "dead_letter",
        /// Withdrawn before its first attempt.
        Cancelled = "cancelled",
    }
}

impl DeliveryState {
    #[must_use]
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// True if only an operator can change it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Processed | Self::DeadLetter | Self::Cancelled)
    }
}

/// Identifies a claim. Settling compares it with the stored row (INV-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Rises when an operator replays or requeues the delivery.
    pub generation: u32,
    /// The number of the attempt, from 1 in each generation.
    pub attempt: u32,
}

word_enum! {
    /// The outcome of an attempt.
    Outcome {
        Ok = "ok",
        /// The handler asked for another run.
        Retry = "retry",
        /// The handler gave the event up.
        Reject = "reject",
        /// The handler returned the refusal of a host function.
        Refused = "refused",
        /// It exceeded its time limit.
        Timeout = "timeout",
        /// It asked for more memory than its limit.
        OutOfMemory = "out_of_memory",
        StackOverflow = "stack_overflow",
        /// A host function was called too often, or with too much data.
        TooMuchData = "too_much_data",
        /// A panic, an uncaught exception or an illegal instruction.
        Crashed = "crashed",
        /// A command printed a line that is not an effect.
        BadOutput = "bad_output",
        NotLoaded = "not_loaded",
        /// The endpoint answered with a failing status.
        Status = "status",
        /// The endpoint could not be reached, or closed the connection.
        Network = "network",
        /// The address is not allowed.
        Blocked = "blocked",
        /// Its lineage has emitted as many events as allowed.
        DescendantsExhausted = "descendants_exhausted",
        /// The condition, order key or message of its rule could not be evaluated on the event.
        ConditionError = "condition_error",
        /// The handler or destination was missing for too long.
        Missing = "missing",
        /// The hub died during the attempt.
        HostLost = "host_lost",
        /// The hub itself failed.
        Internal = "internal",
    }
}

/// The outcome of an attempt, as far as retries are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// It may succeed later.
    TryAgain {
        /// The shortest wait asked for, by `Retry-After` or `context.retry-after`.
        at_least: Option<Duration>,
    },
    /// It will never succeed.
    GiveUp,
}

/// The state of a delivery after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextState {
    Processed,
    /// Due again after this wait. The store counts it from its own time.
    Retry {
        delay: Duration,
    },
    DeadLetter,
}

/// Decides the state after attempt number `attempt`. A wait that was asked for can lengthen the
/// planned one, up to `longest_wait`, and never shortens it.
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

word_enum! {
    /// The fate of a delivery that cannot be processed while others wait behind it in its order.
    OnBlocked {
        /// It becomes a dead letter, and the next one is due.
        Skip = "skip",
        /// It is tried until it succeeds, and the others wait.
        Wait = "wait",
    }
}

/// The state after an attempt of a delivery with an order key. `longest` is the longest wait of
/// its retries.
#[must_use]
pub fn at_the_head(next: NextState, on_blocked: OnBlocked, longest: Duration) -> NextState {
    match (next, on_blocked) {
        (NextState::DeadLetter, OnBlocked::Wait) => NextState::Retry { delay: longest },
        _ => next,
    }
}

/// Decides the state after an attempt during which the hub died. `lost_before` counts earlier such
/// attempts in the same generation. The delivery is due at once and then runs alone; it is given up
/// only if the hub dies while it is `alone`, because with other runs it may not be the cause.
#[must_use]
pub fn after_host_lost(lost_before: u32, alone: bool) -> NextState {
    if alone && lost_before.saturating_add(1) >= HOST_LOST_MAX {
        NextState::DeadLetter
    } else {
        NextState::Retry { delay: Duration::ZERO }
    }
}

/// True if a lineage that has emitted `before` events may emit `more` (see [`DESCENDANTS_MAX`]).
#[must_use]
pub fn fits_lineage_limit(before: u64, more: usize) -> bool {
    before.saturating_add(more as u64) <= DESCENDANTS_MAX
}

word_enum! {
    /// The status of an event: the worst of its deliveries, which is the last of these.
    EventStatus {
        /// All its deliveries are processed or cancelled.
        Processed = "processed",
        /// One waits for its first attempt.
        Pending = "pending",
        /// One has an attempt running.
        Processing = "processing",
        /// One is due but on hold.
        Held = "held",
        /// One failed and is due again.
        Retrying = "retrying",
        /// One is a dead letter.
        DeadLetter = "dead_letter",
        /// It matched no subscription and no route.
        Unrouted = "unrouted",
    }
}

impl EventStatus {
    /// The status of an event with these deliveries. The flag is true for a delivery under a hold.
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
    fn head_of_an_order_waits_instead_of_being_given_up() {
        let longest = Duration::from_secs(60);
        let of = |next, on_blocked| at_the_head(next, on_blocked, longest);
        let waits = NextState::Retry { delay: longest };
        assert_eq!(of(NextState::DeadLetter, OnBlocked::Wait), waits);
        assert_eq!(of(NextState::DeadLetter, OnBlocked::Skip), NextState::DeadLetter);
        assert_eq!(of(NextState::Processed, OnBlocked::Wait), NextState::Processed);
    }

    #[test]
    fn last_failed_attempt_makes_a_dead_letter() {
        let again = Verdict::TryAgain { at_least: None };
        assert_eq!(decided(again, 2), NextState::Retry { delay: Duration::from_secs(10) });
        assert_eq!(decided(again, 3), NextState::DeadLetter);
    }

    #[test]
    fn wait_asked_for_lengthens_the_planned_one_up_to_a_limit() {
        let wait =
            |secs| decided(Verdict::TryAgain { at_least: Some(Duration::from_secs(secs)) }, 1);
        assert_eq!(wait(3), NextState::Retry { delay: Duration::from_secs(10) });
        assert_eq!(wait(60), NextState::Retry { delay: Duration::from_secs(60) });
        assert_eq!(wait(999_999), NextState::Retry { delay: Duration::from_secs(3600) });
    }

    #[test]
    fn delivery_that_kills_the_hub_twice_is_given_up() {
        let again = NextState::Retry { delay: Duration::ZERO };
        assert_eq!(after_host_lost(0, true), again);
        assert_eq!(after_host_lost(1, true), NextState::DeadLetter);
        assert_eq!(after_host_lost(u32::MAX, true), NextState::DeadLetter);
        assert_eq!((after_host_lost(1, false), after_host_lost(9, false)), (again, again));
    }

    #[test]
    fn lineage_ends_at_its_limit() {
        assert!(
            fits_lineage_limit(0, 10_000)
                && fits_lineage_limit(9_999, 1)
                && fits_lineage_limit(10_000, 0)
        );
        assert!(!fits_lineage_limit(9_999, 2) && !fits_lineage_limit(u64::MAX, 1));
    }

    #[test]
    fn event_status_is_that_of_its_worst_delivery() {
        use DeliveryState as D;
        let of = |states: &[D]| EventStatus::of(states.iter().map(|s| (*s, false)));
        assert_eq!(of(&[]), EventStatus::Unrouted);
        assert_eq!(of(&[D::Processed, D::Cancelled]), EventStatus::Processed);
        assert_eq!(of(&[D::Processed, D::Pending]), EventStatus::Pending);
        assert_eq!(of(&[D::Retrying, D::DeadLetter, D::Processed]), EventStatus::DeadLetter);
        assert_eq!(EventStatus::of([(D::Pending, true)]), EventStatus::Held);
    }

    #[test]
    fn stored_numbers_never_change() {
        let words = ["pending", "processing", "retrying", "processed", "dead_letter", "cancelled"];
        for (number, word) in (0_u8..).zip(words) {
            let state = DeliveryState::from_stored(number).unwrap();
            assert_eq!((state as u8, state.as_str()), (number, word));
        }
        assert_eq!(DeliveryState::from_stored(6), None);
    }
}
