//! The sources in force: each with its verifier, access rules, answers and published keys, and the
//! secrets that senders handed over.
//!
//! Not here: the path of a request.

pub(crate) mod access;
pub(crate) mod hand_over;
pub(crate) mod live_source;
pub(crate) mod live_sources;
