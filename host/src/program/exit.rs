//! Exit codes, which are part of the interface: scripts may rely on them.

use std::process::ExitCode;

/// The exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Failed, for a reason that was printed.
    Failure = 1,
    /// Nothing was started: the configuration or the command line is invalid, or a port is in use.
    Usage = 2,
    Unreachable = 3,
    NotFound = 4,
    /// The first start of this version would change the store.
    Changes = 5,
    /// The compared results differ.
    Differs = 6,
    /// The handler gave the event up.
    Reject = 65,
    /// The handler did not return: it crashed, or exceeded a limit.
    RunFailed = 70,
    Store = 74,
    /// The handler asked for another run.
    Retry = 75,
}

impl Exit {
    /// All of them with their meanings, for the help.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Success, "success"),
        (Self::Failure, "failure; the reason was printed"),
        (Self::Usage, "invalid configuration or command line, or a port is in use"),
        (Self::Unreachable, "the hub or the endpoint cannot be reached"),
        (Self::NotFound, "not found"),
        (Self::Changes, "`upgrade --check`: the first start of this version changes the store"),
        (Self::Differs, "`rerun`, `backtest`: the results differ"),
        (Self::Reject, "`run`: the handler rejected the event"),
        (Self::RunFailed, "`run`: the handler crashed, exceeded a limit or was refused"),
        (Self::Store, "the store failed and the hub stopped"),
        (Self::Retry, "`run`: the handler asked for another run"),
    ];

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
