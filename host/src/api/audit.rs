//! `/api/v1/audit`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use weir_core::time::Timestamp;

use super::params::{Cursor, Limit, PointInTime};
use super::schema;

/// Filters the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// The name of a client.
    pub who: Option<String>,
    /// An act, such as `replay`.
    pub act: Option<String>,
    /// The id or name of what it was done to.
    pub subject: Option<String>,
    pub outcome: Option<ActOutcome>,
    /// Recorded at or after this moment.
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// Recorded before this moment.
    #[param(inline)]
    pub until: Option<PointInTime>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// The end of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActOutcome {
    Done,
    /// The client was not allowed to, or asked for something that cannot be done.
    Refused,
    /// The hub could not do it.
    Failed,
}

impl ActOutcome {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One act of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// Its number, which rises with time.
    pub number: u64,
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    /// The name of the client.
    pub who: String,
    /// The role of the client; null if it had none.
    pub role: Option<String>,
    pub act: String,
    /// The id or name of what it was done to; null if there is none.
    pub subject: Option<String>,
    pub outcome: ActOutcome,
    /// Further facts, such as the code of an error; null if there are none.
    pub detail: Option<Value>,
}
