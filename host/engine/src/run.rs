//! The input and the report of a run, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_core::bounds::{EFFECTS_PER_RUN_MAX, LOG_BYTES_PER_RUN_MAX, MIB};
use weir_core::delivery::{Outcome, Verdict};
use weir_core::effect::Effects;
use weir_core::event::Event;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::state::{ReadSet, StateReader};
use weir_core::time::Timestamp;

use crate::log::RunLog;

/// The input of one run.
#[derive(Clone)]
pub struct Run {
    pub event: Arc<Event>,
    pub handler: HandlerName,
    /// The handler's `[config]`.
    pub config: Arc<BTreeMap<String, String>>,
    pub grants: Arc<Grants>,
    pub limits: RunLimits,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// A part of the outward ids of its effects; 0 unless an operator asked for new ids.
    pub id_round: u32,
    /// The start of the run, which the guest's wall clock shows during the whole run.
    pub now: Timestamp,
    /// The seed of its randomness. The same seed gives the same run.
    pub seed: [u8; 32],
    /// The handler's committed state.
    pub state: Arc<dyn StateReader>,
}

impl fmt::Debug for Run {
    /// Without `config` and `seed`, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("handler", &self.handler)
            .field("event", &self.event.id)
            .field("attempt", &self.attempt)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The rights of a handler.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    pub destinations: AllowedDestinations,
    /// The destinations that exist.
    pub known: Arc<BTreeSet<DestinationName>>,
    /// True if it may emit events.
    pub emit: bool,
}

/// The destinations that a handler may send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedDestinations {
    /// All that exist.
    All,
    These(BTreeSet<DestinationName>),
}

impl Default for AllowedDestinations {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl AllowedDestinations {
    #[must_use]
    pub fn include(&self, name: &DestinationName) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

/// The limits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Linear memory in bytes, all memories of the instance together. Never more than
    /// [`crate::Options::max_memory`].
    pub memory: usize,
    /// Wall time, with the host functions it calls.
    pub time: Duration,
    /// Size of its log.
    pub log_bytes: usize,
    /// Number of messages and emitted events.
    pub effects: usize,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            memory: 64 * MIB,
            time: Duration::from_secs(5),
            log_bytes: LOG_BYTES_PER_RUN_MAX,
            effects: EFFECTS_PER_RUN_MAX,
        }
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// The handler returned ok: its effects are to be committed.
    Ok,
    /// It failed, and has no effects.
    Failed {
        outcome: Outcome,
        /// True if a retry may help.
        retryable: bool,
        /// For people, if possible in the handler's own words. At most 4,096 bytes.
        reason: String,
    },
}

/// The report of a run.
#[derive(Debug, Clone)]
pub struct RunReport {
    pub end: RunEnd,
    /// Its effects; none unless it succeeded (INV-3).
    pub effects: Effects,
    /// Its reads of state, which settling validates after any end.
    pub reads: ReadSet,
    /// The shortest wait before another attempt that it asked for.
    pub retry_after: Option<Duration>,
    pub log: RunLog,
    /// Wall time, without the wait for a slot.
    pub duration: Duration,
    /// The most linear memory it used, in bytes.
    pub memory_peak: usize,
}

impl RunReport {
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match &self.end {
            RunEnd::Ok => Outcome::Ok,
            RunEnd::Failed { outcome, .. } => *outcome,
        }
    }

    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.end {
            RunEnd::Ok => Verdict::Done,
            RunEnd::Failed { retryable: true, .. } => {
                Verdict::TryAgain { at_least: self.retry_after }
            }
            RunEnd::Failed { retryable: false, .. } => Verdict::GiveUp,
        }
    }

    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.end {
            RunEnd::Ok => None,
            RunEnd::Failed { reason, .. } => Some(reason),
        }
    }
}
