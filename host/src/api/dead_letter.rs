//! `/api/v1/dead-letters`. A dead letter is shown as a [`super::DeliveryView`].

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::event::EventType;
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};

use super::params::{Cursor, Limit, PointInTime};
use super::schema;

/// Filters a list of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersQuery {
    #[param(inline, value_type = Option<schema::TargetText>)]
    pub target: Option<Target>,
    /// The source of the event.
    #[param(inline, value_type = Option<schema::SourceNameText>)]
    pub source: Option<SourceName>,
    /// The type of the event; `*` matches any run of characters.
    #[serde(rename = "type")]
    #[param(inline, value_type = Option<schema::EventTypeText>)]
    pub kind: Option<EventType>,
    /// Events received at or after this moment.
    #[param(inline)]
    pub since: Option<PointInTime>,
    /// Events received before this moment.
    #[param(inline)]
    pub until: Option<PointInTime>,
    #[param(inline)]
    pub limit: Option<Limit>,
    #[param(inline)]
    pub cursor: Option<Cursor>,
}

/// The deliveries that are due again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequeueAnswer {
    #[schema(value_type = Vec<schema::DeliveryIdText>)]
    pub requeued: Vec<DeliveryId>,
}
