//! Reading one request: its head and body within their limits, and what is stored of it with its
//! secrets replaced.
//!
//! Not here: verification, routing, the store's transactions.

pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod content;
pub(crate) mod fingerprints;
pub(crate) mod head;
pub(crate) mod redact;
pub(crate) mod secret_fields;
pub(crate) mod url_facts;
