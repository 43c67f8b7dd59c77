//! A circuit breaker: whether anything is sent to a destination, or run by a version of a handler, by how it went of
//! late. Pure. What is said of an endpoint here holds for a version too.
//!
//! ```text
//! closed --(too many failures, or the endpoint itself is wrong)--> open
//! open --(the pause is over, or a person says so)--> half open --(its one probe went well)--> closed
//!                                                              --(it did not)--> open, for twice as long
//! ```
//! Who wants to send asks for a [`BreakerTicket`] and brings it back with how it went. Passes of an earlier round say nothing
//! any more: what was under way when it opened neither closes nor opens it again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::DeliveryId;
use crate::time::Timestamp;

/// Parts of the window that are forgotten one after the other.
const SLICES: usize = 10;

/// When to open, and how long to leave an endpoint alone.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPolicy {
    window: Duration,
    min_attempts: u32,
    failure_rate: f64,
    pause: Duration,
    max_pause: Duration,
}

/// A policy that makes no sense.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum InvalidBreakerPolicy {
    /// Nothing can be counted in no time.
    #[error("window must be at least 10 ms")]
    Window,
    /// A rate of nothing.
    #[error("min_attempts must be at least 1")]
    NoAttempts,
    /// A share must be a share, and a rate of zero would never close.
    #[error("failure_rate must be above 0 and at most 1, not {0}")]
    Rate(f64),
    /// Pauses may not shrink.
    #[error("max_pause ({max:?}) is shorter than pause ({first:?})")]
    MaxBelowFirst {
        /// The first pause.
        first: Duration,
        /// The longest.
        max: Duration,
    },
}

impl BreakerPolicy {
    /// Checks and takes a policy: of at least `min_attempts` within `window`, the share `failure_rate` failed. Then
    /// nothing is sent for `pause`, and for twice as long after each probe that fails too, up to `max_pause`.
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

    /// What destinations get unless told otherwise: half of at least 10 attempts within a minute; pauses from 10 s
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

    /// What handlers get unless told otherwise: nine tenths of at least 10 events within five minutes; pauses from 10 s
    /// doubling to 10 min. A handler is held only where it does hardly anything else than fail, for what it can do waits
    /// too.
    #[must_use]
    pub fn for_handlers() -> Self {
        Self { window: Duration::from_secs(300), failure_rate: 0.9, ..Self::for_destinations() }
    }

    fn pause_after(&self, failed_probes: u32) -> Duration {
        let doubled = 2_u32.checked_pow(failed_probes).and_then(|n| self.pause.checked_mul(n));
        doubled.unwrap_or(self.max_pause).min(self.max_pause)
    }
}

/// What an attempt says about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthSignal {
    /// It works.
    Healthy,
    /// It failed; such things pass.
    Failed,
    /// The endpoint itself is wrong, for every message alike. Opens at once.
    TargetBroken,
    /// It works, and has too much to do. Says nothing about a rate of failures.
    Busy,
    /// It failed with what it failed with before, which says nothing new about a rate of failures.
    RepeatedFailure,
    /// It works, and this one message is wrong. Says nothing about a rate of failures either.
    MessageRejected,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything goes.
    Closed,
    /// Nothing goes.
    Open,
    /// One goes, to see how it is.
    HalfOpen,
}

/// What may go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerAllowance {
    /// As much as there is.
    Everything,
    /// One, chosen by [`Breaker::probe`].
    Probe,
    /// Nothing, until the pause is over or the probe is back.
    Nothing,
}

/// Leave to send one thing, as of the round in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerTicket {
    round: u64,
    probe: bool,
}

/// What a mark changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// It was closed and is open now.
    Opened(TripCause),
    /// The probe failed: it is open again, for longer.
    Reopened,
    /// The probe went well: it is closed, and had been open since then.
    Closed {
        /// When it opened.
        opened_at: Timestamp,
    },
}

