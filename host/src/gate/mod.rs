//! The gate before a destination or a handler, in memory: its breaker and its throttle behind one lock. Claims ask it
//! for leave before anything is sent or run, and tell it how it went.
//!
//! What may not live here: decisions (the core's), and the store (`keeper` writes down what must survive).

mod keeper;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_core::breaker::{
    Breaker, BreakerAllowance, BreakerChange, BreakerPolicy, BreakerState, BreakerTicket,
    HealthSignal, OpenBreaker, TripCause,
};
use weir_core::concurrency_limit::ConcurrencyLimit;
use weir_core::id::DeliveryId;
use weir_core::name::Target;
use weir_core::time::Timestamp;
use weir_store::ClaimRequest;

use crate::claims;
use crate::observe::metrics::TargetMetrics;

pub(crate) use keeper::{BreakerPersistence, forget, is_breaker_hold};

/// Deliveries of a lane that a probe is chosen from: enough that one of them is not the last one that was tried.
const PROBE_CHOICE: usize = 2;
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 500;

/// The gate of one target.
#[derive(Debug)]
pub(crate) struct FlowControl {
    pub(crate) target: Target,
    metrics: Arc<TargetMetrics>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    concurrency_limit: ConcurrencyLimit,
    /// The version of a handler that this is about.
    version: Option<Box<str>>,
    /// Why it is open.
    reason: Box<str>,
}

/// What may be done with claims that were made.
#[derive(Debug)]
pub(crate) enum Admission {
    /// All of them may go, each with leave of its own: [`FlowControl::enter`].
    All,
    /// This one may go, to see how it is. The rest is given back.
    Probe(usize, AttemptPermit),
    /// None may.
    Nothing,
}

impl Admission {
    /// AttemptPermit for the claim at this place; none if it is given back.
    pub(crate) fn leave(&mut self, index: usize, gate: &Arc<FlowControl>) -> Option<AttemptPermit> {
        match std::mem::replace(self, Self::Nothing) {
            Self::All => {
                *self = Self::All;
                gate.enter()
            }
            Self::Probe(at, leave) if at == index => Some(leave),
            probe => {
                *self = probe;
                None
            }
        }
    }
}

/// How it ended, as far as the gate cares.
#[derive(Debug)]
pub(crate) struct AttemptEnd<'a> {
    pub(crate) mark: HealthSignal,
    /// Whether there is to be less at once, and after which wait if one was asked for.
    pub(crate) slows: Option<Option<Duration>>,
    pub(crate) started_at: Timestamp,
    pub(crate) reason: Option<&'a str>,
}

/// What must survive while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BreakerRecord {
    pub(crate) breaker: OpenBreaker,
    pub(crate) reason: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Box<str>>,
}

/// The state of a destination or handler, in one word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetHealth {
    /// Deliveries go on.
    Ok,
    /// It failed, so its deliveries wait; one is tried now and then.
    Failing,
    /// It asked to be left alone for a while. An operator's hold has the same name, and is added by the API.
    Paused,
}

/// How it stands, for people.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) phase: BreakerState,
    pub(crate) record: Option<BreakerRecord>,
    /// How many may be under way together now.
    pub(crate) places: usize,
    pub(crate) paused_until: Option<Timestamp>,
}

impl Standing {
    /// In one word.
    pub(crate) fn health(&self) -> TargetHealth {
        match (self.phase, self.paused_until) {
            (BreakerState::Open | BreakerState::HalfOpen, _) => TargetHealth::Failing,
            (BreakerState::Closed, Some(_)) => TargetHealth::Paused,
            (BreakerState::Closed, None) => TargetHealth::Ok,
        }
    }

    /// Time of the next try, if not at once.
    pub(crate) fn next_try(&self) -> Option<Timestamp> {
        match &self.record {
            Some(record) => Some(record.breaker.probe_at),
            None => self.paused_until,
        }
    }

    /// The reason, if it is not ok.
    pub(crate) fn reason(&self) -> Option<Box<str>> {
        match (&self.record, self.paused_until) {
            (Some(record), _) => Some(record.reason.clone()),
            (None, Some(_)) => Some("it answered that it has too much to do".into()),
            (None, None) => None,
        }
    }
}

/// AttemptPermit to send or run one delivery. Dropped unused, it makes room for another.
#[derive(Debug)]
pub(crate) struct AttemptPermit {
    gate: Arc<FlowControl>,
    pass: BreakerTicket,
}

