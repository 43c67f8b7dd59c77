//! The bytes of request bodies that may be in memory at once. Nothing waits for them: who finds the budget spent
//! is told to come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observe::series::{Gauge, GaugeGuard};

/// Bytes for all bodies together.
#[derive(Debug)]
pub(super) struct BodyBudget {
    free: Arc<AtomicUsize>,
    in_use: Gauge,
}

/// The bytes of one body; given back when dropped.
#[derive(Debug)]
pub(super) struct BudgetShare {
    free: Arc<AtomicUsize>,
    bytes: usize,
    held: GaugeGuard,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BudgetSpent;

impl BodyBudget {
    /// `bytes` to share, and the gauge that shows how many are taken.
    pub(super) fn new(bytes: usize, in_use: Gauge) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)), in_use }
    }

    /// A share of no bytes yet.
    pub(super) fn share(&self) -> BudgetShare {
        BudgetShare { free: Arc::clone(&self.free), bytes: 0, held: self.in_use.hold(0) }
    }
}

impl BudgetShare {
    /// Takes more, if there are so many.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), BudgetSpent> {
        self.free
            .try_update(Ordering::AcqRel, Ordering::Relaxed, |free| free.checked_sub(bytes))
            .map_err(|_| BudgetSpent)?;
        self.bytes += bytes;
        self.held.grow(bytes as u64);
        Ok(())
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    #[test]
    fn a_share_is_given_back_whole_when_it_is_dropped() {
        let metrics = Metrics::new();
        let budget = BodyBudget::new(100, metrics.body_bytes().clone());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(
            (one.grow(60), one.grow(30), other.grow(11)),
            (Ok(()), Ok(()), Err(BudgetSpent))
        );
        assert_eq!(other.grow(10), Ok(()), "what was refused took nothing");
        assert_eq!(metrics.body_bytes().get(), 100);
        drop(one);
        assert_eq!(other.grow(90), Ok(()));
        drop(other);
        assert_eq!(metrics.body_bytes().get(), 0);
    }
}
