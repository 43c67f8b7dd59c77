//! Claims that are being attempted: how many to ask for in each lane, and how many one target has;
//! and how many of them run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use weir_core::name::Target;
use weir_store::{ClaimRequest, Lane};

/// Late deliveries get one in this many of each claim, so that neither lane starves the other.
const LATE_SHARE: usize = 4;

/// Requests for up to `limit` deliveries of a target, from both lanes. With a limit of one they may
/// bring two.
pub(crate) fn both_lanes(target: &Target, limit: usize) -> [ClaimRequest; 2] {
    let late = (limit / LATE_SHARE).max(1);
    let fresh = limit.saturating_sub(late).max(1);
    [(Lane::Fresh, fresh), (Lane::Late, late)].map(|(lane, limit)| ClaimRequest {
        target: target.clone(),
        lane,
        limit,
    })
}

/// Counts the claims of one target that are neither settled nor given back, or a part of them.
#[derive(Debug, Default)]
pub(crate) struct ClaimCounter {
    count: AtomicUsize,
}

impl ClaimCounter {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Counts claims until the result is dropped, which then notifies `wake`.
    pub(crate) fn add(self: &Arc<Self>, claims: usize, wake: &Arc<Notify>) -> CountedClaims {
        self.count.fetch_add(claims, Ordering::AcqRel);
        CountedClaims { counter: self.clone(), claims, wake: wake.clone() }
    }
}

/// The runs that are under way. Their ends make no room for claims, so that nothing is woken.
#[derive(Debug, Default)]
pub(crate) struct RunCounter {
    count: AtomicUsize,
}

impl RunCounter {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a run until the result is dropped.
    pub(crate) fn add(&self) -> CountedRun<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        CountedRun(self)
    }
}

/// A run in a [`RunCounter`], until dropped.
#[derive(Debug)]
pub(crate) struct CountedRun<'c>(&'c RunCounter);

impl Drop for CountedRun<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Some claims in a [`ClaimCounter`], until dropped.
#[derive(Debug)]
pub(crate) struct CountedClaims {
    counter: Arc<ClaimCounter>,
    claims: usize,
    wake: Arc<Notify>,
}

impl Drop for CountedClaims {
    fn drop(&mut self) {
        self.counter.count.fetch_sub(self.claims, Ordering::AcqRel);
        self.wake.notify_one();
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
    fn claims_are_counted_until_they_are_dropped() {
        let (counter, wake) = (Arc::new(ClaimCounter::default()), Arc::new(Notify::new()));
        let counted = counter.add(3, &wake);
        assert_eq!(counter.count(), 3);
        drop(counted);
        assert_eq!(counter.count(), 0);
    }

    #[test]
    fn a_run_is_counted_until_it_ends() {
        let counter = RunCounter::default();
        let (one, other) = (counter.add(), counter.add());
        assert_eq!(counter.count(), 2);
        drop((one, other));
        assert_eq!(counter.count(), 0);
    }
}
