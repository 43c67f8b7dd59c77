//! Exit codes. They are part of the command line's contract: scripts may rely on them.

use std::process::ExitCode;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked.
    Success = 0,
    /// It did not, for a reason that it printed.
    Failure = 1,
    /// The configuration or the command line is wrong, or a port is in use: nothing was started.
    Usage = 2,
    /// The hub or the endpoint could not be reached.
    Unreachable = 3,
    /// What was asked for is not there.
    NotFound = 4,
    /// The store failed; nothing more was accepted.
    Store = 74,
}

impl Exit {
    /// All of them with what they mean, for the documentation.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Success, "it did what was asked"),
        (Self::Failure, "it did not, for a reason that it printed"),
        (Self::Usage, "the configuration or the command line is wrong, or a port is in use"),
        (Self::Unreachable, "the hub or the endpoint could not be reached"),
        (Self::NotFound, "what was asked for is not there"),
        (Self::Store, "the store failed; nothing more was accepted"),
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
