//! Flow control of one target, in memory: its breaker and its concurrency limit behind one lock.
//!
//! An attempt needs an [`AttemptPermit`], which comes back with the attempt's end. Not
//! here: the rules (`weir_core` has them) and the store (`breakers` saves what must survive a
//! restart).

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
use weir_core::rate::{Bucket, Rate};
use weir_core::time::Timestamp;
use weir_store::ClaimRequest;

use super::claims;
use crate::observe::metrics::TargetMetrics;

/// Claims of a lane from which a probe is chosen: enough that one of them is not the last probe
/// again.
const PROBE_CHOICE: usize = 2;
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 500;

/// The flow control of one target.
#[derive(Debug)]
pub(crate) struct FlowControl {
    pub(crate) target: Target,
    metrics: Arc<TargetMetrics>,
    inner: Mutex<FlowState>,
}

#[derive(Debug)]
struct FlowState {
    breaker: Breaker,
    concurrency_limit: ConcurrencyLimit,
    /// The version of a handler that the breaker judges.
    version: Option<Box<str>>,
    /// The reason why the breaker is open.
    reason: Box<str>,
    /// The most attempts in a time, if there is a limit.
    pace: Option<Pace>,
}

/// A rate limit, and what has been spent of it.
#[derive(Debug)]
struct Pace {
    rate: Rate,
    bucket: Bucket,
}

impl Pace {
    /// The attempts that may begin now, or the time until the next.
    fn room(&mut self, now: Timestamp) -> Result<usize, Duration> {
        let now = Duration::from_millis(now.as_millis());
        match self.bucket.wait(self.rate, now) {
            None => Ok(self.bucket.available(self.rate, now)),
            Some(wait) if wait <= self.rate.one() => Err(wait),
            // The clock was set back.
            Some(_) => {
                self.bucket = Bucket::default();
                Ok(self.bucket.available(self.rate, now))
            }
        }
    }
}

/// The claims that may be attempted. The others are given back.
#[derive(Debug)]
pub(crate) enum Admission {
    /// All of them, each with a permit from [`FlowControl::try_acquire`].
    All,
    /// Only the claim at this index, as a probe.
    Probe(usize, AttemptPermit),
    None,
}

impl Admission {
    /// The permit for the claim at an index; none if the claim is to be given back.
    pub(crate) fn permit(
        &mut self,
        index: usize,
        flow: &Arc<FlowControl>,
    ) -> Option<AttemptPermit> {
        match std::mem::replace(self, Self::None) {
            Self::All => {
                *self = Self::All;
                flow.try_acquire()
            }
            Self::Probe(at, permit) if at == index => Some(permit),
            probe => {
                *self = probe;
                None
            }
        }
    }
}

/// The end of an attempt, as far as it says something about the target.
#[derive(Debug)]
pub(crate) struct AttemptEnd<'a> {
    pub(crate) signal: HealthSignal,
    pub(crate) throttle: Throttle,
    pub(crate) started_at: Timestamp,
    pub(crate) reason: Option<&'a str>,
}

/// The request of a target that has too much to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttle {
    No,
    /// Fewer attempts at the same time.
    Slow,
    /// No attempts for this long, and then fewer at the same time.
    PauseFor(Duration),
}

/// The stored state of an open breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BreakerRecord {
    pub(crate) breaker: OpenBreaker,
    pub(crate) reason: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Box<str>>,
}

/// The health of a target, as the API shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetHealth {
    /// Deliveries are attempted.
    Ok,
    /// Paused after failures: its deliveries wait, and one is tried from time to time.
    Failing,
    /// The target asked for a pause. The API says the same of targets that are on hold.
    Paused,
}

/// The state of a target's flow control at one moment.
#[derive(Debug, Clone)]
pub(crate) struct FlowStatus {
    pub(crate) breaker: BreakerState,
    /// None while the breaker is closed.
    pub(crate) record: Option<BreakerRecord>,
    /// The most attempts at the same time.
    pub(crate) concurrency: usize,
    pub(crate) paused_until: Option<Timestamp>,
}

impl FlowStatus {
    pub(crate) fn health(&self) -> TargetHealth {
        match (self.breaker, self.paused_until) {
            (BreakerState::Open | BreakerState::HalfOpen, _) => TargetHealth::Failing,
            (BreakerState::Closed, Some(_)) => TargetHealth::Paused,
            (BreakerState::Closed, None) => TargetHealth::Ok,
        }
    }

