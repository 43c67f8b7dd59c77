//! `/api/v1/events/{id}/why`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::{Category, EventType};
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::{SourceName, Target};
use weir_core::time::Timestamp;

use super::schema;
use super::{DeliveryView, OtherRunView, WaitReason};

/// Explains where an event was routed and what its deliveries wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhyAnswer {
    #[schema(value_type = schema::EventIdText)]
    pub event: EventId,
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[serde(rename = "type")]
    #[schema(value_type = schema::EventTypeText)]
    pub kind: EventType,
    #[schema(value_type = Option<schema::CategoryWord>)]
    pub category: Option<Category>,
    #[schema(value_type = schema::EventStatusWord)]
    pub status: EventStatus,
    /// The hash of the routing table when the event arrived.
    pub table: String,
    /// The id of the event's trace, if the sender gave one or traces are exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The rules of that table; null if it is no longer stored.
    pub considered: Option<Vec<CandidateView>>,
    pub deliveries: Vec<RoutedDelivery>,
}

/// A rule of the routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CandidateView {
    /// The id of the rule.
    pub rule: String,
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    /// The pattern that matched.
    pub matched: Option<String>,
    /// The patterns that did not match, before the one that did.
    pub refused: Vec<String>,
    /// Reasons why some of those can never match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
    /// The condition of the rule, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The part of the rule's condition that was false when the event was routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_false: Option<String>,
    /// The reason why the rule could not be evaluated on the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A delivery of the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutedDelivery {
    #[schema(value_type = schema::DeliveryIdText)]
    pub id: DeliveryId,
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    #[schema(value_type = schema::DeliveryStateWord)]
    pub state: DeliveryState,
    pub held: bool,
    pub attempts: u32,
    /// Deliveries of its target with this key are attempted one at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
    pub reason: Option<String>,
    #[schema(value_type = Option<schema::TimestampText>)]
    pub due_at: Option<Timestamp>,
    pub waiting: Option<WaitReason>,
    pub last_attempt: Option<LastAttempt>,
    /// The messages that its attempts sent.
    pub messages: Vec<DeliveryView>,
    pub holds: Vec<HoldOnDelivery>,
}

/// The last attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastAttempt {
    pub number: u32,
    #[schema(value_type = schema::TimestampText)]
    pub started_at: Timestamp,
    #[schema(value_type = schema::OutcomeWord)]
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub response_status: Option<u16>,
    /// The version of the handler, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The run under another version in the same attempt, which failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherRunView>,
}

/// A hold that keeps a delivery waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HoldOnDelivery {
    pub id: u64,
    pub scope: String,
    pub reason: String,
}
