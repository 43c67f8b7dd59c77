//! The input and the report of a run, as plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use weir_core::bounds::{EFFECTS_PER_RUN_MAX, LOG_BYTES_PER_RUN_MAX, MIB, STATE_KEY_BYTES_MAX};
use weir_core::delivery::{Outcome, Verdict};
use weir_core::effect::Effects;
use weir_core::event::Event;
use weir_core::name::{DestinationName, HandlerName};
use weir_core::state::{ReadSet, StateEntry, StateReader};
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
    /// The input of a command besides the event. Components do not use it.
    pub command: Arc<CommandInput>,
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

/// The input that the operator gives a command besides the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandInput {
    /// Its arguments, after its own name.
    pub args: Vec<String>,
    /// The keys of its state that are in its input.
    pub state: Vec<StateKeys>,
}

/// Keys of a handler's state: one, or all with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKeys {
    One(Box<str>),
    Prefix(Box<str>),
}

/// A text that names no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be a key of 1 to {STATE_KEY_BYTES_MAX} bytes, or a prefix that ends in `*`")]
pub struct InvalidStateKeys;

impl StateKeys {
    /// Reads `total`, or `count:*` for all keys that begin with `count:`.
    pub fn parse(text: &str) -> Result<Self, InvalidStateKeys> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.len() <= STATE_KEY_BYTES_MAX => Ok(Self::Prefix(prefix.into())),
            None if !text.is_empty() && text.len() <= STATE_KEY_BYTES_MAX => {
                Ok(Self::One(text.into()))
            }
            _ => Err(InvalidStateKeys),
        }
    }
}

/// The rights of a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    pub destinations: AllowedDestinations,
    /// The destinations that exist.
    pub known: Arc<BTreeSet<DestinationName>>,
    /// True if it may emit events.
    pub emit: bool,
    /// The file and table that grant, such as `plugins/orders.toml: [grant]`, for messages.
    pub place: Arc<str>,
}

impl Grants {
    /// Those of the destinations that a handler needs to which it may not send, each with the
    /// reason.
    pub fn missing<'a>(
        &self,
        needs: &'a [DestinationName],
    ) -> impl Iterator<Item = (&'a DestinationName, MissingGrant)> {
        needs.iter().filter_map(|name| match self.destinations.include(name) {
            false => Some((name, MissingGrant::NotGranted)),
            true if !self.known.contains(name) => Some((name, MissingGrant::NoDestination)),
            true => None,
        })
    }
}

/// The reason that a handler may not send to a destination that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingGrant {
    /// The operator has not granted it.
    NotGranted,
    /// There is no such destination.
    NoDestination,
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
    /// The stored entries of the keys in `reads`, in the same order, as the guest saw them.
    pub values_read: Vec<Option<StateEntry>>,
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
