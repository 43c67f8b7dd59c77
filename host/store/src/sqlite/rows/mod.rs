//! Rows that several paths read or change, and what they mean together. Imports `memory` and below.

pub(crate) mod blocks;
pub(crate) mod business_keys;
pub(crate) mod delivery;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod lineage;
pub(crate) mod message;
pub(crate) mod order;
pub(crate) mod reads;
pub(crate) mod suspect_rows;
