//! `/api/v1/routes`: the routing table in force.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::name::Target;

use super::schema;

/// A rule of the routing table in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// Its id, such as `route:1` or `handler:orders`.
    pub id: String,
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    /// The patterns of its events: `source:type` or `category:NAME`.
    pub patterns: Vec<String>,
    /// The condition, if it has one.
    pub condition: Option<String>,
    /// The expression of its order key, if it has one.
    #[serde(default)]
    pub order_by: Option<String>,
    /// The sources in force that a pattern can match.
    pub sources: Vec<String>,
}
