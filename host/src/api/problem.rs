//! The document of every answer that is an error (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Says why a request to the admin API was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiProblem {
    /// The name of the HTTP status.
    #[serde(default)]
    pub title: String,
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// A stable word for programs.
    #[serde(default)]
    pub code: String,
    /// A sentence for people.
    #[serde(default)]
    pub detail: String,
    /// The id under which the hub logged it.
    #[serde(default)]
    pub request_id: String,
}
