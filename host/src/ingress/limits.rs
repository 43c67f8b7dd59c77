//! The fixed bounds of ingress, with units and reasons. What an operator can set is in the configuration.

use std::time::Duration;

/// The least head buffer that hyper works with, in bytes.
pub(super) const HEAD_BUFFER_BYTES_MIN: usize = 8 * 1024;

/// How long a refused sender's unread bytes are still taken off the wire after the answer. Closing at once would
/// reset the connection, and the reset can overtake the answer.
pub(super) const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// The most bytes that are taken so.
pub(super) const DRAIN_BYTES_MAX: usize = weir_core::bounds::BODY_BYTES_MAX;
/// The same for an address that was told to wait: enough for most bodies, and little to carry in a flood.
pub(super) const DRAIN_BYTES_MAX_PENALIZED: usize = 64 * 1024;

/// Wait after a failed accept: the usual cause is that the process has no file descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// `Retry-After` when too much is going on at this moment, in seconds.
pub(super) const RETRY_AFTER_BUSY_S: u32 = 1;
/// `Retry-After` when something has to be put right first, in seconds.
pub(super) const RETRY_AFTER_BROKEN_S: u32 = 30;

/// How often a connection is looked at while no deadline of its own runs.
pub(super) const TIMER_RECHECK: Duration = Duration::from_secs(10);

/// Addresses whose debts are kept, in rows: a row is looked through whole. 65,536 in 1 MiB.
pub(super) const PENALTY_ROWS: usize = 8_192;
/// Addresses in a row.
pub(super) const PENALTIES_PER_ROW: usize = 8;

/// How many refusals a connection that has carried verified requests may have on their account. A sender that shares
/// its address with a flood is heard on a connection that it has proven itself on.
pub(super) const CREDIT_MAX: u32 = 16;

/// Once there is no place for a connection, one in so many of those that are idle makes place, so that looking
/// through all of them is rarely needed.
pub(super) const EVICTION_SHARE: usize = 64;
/// How long a connection must have been idle, or silent since it was opened, before it can be asked to make place.
pub(super) const IDLE_TIME_MIN: Duration = Duration::from_millis(100);
/// The same for one whose request head has begun and does not end: a head is one packet, or a few.
pub(super) const HEAD_TIME_MIN: Duration = Duration::from_secs(1);
/// The same for one whose body is waited for and that has carried no verified request.
pub(super) const BODY_TIME_MIN: Duration = Duration::from_secs(1);
/// While no connection can be closed for a new one, a client that has this many connections on which it is waited for
/// gets no further one. The next in the listen queue is served instead.
pub(super) const WAITING_CONNECTIONS_MAX: usize = 16;
/// Connections of a /48 of IPv6 that count as much as one of a single /64 in it: they may be of different clients.
pub(super) const SURROUNDING_SHARE: usize = 4;
/// How often it is looked for place again, when there was none.
pub(super) const EVICTION_RETRY: Duration = Duration::from_millis(50);

/// How long a body may take before its pace counts: a connection has to get going first.
pub(super) const BODY_PACE_GRACE: Duration = Duration::from_secs(5);

/// Requests at once on one connection of HTTP/2.
pub(super) const STREAMS_MAX: u32 = 64;
/// Bytes that such a connection, or a request on it, may have on their way unread. What is read counts to the budget.
pub(super) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
