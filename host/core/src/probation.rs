//! Probation of a new version of a handler: a run that fails under it runs again at once under the
//! version before, which shows if the version or the event is the cause. Pure.
//!
//! ```text
//! new ok                  -> the result of the new version; the event counts for it
//! new failed, old ok      -> the result of the old version; a strike against the new one
//! new failed, old failed  -> the result of the new version; the event or the world is the cause
//! ```
//! Enough strikes restore the old version; enough events or enough time without a strike end the
//! probation. No statistics are needed, so that a handler with a few events a day is judged too.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::delivery::Outcome;
use crate::id::DeliveryId;
use crate::time::Timestamp;

/// The most strikes that a policy may ask for: each is stored.
pub const STRIKES_MAX: u32 = 100;

/// The limits of a probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbationPolicy {
    runs: u32,
    time: Duration,
    strikes: u32,
}

/// Values that do not make a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidProbationPolicy {
    #[error("runs must be at least 1")]
    NoRuns,
    #[error("time must be at least 1s")]
    NoTime,
    #[error("strikes must be from 1 to {STRIKES_MAX}, not {0}")]
    Strikes(u32),
}

impl ProbationPolicy {
    /// A policy: `strikes` events on which only the new version fails restore the old one. The
    /// probation ends after `runs` events without another strike, or after `time` without one.
    pub const fn try_new(
        runs: u32,
        time: Duration,
        strikes: u32,
    ) -> Result<Self, InvalidProbationPolicy> {
        if runs == 0 {
            return Err(InvalidProbationPolicy::NoRuns);
        }
        if time.as_secs() == 0 {
            return Err(InvalidProbationPolicy::NoTime);
        }
        if strikes == 0 || strikes > STRIKES_MAX {
            return Err(InvalidProbationPolicy::Strikes(strikes));
        }
        Ok(Self { runs, time, strikes })
    }

    #[must_use]
    pub const fn runs(&self) -> u32 {
        self.runs
    }

    #[must_use]
    pub const fn time(&self) -> Duration {
        self.time
    }

    #[must_use]
    pub const fn strikes(&self) -> u32 {
        self.strikes
    }
}

/// A change of the version that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionChange {
    /// The state version of the version that served, if one did.
    pub before: Option<u32>,
    /// The state version of the new one.
    pub after: u32,
    /// True if the module is the same: only its settings changed.
    pub same_module: bool,
    /// True if a person chose the new version, or pinned it.
    pub chosen: bool,
}

/// The reason why a new version has no probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoProbation {
    #[error("probation is off")]
    Off,
    #[error("no version served before")]
    First,
    #[error("the module is the same")]
    SameModule,
    #[error("a person chose this version")]
    Chosen,
    #[error("the versions have different state versions ({before} and {after})")]
    StateVersion { before: u32, after: u32 },
}

/// Decides if a new version goes on probation. A decision of a person is final, and two versions
/// that read different forms of state cannot stand in for each other.
pub const fn begins(
    policy: Option<&ProbationPolicy>,
    change: VersionChange,
) -> Result<(), NoProbation> {
    let VersionChange { before, after, same_module, chosen } = change;
    let Some(before) = before else { return Err(NoProbation::First) };
    if policy.is_none() {
        return Err(NoProbation::Off);
    }
    if same_module {
        return Err(NoProbation::SameModule);
    }
    if chosen {
        return Err(NoProbation::Chosen);
    }
    if before != after {
        return Err(NoProbation::StateVersion { before, after });
    }
    Ok(())
}

/// True if a run with this outcome is repeated under the version before. A fault of the hub says
/// nothing about a version.
#[must_use]
pub const fn is_questioned(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Retry
        | Outcome::Reject
        | Outcome::Refused
        | Outcome::Timeout
        | Outcome::OutOfMemory
        | Outcome::StackOverflow
        | Outcome::TooMuchData
        | Outcome::Crashed
        | Outcome::BadOutput => true,
        Outcome::Ok
        | Outcome::NotLoaded
        | Outcome::Status
        | Outcome::Network
        | Outcome::Blocked
        | Outcome::ConditionError
        | Outcome::DescendantsExhausted
        | Outcome::Missing
        | Outcome::HostLost
        | Outcome::Internal => false,
    }
}

/// The result of an event under a version on probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairedResult {
    /// The new version handled it.
    NewDone,
    /// Only the old version handled it.
    OldDone,
    /// Neither handled it, or the hub failed.
    Undecided,
}

impl PairedResult {
    /// The result of the run under the new version and of the run under the old one, if there was
    /// one.
    #[must_use]
    pub fn of(new: Outcome, old: Option<Outcome>) -> Self {
        match (new, old) {
            (Outcome::Ok, _) => Self::NewDone,
            (new, Some(Outcome::Ok)) if is_questioned(new) => Self::OldDone,
            _ => Self::Undecided,
        }
    }
}

