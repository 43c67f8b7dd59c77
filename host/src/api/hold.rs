//! `/api/v1/holds`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::time::Timestamp;

use super::schema;

/// Filters the list of holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct HoldsQuery {
    /// `source:NAME`, `handler:NAME`, `destination:NAME` or `hub`.
    pub scope: Option<String>,
}

/// Asks for a hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceHoldBody {
    /// `source:NAME`, `handler:NAME`, `destination:NAME` or `hub`.
    pub scope: String,
    /// One line for other operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The time at which it ends by itself, or the time from now until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldView {
    /// Its number.
    pub id: u64,
    pub scope: String,
    pub reason: String,
    /// The person or part of the hub that placed it.
    pub by: String,
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    /// The time at which it ends by itself.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub until: Option<Timestamp>,
}
