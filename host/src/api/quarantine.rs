//! `/api/v1/quarantine`.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::id::QuarantineId;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;

use super::PayloadView;
use super::params::{Cursor, Limit};
use super::schema;

/// Filters the list of quarantined requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct QuarantineQuery {
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    /// Includes requests that were released.
    pub released: Option<bool>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// A quarantined request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineItem {
    #[schema(value_type = schema::QuarantineIdText)]
    pub id: QuarantineId,
    pub source: String,
    /// The sender's address, or the network that counts as one sender.
    pub address: String,
    #[schema(value_type = schema::TimestampText)]
    pub received_at: Timestamp,
    /// The code of the last refusal.
    pub code: String,
    /// Bytes of headers and body.
    pub size: usize,
    /// The events that it became, once it was released.
    pub events: Option<Vec<String>>,
}

/// A quarantined request with its headers and the beginning of its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineDetail {
    #[serde(flatten)]
    pub request: QuarantineItem,
    pub payload: PayloadView,
}

/// Chooses the requests to verify again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseBody {
    #[serde(default)]
    pub source: Option<String>,
    /// The `next` of the answer before: go on after this request.
    #[serde(default)]
    pub after: Option<String>,
}

/// Names the source whose requests are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TrialQuery {
    #[param(inline, value_type = schema::SourceNameText)]
    pub source: SourceName,
}

/// The result of verifying requests with the secrets of now, without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuarantineTrial {
    /// The number of requests that are valid now.
    pub valid: usize,
    /// The number of those that are still not valid.
    pub invalid: usize,
    /// True if there are more than were tried.
    pub more: bool,
}

/// A request that was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseAnswer {
    #[schema(value_type = schema::QuarantineIdText)]
    pub id: QuarantineId,
    /// The events that it became.
    pub events: Vec<String>,
}

/// A request that is still not valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StillInvalid {
    #[schema(value_type = schema::QuarantineIdText)]
    pub id: QuarantineId,
    /// The code of the refusal.
    pub code: String,
}

/// The result of verifying a page of requests again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseAllAnswer {
    pub released: Vec<ReleaseAnswer>,
    pub refused: Vec<StillInvalid>,
    /// The request after which to go on; null at the end.
    #[schema(value_type = Option<schema::QuarantineIdText>)]
    pub next: Option<QuarantineId>,
}
