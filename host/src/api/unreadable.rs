//! `/api/v1/unreadable`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;

use super::schema;

/// Rows of the store that could not be read and were set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreadableView {
    /// `delivery`, `event`, `request` or `payload`.
    pub what: String,
    /// The number of the first row.
    pub first: i64,
    /// The number of the last row.
    pub last: i64,
    /// The id of the delivery, if it is known.
    pub id: Option<String>,
    /// The target of the delivery, if it is known.
    pub target: Option<String>,
    pub reason: String,
    #[schema(value_type = schema::TimestampText)]
    pub found_at: Timestamp,
}
