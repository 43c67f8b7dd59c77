//! `/api/v1/attempts/{id}/reads`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::AttemptId;
use weir_core::time::Timestamp;

use super::schema;

/// The state that the run of an attempt read, and the seed of its randomness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptReadsView {
    #[schema(value_type = schema::AttemptIdText)]
    pub attempt: AttemptId,
    /// The seed in hex.
    pub seed: String,
    /// False if the reads were too large to be kept, or the attempt is older than such records.
    pub known: bool,
    /// The keys that it read, with the values that it saw.
    pub values: Vec<ReadValueView>,
    /// The keys in the listings that it read.
    pub listed: Vec<String>,
    /// The keys of queued effects that it asked for and that there were.
    pub queued: Vec<String>,
}

/// A key of a handler's state with its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadValueView {
    pub key: String,
    /// Null if there was no such key.
    pub value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub expires_at: Option<Timestamp>,
}
