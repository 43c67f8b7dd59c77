//! The registry: small, versioned entries by (kind, key), for everything that is not an event.

use serde::{Deserialize, Serialize};

/// What an entry is about. The words are written to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// Breakers of destinations and versions.
    Breaker,
    /// Which version of a handler is current, with its manifest.
    Handler,
    /// The bytes of a version, by hash.
    Module,
    /// Routing tables by hash.
    Table,
    /// Secrets that were learned or made here.
    Secret,
    /// Long jobs: replays and the like.
    Job,
    /// Tokens of the admin API.
    Token,
    /// Who did what.
    Audit,
    /// The configuration at the last start.
    Setting,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Breaker,
        Self::Handler,
        Self::Module,
        Self::Table,
        Self::Secret,
        Self::Job,
        Self::Token,
        Self::Audit,
        Self::Setting,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Handler => "handler",
            Self::Module => "module",
            Self::Table => "table",
            Self::Secret => "secret",
            Self::Job => "job",
            Self::Token => "token",
            Self::Audit => "audit",
            Self::Setting => "setting",
        }
    }
}

/// A stored entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryEntry {
    /// Rises with each write.
    pub version: u64,
    /// The value; in lists absent when large.
    pub value: Option<Vec<u8>>,
}

/// What became of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    /// It is written, with this version.
    Written {
        /// The new version.
        version: u64,
    },
    /// The entry has another version, or is absent.
    Conflict {
        /// What is there.
        found: Option<u64>,
    },
}
