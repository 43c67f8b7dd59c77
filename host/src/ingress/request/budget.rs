//! The budget for request bodies in memory, in bytes. A request that finds it spent is refused;
//! nothing waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observe::series::{Gauge, GaugeGuard};

/// The bytes for all bodies together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    free: Arc<AtomicUsize>,
    in_use: Gauge,
}

/// The bytes of one body, given back when dropped.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    free: Arc<AtomicUsize>,
    bytes: usize,
    held: GaugeGuard,
}

/// The budget has too few bytes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BudgetSpent;

impl BodyBudget {
    /// A budget of `bytes`, and the gauge that shows how many are in use.
    pub(crate) fn new(bytes: usize, in_use: Gauge) -> Self {
        Self { free: Arc::new(AtomicUsize::new(bytes)), in_use }
    }

    /// A share of no bytes yet.
    pub(crate) fn share(&self) -> BudgetShare {
        BudgetShare { free: self.free.clone(), bytes: 0, held: self.in_use.hold(0) }
    }
}

impl BudgetShare {
    /// Takes `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), BudgetSpent> {
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
    fn a_dropped_share_gives_back_all_its_bytes() {
        let metrics = Metrics::new();
        let budget = BodyBudget::new(100, metrics.body_bytes().clone());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(
            (one.grow(60), one.grow(30), other.grow(11)),
            (Ok(()), Ok(()), Err(BudgetSpent))
        );
        assert_eq!(other.grow(10), Ok(()), "a refused request for bytes takes none");
        assert_eq!(metrics.body_bytes().get(), 100);
        drop(one);
        assert_eq!(other.grow(90), Ok(()));
        drop(other);
        assert_eq!(metrics.body_bytes().get(), 0);
    }
}
