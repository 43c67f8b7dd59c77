//! Waiting for a request's body: the connection's state shows it, and a sender that does not finish
//! its body is charged.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::received::Arrival;
use crate::ingress::answer::penalties::Penalties;
use crate::ingress::answer::refused::Refused;

/// The wait for one body. If it is dropped before it has ended, the sender went away or its
/// connection was closed for another.
pub(super) struct BodyWait<'a> {
    arrival: &'a Arrival<'a>,
    penalties: &'a Penalties,
    started: AtomicBool,
}

impl<'a> BodyWait<'a> {
    /// A wait that has not started: most bodies arrive with their head.
    pub(super) fn new(arrival: &'a Arrival<'a>, penalties: &'a Penalties) -> Self {
        Self { arrival, penalties, started: AtomicBool::new(false) }
    }

    /// Not all of the body is here. A connection that has carried verified requests keeps its slot.
    pub(super) fn start(&self, now: Instant) {
        if !self.arrival.caller.is_proven() && !self.started.swap(true, Ordering::Relaxed) {
            self.arrival.connection.body_wait_started(now);
        }
    }

    /// The body is here, or refused.
    pub(super) fn end(self) {
        if self.started.swap(false, Ordering::Relaxed) {
            self.arrival.connection.body_wait_ended();
        }
    }
}

impl Drop for BodyWait<'_> {
    fn drop(&mut self) {
        if *self.started.get_mut() {
            let Arrival { source, caller, connection, started, .. } = *self.arrival;
            connection.body_wait_ended();
            source.metrics.answered(Refused::BodyIncomplete.code(), started.elapsed());
            self.penalties.charge(caller, Some(source.name()));
        }
    }
}
