//! A run: what it is given, and what it leaves. Plain data; the host acts on it.

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

use crate::log::Log;

/// Everything one run is given.
#[derive(Clone)]
pub struct Run {
    /// What it handles.
    pub event: Arc<Event>,
    /// Whose run it is.
    pub handler: HandlerName,
    /// The handler's `[config]`.
    pub config: Arc<BTreeMap<String, String>>,
    /// What it may do.
    pub grants: Arc<Grants>,
    /// How much of everything it may use.
    pub limits: RunLimits,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Part of the outward ids of what it asks for; 0 unless an operator asked for new ones.
    pub id_round: u32,
    /// The time it begins, which stands still for it.
    pub now: Timestamp,
    /// Where its randomness comes from. The same seed gives the same run.
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

/// What a handler may do beyond computing.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Where it may send.
    pub destinations: AllowedDestinations,
    /// The destinations that exist.
    pub known: Arc<BTreeSet<DestinationName>>,
    /// Whether it may emit events.
    pub emit: bool,
}

/// The destinations that a handler may send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedDestinations {
    /// Any that exists.
    All,
    /// Only these.
    These(BTreeSet<DestinationName>),
}

impl Default for AllowedDestinations {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl AllowedDestinations {
    /// Whether one is among them.
    #[must_use]
    pub fn include(&self, name: &DestinationName) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(name),
        }
    }
}

/// How much one run may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunLimits {
    /// Linear memory in bytes, all memories of the instance together; never above [`crate::Options::max_memory`].
    pub memory: usize,
    /// Wall time, the host's work for it included.
    pub time: Duration,
    /// Bytes of log kept.
    pub log_bytes: usize,
    /// Messages and emitted events.
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

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// The handler said ok: what it asked for is to be committed.
    Ok,
    /// It failed, and asked for nothing.
    Failed {
        /// How.
        outcome: Outcome,
        /// Whether running the event again may help.
        again: bool,
        /// Why, for people. At most 4,096 bytes, in the handler's own words where it had any.
        reason: String,
    },
}

/// What a run leaves.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// How it ended.
    pub end: RunEnd,
    /// What it asked for; nothing unless it ended well (INV-3).
    pub effects: Effects,
    /// The state that it read, to be proved whatever the end.
    pub reads: ReadSet,
    /// The least wait that it asked for before another attempt.
    pub retry_after: Option<Duration>,
    /// What it wrote.
    pub log: Log,
    /// Wall time, without the wait for a slot.
    pub duration: Duration,
    /// The most linear memory it had, in bytes.
    pub memory_peak: usize,
}

impl RunReport {
    /// How it ended, as a stable word.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match &self.end {
            RunEnd::Ok => Outcome::Ok,
            RunEnd::Failed { outcome, .. } => *outcome,
        }
    }

    /// What its end says about trying again.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match &self.end {
            RunEnd::Ok => Verdict::Done,
            RunEnd::Failed { again: true, .. } => Verdict::TryAgain { at_least: self.retry_after },
            RunEnd::Failed { again: false, .. } => Verdict::GiveUp,
        }
    }

    /// Why it failed.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.end {
            RunEnd::Ok => None,
            RunEnd::Failed { reason, .. } => Some(reason),
        }
    }
}
