//! Background work on the store: deleting old data, holding deliveries whose target is missing, and
//! adding up counts by the minute.

pub mod missing_targets;
mod retention;
pub mod rollups;

pub use missing_targets::MissingTargets;
pub use retention::{RetentionDeps, RetentionWorker};
