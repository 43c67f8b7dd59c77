//! A destination's gate, in memory: its breaker and its throttle behind one lock. Claims ask it for leave before
//! anything is sent, and tell it how it went.
//!
//! What may not live here: decisions (the core's), and the store (`keeper` writes down what must survive).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::breaker::{Allowance, Breaker, Cause, Change, Kept, Mark, Pass, Phase};
use weir_core::id::DeliveryId;
use weir_core::throttle::Throttle;
use weir_core::time::Timestamp;

use crate::config::Destination;

/// Deliveries of a lane that a probe is chosen from: enough that one of them is not the last one that was tried.
const PROBE_CHOICE: usize = 2;

/// The gate of one destination.
#[derive(Debug)]
pub(super) struct Gate {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    throttle: Throttle,
    /// Why it is open.
    reason: Box<str>,
}

/// How many to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// For so many together.
    For(usize),
    /// A few, of which one will go as a probe.
    Probe(usize),
}

/// How sending ended, as far as the gate cares.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) mark: Mark,
    /// See [`super::decide::Decided::slows`].
    pub(super) slows: Option<Option<Duration>>,
    pub(super) started_at: Timestamp,
    pub(super) reason: Option<&'a str>,
}

/// What must survive while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) breaker: Kept,
    pub(super) reason: Box<str>,
}

/// How it stands, for people.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) phase: Phase,
    pub(super) record: Option<Record>,
    /// How many may be under way together now.
    pub(super) places: usize,
    pub(super) paused_until: Option<Timestamp>,
}

/// Leave to send one delivery. Dropped unused, it makes room for another.
#[derive(Debug)]
pub(super) struct Leave {
    gate: Arc<Gate>,
    pass: Pass,
}

impl Leave {
    /// Whether it is still good: what was claimed before the breaker opened is given back, not sent.
    pub(super) fn stands(&self) -> bool {
        self.gate.inner.lock().breaker.stands(self.pass)
    }

    /// It was used.
    pub(super) fn ended(self, end: &End<'_>, now: Timestamp) -> Option<Change> {
        self.gate.ended(self.pass, end, now)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        // After its end this does nothing: the probe that ended was of an earlier round.
        self.gate.inner.lock().breaker.abandoned(self.pass);
    }
}

impl Gate {
    pub(super) fn new(destination: &Destination) -> Self {
        let breaker = Breaker::new(destination.breaker.clone());
        let throttle = Throttle::new(destination.concurrency);
        Self { inner: Mutex::new(Inner { breaker, throttle, reason: "".into() }) }
    }

    /// Room beside `under_way` others; none if nothing may go.
    pub(super) fn room(&self, under_way: usize, now: Timestamp) -> Option<Room> {
        let mut inner = self.inner.lock();
        let places = inner.throttle.places(now);
        match inner.breaker.allowance(now) {
            Allowance::Everything if places > under_way => Some(Room::For(places - under_way)),
            Allowance::Probe => Some(Room::Probe(PROBE_CHOICE)),
            Allowance::Everything | Allowance::Nothing => None,
        }
    }

    /// Which of some claimed deliveries may be sent: all, one, or none.
    pub(super) fn admit(self: &Arc<Self>, among: &[DeliveryId]) -> Vec<(usize, Leave)> {
        let mut inner = self.inner.lock();
        let leave = |pass| Leave { gate: Arc::clone(self), pass };
        match inner.breaker.enter() {
            Some(pass) => (0..among.len()).map(|index| (index, leave(pass))).collect(),
            None => {
                let probe = inner.breaker.probe(among);
                probe.map(|(index, pass)| (index, leave(pass))).into_iter().collect()
            }
        }
    }

    fn ended(&self, pass: Pass, end: &End<'_>, now: Timestamp) -> Option<Change> {
        let mut inner = self.inner.lock();
        match end.slows {
            Some(asked) => inner.throttle.slowed(end.started_at, asked, now),
            None if end.mark == Mark::Well => inner.throttle.went_well(),
            None => {}
        }
        let change = inner.breaker.ended(pass, end.mark, now)?;
        match change {
            Change::Opened(cause) => inner.reason = why(cause, end.reason.unwrap_or("it failed")),
            Change::OpenAgain => {
                inner.reason = end.reason.unwrap_or("it failed").into();
            }
            Change::Closed { .. } => inner.throttle.start_slowly(),
        }
        Some(change)
    }

    /// Takes up what was kept.
    pub(super) fn restore(&self, record: Record) {
        let mut inner = self.inner.lock();
        inner.breaker.restore(record.breaker);
        inner.reason = record.reason;
    }

    /// A person says that it is mended.
    pub(super) fn released(&self, now: Timestamp) {
        self.inner.lock().breaker.released(now);
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        let mut inner = self.inner.lock();
        // It may have become half open meanwhile.
        let _ = inner.breaker.allowance(now);
        let reason = &inner.reason;
        let record = |breaker| Record { breaker, reason: reason.clone() };
        Standing {
            phase: inner.breaker.phase(),
            record: inner.breaker.kept().map(record),
            places: inner.throttle.places(now),
            paused_until: inner.throttle.paused_until(now),
        }
    }
}

fn why(cause: Cause, last: &str) -> Box<str> {
    match cause {
        Cause::AtFault => last.into(),
        Cause::Rate { failed, of } => {
            format!("{failed} of the last {of} attempts failed; the last one: {last}").into()
        }
    }
}
