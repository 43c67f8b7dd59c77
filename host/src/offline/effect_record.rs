//! An effect as plain data, in the words of the lines that a command prints.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_core::effect::{
    Cancel, Effects, EmittedEvent, Message, MessageContent, Reply, StateWrite, Timing,
};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
const CONTENT_TYPE: &str = "content-type";

/// One effect. The field `effect` names it: `send`, `forward`, `emit`, `cancel`, `state.set`,
/// `state.remove` or `reply`. The others are as in the line that a command prints for it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EffectRecord {
    pub(crate) effect: String,
    /// The outward id of a message or emitted event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) destination: Option<String>,
    /// The type of an emitted event.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub(crate) kind: Option<String>,
    /// The status of a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Left out where it is the usual one of `json`, `body` or `body_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Seconds from the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Seconds for which a cancellation lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ahead: Option<u32>,
    /// The value of a key of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Seconds from the start of the run until a key of the state expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expire: Option<u64>,
}

impl EffectRecord {
    /// The effects of a run that started at `now`: cancellations first, as they are carried out.
    pub(crate) fn of_effects(effects: &Effects, now: Timestamp) -> Vec<Self> {
        let Effects { messages, emits, cancels, state, reply } = effects;
        let mut records: Vec<Self> = cancels.iter().map(Self::cancel).collect();
        records.extend(messages.iter().map(Self::message));
        records.extend(emits.iter().map(Self::emit));
        records.extend(state.iter().map(|write| Self::state(write, now)));
        records.extend(reply.iter().map(Self::reply));
        records
    }

    /// The effect as a run would be recorded: without its id, which is a hash of what it says,
    /// without the usual content type, and with header names in lower case.
    pub(super) fn normalized(self) -> Self {
        let usual = match (&self.json, &self.body, &self.body_base64) {
            (Some(_), _, _) => JSON,
            (_, Some(_), _) => TEXT,
            (_, _, Some(_)) => BYTES,
            _ => "",
        };
        let headers = self.headers.into_iter();
        Self {
            id: None,
            content_type: self.content_type.filter(|given| given != usual),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            ..self
        }
    }

    fn named(effect: &str) -> Self {
        Self { effect: effect.to_owned(), ..Self::default() }
    }

    fn message(message: &Message) -> Self {
        let Message { id, destination, content, timing } = message;
        let mut record = match content {
            MessageContent::Own(payload) => Self::named("send").with_payload(payload),
            MessageContent::Forward { headers } => Self::named("forward").with_headers(headers),
        };
        record.id = Some(id.to_string());
        record.destination = Some(destination.to_string());
        record.with_timing(timing)
    }

    fn emit(emit: &EmittedEvent) -> Self {
        let EmittedEvent { id, kind, payload, timing } = emit;
        let mut record = Self::named("emit").with_payload(payload);
        record.id = Some(id.to_string());
        record.kind = Some(kind.to_string());
        record.with_timing(timing)
    }

    fn cancel(cancel: &Cancel) -> Self {
        let ahead = (cancel.ahead_seconds > 0).then_some(cancel.ahead_seconds);
        Self { key: Some(cancel.key.to_string()), ahead, ..Self::named("cancel") }
    }

    fn state(write: &StateWrite, now: Timestamp) -> Self {
        let StateWrite { key, value, expires_at } = write;
        let key = Some(key.to_string());
        match value {
            None => Self { key, ..Self::named("state.remove") },
            Some(value) => Self {
                key,
                value: Some(value.to_string()),
                expire: expires_at.map(|at| at.since(now).as_secs()),
                ..Self::named("state.set")
            },
        }
    }

    fn reply(reply: &Reply) -> Self {
        let mut record = Self::named("reply").with_payload(&reply.payload);
        record.status = Some(reply.status);
        record
    }

    fn with_timing(self, timing: &Timing) -> Self {
        let delay = (timing.delay_seconds > 0).then_some(timing.delay_seconds);
        Self { delay, key: timing.key.as_deref().map(str::to_owned), ..self }
    }

    fn with_payload(self, payload: &Payload) -> Self {
        let content_type = payload.content_type();
        let BodyForm { json, body, body_base64, usual } = BodyForm::of(content_type, &payload.body);
        let content_type = (content_type != usual).then(|| content_type.to_owned());
        let record = Self { content_type, json, body, body_base64, ..self };
        record.with_headers(&payload.headers)
    }

