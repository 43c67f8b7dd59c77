//! A circuit breaker: it stops attempts at a failing target and probes when to go on. Pure.
//!
//! ```text
//! closed --(too many failures, or the target is broken)--> open
//! open --(the pause is over, or an operator releases it)--> half open
//! half open --(its one probe succeeds)--> closed
//! half open --(the probe fails)--> open, for twice as long
//! ```
//! The target is a destination or a version of a handler. An attempt takes a [`BreakerTicket`] and
//! records its outcome with it. Each change of state makes older tickets invalid: attempts that
//! were in flight when a breaker opened neither close nor reopen it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::DeliveryId;
use crate::time::Timestamp;

/// Slices of the window. They expire one after the other.
const SLICES: usize = 10;

/// The limits at which a breaker opens, and the pauses that follow.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    window: Duration,
    min_attempts: u32,
    failure_rate: f64,
    pause: Duration,
    max_pause: Duration,
}

/// Values that do not make a policy.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InvalidBreakerPolicy {
    #[error("window must be at least 10 ms")]
    Window,
    #[error("min_attempts must be at least 1")]
    NoAttempts,
    #[error("failure_rate must be above 0 and at most 1, not {0}")]
    Rate(f64),
    #[error("max_pause ({max:?}) is shorter than pause ({first:?})")]
    MaxBelowFirst { first: Duration, max: Duration },
}

impl BreakerPolicy {
    /// A policy: the breaker opens if the share `failure_rate` of at least `min_attempts` within
    /// `window` failed. Attempts then stop for `pause`, and for twice as long after each failed
    /// probe, up to `max_pause`.
    pub fn try_new(
        window: Duration,
        min_attempts: u32,
        failure_rate: f64,
        (pause, max_pause): (Duration, Duration),
    ) -> Result<Self, InvalidBreakerPolicy> {
        if window.as_millis() < SLICES as u128 {
            return Err(InvalidBreakerPolicy::Window);
        }
        if min_attempts == 0 {
            return Err(InvalidBreakerPolicy::NoAttempts);
        }
        if !(failure_rate > 0.0 && failure_rate <= 1.0) {
            return Err(InvalidBreakerPolicy::Rate(failure_rate));
        }
        if max_pause < pause {
            return Err(InvalidBreakerPolicy::MaxBelowFirst { first: pause, max: max_pause });
        }
        Ok(Self { window, min_attempts, failure_rate, pause, max_pause })
    }

    /// The default for destinations: half of at least 10 attempts within a minute; pauses from 10 s
    /// doubling to 10 min.
    #[must_use]
    pub fn for_destinations() -> Self {
        Self {
            window: Duration::from_secs(60),
            min_attempts: 10,
            failure_rate: 0.5,
            pause: Duration::from_secs(10),
            max_pause: Duration::from_secs(600),
        }
    }

    /// The default for handlers: nine tenths of at least 10 events within five minutes; pauses from
    /// 10 s doubling to 10 min. The rate is high because a pause also delays the events that the
    /// handler can process.
    #[must_use]
    pub fn for_handlers() -> Self {
        Self { window: Duration::from_secs(300), failure_rate: 0.9, ..Self::for_destinations() }
    }

    fn pause_after(&self, failed_probes: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failed_probes).and_then(|n| self.pause.checked_mul(n));
        doubled.unwrap_or(self.max_pause).min(self.max_pause)
    }
}

/// The health of the target, as far as the outcome of an attempt shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthSignal {
    Healthy,
    /// It failed, perhaps for a short time.
    Failed,
    /// The target itself is wrong, for every message alike. Opens the breaker at once.
    TargetBroken,
    /// It works and is overloaded. Not counted.
    Busy,
    /// A retry failed like the attempt before. Not counted.
    RepeatedFailure,
    /// It works and rejects this message. Not counted.
    MessageRejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// All attempts may go.
    Closed,
    /// No attempt may go.
    Open,
    /// One attempt may go, as a probe.
    HalfOpen,
}

/// The attempts that may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerAllowance {
    Everything,
    /// One, chosen by [`Breaker::probe`].
    Probe,
    /// None, until the pause is over or the probe has ended.
    Nothing,
}

/// The right to make one attempt. Valid until the breaker changes its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerTicket {
    round: u64,
    probe: bool,
}

