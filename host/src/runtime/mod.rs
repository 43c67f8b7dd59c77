//! The base of the process: the clock that tells the date, processor time, tasks, shutdown by
//! signals, the log and its limit, the limit on open files, and the service manager.

pub mod clock;
pub(crate) mod cpu_timed;
pub mod log_export;
pub(crate) mod log_limit;
pub mod open_files;
pub mod pulse;
pub mod service;
pub mod shutdown;
pub mod tasks;
pub mod telemetry;
