//! `/api/v1/sources/{name}/reconcile`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::name::SourceName;

use super::schema;

/// Requests that a provider's API has and the hub does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconcileBody {
    /// At most 100 requests.
    pub requests: Vec<ReconcileRequest>,
}

/// A request as its sender would have sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconcileRequest {
    /// Headers that name the event, where the provider does so in headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// The results, in the order of the requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReconcileAnswer {
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    pub results: Vec<ReconcileResult>,
}

/// The result of one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReconcileResult {
    /// The ids of its events that are stored now.
    pub stored: Vec<String>,
    /// The ids of events that were stored before.
    pub duplicates: Vec<String>,
    /// The reason, if the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
