//! Applying the changes of a commit to memory.

use std::sync::atomic::Ordering;

use rusqlite::Connection;
use weir_core::delivery::DeliveryState;

use crate::sqlite::engine::group::PostCommit;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::memory::watermarks::Totals;
use crate::sqlite::rows::order::{enqueue, next_in_order};

/// Applies the changes of a commit to the due queues. True if a worker may be waiting for new work.
pub(crate) fn apply(shared: &Shared, conn: &Connection, post_commit: &mut PostCommit) -> bool {
    let mut due = shared.due.lock();
    for (n, fence) in &post_commit.settled {
        due.end_claim(*n, Some(*fence));
    }
    for (n, _) in &post_commit.seized {
        due.end_claim(*n, None);
    }
    // A suspect may wait for them to end.
    let mut wake = due.suspects() > 0 && !post_commit.settled.is_empty();
    for n in &post_commit.cleared {
        wake |= due.clear_suspect(*n);
    }
    for (queue_key, entry) in post_commit.suspected.drain(..) {
        due.suspect(queue_key, entry);
        wake = true;
    }
    if wake {
        shared.suspects.store(due.suspects(), Ordering::Relaxed);
    }
    for (queue_key, entry) in post_commit.queued.drain(..) {
        wake |= enqueue(conn, &mut due, queue_key, entry);
    }
    for (target, key, n) in &post_commit.turns_ended {
        due.end_turn(*target, key, *n);
        match next_in_order(conn, *target, key) {
            Ok(Some((queue_key, entry))) => wake |= enqueue(conn, &mut due, queue_key, entry),
            Ok(None) => {}
            // The next delivery of the key or the next start tries again.
            Err(e) => tracing::warn!(error = %e, "could not look for the next of an order key"),
        }
    }
    wake
}

/// Adds a commit's changes to the totals. Finished deliveries have no total.
pub(crate) fn count(totals: &mut Totals, post_commit: &PostCommit) {
    for ((queue_key, state), by) in &post_commit.states {
        if !matches!(state, DeliveryState::Processed | DeliveryState::Cancelled) {
            *totals.states.entry((*queue_key, *state)).or_insert(0) += by;
        }
    }
    for (n, from, to) in &post_commit.moves {
        totals.listed.moved(*n, *from, *to);
    }
    for (n, by) in &post_commit.unrouted_events {
        if *by > 0 {
            totals.listed.unrouted.insert(*n);
        } else {
            totals.listed.unrouted.remove(*n);
        }
    }
    for (source, by) in &post_commit.unrouted {
        *totals.unrouted.entry(*source).or_insert(0) += by;
    }
    for (key, by) in &post_commit.events {
        *totals.events.entry(*key).or_insert(0) += by;
    }
}
