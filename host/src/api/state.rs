//! `/api/v1/handlers/{name}/state`: the state of a handler, for people.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::time::Timestamp;

use super::params::{Cursor, Limit};
use super::schema;

/// The size of a handler's state, and its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateSizeView {
    /// Bytes of keys and values.
    pub bytes: u64,
    pub keys: u64,
    pub bytes_max: u64,
    pub keys_max: u64,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateValueView {
    pub key: String,
    pub value: String,
    /// The time at which it is removed by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub expires_at: Option<Timestamp>,
}

/// Selects a page of state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StateListQuery {
    /// Only keys that start with this text.
    pub prefix: Option<String>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// Names one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StateKeyQuery {
    pub key: String,
}

/// Selects keys to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct StateClearQuery {
    /// Only keys that start with this text.
    pub prefix: Option<String>,
}

/// Writes to the state of a handler, whole or not at all. Each key is written once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateWriteBody {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<StateValueView>,
    /// Keys to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// The end of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StateClearedAnswer {
    /// Keys that were removed.
    pub removed: u64,
    pub state: StateSizeView,
}