/// A change of state after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    Opened(TripCause),
    /// The probe failed: open again, for longer.
    Reopened,
    /// The probe succeeded.
    Closed {
        opened_at: Timestamp,
    },
}

/// The reason that a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripCause {
    TargetBroken,
    /// Too many failures within the window.
    Rate {
        failed: u32,
        of: u32,
    },
}

/// The part of an open breaker that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBreaker {
    pub opened_at: Timestamp,
    /// Earliest time of the next probe.
    pub probe_at: Timestamp,
    /// Failed probes since it opened.
    pub failed_probes: u32,
    /// The delivery of the last probe.
    pub last_probe: Option<DeliveryId>,
}

#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Circuit,
    /// Rises with each change of state.
    round: u64,
    window: SlidingWindow,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed,
    Open(OpenBreaker),
    HalfOpen { open: OpenBreaker, probing: bool },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let window = SlidingWindow::new(policy.window);
        Self { policy, state: Circuit::Closed, round: 0, window }
    }

    /// Starts over, closed and with nothing counted, because the target is now another one.
    pub fn reset(&mut self, policy: BreakerPolicy) {
        self.window = SlidingWindow::new(policy.window);
        self.policy = policy;
        self.enter(Circuit::Closed);
    }

    /// Changes the policy. A window of another length starts empty.
    pub fn set_policy(&mut self, policy: BreakerPolicy) {
        if policy.window != self.policy.window {
            self.window = SlidingWindow::new(policy.window);
        }
        self.policy = policy;
    }

    /// Opens as it was stored.
    pub fn restore(&mut self, open: OpenBreaker) {
        self.enter(Circuit::Open(open));
    }

    /// The part to store; none while closed.
    #[must_use]
    pub fn open_breaker(&self) -> Option<OpenBreaker> {
        match self.state {
            Circuit::Closed => None,
            Circuit::Open(open) | Circuit::HalfOpen { open, .. } => Some(open),
        }
    }

    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            Circuit::Closed => BreakerState::Closed,
            Circuit::Open(_) => BreakerState::Open,
            Circuit::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// The attempts that may go at `now`. An open breaker whose pause is over becomes half open.
    pub fn allowance(&mut self, now: Timestamp) -> BreakerAllowance {
        if let Circuit::Open(open) = self.state
            && self.pause_is_over(&open, now)
        {
            self.enter(Circuit::HalfOpen { open, probing: false });
        }
        match self.state {
            Circuit::Closed => BreakerAllowance::Everything,
            Circuit::HalfOpen { probing: false, .. } => BreakerAllowance::Probe,
            Circuit::Open(_) | Circuit::HalfOpen { probing: true, .. } => BreakerAllowance::Nothing,
        }
    }

    /// A pause longer than the longest means that the clock was set back.
    fn pause_is_over(&self, open: &OpenBreaker, now: Timestamp) -> bool {
        open.probe_at <= now || open.probe_at.since(now) > self.policy.max_pause
    }

    /// A ticket for one attempt; none unless closed.
    #[must_use]
    pub fn acquire(&self) -> Option<BreakerTicket> {
        matches!(self.state, Circuit::Closed)
            .then_some(BreakerTicket { round: self.round, probe: false })
    }

    /// Chooses one of some deliveries as the probe; none while no probe may go. The delivery of the
    /// last probe is chosen only if it is the only one: a message that breaks its target must not
    /// keep the breaker open.
    pub fn probe(&mut self, among: &[DeliveryId]) -> Option<(usize, BreakerTicket)> {
        let Circuit::HalfOpen { open, probing: probing @ false } = &mut self.state else {
            return None;
        };
        let another = among.iter().position(|id| Some(*id) != open.last_probe);
        let chosen = another.or((!among.is_empty()).then_some(0))?;
        open.last_probe = Some(among[chosen]);
        *probing = true;
        Some((chosen, BreakerTicket { round: self.round, probe: true }))
    }

    /// True if the attempt of this ticket may still be made.
    #[must_use]
    pub fn is_valid(&self, ticket: BreakerTicket) -> bool {
        ticket.round == self.round
    }

    /// Records the outcome of an attempt. An invalid ticket changes nothing.
    pub fn record(
        &mut self,
        ticket: BreakerTicket,
        signal: HealthSignal,
        now: Timestamp,
    ) -> Option<BreakerChange> {
        if ticket.round != self.round {
            return None;
        }
        match self.state {
            Circuit::Closed => self.count(signal, now),
            Circuit::Open(_) => None,
            Circuit::HalfOpen { .. } if !ticket.probe => None,
            Circuit::HalfOpen { open, .. } => Some(self.judge_probe(open, signal, now)),
        }
    }

    /// Gives back the ticket of an attempt that was not made.
    pub fn give_back(&mut self, ticket: BreakerTicket) {
        if let Circuit::HalfOpen { probing, .. } = &mut self.state
            && ticket.probe
            && ticket.round == self.round
        {
            *probing = false;
        }
    }

    /// Ends the pause of an open breaker: a probe may go at once.
    pub fn release(&mut self, now: Timestamp) {
        if let Circuit::Open(open) = self.state {
            let open = OpenBreaker { probe_at: now, ..open };
            self.enter(Circuit::HalfOpen { open, probing: false });
        }
    }

    fn count(&mut self, signal: HealthSignal, now: Timestamp) -> Option<BreakerChange> {
        let cause = match signal {
            HealthSignal::Busy | HealthSignal::RepeatedFailure | HealthSignal::MessageRejected => {
                return None;
            }
            HealthSignal::Healthy => {
                self.window.add(now, false);
                return None;
            }
            HealthSignal::TargetBroken => TripCause::TargetBroken,
            HealthSignal::Failed => {
                self.window.add(now, true);
                let (failed, of) = self.window.sum(now);
                let rate = f64::from(failed) / f64::from(of.max(1));
                if of < self.policy.min_attempts || rate < self.policy.failure_rate {
                    return None;
                }
                TripCause::Rate { failed, of }
            }
        };
        let probe_at = now.after(self.policy.pause_after(0));
        let open = OpenBreaker { opened_at: now, probe_at, failed_probes: 0, last_probe: None };
        self.enter(Circuit::Open(open));
        Some(BreakerChange::Opened(cause))
    }

    fn judge_probe(
        &mut self,
        open: OpenBreaker,
        signal: HealthSignal,
        now: Timestamp,
    ) -> BreakerChange {
        if matches!(signal, HealthSignal::Healthy | HealthSignal::MessageRejected) {
            self.window = SlidingWindow::new(self.policy.window);
            self.enter(Circuit::Closed);
            return BreakerChange::Closed { opened_at: open.opened_at };
        }
        let failed_probes = open.failed_probes.saturating_add(1);
        let probe_at = now.after(self.policy.pause_after(failed_probes));
        self.enter(Circuit::Open(OpenBreaker { probe_at, failed_probes, ..open }));
        BreakerChange::Reopened
    }

    fn enter(&mut self, state: Circuit) {
        self.state = state;
        self.round += 1;
    }
}

