//! `POST /api/v1/erase`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::business_key::BusinessKey;
use weir_core::id::EventId;

use super::schema;

/// Asks to erase the contents of one event, or of all with a business key: exactly one of `id` and
/// `key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseBody {
    /// The id of an event, or the sender's own. All events of a request or of a sender's id are
    /// meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A business key, such as `order=1234`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::BusinessKeyText>)]
    pub key: Option<BusinessKey>,
    /// Names the events, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// The events whose contents are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EraseAnswer {
    pub dry_run: bool,
    /// The events that were asked for, and those that handlers emitted while they handled them. A
    /// dry run has only the former.
    #[schema(value_type = Vec<schema::EventIdText>)]
    pub events: Vec<EventId>,
    /// The number of deliveries that were not finished or were dead letters, and are cancelled.
    pub cancelled: usize,
    /// True if there is more with this key: ask again.
    pub more: bool,
}
