//! The state in memory: due queues, claims, totals, dedup keys. Imports `format` and `files`.

pub(crate) mod dedup;
pub(crate) mod due;
pub(crate) mod holds_in_force;
pub(crate) mod integrity_progress;
pub(crate) mod listed;
pub(crate) mod number_set;
pub(crate) mod stats;
pub(crate) mod time;
pub(crate) mod unreadable;
pub(crate) mod watchers;
pub(crate) mod watermarks;
