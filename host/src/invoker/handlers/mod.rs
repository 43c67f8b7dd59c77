//! The handlers of this process: the version of each that serves, its runtime, and its state.
//!
//! Not here: where versions come from (`plugins`), and how they are run (`running`).

pub(crate) mod batching;
pub(crate) mod runtime;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod trial;