/// Why it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TripCause {
    /// One answer was enough.
    TargetBroken,
    /// Too many failures.
    Rate {
        /// Attempts within the window that failed.
        failed: u32,
        /// Of so many.
        of: u32,
    },
}

/// What of an open breaker must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBreaker {
    /// When it opened.
    pub opened_at: Timestamp,
    /// When the next probe may go.
    pub probe_at: Timestamp,
    /// Probes that failed since it opened.
    pub failed_probes: u32,
    /// The delivery that was sent last as a probe.
    pub last_probe: Option<DeliveryId>,
}

/// A breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: Circuit,
    round: u64,
    window: SlidingWindow,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed,
    Open(OpenBreaker),
    HalfOpen { kept: OpenBreaker, probing: bool },
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let window = SlidingWindow::new(policy.window);
        Self { policy, state: Circuit::Closed, round: 0, window }
    }

    /// Closes and forgets, by another policy from now on: it is about something else now.
    pub fn reset(&mut self, policy: BreakerPolicy) {
        self.window = SlidingWindow::new(policy.window);
        self.policy = policy;
        self.turn(Circuit::Closed);
    }

    /// Judges by another policy from now on. What was counted by another window is forgotten.
    pub fn set_policy(&mut self, policy: BreakerPolicy) {
        if policy.window != self.policy.window {
            self.window = SlidingWindow::new(policy.window);
        }
        self.policy = policy;
    }

    /// Takes up what was kept.
    pub fn restore(&mut self, kept: OpenBreaker) {
        self.turn(Circuit::Open(kept));
    }

    /// What must survive; nothing while it is closed.
    #[must_use]
    pub fn kept(&self) -> Option<OpenBreaker> {
        match self.state {
            Circuit::Closed => None,
            Circuit::Open(kept) | Circuit::HalfOpen { kept, .. } => Some(kept),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn phase(&self) -> BreakerState {
        match self.state {
            Circuit::Closed => BreakerState::Closed,
            Circuit::Open(_) => BreakerState::Open,
            Circuit::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// What may go at `now`. One whose pause is over is half open from here on.
    pub fn allowance(&mut self, now: Timestamp) -> BreakerAllowance {
        if let Circuit::Open(kept) = self.state
            && self.pause_is_over(&kept, now)
        {
            self.turn(Circuit::HalfOpen { kept, probing: false });
        }
        match self.state {
            Circuit::Closed => BreakerAllowance::Everything,
            Circuit::HalfOpen { probing: false, .. } => BreakerAllowance::Probe,
            Circuit::Open(_) | Circuit::HalfOpen { probing: true, .. } => BreakerAllowance::Nothing,
        }
    }

    /// No pause is longer than the longest: past that, the clock was set back.
    fn pause_is_over(&self, kept: &OpenBreaker, now: Timestamp) -> bool {
        kept.probe_at <= now || kept.probe_at.since(now) > self.policy.max_pause
    }

    /// Leave to send, while it is closed.
    #[must_use]
    pub fn enter(&self) -> Option<BreakerTicket> {
        matches!(self.state, Circuit::Closed)
            .then_some(BreakerTicket { round: self.round, probe: false })
    }

    /// Which of some deliveries goes as the probe, and leave to send it; none while no probe may go. Never the one
    /// that was the last probe, unless it is all there is: a message that breaks its endpoint must not keep it open.
    pub fn probe(&mut self, among: &[DeliveryId]) -> Option<(usize, BreakerTicket)> {
        let Circuit::HalfOpen { kept, probing: probing @ false } = &mut self.state else {
            return None;
        };
        let another = among.iter().position(|id| Some(*id) != kept.last_probe);
        let chosen = another.or((!among.is_empty()).then_some(0))?;
        kept.last_probe = Some(among[chosen]);
        *probing = true;
        Some((chosen, BreakerTicket { round: self.round, probe: true }))
    }

    /// Whether what was given leave may still be sent.
    #[must_use]
    pub fn stands(&self, pass: BreakerTicket) -> bool {
        pass.round == self.round
    }

    /// What was given leave was sent.
    pub fn ended(
        &mut self,
        pass: BreakerTicket,
        mark: HealthSignal,
        now: Timestamp,
    ) -> Option<BreakerChange> {
        if pass.round != self.round {
            return None;
        }
        match self.state {
            Circuit::Closed => self.count(mark, now),
            Circuit::Open(_) => None,
            Circuit::HalfOpen { .. } if !pass.probe => None,
            Circuit::HalfOpen { kept, .. } => Some(self.judge_probe(kept, mark, now)),
        }
    }

    /// What was given leave was not sent after all.
    pub fn abandoned(&mut self, pass: BreakerTicket) {
        if let Circuit::HalfOpen { probing, .. } = &mut self.state
            && pass.probe
            && pass.round == self.round
        {
            *probing = false;
        }
    }

    /// A person says that it is mended: a probe may go at once.
    pub fn released(&mut self, now: Timestamp) {
        if let Circuit::Open(kept) = self.state {
            let kept = OpenBreaker { probe_at: now, ..kept };
            self.turn(Circuit::HalfOpen { kept, probing: false });
        }
    }

    fn count(&mut self, mark: HealthSignal, now: Timestamp) -> Option<BreakerChange> {
        let cause = match mark {
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
        let kept = OpenBreaker { opened_at: now, probe_at, failed_probes: 0, last_probe: None };
        self.turn(Circuit::Open(kept));
        Some(BreakerChange::Opened(cause))
    }

    fn judge_probe(
        &mut self,
        kept: OpenBreaker,
        mark: HealthSignal,
        now: Timestamp,
    ) -> BreakerChange {
        if matches!(mark, HealthSignal::Healthy | HealthSignal::MessageRejected) {
            self.window = SlidingWindow::new(self.policy.window);
            self.turn(Circuit::Closed);
            return BreakerChange::Closed { opened_at: kept.opened_at };
        }
        let failed_probes = kept.failed_probes.saturating_add(1);
        let probe_at = now.after(self.policy.pause_after(failed_probes));
        self.turn(Circuit::Open(OpenBreaker { probe_at, failed_probes, ..kept }));
        BreakerChange::Reopened
    }

    fn turn(&mut self, state: Circuit) {
        self.state = state;
        self.round += 1;
    }
}

/// Attempts and failures of the last while, in parts that are forgotten whole.
#[derive(Debug, Clone)]
struct SlidingWindow {
    part: u64,
    parts: [Slice; SLICES],
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    /// Which part of all time.
    number: u64,
    failed: u32,
    of: u32,
}

impl SlidingWindow {
    fn new(length: Duration) -> Self {
        let part = (crate::time::millis(length) / SLICES as u64).max(1);
        Self { part, parts: [Slice::default(); SLICES] }
    }

    fn add(&mut self, now: Timestamp, failed: bool) {
        let number = now.as_millis() / self.part;
        let slot = usize::try_from(number % SLICES as u64).unwrap_or_default();
        let part = &mut self.parts[slot];
        if part.number != number {
            *part = Slice { number, ..Slice::default() };
        }
        part.of = part.of.saturating_add(1);
        part.failed = part.failed.saturating_add(u32::from(failed));
    }

    /// Failures, and attempts. What lies ahead is of a clock that was set back.
    fn sum(&self, now: Timestamp) -> (u32, u32) {
        let number = now.as_millis() / self.part;
        let counts = |part: &&Slice| part.number <= number && number - part.number < SLICES as u64;
        self.parts.iter().filter(counts).fold((0, 0), |(failed, of), part| {
            (failed.saturating_add(part.failed), of.saturating_add(part.of))
        })
    }
}

#[cfg(test)]
mod tests;
