//! One connection and its client: the phase it is in, the network that it counts to, and the table
//! of all open connections.
//!
//! Not here: HTTP answers, sources, the store.

pub(crate) mod client;
pub(crate) mod head_scanner;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod run_to_completion;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod timed_io;
