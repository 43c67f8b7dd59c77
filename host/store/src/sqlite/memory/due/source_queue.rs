//! The deliveries of one source for one target: a bounded window in memory, the rest on disk.

use std::collections::{BTreeMap, VecDeque};

use weir_core::time::Timestamp;

use super::{DueEntry, QueueKey, Refill, RefillFrom};
use crate::claim::Lane;

/// One source's deliveries for one target.
#[derive(Debug, Default)]
pub(super) struct SourceQueue {
    pub(super) fresh: VecDeque<DueEntry>,
    /// Fresh deliveries above this are on disk only.
    pub(super) fresh_boundary: Option<i64>,
    pub(super) late: BTreeMap<(Timestamp, i64), DueEntry>,
    /// Deliveries due after this are on disk only.
    pub(super) late_boundary: Option<(Timestamp, i64)>,
    /// Deliveries that came beyond the boundary during a refill of late work, which may have missed
    /// them.
    pub(super) late_came: Option<Vec<DueEntry>>,
    pub(super) left_on_disk: u64,
}

impl SourceQueue {
    /// Adds a delivery, unless it is beyond the boundary. Returns the one that left the window.
    pub(super) fn put(&mut self, entry: DueEntry, window: usize) -> Option<DueEntry> {
        match entry.due_at {
            None => {
                if self.fresh_boundary.is_none() && self.fresh.len() >= window {
                    self.fresh_boundary = self.fresh.iter().map(|e| e.n).max();
                }
                // Deliveries before the boundary are found only in memory, so they are always
                // added.
                if self.fresh_boundary.is_some_and(|boundary| entry.n > boundary) {
                    self.left_on_disk += 1;
                    return Some(entry);
                }
                self.fresh.push_back(entry);
                None
            }
            Some(at) => {
                if self.late_boundary.is_some_and(|boundary| (at, entry.n) > boundary) {
                    if let Some(came) = &mut self.late_came {
                        came.push(DueEntry { handoff: None, ..entry.clone() });
                    }
                    self.left_on_disk += 1;
                    return Some(entry);
                }
                self.late.insert((at, entry.n), entry);
                if self.late.len() <= window {
                    return None;
                }
                let dropped = self.late.pop_last().map(|(_, entry)| entry);
                self.late_boundary = self.late.last_key_value().map(|(key, _)| *key);
                self.left_on_disk += 1;
                dropped
            }
        }
    }

    /// Puts a claimed delivery back. Its place in the window is still free, so fresh work always
    /// fits.
    pub(super) fn put_back(&mut self, entry: DueEntry, window: usize) -> Option<DueEntry> {
        if entry.due_at.is_some() {
            return self.put(entry, window);
        }
        self.fresh.push_front(entry);
        None
    }

    pub(super) fn pop(&mut self, lane: Lane, now: Timestamp) -> Option<DueEntry> {
        match lane {
            Lane::Fresh => self.fresh.pop_front(),
            Lane::Late => {
                let first = self.late.first_entry()?;
                (first.key().0 <= now).then(|| first.remove())
            }
        }
    }

    pub(super) fn refill(
        &mut self,
        queue_key: QueueKey,
        lane: Lane,
        window: usize,
    ) -> Option<Refill> {
        let from = match lane {
            Lane::Fresh if self.fresh.is_empty() => RefillFrom::Fresh(self.fresh_boundary?),
            Lane::Late if self.late.is_empty() && self.late_came.is_none() => {
                let (at, n) = self.late_boundary?;
                self.late_came = Some(Vec::new());
                RefillFrom::Late(at, n)
            }
            _ => return None,
        };
        Some(Refill { queue_key, from, limit: window, seen: self.left_on_disk })
    }

    /// Adds the deliveries of a refill. False if another refill came first and this one is dropped.
    pub(super) fn take_in(
        &mut self,
        refill: Refill,
        entries: Vec<DueEntry>,
        stopped: Option<RefillFrom>,
    ) -> bool {
        // More was left on disk during the refill, so it may not have reached the end.
        let more_came = self.left_on_disk != refill.seen;
        match refill.from {
            RefillFrom::Fresh(after) => {
                if self.fresh_boundary != Some(after) {
                    return false;
                }
                let reached = entries.last().map_or(after, |e| e.n);
                self.fresh.extend(entries);
                self.fresh_boundary = match stopped {
                    Some(RefillFrom::Fresh(at)) => Some(at),
                    _ if more_came => Some(reached),
                    _ => None,
                };
            }
            RefillFrom::Late(at, n) => {
                if self.late_boundary != Some((at, n)) {
                    self.late_came = None;
                    return false;
                }
                let boundary = match stopped {
                    Some(RefillFrom::Late(at, n)) => Some((at, n)),
                    _ => None,
                };
                let came = self.late_came.take().unwrap_or_default();
                for entry in entries.into_iter().chain(came) {
                    let Some(at) = entry.due_at else { continue };
                    if boundary.is_none_or(|boundary| (at, entry.n) <= boundary) {
                        self.late.insert((at, entry.n), entry);
                    }
                }
                self.late_boundary = boundary;
            }
        }
        true
    }

    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty() || self.fresh_boundary.is_some()
    }

    pub(super) fn next_late(&self) -> Option<Timestamp> {
        let first = self.late.first_key_value().map(|((at, _), _)| *at);
        first.or(self.late_boundary.map(|(at, _)| at))
    }
}