    /// Several headers of one name become one, as in HTTP.
    fn with_headers(mut self, headers: &[(Box<str>, Bytes)]) -> Self {
        for (name, value) in headers.iter().filter(|(name, _)| &**name != CONTENT_TYPE) {
            let value = String::from_utf8_lossy(value);
            let known = self.headers.entry(name.to_string()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(&value);
        }
        self
    }
}

/// A body in the form that is easiest to read: JSON, text, or base64.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BodyForm {
    pub(super) json: Option<Value>,
    pub(super) body: Option<String>,
    pub(super) body_base64: Option<String>,
    /// The content type that this form has if none is given.
    pub(super) usual: &'static str,
}

impl BodyForm {
    pub(super) fn of(content_type: &str, bytes: &[u8]) -> Self {
        let none = Self { json: None, body: None, body_base64: None, usual: "" };
        if bytes.is_empty() {
            return none;
        }
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if (media == JSON || media.ends_with("+json"))
            && let Ok(json) = serde_json::from_slice(bytes)
        {
            return Self { json: Some(json), usual: JSON, ..none };
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { body: Some(text.to_owned()), usual: TEXT, ..none },
            Err(_) => Self { body_base64: Some(STANDARD.encode(bytes)), usual: BYTES, ..none },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use weir_core::id::{EventId, MessageId};

    use super::*;

    #[test]
    fn effects_read_like_the_lines_of_a_command() {
        let payload = |kind: &str, body: &'static [u8]| {
            let mut payload = Payload::new(kind, Bytes::from_static(body));
            payload.headers.push(("x-a".into(), Bytes::from_static(b"1")));
            payload
        };
        let timing = Timing { delay_seconds: 3, key: Some("k".into()) };
        let message = |content| Message {
            id: MessageId::from_bits(1),
            destination: "ops".parse().unwrap(),
            content,
            timing: Timing::default(),
        };
        let effects = Effects {
            messages: vec![
                message(MessageContent::Own(Arc::new(payload("application/json", b"{\"a\":1}")))),
                message(MessageContent::Own(Arc::new(payload("text/plain", b"hi")))),
                message(MessageContent::Forward { headers: Vec::new() }),
            ],
            emits: vec![EmittedEvent {
                id: EventId::from_bits(2),
                kind: weir_core::event::EventType::new("order.paid").unwrap(),
                payload: Arc::new(payload("application/octet-stream", b"\xff")),
                timing,
            }],
            cancels: vec![Cancel { key: "alarm".into(), ahead_seconds: 0 }],
            state: vec![
                StateWrite {
                    key: "n".into(),
                    value: Some("1".into()),
                    expires_at: Some(Timestamp::from_millis(9_000)),
                },
                StateWrite { key: "old".into(), value: None, expires_at: None },
            ],
            reply: Some(Reply { status: 201, payload: Payload::default() }),
        };
        let mut records = EffectRecord::of_effects(&effects, Timestamp::from_millis(2_000));
        records.iter_mut().for_each(|record| record.id = None);
        let expected = json!([
            { "effect": "cancel", "key": "alarm" },
            { "effect": "send", "destination": "ops", "json": { "a": 1 }, "headers": { "x-a": "1" } },
            { "effect": "send", "destination": "ops", "content_type": "text/plain", "body": "hi",
              "headers": { "x-a": "1" } },
            { "effect": "forward", "destination": "ops" },
            { "effect": "emit", "type": "order.paid", "body_base64": "/w==", "delay": 3, "key": "k",
              "headers": { "x-a": "1" } },
            { "effect": "state.set", "key": "n", "value": "1", "expire": 7 },
            { "effect": "state.remove", "key": "old" },
            { "effect": "reply", "status": 201 },
        ]);
        assert_eq!(serde_json::to_value(&records).unwrap(), expected);
        let read: Vec<EffectRecord> = serde_json::from_value(expected).unwrap();
        assert_eq!(read, records);
    }

    #[test]
    fn usual_content_types_ids_and_case_are_normalized() {
        let effect = |value| serde_json::from_value::<EffectRecord>(value).unwrap();
        let written = effect(json!({
            "effect": "send", "id": "msg_1", "destination": "ops", "json": 1,
            "content_type": "application/json", "headers": { "X-A": "1" },
        }));
        let recorded = effect(json!({
            "effect": "send", "destination": "ops", "json": 1, "headers": { "x-a": "1" },
        }));
        assert_eq!(written.normalized(), recorded.clone());
        assert_eq!(recorded.clone().normalized(), recorded);
        let other = effect(json!({ "effect": "emit", "type": "a", "body": "1",
            "content_type": "application/json" }));
        assert_eq!(other.clone().normalized(), other);
    }
}
