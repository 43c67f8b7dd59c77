//! `/api/v1/destinations`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::event::EventType;
use weir_core::name::DestinationName;
use weir_core::time::Timestamp;

use super::HealthState;
use super::schema;

/// A destination and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationView {
    #[schema(value_type = schema::DestinationNameText)]
    pub name: DestinationName,
    /// Such as `webhook` or `redis`.
    pub kind: String,
    /// The place that messages go to, without credentials and the path of a URL.
    #[serde(default)]
    pub address: String,
    /// True if messages of handlers keep the order of the events that were handled.
    #[serde(default)]
    pub ordered: bool,
    /// The most attempts in a time, such as `10/s`.
    #[serde(default)]
    pub rate: Option<String>,
    /// The service as which it takes alerts, such as `slack`.
    #[serde(default)]
    pub format: Option<String>,
    /// The type of the events that its answers become.
    #[serde(default)]
    #[schema(value_type = Option<schema::EventTypeText>)]
    pub reply_as: Option<EventType>,
    pub state: HealthState,
    /// The time since which it is failing.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub failing_since: Option<Timestamp>,
    /// The reason, if it is not ok.
    pub reason: Option<String>,
    /// The time of the next try, if it is later than now.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub next_try: Option<Timestamp>,
    /// The number of tries without success since it is failing.
    pub failed_tries: u32,
    /// The number of times that it became failing since the hub was started.
    pub times_failing: u64,
    /// The number of messages that are being sent.
    pub sending: usize,
    /// The configured limit of messages sent at once.
    pub concurrency: usize,
    /// The present limit, lower while the endpoint says that it is overloaded.
    pub places: usize,
    /// The end of a pause that the endpoint asked for.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub paused_until: Option<Timestamp>,
    /// The number of successful attempts since the hub was started.
    pub sent: u64,
    /// The number of failed attempts since the hub was started.
    pub failed: u64,
}
