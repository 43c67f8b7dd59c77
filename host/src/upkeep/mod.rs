//! Background work on the store: deleting old data, and holding deliveries whose target is missing.

pub mod missing_targets;
mod retention;

pub use missing_targets::MissingTargets;
pub use retention::RetentionWorker;
