//! Operations in the model's terms, and their results.

use weir_core::delivery::{Fence, NextState, Outcome};
use weir_core::effect::Effects;
use weir_core::time::Timestamp;

use crate::script::Script;
use crate::world::Key;

/// A request to store, with one event per item.
#[derive(Debug, Clone)]
pub struct RequestSpec {
    /// The source that receives it.
    pub source: &'static str,
    /// Its events.
    pub items: Vec<ItemSpec>,
}

/// An event to store.
#[derive(Debug, Clone)]
pub struct ItemSpec {
    /// The event's type.
    pub kind: &'static str,
    /// The sender's id, which is the dedup key; none for no deduplication.
    pub id: Option<String>,
    /// The tag of its body.
    pub tag: u32,
    /// Its body.
    pub script: Script,
    /// The order key.
    pub order_key: Option<&'static str>,
}

impl ItemSpec {
    /// The name of its event.
    #[must_use]
    pub fn key(&self) -> Key {
        format!("s{}", self.script.serial)
    }
}

/// The result for an event that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    As {
        /// The event's name.
        key: Key,
        /// True if the sender used its id before.
        id_reused: bool,
        /// True if it is unrouted.
        unrouted: bool,
    },
    /// The first event of its key is stored already.
    DuplicateOf(Key),
}

/// The end of an attempt.
#[derive(Debug, Clone)]
pub struct SettleSpec {
    /// The delivery of the attempt.
    pub delivery: Key,
    /// The claim of the attempt.
    pub fence: Fence,
    /// Start time of the attempt.
    pub started_at: Timestamp,
    /// Outcome of the attempt.
    pub outcome: Outcome,
    /// The delivery's next state.
    pub next: NextState,
    /// The effects of the run.
    pub effects: Effects,
    /// The reads of the run: keys with the model's version of them, and listings.
    pub reads: Reads,
}

/// The reads of a run, in the model's terms.
#[derive(Debug, Clone, Default)]
pub struct Reads {
    /// The run's time.
    pub at: Timestamp,
    /// Keys with the number of their last write; none if the key was absent.
    pub keys: Vec<(String, Option<u64>)>,
    /// Listings by prefix, with their results.
    pub ranges: Vec<(String, usize, Vec<String>)>,
}

/// The result of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settles {
    /// It is stored.
    Applied,
    /// The claim is superseded.
    Superseded,
    /// A value that was read has changed.
    Conflict,
}

/// A value of a handler's state.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) version: u64,
    pub(super) expires_at: Option<Timestamp>,
}

impl Value {
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}