/// An event on which only the new version failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    pub delivery: DeliveryId,
    pub at: Timestamp,
    /// The reason of the failed run.
    pub reason: Box<str>,
}

/// The course of a probation. It is stored, so that it goes on after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    pub started_at: Timestamp,
    /// Events that the new version handled since the start or the last strike.
    pub done: u32,
    /// At most one for each delivery.
    pub strikes: Vec<Strike>,
}

/// The state of a probation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbationVerdict {
    GoesOn,
    /// The new version has proved itself.
    Passed,
    /// The old version is to serve again.
    Failed,
}

impl Probation {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { started_at: now, done: 0, strikes: Vec::new() }
    }

    /// The start, or the time of the last strike.
    #[must_use]
    pub fn quiet_since(&self) -> Timestamp {
        self.strikes.last().map_or(self.started_at, |strike| strike.at.max(self.started_at))
    }

    /// The time at which it ends if there is no other strike.
    #[must_use]
    pub fn ends_at(&self, policy: &ProbationPolicy) -> Timestamp {
        self.quiet_since().after(policy.time)
    }

    #[must_use]
    pub fn verdict(&self, policy: &ProbationPolicy, now: Timestamp) -> ProbationVerdict {
        if self.strikes.len() >= policy.strikes as usize {
            return ProbationVerdict::Failed;
        }
        if self.done >= policy.runs || now >= self.ends_at(policy) {
            return ProbationVerdict::Passed;
        }
        ProbationVerdict::GoesOn
    }

    /// Takes the result of an event into account. Returns true if that made a strike. Nothing
    /// counts after the end, and a delivery counts once as a strike.
    pub fn record(
        &mut self,
        policy: &ProbationPolicy,
        result: PairedResult,
        delivery: DeliveryId,
        reason: &str,
        now: Timestamp,
    ) -> bool {
        if self.verdict(policy, now) != ProbationVerdict::GoesOn {
            return false;
        }
        match result {
            PairedResult::Undecided => false,
            PairedResult::NewDone => {
                self.done = self.done.saturating_add(1);
                false
            }
            PairedResult::OldDone if self.strikes.iter().any(|s| s.delivery == delivery) => false,
            PairedResult::OldDone => {
                self.done = 0;
                self.strikes.push(Strike { delivery, at: now, reason: reason.into() });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn policy() -> ProbationPolicy {
        ProbationPolicy::try_new(200, 3 * DAY, 3).unwrap()
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn id(n: u64) -> DeliveryId {
        DeliveryId::from_bits(n.into())
    }

    /// Feeds one event after the other, `every` apart. Returns the number of events until the end
    /// and the verdict then.
    fn play(
        policy: &ProbationPolicy,
        every: Duration,
        result: impl Fn(u64) -> PairedResult,
    ) -> (u64, ProbationVerdict) {
        let mut probation = Probation::new(at(0));
        for n in 1..100_000 {
            let now = at(crate::time::millis(every) * n);
            let before = probation.verdict(policy, now);
            if before != ProbationVerdict::GoesOn {
                return (n - 1, before);
            }
            probation.record(policy, result(n), id(n), "failed", now);
            let after = probation.verdict(policy, now);
            if after != ProbationVerdict::GoesOn {
                return (n, after);
            }
        }
        panic!("it never ended");
    }

    fn one_in_three(n: u64) -> PairedResult {
        if n.is_multiple_of(3) { PairedResult::OldDone } else { PairedResult::NewDone }
    }

    #[test]
    fn one_failure_in_three_is_rolled_back_at_three_events_a_day() {
        let ended = play(&policy(), DAY / 3, one_in_three);
        assert_eq!(ended, (9, ProbationVerdict::Failed));
    }

    #[test]
    fn one_failure_in_three_is_rolled_back_at_a_thousand_a_second() {
        let ended = play(&policy(), Duration::from_millis(1), one_in_three);
        assert_eq!(ended, (9, ProbationVerdict::Failed));
    }

    #[test]
    fn events_that_fail_in_both_versions_are_no_strikes() {
        let result = PairedResult::of(Outcome::Crashed, Some(Outcome::Crashed));
        assert_eq!(result, PairedResult::Undecided);
        let (_, ended) = play(&policy(), DAY / 3, |_| result);
        assert_eq!(ended, ProbationVerdict::Passed, "time without a strike ends it");
    }

    #[test]
    fn a_version_that_handles_everything_passes_after_its_runs() {
        let ended = play(&policy(), Duration::from_millis(1), |_| PairedResult::NewDone);
        assert_eq!(ended, (200, ProbationVerdict::Passed));
    }

    #[test]
    fn a_strike_starts_the_count_and_the_time_again() {
        let policy = policy();
        let mut probation = Probation::new(at(0));
        for n in 0..199 {
            probation.record(&policy, PairedResult::NewDone, id(n), "", at(n));
        }
        assert!(probation.record(&policy, PairedResult::OldDone, id(1_000), "x", at(500)));
        assert_eq!((probation.done, probation.quiet_since()), (0, at(500)));
        assert_eq!(probation.ends_at(&policy), at(500).after(3 * DAY));
    }

    #[test]
    fn a_delivery_that_is_replayed_counts_once() {
        let policy = policy();
        let mut probation = Probation::new(at(0));
        for n in 0..10 {
            probation.record(&policy, PairedResult::OldDone, id(7), "x", at(n));
        }
        assert_eq!(probation.strikes.len(), 1);
    }

    #[test]
    fn a_fault_of_the_hub_says_nothing_about_a_version() {
        for outcome in Outcome::ALL {
            let result = PairedResult::of(*outcome, Some(Outcome::Ok));
            let expected = match outcome.as_str() {
                "ok" => PairedResult::NewDone,
                "retry" | "reject" | "refused" | "timeout" | "out_of_memory" | "stack_overflow"
                | "too_much_data" | "crashed" | "bad_output" => PairedResult::OldDone,
                _ => PairedResult::Undecided,
            };
            assert_eq!(result, expected, "{outcome}");
        }
    }

    #[test]
    fn a_person_and_another_state_version_rule_a_probation_out() {
        let policy = policy();
        let change = VersionChange { before: Some(1), after: 1, same_module: false, chosen: false };
        let of = |change| begins(Some(&policy), change);
        assert_eq!(of(change), Ok(()));
        assert_eq!(begins(None, change), Err(NoProbation::Off));
        assert_eq!(of(VersionChange { before: None, ..change }), Err(NoProbation::First));
        assert_eq!(of(VersionChange { chosen: true, ..change }), Err(NoProbation::Chosen));
        let same = VersionChange { same_module: true, ..change };
        assert_eq!(of(same), Err(NoProbation::SameModule));
        let other = VersionChange { after: 2, ..change };
        assert_eq!(of(other), Err(NoProbation::StateVersion { before: 1, after: 2 }));
    }

    #[test]
    fn a_probation_reads_back_as_written() {
        let mut probation = Probation::new(at(1));
        probation.record(&policy(), PairedResult::OldDone, id(7), "exit 1", at(2));
        let stored = serde_json::to_string(&probation).unwrap();
        assert_eq!(serde_json::from_str::<Probation>(&stored).unwrap(), probation);
    }

    fn results() -> impl Strategy<Value = Vec<(PairedResult, u64, u64)>> {
        let result = prop_oneof![
            Just(PairedResult::NewDone),
            Just(PairedResult::OldDone),
            Just(PairedResult::Undecided),
        ];
        prop::collection::vec((result, 0_u64..20, 0_u64..200_000_000), 0..200)
    }

    proptest! {
        /// The old version returns exactly if it alone handled as many deliveries as there are
        /// strikes, and no result changes an end.
        #[test]
        fn only_distinct_strikes_restore_the_old_version(
            history in results(),
            (runs, days, strikes) in (1_u32..50, 1_u64..10, 1_u32..6),
        ) {
            let days = u32::try_from(days).unwrap();
            let policy = ProbationPolicy::try_new(runs, days * DAY, strikes).unwrap();
            let mut probation = Probation::new(at(0));
            let (mut now, mut ended) = (0, None);
            for (result, delivery, pause) in history {
                now += pause;
                let before = probation.clone();
                let was = ended.or(match before.verdict(&policy, at(now)) {
                    ProbationVerdict::GoesOn => None,
                    end => Some(end),
                });
                probation.record(&policy, result, id(delivery), "x", at(now));
                if let Some(was) = was {
                    prop_assert_eq!(&probation, &before);
                    prop_assert_eq!(probation.verdict(&policy, at(now)), was);
                    ended = Some(was);
                }
                if result != PairedResult::OldDone {
                    prop_assert_eq!(&probation.strikes, &before.strikes);
                }
                let mut struck: Vec<_> = probation.strikes.iter().map(|s| s.delivery).collect();
                struck.sort_unstable();
                struck.dedup();
                prop_assert_eq!(struck.len(), probation.strikes.len());
                prop_assert!(probation.strikes.len() <= strikes as usize);
                let failed = probation.verdict(&policy, at(now)) == ProbationVerdict::Failed;
                prop_assert_eq!(failed, probation.strikes.len() == strikes as usize);
            }
        }

        /// A clock that is set back ends no probation.
        #[test]
        fn a_clock_set_back_ends_no_probation(start in 0_u64..1_000_000_000, back in 0_u64..1_000_000_000) {
            let probation = Probation::new(at(start));
            let verdict = probation.verdict(&policy(), at(start.saturating_sub(back)));
            prop_assert_eq!(verdict, ProbationVerdict::GoesOn);
        }
    }
}
