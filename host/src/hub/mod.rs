//! The hub as a whole: bind the sockets, build every part, run, drain.
//!
//! `process` is the outer frame that `serve` and `demo` share; `build` wires the parts; `serving`
//! is the running hub; `reload` puts changed sources into force; `watchdog` tells the service
//! manager that the hub makes progress.

mod build;
mod listen;
mod process;
mod provider_files;
mod reload;
mod serving;
mod watchdog;

pub use build::{Hub, Runtimes};
pub use listen::{Addresses, BindError, Listeners};
pub(crate) use process::{OnHangup, drain, run, until_stopped};
pub use serving::{HubFailure, ServingHub};
