//! The state of a handler as operators read and change it, and the renaming of a handler.

use weir_core::effect::StateWrite;
use weir_core::name::HandlerName;
use weir_core::state::{StateEntry, StateQuota, StateSize};

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStateValue {
    pub key: Box<str>,
    pub entry: StateEntry,
}

/// A page of a handler's state, in byte order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatePage {
    pub values: Vec<StoredStateValue>,
    /// True if more keys follow.
    pub more: bool,
    /// Size of the whole state.
    pub size: StateSize,
}

/// Selection of a page of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateQuery {
    pub handler: HandlerName,
    pub prefix: Box<str>,
    /// Only keys after this one.
    pub after: Box<str>,
    pub limit: usize,
}

/// Writes of an operator. Runs that read an older value conflict, and run again.
#[derive(Debug, Clone)]
pub struct StateChange {
    pub handler: HandlerName,
    /// Each key once.
    pub writes: Vec<StateWrite>,
    pub quota: StateQuota,
}

/// Result of a [`StateChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChanged {
    /// It is stored.
    Written(StateSize),
    /// The state would have this size, above its quota. Nothing is stored.
    Full(StateSize),
}

/// Renames a handler: its state, breaker, holds and history carry the new name, in one commit.
#[derive(Debug, Clone)]
pub struct HandlerRename {
    pub from: HandlerName,
    pub to: HandlerName,
    /// The entry of the registry, under the new name.
    pub entry: Vec<u8>,
}

/// Result of a [`HandlerRename`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlerRenamed {
    Done,
    /// There is no handler by the old name.
    Unknown,
    /// The new name has an entry or state of its own. Nothing is changed.
    Taken,
}
