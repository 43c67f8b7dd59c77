//! Budgets of the quarantine per address and source, and whose request is removed first. Pure.

use std::collections::{BTreeMap, HashMap};

/// Limits of the quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Requests to one source from one address.
    pub address_items: usize,
    /// Bytes of those requests.
    pub address_bytes: usize,
    /// Requests to one source.
    pub source_items: usize,
    /// Bytes of those requests.
    pub source_bytes: usize,
    /// Bytes of all requests.
    pub bytes: usize,
}

/// Requests and bytes of an address or a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    items: usize,
    bytes: usize,
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: usize) {
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Shares of all sources and their addresses.
#[derive(Debug)]
pub(super) struct Shares {
    budgets: Budgets,
    sources: HashMap<Box<str>, Source>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Source {
    all: Share,
    addresses: BTreeMap<Box<str>, Share>,
}

impl Shares {
    pub(super) fn new(budgets: Budgets) -> Self {
        Self { budgets, sources: HashMap::new(), bytes: 0 }
    }

    pub(super) fn budgets(&self) -> Budgets {
        self.budgets
    }

    /// True if a request of this size fits into the budgets at all.
    pub(super) fn admits(&self, bytes: usize) -> bool {
        let Budgets { address_bytes, source_bytes, bytes: all, .. } = self.budgets;
        bytes <= address_bytes.min(source_bytes).min(all)
    }

    /// Source and address whose oldest request must be removed before this many bytes fit. None if
    /// they fit now.
    pub(super) fn victim(
        &self,
        source: &str,
        address: &str,
        bytes: usize,
    ) -> Option<(Box<str>, Box<str>)> {
        let budgets = &self.budgets;
        if let Some(here) = self.sources.get(source) {
            let share = here.addresses.get(address).copied().unwrap_or_default();
            if share.items >= budgets.address_items || share.bytes + bytes > budgets.address_bytes {
                return Some((source.into(), address.into()));
            }
            let all = here.all;
            if all.items >= budgets.source_items || all.bytes + bytes > budgets.source_bytes {
                return here.largest().map(|address| (source.into(), address));
            }
        }
        if self.bytes + bytes <= budgets.bytes {
            return None;
        }
        let (name, source) = self.sources.iter().max_by_key(|(_, source)| source.all.bytes)?;
        source.largest().map(|address| (name.clone(), address))
    }

    pub(super) fn add(&mut self, source: &str, address: &str, bytes: usize) {
        let here = self.sources.entry(source.into()).or_default();
        here.all.add(bytes);
        here.addresses.entry(address.into()).or_default().add(bytes);
        self.bytes += bytes;
    }

    /// Counts a request without its content, which was deleted.
    pub(super) fn empty(&mut self, source: &str, address: &str, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(here) = self.sources.get_mut(source) else { return };
        here.all.bytes = here.all.bytes.saturating_sub(bytes);
        if let Some(share) = here.addresses.get_mut(address) {
            share.bytes = share.bytes.saturating_sub(bytes);
        }
    }

    pub(super) fn take(&mut self, source: &str, address: &str, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let Some(here) = self.sources.get_mut(source) else { return };
        here.all.take(bytes);
        if let Some(share) = here.addresses.get_mut(address) {
            share.take(bytes);
            if share.items == 0 {
                here.addresses.remove(address);
            }
        }
        if here.all.items == 0 {
            self.sources.remove(source);
        }
    }
}

impl Source {
    fn largest(&self) -> Option<Box<str>> {
        let largest = self.addresses.iter().max_by_key(|(_, share)| (share.bytes, share.items))?;
        Some(largest.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Shares {
        Shares::new(Budgets {
            address_items: 3,
            address_bytes: 100,
            source_items: 5,
            source_bytes: 300,
            bytes: 500,
        })
    }

    fn goes(shares: &Shares, source: &str, address: &str, bytes: usize) -> Option<String> {
        shares.victim(source, address, bytes).map(|(source, address)| format!("{source} {address}"))
    }

    #[test]
    fn an_address_past_its_budget_loses_its_own_oldest() {
        let mut shares = shares();
        (0..3).for_each(|_| shares.add("a", "1", 10));
        assert_eq!(goes(&shares, "a", "1", 10).unwrap(), "a 1");
        assert_eq!(goes(&shares, "a", "2", 10), None);
        assert_eq!(goes(&shares, "b", "1", 10), None, "another source has a budget of its own");
        shares.add("a", "2", 95);
        assert_eq!(goes(&shares, "a", "2", 10).unwrap(), "a 2");
    }

    #[test]
    fn a_full_source_loses_the_oldest_of_its_largest_address() {
        let mut shares = shares();
        shares.add("a", "victim", 10);
        (0..3).for_each(|_| shares.add("a", "flood", 30));
        shares.add("a", "other", 20);
        assert_eq!(goes(&shares, "a", "new", 10).unwrap(), "a flood");
        shares.take("a", "flood", 30);
        assert_eq!(goes(&shares, "a", "new", 10), None);
    }

    #[test]
    fn past_the_whole_budget_the_largest_source_loses() {
        let mut shares = shares();
        for (source, bytes) in [("a", 90), ("b", 60)] {
            (0..3).for_each(|n| shares.add(source, &n.to_string(), bytes));
        }
        assert_eq!(goes(&shares, "c", "1", 40), None);
        assert_eq!(goes(&shares, "c", "1", 60).unwrap(), "a 2");
        assert!(!shares.admits(101) && shares.admits(100));
        (0..3).for_each(|n| shares.take("a", &n.to_string(), 90));
        (0..3).for_each(|n| shares.take("b", &n.to_string(), 60));
        assert!(shares.sources.is_empty() && shares.bytes == 0);
    }
}
