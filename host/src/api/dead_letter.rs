//! `/api/v1/dead-letters`. A dead letter is shown as a [`super::DeliveryView`].

use serde::{Deserialize, Serialize};
use weir_core::event::EventType;
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};

use super::params::{Cursor, Limit, PointInTime};

/// Filters a list of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersQuery {
    pub target: Option<Target>,
    /// The source of the event.
    pub source: Option<SourceName>,
    /// The type of the event; `*` matches any run of characters.
    #[serde(rename = "type")]
    pub kind: Option<EventType>,
    /// Events received at or after this moment.
    pub since: Option<PointInTime>,
    /// Events received before this moment.
    pub until: Option<PointInTime>,
    pub limit: Option<Limit>,
    pub cursor: Option<Cursor>,
}

/// The deliveries that are due again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequeueAnswer {
    pub requeued: Vec<DeliveryId>,
}
