//! A request whose body is being waited for: its connection knows that, and a sender that does not finish is charged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant as Watch;

use tokio::time::Instant;

use super::Ingress;
use super::client::Caller;
use super::refused::Refused;
use super::timed_io::ConnectionState;
use super::way::LiveSource;

/// One body. Dropped before it has ended, its sender went away or its connection was closed for another.
pub(super) struct BodyWait<'a> {
    ingress: &'a Ingress,
    way: &'a LiveSource,
    caller: Caller<'a>,
    state: &'a ConnectionState,
    started: Watch,
    begun: AtomicBool,
}

impl<'a> BodyWait<'a> {
    /// Nothing is waited for yet.
    pub(super) fn new(
        ingress: &'a Ingress,
        way: &'a LiveSource,
        caller: Caller<'a>,
        state: &'a ConnectionState,
    ) -> Self {
        let begun = AtomicBool::new(false);
        Self { ingress, way, caller, state, started: Watch::now(), begun }
    }

    /// Not all of it is here. A connection that has proven itself keeps its place meanwhile.
    pub(super) fn begins(&self, now: Instant) {
        if !self.caller.is_proven() && !self.begun.swap(true, Ordering::Relaxed) {
            self.state.body_begins(now);
        }
    }

    /// It is here, or refused.
    pub(super) fn ends(self) {
        if self.begun.swap(false, Ordering::Relaxed) {
            self.state.body_ends();
        }
    }
}

impl Drop for BodyWait<'_> {
    fn drop(&mut self) {
        if *self.begun.get_mut() {
            self.state.body_ends();
            self.way.metrics.answered(Refused::BodyIncomplete.code(), self.started.elapsed());
            self.ingress.charge(self.caller, Some(self.way.source.name.as_str()));
        }
    }
}
