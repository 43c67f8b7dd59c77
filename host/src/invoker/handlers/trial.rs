//! A version on probation with the version before it, while both are in memory.
//!
//! Runs record results here, and `plugins::probation` brings the registry in line. Not here: the
//! rules, which are in `weir_core::probation`.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_core::id::DeliveryId;
use weir_core::probation::{PairedResult, Probation, ProbationPolicy, ProbationVerdict};
use weir_core::time::Timestamp;

use super::runtime::ServingVersion;

/// The probation of a version in service.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The version that stands in.
    pub(crate) old: Arc<ServingVersion>,
    pub(crate) policy: ProbationPolicy,
    course: Mutex<Probation>,
    /// Notified when the registry is to be brought in line.
    changed: Arc<Notify>,
}

impl Trial {
    pub(crate) fn new(
        old: Arc<ServingVersion>,
        policy: ProbationPolicy,
        course: Probation,
        changed: Arc<Notify>,
    ) -> Self {
        Self { old, policy, course: Mutex::new(course), changed }
    }

    /// True while a failed run is to be repeated under the old version.
    pub(crate) fn goes_on(&self, now: Timestamp) -> bool {
        self.verdict(now) == ProbationVerdict::GoesOn
    }

    pub(crate) fn verdict(&self, now: Timestamp) -> ProbationVerdict {
        self.course.lock().verdict(&self.policy, now)
    }

    /// The course so far.
    pub(crate) fn course(&self) -> Probation {
        self.course.lock().clone()
    }

    /// Takes the result of a settled event into account. Returns true if that made a strike.
    pub(crate) fn record(
        &self,
        result: PairedResult,
        delivery: DeliveryId,
        reason: &str,
        now: Timestamp,
    ) -> bool {
        let (struck, verdict) = {
            let mut course = self.course.lock();
            let struck = course.record(&self.policy, result, delivery, reason, now);
            (struck, course.verdict(&self.policy, now))
        };
        if struck || verdict != ProbationVerdict::GoesOn {
            self.changed.notify_one();
        }
        struck
    }
}
