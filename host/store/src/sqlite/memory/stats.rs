//! Numbers about the writer.

use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Numbers about the writer since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Commits that changed something.
    pub commits: u64,
    /// Total time from the first write of a group to its commit.
    pub commit_time: Duration,
    /// Longest time of one group.
    pub longest_commit: Duration,
    /// Queued writes.
    pub queued: usize,
    /// Pages in the log.
    pub log_pages: u64,
    /// Runs of older dedup keys.
    pub key_runs: usize,
    /// Total time by which the wall clock was set back. Waits are measured as if it had not been.
    pub set_back: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    commit_micros: AtomicU64,
    longest_micros: AtomicU64,
    pub(crate) log_pages: AtomicI32,
    pub(crate) key_runs: AtomicUsize,
}

impl Counters {
    pub(crate) fn committed(&self, changed: bool, took: Duration) {
        if !changed {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
        self.longest_micros.fetch_max(micros, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, queued: usize) -> Stats {
        let micros = |counter: &AtomicU64| Duration::from_micros(counter.load(Ordering::Relaxed));
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            commit_time: micros(&self.commit_micros),
            longest_commit: micros(&self.longest_micros),
            queued,
            log_pages: u64::try_from(self.log_pages.load(Ordering::Relaxed)).unwrap_or(0),
            key_runs: self.key_runs.load(Ordering::Relaxed),
            set_back: Duration::ZERO,
        }
    }
}
