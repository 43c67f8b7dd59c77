//! Weir's store: durable events, deliveries, handler state and registry, behind traits that engines
//! implement.
//!
//! Rules for every engine:
//! - `Ok` means durable. A batch is a hint for group commit; atomicity is per item.
//! - The store owns time: it stamps rows, `claim` returns its `now`, a settlement gives a delay.
//! - Conflicts are values, not errors. An error says who can act and whether to try again.
//! - Wake-ups and hand-offs in memory are hints. The stored row is compared before anything is
//!   done.
//! - Cursors are opaque. No engine types, no transactions that a caller could hold.
//!
//! Not here: business rules, HTTP, routing, retry decisions.

#![forbid(unsafe_code)]

use std::sync::Arc;

use weir_core::time::Clock;

pub mod audit;
pub mod claim;
pub mod error;
pub mod handler_state;
pub mod health;
pub mod hold;
pub mod ingest;
mod private;
pub mod quarantine;
pub mod query;
pub mod registry;
pub mod rollup;
pub mod settle;
mod store;
pub mod upkeep;

pub mod sqlite;

pub use claim::{Claim, ClaimGuard, ClaimRequest, ClaimedMessage, Lane, RunGuard};
pub use error::StoreError;
pub use ingest::{DedupKey, EventIngested, Ingested, NewDelivery, NewEvent, NewRequest, Routed};
pub use settle::{
    AttemptRecord, NewEmit, NewMessage, NewReply, OtherRun, ResponseRecord, RoutedEffects, Settled,
    Settlement,
};
pub use store::{Dispatch, Ingest, Maintenance, Operations, Queries, Registry, Store};

/// Settings that every engine needs. Settings of one engine are part of the store's URL.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub clock: Arc<dyn Clock>,
    /// Runs of handlers that may be under way at once.
    pub run_slots: usize,
}

/// Opens the store that a URL names, such as `sqlite:data/weir.db`.
///
/// # Errors
/// [`StoreError::Invalid`] for a URL of no known engine or with an unknown setting, and the
/// engine's own errors.
pub fn open(url: &str, options: StoreOptions) -> Result<Arc<dyn Store>, StoreError> {
    match url.split_once(':') {
        Some(("sqlite", _)) => {
            let (path, options) = sqlite::parse_url(url, options)?;
            Ok(Arc::new(sqlite::open(&path, options)?))
        }
        Some(("postgres" | "postgresql", _)) => Err(StoreError::Invalid(
            "PostgreSQL is not in this version of weir; use sqlite:PATH".into(),
        )),
        // The URL is not repeated: it may hold a password.
        _ => Err(StoreError::Invalid("the store's URL must be sqlite:PATH".into())),
    }
}
