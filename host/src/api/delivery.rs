//! Deliveries and their attempts, as part of other answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::id::{AttemptId, DeliveryId, EventId, MessageId};
use weir_core::name::Target;
use weir_core::time::Timestamp;

use super::schema;

/// A delivery with its attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryView {
    #[schema(value_type = schema::DeliveryIdText)]
    pub id: DeliveryId,
    /// The event that caused it.
    #[schema(value_type = schema::EventIdText)]
    pub event: EventId,
    /// The attempt that sent it, for a message.
    #[schema(value_type = Option<schema::AttemptIdText>)]
    pub cause: Option<AttemptId>,
    /// The id under which a message is sent.
    #[schema(value_type = Option<schema::MessageIdText>)]
    pub message: Option<MessageId>,
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    #[schema(value_type = schema::DeliveryStateWord)]
    pub state: DeliveryState,
    /// True while a hold keeps it waiting.
    pub held: bool,
    /// The number of times it was replayed.
    pub generation: u32,
    /// The number of attempts in this generation.
    pub attempts: u32,
    /// Deliveries of its target with this key are attempted one at a time, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_key: Option<String>,
    /// The time of the next attempt, while it waits.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub due_at: Option<Timestamp>,
    /// The reason why the last attempt failed.
    pub reason: Option<String>,
    /// The reason why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitReason>,
    /// Its attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
}

/// One attempt of a delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    #[schema(value_type = schema::AttemptIdText)]
    pub id: AttemptId,
    pub generation: u32,
    /// Its number in its generation, from 1.
    pub number: u32,
    #[schema(value_type = schema::TimestampText)]
    pub started_at: Timestamp,
    /// Its duration in microseconds.
    pub duration_us: u64,
    #[schema(value_type = schema::OutcomeWord)]
    pub outcome: Outcome,
    /// The reason for the outcome.
    pub reason: Option<String>,
    /// The version of the handler, in hex.
    pub version: Option<String>,
    /// The run under another version in the same attempt, which failed. During a probation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherRunView>,
    /// The lines that the handler logged.
    pub log: Option<String>,
    /// The HTTP status that the endpoint answered.
    pub response_status: Option<u16>,
    /// The first bytes of the endpoint's answer.
    pub response_snippet: Option<String>,
    /// The messages that the run sent.
    #[schema(no_recursion)]
    pub messages: Vec<DeliveryView>,
    /// The events that the run emitted.
    #[schema(value_type = Vec<schema::EventIdText>)]
    pub emitted: Vec<EventId>,
}

/// A run under another version of the handler, without effects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OtherRunView {
    /// The version, in hex.
    pub version: String,
    #[schema(value_type = schema::OutcomeWord)]
    pub outcome: Outcome,
    pub reason: Option<String>,
}

/// The reason why a delivery waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum WaitReason {
    /// The end of a hold.
    Hold {
        /// The number of the hold.
        hold: u64,
        scope: String,
        by: String,
        reason: String,
        /// The time at which the hold ends by itself.
        #[schema(value_type = Option<schema::TimestampText>)]
        until: Option<Timestamp>,
    },
    /// The target: its breaker paused it after failures.
    Failing {
        /// The number of the breaker's hold.
        hold: Option<u64>,
        reason: Option<String>,
        /// The time of the next try.
        #[schema(value_type = Option<schema::TimestampText>)]
        until: Option<Timestamp>,
    },
    /// The target: it asked for a pause.
    Paused {
        hold: Option<u64>,
        reason: Option<String>,
        #[schema(value_type = Option<schema::TimestampText>)]
        until: Option<Timestamp>,
    },
    /// The time of its next attempt.
    Retry {
        #[schema(value_type = schema::TimestampText)]
        until: Timestamp,
    },
    /// Its turn: it is due.
    Turn,
}
