//! The fixed bounds of ingress, with units and reasons. Bounds that an operator can set are in the
//! configuration.

use std::time::Duration;

/// The smallest head buffer that hyper works with, in bytes.
pub(crate) const HEAD_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// The time for which unread bytes of a refused request are read and dropped after the answer.
/// Closing at once would reset the connection, and the reset can overtake the answer.
pub(crate) const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// The most bytes that are read and dropped.
pub(crate) const DRAIN_BYTES_MAX: usize = weir_core::bounds::BODY_BYTES_MAX;
/// The same for an address that has a penalty: enough for most bodies, and cheap in a flood.
pub(crate) const DRAIN_BYTES_MAX_PENALIZED: usize = 64 * 1024;

/// The time for which a connection without a request stays open once the hub stops. Its sender may
/// have sent a request already, which would be lost without an answer.
pub(crate) const LAST_REQUEST_WAIT: Duration = Duration::from_millis(500);

/// Wait after a failed accept: the usual cause is that the process has no file descriptors left.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Retry-After` when the hub is overloaded, in seconds.
pub(crate) const RETRY_AFTER_BUSY_S: u32 = 1;
/// `Retry-After` when a fault has to be repaired first, in seconds.
pub(crate) const RETRY_AFTER_BROKEN_S: u32 = 30;

/// The time between two checks of the timer of a connection without a deadline.
pub(crate) const TIMER_RECHECK: Duration = Duration::from_secs(10);

/// Rows of the penalty table. A look-up scans one row; 65,536 penalties take 1 MiB.
pub(crate) const PENALTY_ROWS: usize = 8_192;
/// Penalties in one row.
pub(crate) const PENALTIES_PER_ROW: usize = 8;

/// The most credit that verified requests give to a connection, in refusals. A sender whose address
/// is shared with a flood is still served on a connection that has carried its verified requests.
pub(crate) const CREDIT_MAX: u32 = 16;

/// When all slots are taken, one in this many connections is asked to end, so that the table is
/// rarely scanned.
pub(crate) const EVICTION_SHARE: usize = 64;
/// The time that a connection must be idle, or silent since it was opened, before it may be asked
/// to end.
pub(crate) const IDLE_TIME_MIN: Duration = Duration::from_millis(100);
/// The same for a connection whose request head is incomplete: a head is one packet, or a few.
pub(crate) const HEAD_TIME_MIN: Duration = Duration::from_secs(1);
/// The same for a connection that waits for a body and has carried no verified request.
pub(crate) const BODY_TIME_MIN: Duration = Duration::from_secs(1);
/// While no connection can end, a client with this many waiting connections gets no further one.
/// The next client in the listen queue is served instead.
pub(crate) const WAITING_CONNECTIONS_MAX: usize = 16;
/// Connections of an IPv6 /48 that count as much as one of a single /64 in it: the /48 may belong
/// to several clients.
pub(crate) const SURROUNDING_SHARE: usize = 4;
/// The time between two searches for connections to end, when none could.
pub(crate) const EVICTION_RETRY: Duration = Duration::from_millis(50);

/// The time before the pace of a body counts, so that a connection can get up to speed.
pub(crate) const BODY_PACE_GRACE: Duration = Duration::from_secs(5);

/// Requests at a time on one connection of HTTP/2.
pub(crate) const STREAMS_MAX: u32 = 64;
/// Unread bytes that a connection of HTTP/2, or a request on it, may have in flight. Bytes that are
/// read count to the body budget.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