    /// The time of the next attempt; none if attempts are made at once.
    pub(crate) fn next_try(&self) -> Option<Timestamp> {
        match &self.record {
            Some(record) => Some(record.breaker.probe_at),
            None => self.paused_until,
        }
    }

    /// The reason for any other health than `ok`.
    pub(crate) fn reason(&self) -> Option<Box<str>> {
        match (&self.record, self.paused_until) {
            (Some(record), _) => Some(record.reason.clone()),
            (None, Some(_)) => Some("it asked for fewer messages".into()),
            (None, None) => None,
        }
    }
}

/// Permits one attempt. Dropped without [`AttemptPermit::finish`], it lets another delivery be the
/// probe.
#[derive(Debug)]
pub(crate) struct AttemptPermit {
    flow: Arc<FlowControl>,
    ticket: BreakerTicket,
}

impl AttemptPermit {
    /// False once the breaker has opened since the permit was given: the claim is to be given back.
    pub(crate) fn is_valid(&self) -> bool {
        self.flow.inner.lock().breaker.is_valid(self.ticket)
    }

    /// Reports the end of the attempt. Returns the change of the breaker, if that caused one.
    pub(crate) fn finish(self, end: &AttemptEnd<'_>, now: Timestamp) -> Option<BreakerChange> {
        self.flow.finish(self.ticket, end, now)
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        // After `finish` this does nothing: the ticket is of an earlier round of the breaker.
        self.flow.inner.lock().breaker.give_back(self.ticket);
    }
}

impl FlowControl {
    /// Flow control that permits up to `concurrency` attempts at the same time.
    pub(crate) fn new(
        target: Target,
        policy: BreakerPolicy,
        concurrency: usize,
        metrics: Arc<TargetMetrics>,
    ) -> Self {
        let breaker = Breaker::new(policy);
        let concurrency_limit = ConcurrencyLimit::new(concurrency);
        let (version, reason, pace) = (None, "".into(), None);
        let inner = FlowState { breaker, concurrency_limit, version, reason, pace };
        Self { target, metrics, inner: Mutex::new(inner) }
    }

    /// Puts other limits into force, with a closed breaker.
    pub(crate) fn reconfigure(&self, policy: BreakerPolicy, concurrency: usize) {
        let mut inner = self.inner.lock();
        inner.breaker.reset(policy);
        inner.concurrency_limit = ConcurrencyLimit::new(concurrency);
        inner.reason = "".into();
    }

