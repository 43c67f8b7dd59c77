//! A fixture: the input of a run as a JSON document, and what is expected of the run.
//!
//! The input has the names of the document that a command reads on stdin.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use weir_core::delivery::Outcome;
use weir_core::event::{Category, Event, EventType, Lineage};
use weir_core::id::EventId;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

use super::effect_record::EffectRecord;
use super::handler::RunInput;
use super::memory_state::MemoryState;

/// The time of an event that has none: 2026-01-01T00:00:00Z.
const USUAL_TIME: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// The input of a run and what is expected of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<String>,
    pub(crate) event: EventFields,
    #[serde(default, skip_serializing_if = "HeaderFields::is_empty")]
    pub(crate) headers: HeaderFields,
    /// The body: one of these three. The text of `json` is the body, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
    /// Added to the handler's own settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) config: BTreeMap<String, String>,
    /// The state before the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) state: BTreeMap<String, StateValue>,
    /// Keys of effects that are queued, for cancelling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) queued: Vec<String>,
    /// The time of the run. By default, that of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) now: Option<TimeField>,
    /// The seed of the run's randomness, 64 hex digits. By default zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expect: Option<ExpectedEnd>,
}

/// The facts of the event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<EventId>,
    pub(crate) source: SourceName,
    #[serde(rename = "type")]
    pub(crate) kind: EventType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) category: Option<Category>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivery_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) received_at: Option<TimeField>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    /// For an emitted event, the event whose handler emitted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<EventId>,
}

/// A time as RFC 3339 text, or as milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum TimeField {
    Text(Timestamp),
    Millis(u64),
}

impl TimeField {
    fn time(self) -> Timestamp {
        match self {
            Self::Text(time) => time,
            Self::Millis(ms) => Timestamp::from_millis(ms),
        }
    }
}

/// Headers as an object, or as a list of pairs where names repeat.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum HeaderFields {
    Object(BTreeMap<String, String>),
    Pairs(Vec<(String, String)>),
}

impl Default for HeaderFields {
    fn default() -> Self {
        Self::Object(BTreeMap::new())
    }
}

impl HeaderFields {
    fn is_empty(&self) -> bool {
        match self {
            Self::Object(fields) => fields.is_empty(),
            Self::Pairs(pairs) => pairs.is_empty(),
        }
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Object(fields) => fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            Self::Pairs(pairs) => pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
        }
    }
}

/// A value of the state, with its expiry if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum StateValue {
    Text(String),
    Expiring { value: String, expires_at: TimeField },
}

/// The end of a run. A part that is absent is not compared, except the outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedEnd {
    pub(crate) outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Seconds that the handler asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
    /// The effects, without those on the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effects: Option<Vec<EffectRecord>>,
    /// The whole state after the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<BTreeMap<String, StateValue>>,
}

/// A document that is no fixture.
#[derive(Debug, Error)]
pub(crate) enum FixtureError {
    #[error("is not a fixture")]
    Json(#[from] serde_json::Error),
    #[error("has a `body_base64` that is not base64")]
    Base64(#[from] base64::DecodeError),
    #[error("has several bodies; give one of json, body and body_base64")]
    Bodies,
    #[error("has a `seed` that is not 64 hex digits")]
    Seed,
}

impl Fixture {
    pub(crate) fn parse(text: &str) -> Result<Self, FixtureError> {
        let fixture: Self = serde_json::from_str(text)?;
        fixture.payload()?;
        fixture.seed()?;
        Ok(fixture)
    }

    /// The fixture as the text of a file.
    pub(crate) fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The time of the run.
    pub(crate) fn now(&self) -> Timestamp {
        self.now.map_or_else(|| self.received_at(), TimeField::time)
    }

    /// The state before the run.
    pub(crate) fn memory_state(&self) -> MemoryState {
        let entry = |(key, value): (&String, &StateValue)| match value {
            StateValue::Text(value) => (key.clone(), value.clone(), None),
            StateValue::Expiring { value, expires_at } => {
                (key.clone(), value.clone(), Some(expires_at.time()))
            }
        };
        MemoryState::new(self.state.iter().map(entry)).with_queued(self.queued.iter().cloned())
    }

    /// The input of the run, on this state.
    pub(crate) fn input(&self, state: Arc<MemoryState>) -> Result<RunInput, FixtureError> {
        Ok(RunInput {
            event: Arc::new(self.to_event()?),
            state,
            now: self.now(),
            seed: self.seed()?,
            attempt: self.event.attempt.unwrap_or(1).max(1),
            id_round: 0,
        })
    }

    fn received_at(&self) -> Timestamp {
        self.event.received_at.map_or(USUAL_TIME, TimeField::time)
    }

    fn to_event(&self) -> Result<Event, FixtureError> {
        let fields = &self.event;
        let received_at = self.received_at();
        let id = fields.id.unwrap_or_else(|| EventId::from_parts(received_at, 0));
        Ok(Event {
            id,
            public_id: id,
            source: fields.source.clone(),
            kind: fields.kind.clone(),
            category: fields.category,
            delivery_id: fields.delivery_id.as_deref().map(Into::into),
            received_at,
            lineage: fields.parent.map(|parent| Lineage { root: parent, parent, depth: 1 }),
            payload: Arc::new(self.payload()?),
        })
    }

    fn payload(&self) -> Result<Payload, FixtureError> {
        let (usual, body): (_, Bytes) = match (&self.json, &self.body, &self.body_base64) {
            (None, None, None) => ("", Bytes::new()),
            (Some(json), None, None) => ("application/json", json.get().to_owned().into()),
            (None, Some(text), None) => ("text/plain; charset=utf-8", text.clone().into()),
            (None, None, Some(text)) => ("application/octet-stream", STANDARD.decode(text)?.into()),
            _ => return Err(FixtureError::Bodies),
        };
        let given = self.headers.pairs();
        let names_type = given.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = match &self.event.content_type {
            Some(content_type) => content_type.as_str(),
            None if names_type => "",
            None => usual,
        };
        let mut payload = match content_type {
            "" => Payload { headers: Vec::new(), body },
            content_type => Payload::new(content_type, body),
        };
        let header = |(name, value): (&str, &str)| {
            (name.to_ascii_lowercase().into(), Bytes::copy_from_slice(value.as_bytes()))
        };
        let is_set = !payload.headers.is_empty();
        let given = given
            .into_iter()
            .filter(|(name, _)| !(is_set && name.eq_ignore_ascii_case("content-type")));
        payload.headers.extend(given.map(header));
        Ok(payload)
    }

    fn seed(&self) -> Result<[u8; 32], FixtureError> {
        let mut seed = [0; 32];
        if let Some(text) = &self.seed {
            hex::decode_to_slice(text, &mut seed).map_err(|_| FixtureError::Seed)?;
        }
        Ok(seed)
    }
}