/// Attempts and failures within a window, in slices that expire whole.
#[derive(Debug, Clone)]
struct SlidingWindow {
    /// Milliseconds of one slice.
    slice: u64,
    slices: [Slice; SLICES],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    /// Counted since the epoch.
    number: u64,
    failed: u32,
    of: u32,
}

impl SlidingWindow {
    fn new(length: Duration) -> Self {
        let slice = (crate::time::millis(length) / SLICES as u64).max(1);
        Self { slice, slices: [Slice::default(); SLICES] }
    }

    fn add(&mut self, now: Timestamp, failed: bool) {
        let number = now.as_millis() / self.slice;
        let slot = usize::try_from(number % SLICES as u64).unwrap_or_default();
        let slice = &mut self.slices[slot];
        if slice.number != number {
            *slice = Slice { number, ..Slice::default() };
        }
        slice.of = slice.of.saturating_add(1);
        slice.failed = slice.failed.saturating_add(u32::from(failed));
    }

    /// Failures and attempts. Slices in the future are ignored: the clock was set back.
    fn sum(&self, now: Timestamp) -> (u32, u32) {
        let number = now.as_millis() / self.slice;
        let counts = |s: &&Slice| s.number <= number && number - s.number < SLICES as u64;
        self.slices.iter().filter(counts).fold((0, 0), |(failed, of), slice| {
            (failed.saturating_add(slice.failed), of.saturating_add(slice.of))
        })
    }
}

#[cfg(test)]
mod tests;