    /// Limits the attempts in a time. An attempt that has to wait is not claimed, so it is neither
    /// counted nor kept from an operator.
    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        self.inner.lock().pace = rate.map(|rate| Pace { rate, bucket: Bucket::default() });
    }

    /// Counts an attempt for the rate limit. False if it has to wait.
    pub(crate) fn take_turn(&self, now: Timestamp) -> bool {
        let mut inner = self.inner.lock();
        let Some(pace) = &mut inner.pace else { return true };
        let has_room = pace.room(now).is_ok();
        if has_room {
            pace.bucket.charge(pace.rate, Duration::from_millis(now.as_millis()));
        }
        has_room
    }

    /// The time until the rate limit lets the next attempt begin, if that is why there is no room.
    pub(crate) fn next_turn(&self, now: Timestamp) -> Option<Duration> {
        self.inner.lock().pace.as_mut()?.room(now).err()
    }

    /// The deliveries to claim: at most `limit` deliveries while `running` attempts are under way.
    /// None while the breaker is open or there is no room.
    pub(crate) fn wanted(
        &self,
        limit: usize,
        running: usize,
        now: Timestamp,
    ) -> Option<[ClaimRequest; 2]> {
        let mut inner = self.inner.lock();
        let free = inner.concurrency_limit.permits(now).saturating_sub(running);
        let limit = match inner.pace.as_mut().map(|pace| pace.room(now)) {
            None => limit,
            Some(Ok(room)) => limit.min(room),
            Some(Err(_)) => return None,
        };
        let probing = match inner.breaker.allowance(now) {
            BreakerAllowance::Everything => false,
            BreakerAllowance::Probe => true,
            BreakerAllowance::Nothing => return None,
        };
        drop(inner);
        let limit = if probing { limit } else { limit.min(free) };
        let wanted = (limit > 0).then(|| claims::both_lanes(&self.target, limit))?;
        Some(wanted.map(|w| if probing { ClaimRequest { limit: PROBE_CHOICE, ..w } } else { w }))
    }

    /// Decides which of some claimed deliveries may be attempted.
    pub(crate) fn admit(self: &Arc<Self>, claimed: &[DeliveryId]) -> Admission {
        let mut inner = self.inner.lock();
        if inner.breaker.acquire().is_some() {
            return Admission::All;
        }
        let probe = inner.breaker.probe(claimed);
        drop(inner);
        match probe {
            Some((index, ticket)) => {
                Admission::Probe(index, AttemptPermit { flow: self.clone(), ticket })
            }
            None => Admission::None,
        }
    }

    /// A permit for one attempt, while the breaker is closed.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<AttemptPermit> {
        let ticket = self.inner.lock().breaker.acquire()?;
        Some(AttemptPermit { flow: self.clone(), ticket })
    }

    fn finish(
        &self,
        ticket: BreakerTicket,
        end: &AttemptEnd<'_>,
        now: Timestamp,
    ) -> Option<BreakerChange> {
        let mut inner = self.inner.lock();
        match end.throttle {
            Throttle::Slow => inner.concurrency_limit.on_overload(end.started_at, None, now),
            Throttle::PauseFor(wait) => {
                inner.concurrency_limit.on_overload(end.started_at, Some(wait), now);
            }
            Throttle::No if end.signal == HealthSignal::Healthy => {
                inner.concurrency_limit.on_success();
            }
            Throttle::No => {}
        }
        let change = inner.breaker.record(ticket, end.signal, now)?;
        let reason = || cut(end.reason.unwrap_or("it failed"));
        match change {
            BreakerChange::Opened(cause) => {
                self.metrics.opened();
                inner.reason = trip_reason(cause, reason());
            }
            BreakerChange::Reopened => inner.reason = reason().into(),
            BreakerChange::Closed { .. } => inner.concurrency_limit.restart_at_one(),
        }
        Some(change)
    }

    /// Judges this version of a handler from now on. Another version than before starts with a
    /// closed breaker. True if the breaker was open and is closed now.
    pub(crate) fn set_version(&self, version: &str, policy: BreakerPolicy) -> bool {
        let mut inner = self.inner.lock();
        let same = inner.version.as_deref().is_none_or(|before| before == version);
        inner.version = Some(version.into());
        if same {
            inner.breaker.set_policy(policy);
            return false;
        }
        let was_open = inner.breaker.state() != BreakerState::Closed;
        inner.breaker.reset(policy);
        was_open
    }

    /// Opens the breaker again, as it was stored.
    pub(super) fn restore(&self, record: BreakerRecord) {
        let mut inner = self.inner.lock();
        inner.breaker.restore(record.breaker);
        inner.version = record.version;
        inner.reason = record.reason;
    }

    /// Ends the breaker's pause, because an operator released its hold.
    pub(super) fn end_pause(&self, now: Timestamp) {
        self.inner.lock().breaker.release(now);
    }

    pub(crate) fn status(&self, now: Timestamp) -> FlowStatus {
        let mut inner = self.inner.lock();
        // An open breaker becomes half open when its pause is over.
        let _ = inner.breaker.allowance(now);
        let record = |breaker| {
            let (reason, version) = (inner.reason.clone(), inner.version.clone());
            BreakerRecord { breaker, reason, version }
        };
        FlowStatus {
            breaker: inner.breaker.state(),
            record: inner.breaker.open_breaker().map(record),
            concurrency: inner.concurrency_limit.permits(now),
            paused_until: inner.concurrency_limit.paused_until(now),
        }
    }
}

