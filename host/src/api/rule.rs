//! `/api/v1/routes`: the routing table in force.

use serde::{Deserialize, Serialize};
use weir_core::name::Target;

/// A rule of the routing table in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its id, such as `route:1` or `handler:orders`.
    pub id: String,
    pub target: Target,
    /// The patterns of its events: `source:type` or `category:NAME`.
    pub patterns: Vec<String>,
    /// The condition, if it has one.
    pub condition: Option<String>,
    /// The sources in force that a pattern can match.
    pub sources: Vec<String>,
}
