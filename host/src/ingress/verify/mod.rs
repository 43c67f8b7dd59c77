//! The keys that a source's sender publishes, and the addresses that a sender wants visited:
//! fetches that a request asks for, each within limits.
//!
//! Not here: the places that keys may come from and whether a key fits, which the
//! core decides.

pub(crate) mod confirmations;
pub(crate) mod fetch_limiter;
pub(crate) mod key_cache;

use thiserror::Error;
use weir_core::verify::KeyError;

use crate::egress::fetch::FetchError;

/// A fetch that failed or was not allowed. The sender is asked to come back.
#[derive(Debug, Clone, Error)]
pub(crate) enum Unavailable {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the document at {host} holds no usable key")]
    Unreadable {
        host: Box<str>,
        #[source]
        cause: KeyError,
    },
    #[error("the last fetch of this key failed moments ago")]
    FailedRecently,
    #[error("too many fetches in too short a time")]
    TooMany,
}
