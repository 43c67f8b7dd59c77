//! A module's identity: its version, which is the hash of its bytes, and its kind.

use std::fmt;

use sha2::{Digest as _, Sha256};
use weir_core::word_enum;

/// The SHA-256 of a module's bytes. It is shown as the first twelve hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u8; 32]);

impl Version {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// All 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..6]))
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

word_enum! {
    ModuleKind {
        /// A component for the world `handler`.
        Component = "component",
        /// A WASI command: JSON on stdin, effects on stdout.
        Command = "command",
    }
}

impl ModuleKind {
    /// The kind by the first eight bytes: the magic number, then the layer. None for other bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Some(Self::Component),
            [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Some(Self::Command),
            _ => None,
        }
    }
}
