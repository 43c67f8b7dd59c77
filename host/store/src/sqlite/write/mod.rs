//! The write path: one thread commits groups of requests, settlements and other writes. Imports
//! `engine` and below.

pub(crate) mod audit;
pub(crate) mod cancel;
pub(crate) mod complete_blocks;
pub(crate) mod discard;
pub(crate) mod effect_keys;
pub(crate) mod effects;
pub(crate) mod erase;
pub(crate) mod handler_state;
pub(crate) mod holds;
pub(crate) mod ingest;
pub(crate) mod post_commit;
pub(crate) mod registry;
pub(crate) mod replay;
pub(crate) mod replies;
pub(crate) mod reroute;
pub(crate) mod retry_now;
pub(crate) mod rollups;
pub(crate) mod settle;
pub(crate) mod state;
pub(crate) mod writer;