fn trip_reason(cause: TripCause, last: &str) -> Box<str> {
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

    fn flow(places: usize) -> Arc<FlowControl> {
        let target = "destination:ops".parse().unwrap();
        let policy = BreakerPolicy::for_destinations();
        Arc::new(FlowControl::new(target, policy, places, Arc::default()))
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn end(permit: AttemptPermit, signal: HealthSignal, now: Timestamp) -> Option<BreakerChange> {
        let reason = Some("HTTP 410 Gone");
        permit.finish(&AttemptEnd { signal, throttle: Throttle::No, started_at: now, reason }, now)
    }

    fn ids() -> [DeliveryId; 2] {
        [1, 2].map(DeliveryId::from_bits)
    }

    fn limits(
        flow: &FlowControl,
        limit: usize,
        running: usize,
        now: Timestamp,
    ) -> Option<[usize; 2]> {
        flow.wanted(limit, running, now).map(|wanted| wanted.map(|w| w.limit))
    }

    #[test]
    fn permits_from_before_the_breaker_opened_are_invalid() {
        let flow = flow(4);
        let (first, second) = (flow.try_acquire().unwrap(), flow.try_acquire().unwrap());
        end(first, HealthSignal::TargetBroken, NOW).unwrap();
        assert!(!second.is_valid() && flow.try_acquire().is_none());
        assert!(matches!(flow.admit(&ids()), Admission::None));
        assert_eq!(limits(&flow, 4, 0, NOW), None);
        assert_eq!(flow.status(NOW).record.unwrap().reason.as_ref(), "HTTP 410 Gone");
    }

    #[test]
    fn a_dropped_probe_lets_another_delivery_be_the_probe() {
        let flow = flow(4);
        end(flow.try_acquire().unwrap(), HealthSignal::TargetBroken, NOW).unwrap();
        assert_eq!(limits(&flow, 4, 0, later(10)), Some([PROBE_CHOICE; 2]));
        let Admission::Probe(0, permit) = flow.admit(&ids()) else { panic!("no probe") };
        assert_eq!(limits(&flow, 4, 0, later(10)), None);
        drop(permit);
        let Admission::Probe(1, permit) = flow.admit(&ids()) else { panic!("no other probe") };
        assert!(matches!(
            end(permit, HealthSignal::Healthy, later(11)),
            Some(BreakerChange::Closed { .. })
        ));
        assert!(matches!(flow.admit(&ids()), Admission::All));
        assert_eq!(limits(&flow, 4, 0, later(11)), Some([1, 1]), "it begins slowly");
    }

    #[test]
    fn claims_are_limited_by_the_concurrency_limit() {
        let flow = flow(8);
        assert_eq!(limits(&flow, 100, 0, NOW), Some([6, 2]));
        assert_eq!(limits(&flow, 100, 8, NOW), None);
        let slowed = AttemptEnd {
            signal: HealthSignal::Busy,
            throttle: Throttle::Slow,
            started_at: NOW,
            reason: None,
        };
        flow.try_acquire().unwrap().finish(&slowed, NOW);
        assert_eq!(limits(&flow, 100, 0, NOW), Some([3, 1]));
    }

    #[test]
    fn a_rate_limit_leaves_attempts_unclaimed_until_their_turn() {
        let flow = flow(8);
        flow.set_rate(Some(Rate::new(2, Duration::from_secs(1), 2)));
        let at = |ms| NOW.after(Duration::from_millis(ms));
        assert_eq!(limits(&flow, 100, 0, NOW), Some([1, 1]), "two may begin");
        assert!(flow.take_turn(NOW) && flow.take_turn(NOW) && !flow.take_turn(NOW));
        assert_eq!((limits(&flow, 100, 0, NOW), flow.status(NOW).paused_until), (None, None));
        assert_eq!(flow.next_turn(at(100)), Some(Duration::from_millis(400)));
        assert_eq!(flow.next_turn(at(500)), None);
        assert!(limits(&flow, 100, 0, at(500)).is_some());
        assert!(flow.take_turn(at(500)) && !flow.take_turn(at(501)));
        let before = Timestamp::from_millis(NOW.as_millis() - 3_600_000);
        assert!(flow.take_turn(before), "a clock that was set back does not stop everything");
    }

    #[test]
    fn only_another_version_starts_with_a_closed_breaker() {
        let flow = flow(4);
        let policy = BreakerPolicy::for_handlers;
        assert!(!flow.set_version("aa", policy()));
        end(flow.try_acquire().unwrap(), HealthSignal::TargetBroken, NOW).unwrap();
        assert!(!flow.set_version("aa", policy()));
        let kept = flow.status(NOW).record.unwrap();
        assert!(flow.set_version("bb", policy()));
        assert_eq!(flow.status(NOW).breaker, BreakerState::Closed);
        flow.restore(kept);
        assert!(!flow.set_version("aa", policy()));
        assert_eq!(flow.status(NOW).breaker, BreakerState::Open);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(600)).len(), REASON_BYTES_MAX);
        assert_eq!(cut("short"), "short");
    }
}
