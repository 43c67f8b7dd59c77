//! Dead letters with the same cause, and acts on a counted set of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::delivery::Outcome;
use weir_core::id::DeliveryId;
use weir_core::name::Target;
use weir_core::time::Timestamp;

use super::schema;

/// Dead letters of one target that failed for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterCause {
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    /// The reason of the last attempt, without its numbers and ids.
    pub cause: String,
    pub count: usize,
    /// The newest of them.
    #[schema(value_type = schema::DeliveryIdText)]
    pub example: DeliveryId,
    /// The outcome of the newest one's last attempt.
    #[schema(value_type = Option<schema::OutcomeWord>)]
    pub outcome: Option<Outcome>,
    /// The last attempt of the oldest one.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub first: Option<Timestamp>,
    /// The last attempt of the newest one.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub last: Option<Timestamp>,
}

/// The causes of the newest dead letters, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterCauses {
    pub items: Vec<DeadLetterCause>,
    /// The number of dead letters that were looked at.
    pub counted: usize,
    /// False if there are older ones.
    pub is_whole: bool,
}

/// Chooses dead letters to act on together. Empty fields choose all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterSelection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// These ones, and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
}

/// Dead letters that were chosen and counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterSet {
    /// Stands for exactly these dead letters. An act carries it, and is refused once they differ.
    pub set: String,
    pub count: usize,
    /// False if the selection has more than one act may change.
    pub is_whole: bool,
    /// The number of dead letters of each target, with what follows if they are requeued.
    pub targets: Vec<TargetShare>,
}

/// The part of a set that one target would get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetShare {
    #[schema(value_type = schema::TargetText)]
    pub target: Target,
    pub count: usize,
    /// The state of the target: `ok`, `failing`, `paused` or `missing`.
    pub state: String,
}

/// An act on a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetterActBody {
    pub selection: DeadLetterSelection,
    /// The set as it was counted.
    pub set: String,
    /// Sends with new ids, so that receivers do not skip it as a duplicate. Only for a requeue.
    #[serde(default)]
    pub new_ids: bool,
}

/// The result of an act on a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterActAnswer {
    /// The number of dead letters that were changed.
    pub changed: usize,
    /// The number of those that were no dead letters any more.
    pub skipped: usize,
}
