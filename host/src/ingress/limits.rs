//! The fixed bounds of ingress, with units and reasons. What an operator can set is in the configuration.

use std::time::Duration;

/// Refusals logged in one second; the rest of that second is only counted. A flood of junk must not become a
/// flood of log lines.
pub(super) const REFUSALS_LOGGED_PER_SECOND: u32 = 20;

/// The least head buffer that hyper works with, in bytes.
pub(super) const HEAD_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// How long a refused sender's unread bytes are still taken off the wire after the answer. Closing at once would
/// reset the connection, and the reset can overtake the answer.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// The most bytes that are taken so.
pub(super) const LINGER_BYTES_MAX: usize = weir_core::bounds::BODY_BYTES_MAX;

/// Wait after a failed accept: the usual cause is that the process has no file descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Retry-After` when too much is going on at this moment, in seconds.
pub(super) const RETRY_AFTER_BUSY_S: u32 = 1;
/// `Retry-After` when something has to be put right first, in seconds.
pub(super) const RETRY_AFTER_BROKEN_S: u32 = 30;

/// How often a connection is looked at while no deadline of its own runs.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);
