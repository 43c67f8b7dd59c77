//! The parts of a store that callers and the writer share, the write queue, and prepared writes.
//! Imports `rows` and below.

pub(crate) mod dictionaries;
pub(crate) mod group;
pub(crate) mod packed_effects;
pub(crate) mod prepared_request;
pub(crate) mod prepared_settlement;
pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod shared_holds;
pub(crate) mod shared_time;
