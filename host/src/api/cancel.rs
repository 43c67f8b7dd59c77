//! `POST /api/v1/cancel`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::DeliveryId;

use super::schema;

/// Asks to cancel what is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelBody {
    /// The id of a delivery, message or attempt, or of an event with all its deliveries, or the
    /// sender's own id.
    pub id: String,
}

/// The deliveries that are cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CancelAnswer {
    #[schema(value_type = Vec<schema::DeliveryIdText>)]
    pub cancelled: Vec<DeliveryId>,
    /// The number of those that were being tried. The result of that attempt is refused, but what
    /// it sent before cannot be called back.
    pub running: usize,
}
