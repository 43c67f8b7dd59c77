//! The base of the process: the only places that read the clock, spawn tasks, listen to signals and
//! start the log.

pub mod clock;
pub(crate) mod log_limit;
pub mod open_files;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
