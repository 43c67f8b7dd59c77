//! The stored format of rows: schema, numbers, names, ids and packed payloads. Imports nothing else
//! of the engine.

pub(crate) mod block;
pub(crate) mod damage;
pub(crate) mod failure;
pub(crate) mod ids;
pub(crate) mod leb128;
pub(crate) mod names;
pub(crate) mod next_numbers;
pub(crate) mod num;
pub(crate) mod packed_rollup;
pub(crate) mod payloads;
pub(crate) mod schema;
