//! The read path: claims, lists and look-ups. Imports `engine` and below.

pub(crate) mod attempt_input;
pub(crate) mod audit;
pub(crate) mod claim;
pub(crate) mod cursor;
pub(crate) mod find;
pub(crate) mod in_order;
pub(crate) mod lists;
pub(crate) mod oldest_waiting;
pub(crate) mod query;
pub(crate) mod refill;
pub(crate) mod rollups;
pub(crate) mod state_page;
