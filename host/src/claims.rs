//! What the invoker and egress share: claims in hand, the wait between two claims, and settling with patience.
//!
//! What may not live here: what is done with a claim, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use weir_core::name::Target;
use weir_store::{ClaimRequest, Lane, Settled, Settlement};
use weir_store::{Store, StoreError};

use crate::runtime::shutdown::Drain;

/// Late work gets this share of each claim, so that neither lane starves the other.
const LATE_SHARE: usize = 4;
/// The longest wait before the store is asked again, in case a wake-up got lost.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// The longest pause after wake-ups that brought nothing: the work may be someone else's.
const EMPTY_PAUSE_MAX: Duration = Duration::from_millis(16);
/// The pause after the store failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);
/// Between attempts to settle while the store is overloaded or the disk is full.
const SETTLE_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A wish for `limit` deliveries of a target, from both lanes. With a limit of one it may bring two.
pub(crate) fn both_lanes(target: &Target, limit: usize) -> [ClaimRequest; 2] {
    let late = (limit / LATE_SHARE).max(1);
    let fresh = limit.saturating_sub(late).max(1);
    [(Lane::Fresh, fresh), (Lane::Late, late)].map(|(lane, limit)| ClaimRequest {
        target: target.clone(),
        lane,
        limit,
    })
}

/// How many claims of one target are in hand: made, and not yet settled or given back.
#[derive(Debug, Default)]
pub(crate) struct ClaimCounter {
    count: AtomicUsize,
}

impl ClaimCounter {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Counts claims until what is returned is dropped, which tells `freed`.
    pub(crate) fn take(self: &Arc<Self>, claims: usize, freed: &Arc<Notify>) -> Held {
        self.count.fetch_add(claims, Ordering::AcqRel);
        Held { of: Arc::clone(self), claims, freed: Arc::clone(freed) }
    }
}

/// Some claims in hand, until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<ClaimCounter>,
    claims: usize,
    freed: Arc<Notify>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.count.fetch_sub(self.claims, Ordering::AcqRel);
        self.freed.notify_one();
    }
}

/// Waits between claims that brought nothing.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// Claims in a row that brought nothing.
    empty: u32,
}

impl Idle {
    /// A claim brought something.
    pub(crate) fn worked(&mut self) {
        self.empty = 0;
    }

    /// Waits until something may be due, or `changed` says so.
    pub(crate) async fn wait(&mut self, store: &dyn Store, changed: &Notify) {
        self.empty += 1;
        // The store wakes everybody who waits, for whatever became due. Being woken for nothing must not spin.
        let pause =
            Duration::from_millis(1 << self.empty.min(5).saturating_sub(1)).min(EMPTY_PAUSE_MAX);
        if self.empty > 1 {
            sleep(pause).await;
        }
        tokio::select! {
            () = store.wait_due(WAIT_MAX) => {}
            () = changed.notified() => {}
        }
    }

    /// Waits after the store failed.
    pub(crate) async fn failed(&mut self, doing: &'static str, error: &StoreError) {
        if error.is_transient() {
            tracing::warn!(%error, doing, "store is not available, trying again");
        } else {
            tracing::error!(%error, doing, "store failed");
        }
        sleep(FAILED_PAUSE).await;
    }
}

/// Settles a batch. What fails in passing is tried again until the drain ends the waiting; an item's error is
/// then the last one. The caller keeps the claims until this returns.
pub(crate) async fn settle(
    store: &dyn Store,
    drain: &Drain,
    batch: &[Settlement],
) -> Vec<Result<Settled, StoreError>> {
    let mut answers: Vec<_> = batch.iter().map(|_| Err(StoreError::Closed)).collect();
    let mut open: Vec<usize> = (0..batch.len()).collect();
    let mut pause = SETTLE_PAUSE.0;
    while !open.is_empty() {
        let offered = open.iter().map(|i| copy(&batch[*i])).collect();
        let given = tokio::select! {
            given = store.settle(offered) => given,
            () = drain.waiting_stopped() => return answers,
        };
        let mut still_open = Vec::new();
        for (index, answer) in open.into_iter().zip(given) {
            if matches!(&answer, Err(error) if error.is_transient()) {
                still_open.push(index);
            }
            answers[index] = answer;
        }
        open = still_open;
        let Some(first) = open.first() else { break };
        if let Err(error) = &answers[*first] {
            tracing::warn!(%error, waiting = open.len(), "cannot settle yet, trying again");
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = drain.waiting_stopped() => return answers,
        }
        pause = (pause * 2).min(SETTLE_PAUSE.1);
    }
    answers
}

/// Settling failed for good. The claim is held a little longer, for it will be due again as soon as it is dropped
/// and the store had better be in another mood by then.
pub(crate) async fn gave_up_settling(target: &Target, error: &StoreError, drain: &Drain) {
    tracing::error!(%target, %error, "cannot settle, the delivery is given back");
    tokio::select! {
        () = sleep(FAILED_PAUSE) => {}
        () = drain.waiting_stopped() => {}
    }
}

/// A run could not be begun. As with [`gave_up_settling`], its claim is held a little longer.
pub(crate) async fn gave_up_running(target: &Target, error: &StoreError, drain: &Drain) {
    tracing::error!(%target, %error, "cannot begin a run, the delivery is given back");
    tokio::select! {
        () = sleep(FAILED_PAUSE) => {}
        () = drain.waiting_stopped() => {}
    }
}

/// Payloads are shared, so this costs little beside the commit.
fn copy(settlement: &Settlement) -> Settlement {
    Settlement {
        delivery: settlement.delivery,
        fence: settlement.fence,
        attempt: settlement.attempt.clone(),
        next: settlement.next,
        effects: settlement.effects.clone(),
        reads: settlement.reads.clone(),
    }
}

#[cfg(test)]
mod tests {
    use weir_core::name::HandlerName;

    use super::*;

    #[test]
    fn both_lanes_always_get_a_share() {
        let target = Target::Handler(HandlerName::new("orders").unwrap());
        for (limit, fresh, late) in [(1, 1, 1), (2, 1, 1), (4, 3, 1), (64, 48, 16)] {
            let wanted = both_lanes(&target, limit);
            assert_eq!((wanted[0].limit, wanted[1].limit), (fresh, late), "{limit}");
        }
    }

    #[test]
    fn claims_in_hand_are_counted_until_they_are_dropped() {
        let (hand, freed) = (Arc::new(ClaimCounter::default()), Arc::new(Notify::new()));
        let held = hand.take(3, &freed);
        assert_eq!(hand.count(), 3);
        drop(held);
        assert_eq!(hand.count(), 0);
    }
}
