//! `POST /api/v1/time/confirm`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;

use super::schema;

/// The time that the operator confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfirmTimeAnswer {
    #[schema(value_type = schema::TimestampText)]
    pub time: Timestamp,
}
