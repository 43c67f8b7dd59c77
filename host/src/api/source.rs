//! `/api/v1/sources`, and the secrets that some senders hand over.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::event::EventType;
use weir_core::name::SourceName;
use weir_core::time::Timestamp;

use super::{SourceHealth, schema};
use crate::observe::pull_metrics::ConnectionState;
use crate::observe::shapes::FieldChange;

/// A source in force. Secrets are shown by name only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    #[schema(value_type = schema::SourceNameText)]
    pub name: SourceName,
    /// `http` if senders post requests, else the kind of the server that the hub takes its messages
    /// from.
    pub kind: String,
    /// The connection to that server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<SourceConnection>,
    pub provider: String,
    /// The schemes that are accepted.
    pub schemes: Vec<String>,
    /// The names of the secrets and keys that verify its requests.
    pub secrets: Vec<String>,
    /// True if every request is refused until the sender hands its secret over.
    pub awaits_secret: bool,
    /// The time until which the sender may hand it over.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub window_until: Option<Timestamp>,
    /// The provider in one line.
    pub about: String,
    /// The URL of the provider's documentation.
    pub docs: String,
    /// The path of its webhooks on the hub.
    pub path: String,
    /// The URL that the sender calls, if the configuration states it.
    pub public_url: Option<String>,
    /// The names of the provider's samples.
    pub samples: Vec<String>,
    /// Its counts and state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<SourceHealth>,
    /// The fields of its events by type. Only for one source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapes: Option<Vec<ShapeView>>,
}

/// The connection to the server that the messages of a source are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceConnection {
    /// The place that messages come from, without credentials.
    pub address: String,
    #[schema(value_type = schema::ConnectionStateWord)]
    pub state: ConnectionState,
    /// The time since which it is in this state.
    #[schema(value_type = schema::TimestampText)]
    pub since: Timestamp,
    /// The last time at which it was lost, refused or given up.
    pub last_error: Option<ConnectionError>,
}

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConnectionError {
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    pub reason: String,
}

/// The fields of a source's events of one type, learned from a sample since the hub was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShapeView {
    #[serde(rename = "type")]
    #[schema(value_type = schema::EventTypeText)]
    pub kind: EventType,
    /// Events that were looked at.
    pub samples: u64,
    /// The number of known fields.
    pub fields: usize,
    /// True once enough events were looked at to tell changes.
    pub learned: bool,
    /// The latest changes, oldest first.
    pub changes: Vec<FieldChangeView>,
}

/// A change of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChangeView {
    #[schema(value_type = schema::TimestampText)]
    pub at: Timestamp,
    /// The path of the field; `*` stands for the elements of a list, and for names that are data.
    pub field: String,
    #[schema(value_type = schema::FieldChangeWord)]
    pub change: FieldChange,
    /// The kinds of its values before; empty for a new field.
    pub before: String,
    /// The kind of its value now; empty for a field that has vanished.
    pub now: String,
}

/// Asks for a signed sample.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleBody {
    /// The name of the sample; the provider's first one without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
}

/// A sample that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SampleAnswer {
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    /// The events that it became.
    pub events: Vec<String>,
}

/// Opens the window in which a sender may hand its secret over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenWindowBody {
    /// The time at which the window closes, or the time from now until then.
    pub until: String,
}

/// A window that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowAnswer {
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[schema(value_type = schema::TimestampText)]
    pub until: Timestamp,
    /// True if the operator has to give the secret back to the provider, so that it can be shown,
    /// once.
    pub shown_once: bool,
}

/// The secret that was handed over, or the time until which it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretAnswer {
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::TimestampText>)]
    pub until: Option<Timestamp>,
}

/// A source whose secret was forgotten or whose window was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForgottenSecret {
    #[schema(value_type = schema::SourceNameText)]
    pub source: SourceName,
}
