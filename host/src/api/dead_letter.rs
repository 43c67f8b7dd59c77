//! `/api/v1/dead-letters`. A dead letter is shown as a [`super::DeliveryView`].

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use weir_core::event::EventType;
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};

use super::one_of::OneOf;
use super::params::{Cursor, Limit, PointInTime};
use super::schema;

/// Filters a list of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersQuery {
    /// Targets, one of which it is for.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::TargetText>>)]
    pub target: OneOf<Target>,
    /// Sources, one of which its event is from.
    #[serde(default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::SourceNameText>>)]
    pub source: OneOf<SourceName>,
    /// Types, one of which its event has; `*` matches any run of characters. A comma in a type is
    /// written `\,`.
    #[serde(rename = "type", default, skip_serializing_if = "OneOf::is_empty")]
    #[param(style = Form, explode = false, value_type = Option<Vec<schema::EventTypeText>>)]
    pub kind: OneOf<EventType>,
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
