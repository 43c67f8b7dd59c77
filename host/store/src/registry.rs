//! The registry: small versioned entries by kind and key, for everything that is not an event.

use serde::{Deserialize, Serialize};

/// Kind of an entry. Its word is written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// Breakers of destinations and versions.
    Breaker,
    /// The current version of a handler, with its manifest.
    Handler,
    /// Replays by filter that the hub does by itself, by name.
    Job,
    /// Bytes of a version, by its hash.
    Module,
    /// The last document of each source that is polled.
    Poll,
    /// The last time of each schedule.
    Schedule,
    /// Secrets that the hub received or made.
    Secret,
    /// The configuration at the last start.
    Setting,
    /// Named tokens of the admin API, by name; their digests.
    Token,
}

impl EntryKind {
    pub const ALL: [Self; 9] = [
        Self::Breaker,
        Self::Handler,
        Self::Job,
        Self::Module,
        Self::Poll,
        Self::Schedule,
        Self::Secret,
        Self::Setting,
        Self::Token,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Handler => "handler",
            Self::Job => "job",
            Self::Module => "module",
            Self::Poll => "poll",
            Self::Schedule => "schedule",
            Self::Secret => "secret",
            Self::Setting => "setting",
            Self::Token => "token",
        }
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEntry {
    /// Number that rises with each write.
    pub version: u64,
    /// The value. A list leaves a large one out.
    pub value: Option<Vec<u8>>,
}

/// Result of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    Written {
        /// Version of the written entry.
        version: u64,
    },
    /// The entry has another version, or there is none.
    Conflict {
        /// Version of the stored entry.
        found: Option<u64>,
    },
}
