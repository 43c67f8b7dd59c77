//! The base of the process: the clock that tells the date, tasks, shutdown by signals, the log and
//! its limit, and the limit on open files.

pub mod clock;
pub(crate) mod log_limit;
pub mod open_files;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