impl AttemptPermit {
    /// Whether it is still good: what was claimed before the breaker opened is given back, not sent.
    pub(crate) fn stands(&self) -> bool {
        self.gate.inner.lock().breaker.stands(self.pass)
    }

    /// It was used.
    pub(crate) fn ended(self, end: &AttemptEnd<'_>, now: Timestamp) -> Option<BreakerChange> {
        self.gate.ended(self.pass, end, now)
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        // After its end this does nothing: the probe that ended was of an earlier round.
        self.gate.inner.lock().breaker.abandoned(self.pass);
    }
}

impl FlowControl {
    /// A gate that lets `places` through together.
    pub(crate) fn new(
        target: Target,
        policy: BreakerPolicy,
        places: usize,
        metrics: Arc<TargetMetrics>,
    ) -> Self {
        let (breaker, concurrency_limit) = (Breaker::new(policy), ConcurrencyLimit::new(places));
        let inner = Inner { breaker, concurrency_limit, version: None, reason: "".into() };
        Self { target, metrics, inner: Mutex::new(inner) }
    }

    /// What to claim: at most `limit`, beside `under_way` others; none if nothing may go.
    pub(crate) fn wanted(
        &self,
        limit: usize,
        under_way: usize,
        now: Timestamp,
    ) -> Option<[ClaimRequest; 2]> {
        let mut inner = self.inner.lock();
        let places = inner.concurrency_limit.permits(now).saturating_sub(under_way);
        let probing = match inner.breaker.allowance(now) {
            BreakerAllowance::Everything => false,
            BreakerAllowance::Probe => true,
            BreakerAllowance::Nothing => return None,
        };
        drop(inner);
        let limit = if probing { limit } else { limit.min(places) };
        let wanted = (limit > 0).then(|| claims::both_lanes(&self.target, limit))?;
        // A probe is chosen among a few, so that it is not the same one again.
        Some(wanted.map(|w| if probing { ClaimRequest { limit: PROBE_CHOICE, ..w } } else { w }))
    }

    /// Which of some claimed deliveries may go.
    pub(crate) fn admit(self: &Arc<Self>, among: &[DeliveryId]) -> Admission {
        let mut inner = self.inner.lock();
        if inner.breaker.enter().is_some() {
            return Admission::All;
        }
        let probe = inner.breaker.probe(among);
        drop(inner);
        match probe {
            Some((index, pass)) => {
                Admission::Probe(index, AttemptPermit { gate: Arc::clone(self), pass })
            }
            None => Admission::Nothing,
        }
    }

    /// AttemptPermit for one more, while the breaker is closed.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<AttemptPermit> {
        let pass = self.inner.lock().breaker.enter()?;
        Some(AttemptPermit { gate: Arc::clone(self), pass })
    }

    fn ended(
        &self,
        pass: BreakerTicket,
        end: &AttemptEnd<'_>,
        now: Timestamp,
    ) -> Option<BreakerChange> {
        let mut inner = self.inner.lock();
        match end.slows {
            Some(asked) => inner.concurrency_limit.on_overload(end.started_at, asked, now),
            None if end.mark == HealthSignal::Healthy => inner.concurrency_limit.on_success(),
            None => {}
        }
        let change = inner.breaker.ended(pass, end.mark, now)?;
        let reason = || cut(end.reason.unwrap_or("it failed"));
        match change {
            BreakerChange::Opened(cause) => {
                self.metrics.opened();
                inner.reason = why(cause, reason());
            }
            BreakerChange::Reopened => inner.reason = reason().into(),
            BreakerChange::Closed { .. } => inner.concurrency_limit.restart_at_one(),
        }
        Some(change)
    }

    /// From here on it is about this version of a handler, judged by this policy. Another one begins with a clean
    /// slate. True if that changed anything.
    pub(crate) fn serves(&self, version: &str, policy: BreakerPolicy) -> bool {
        let mut inner = self.inner.lock();
        let same = inner.version.as_deref().is_none_or(|before| before == version);
        inner.version = Some(version.into());
        if same {
            inner.breaker.set_policy(policy);
            return false;
        }
        let was_open = inner.breaker.phase() != BreakerState::Closed;
        inner.breaker.reset(policy);
        was_open
    }

    /// Takes up what was kept.
    fn restore(&self, record: BreakerRecord) {
        let mut inner = self.inner.lock();
        inner.breaker.restore(record.breaker);
        inner.version = record.version;
        inner.reason = record.reason;
    }

    /// A person says that it is mended.
    fn released(&self, now: Timestamp) {
        self.inner.lock().breaker.released(now);
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        let mut inner = self.inner.lock();
        // It may have become half open meanwhile.
        let _ = inner.breaker.allowance(now);
        let record = |breaker| {
            let (reason, version) = (inner.reason.clone(), inner.version.clone());
            BreakerRecord { breaker, reason, version }
        };
        Standing {
            phase: inner.breaker.phase(),
            record: inner.breaker.kept().map(record),
            places: inner.concurrency_limit.permits(now),
            paused_until: inner.concurrency_limit.paused_until(now),
        }
    }
}

