//! `POST /api/v1/retry`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::id::DeliveryId;
use weir_core::name::Target;

use super::schema;

/// Asks for an attempt at once, of exactly one of `id`, `destination` and `handler`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBody {
    /// The id of a delivery, message, attempt or event, or the sender's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of a destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The name of a handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
}

/// The deliveries that became due.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetryAnswer {
    /// The target, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TargetText>)]
    pub target: Option<Target>,
    /// The number of deliveries.
    pub retried: usize,
    /// The deliveries, if one delivery or event was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::DeliveryIdText>>)]
    pub deliveries: Option<Vec<DeliveryId>>,
    /// True if a failing target is tried with one delivery at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<bool>,
}