fn why(cause: TripCause, last: &str) -> Box<str> {
    match cause {
        TripCause::TargetBroken => last.into(),
        TripCause::Rate { failed, of } => {
            format!("{failed} of the last {of} attempts failed; the last one: {last}").into()
        }
    }
}

fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn gate(places: usize) -> Arc<FlowControl> {
        let target = "destination:ops".parse().unwrap();
        let policy = BreakerPolicy::for_destinations();
        Arc::new(FlowControl::new(target, policy, places, Arc::default()))
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn end(leave: AttemptPermit, mark: HealthSignal, now: Timestamp) -> Option<BreakerChange> {
        let reason = Some("answered 410 Gone");
        leave.ended(&AttemptEnd { mark, slows: None, started_at: now, reason }, now)
    }

    fn ids() -> [DeliveryId; 2] {
        [1, 2].map(DeliveryId::from_bits)
    }

    fn limits(
        gate: &FlowControl,
        limit: usize,
        under_way: usize,
        now: Timestamp,
    ) -> Option<[usize; 2]> {
        gate.wanted(limit, under_way, now).map(|wanted| wanted.map(|w| w.limit))
    }

    #[test]
    fn what_was_let_through_before_it_opened_is_given_back() {
        let gate = gate(4);
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        end(first, HealthSignal::TargetBroken, NOW).unwrap();
        assert!(!second.stands() && gate.enter().is_none());
        assert!(matches!(gate.admit(&ids()), Admission::Nothing));
        assert_eq!(limits(&gate, 4, 0, NOW), None);
        assert_eq!(gate.standing(NOW).record.unwrap().reason.as_ref(), "answered 410 Gone");
    }

    #[test]
    fn one_goes_as_a_probe_and_another_if_that_one_never_went() {
        let gate = gate(4);
        end(gate.enter().unwrap(), HealthSignal::TargetBroken, NOW).unwrap();
        assert_eq!(limits(&gate, 4, 0, later(10)), Some([PROBE_CHOICE; 2]));
        let Admission::Probe(0, leave) = gate.admit(&ids()) else { panic!("no probe") };
        assert_eq!(limits(&gate, 4, 0, later(10)), None);
        drop(leave);
        let Admission::Probe(1, leave) = gate.admit(&ids()) else { panic!("no other probe") };
        assert!(matches!(
            end(leave, HealthSignal::Healthy, later(11)),
            Some(BreakerChange::Closed { .. })
        ));
        assert!(matches!(gate.admit(&ids()), Admission::All));
        assert_eq!(limits(&gate, 4, 0, later(11)), Some([1, 1]), "it begins slowly");
    }

    #[test]
    fn there_is_room_for_as_many_as_the_throttle_lets_through() {
        let gate = gate(8);
        assert_eq!(limits(&gate, 100, 0, NOW), Some([6, 2]));
        assert_eq!(limits(&gate, 100, 8, NOW), None);
        let slowed = AttemptEnd {
            mark: HealthSignal::Busy,
            slows: Some(None),
            started_at: NOW,
            reason: None,
        };
        gate.enter().unwrap().ended(&slowed, NOW);
        assert_eq!(limits(&gate, 100, 0, NOW), Some([3, 1]));
    }

    #[test]
    fn another_version_begins_with_a_clean_slate_and_the_same_one_does_not() {
        let gate = gate(4);
        let policy = BreakerPolicy::for_handlers;
        assert!(!gate.serves("aa", policy()));
        end(gate.enter().unwrap(), HealthSignal::TargetBroken, NOW).unwrap();
        assert!(!gate.serves("aa", policy()));
        let kept = gate.standing(NOW).record.unwrap();
        assert!(gate.serves("bb", policy()));
        assert_eq!(gate.standing(NOW).phase, BreakerState::Closed);
        gate.restore(kept);
        assert!(!gate.serves("aa", policy()));
        assert_eq!(gate.standing(NOW).phase, BreakerState::Open);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(600)).len(), REASON_BYTES_MAX);
        assert_eq!(cut("short"), "short");
    }
}
