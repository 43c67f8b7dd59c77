//! The facts of a message beside its body: as attributes, for systems that have them, and as one
//! JSON line with the body, for those that have none. Pure.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::RawValue;
use weir_core::hops::{HOPS_HEADER, HopKey};
use weir_core::time::Timestamp;
use weir_core::trace::{TRACE_PARENT_HEADER, TRACE_STATE_HEADER};

use super::outgoing::Outgoing;

/// The outward id, which stays the same when the message is sent again.
pub(super) const MESSAGE_ID: &str = "weir-message-id";
const EVENT_ID: &str = "weir-event-id";
const SOURCE: &str = "weir-source";
const TYPE: &str = "weir-event-type";
const HANDLER: &str = "weir-handler";
const CONTENT_TYPE: &str = "content-type";

/// The facts of a message in their order: those of the event first, then its headers, each name
/// once.
pub(super) fn facts(out: &Outgoing, hops: &HopKey) -> Vec<(String, String)> {
    let mut facts = vec![
        (MESSAGE_ID.to_owned(), out.id.to_string()),
        (EVENT_ID.to_owned(), out.event.to_string()),
        (SOURCE.to_owned(), out.source.to_string()),
        (TYPE.to_owned(), out.event_type.to_string()),
    ];
    let mut add = |name: &str, value: String| {
        if !facts.iter().any(|(known, _)| known == name) {
            facts.push((name.to_owned(), value));
        }
    };
    if let Some(handler) = &out.handler {
        add(HANDLER, handler.to_string());
    }
    if !out.content_type.is_empty() {
        add(CONTENT_TYPE, out.content_type.clone());
    }
    add(HOPS_HEADER, hops.sign(out.hops, &out.body));
    if let Some(trace) = out.trace {
        add(TRACE_PARENT_HEADER, trace.to_string());
        if let Some(state) = &out.trace_state {
            add(TRACE_STATE_HEADER, state.clone());
        }
    }
    for (name, value) in &out.headers {
        add(&name.to_ascii_lowercase(), printable(value));
    }
    facts
}

/// A header's value as text. Other systems have no header values that are not.
fn printable(value: &Bytes) -> String {
    String::from_utf8_lossy(value).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The facts as a JSON object.
pub(super) fn json(out: &Outgoing, hops: &HopKey) -> Vec<u8> {
    let facts: serde_json::Map<_, _> =
        facts(out, hops).into_iter().map(|(name, value)| (name, value.into())).collect();
    // Plain data always serialises.
    serde_json::to_vec(&facts).unwrap_or_default()
}

/// A message as one line of JSON with its line ending.
pub(super) fn line(out: &Outgoing, hops: &HopKey, at: Timestamp) -> Vec<u8> {
    let line = Line {
        id: out.id.to_string(),
        at,
        event_id: out.event.to_string(),
        source: out.source.as_str(),
        kind: out.event_type.as_str(),
        handler: out.handler.as_ref().map(|handler| handler.as_str()),
        content_type: &out.content_type,
        headers: LineHeaders(facts(out, hops)),
        body: LineBody::of(&out.body),
    };
    // Plain data always serialises.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

struct Line<'m> {
    id: String,
    at: Timestamp,
    event_id: String,
    source: &'m str,
    kind: &'m str,
    handler: Option<&'m str>,
    content_type: &'m str,
    headers: LineHeaders,
    body: LineBody<'m>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("at", &self.at)?;
        map.serialize_entry("event_id", &self.event_id)?;
        map.serialize_entry("source", self.source)?;
        map.serialize_entry("type", self.kind)?;
        if let Some(handler) = self.handler {
            map.serialize_entry("handler", handler)?;
        }
        map.serialize_entry("content_type", self.content_type)?;
        map.serialize_entry("headers", &self.headers)?;
        match &self.body {
            LineBody::Json(json) => map.serialize_entry("body", json)?,
            LineBody::Text(text) => map.serialize_entry("body_text", text)?,
            LineBody::Bytes(base64) => map.serialize_entry("body_base64", base64)?,
        }
        map.end()
    }
}

/// The headers without the facts that have keys of their own.
struct LineHeaders(Vec<(String, String)>);

impl Serialize for LineHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_key = |name: &str| {
            [MESSAGE_ID, EVENT_ID, SOURCE, TYPE, HANDLER, CONTENT_TYPE].contains(&name)
        };
        serializer
            .collect_map(self.0.iter().filter(|(name, _)| !has_key(name)).map(|(n, v)| (n, v)))
    }
}

/// A body in the form in which a line of JSON can have it.
enum LineBody<'m> {
    /// JSON as it was written, but on one line.
    Json(Box<RawValue>),
    Text(&'m str),
    /// In base64.
    Bytes(String),
}

impl<'m> LineBody<'m> {
    fn of(body: &'m [u8]) -> Self {
        use base64::Engine as _;
        let Ok(text) = std::str::from_utf8(body) else {
            return Self::Bytes(base64::engine::general_purpose::STANDARD.encode(body));
        };
        // Strings of JSON have no line endings, so that these are only between its parts.
        let one_line = || text.replace(['\n', '\r'], " ");
        match serde_json::from_str::<&RawValue>(text) {
            Ok(_) => RawValue::from_string(one_line()).map_or(Self::Text(text), Self::Json),
            Err(_) => Self::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use weir_core::event::EventType;
    use weir_core::id::{DeliveryId, EventId, MessageId};
    use weir_core::name::SourceName;

    use super::*;

    fn outgoing(body: &'static [u8]) -> Outgoing {
        let header =
            |name: &str, value: &'static str| (name.into(), Bytes::from_static(value.as_bytes()));
        Outgoing {
            id: MessageId::from_bits(77),
            delivery: DeliveryId::from_bits(1),
            event: EventId::from_bits(2),
            source: SourceName::stored("github"),
            event_type: EventType::new("push").unwrap(),
            handler: None,
            content_type: "application/json".into(),
            headers: vec![header("weir-source", "github"), header("X-Team", "a\r\nb")],
            body: Bytes::from_static(body),
            path: None,
            order_key: None,
            hops: 3,
            trace: None,
            trace_state: None,
        }
    }

    fn key() -> HopKey {
        HopKey::new(&[7; 32])
    }

    fn written(body: &'static [u8]) -> Value {
        let bytes = line(&outgoing(body), &key(), Timestamp::from_millis(0));
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(bytes.last(), Some(&b'\n'));
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn each_fact_is_there_once() {
        let facts = facts(&outgoing(b"{}"), &key());
        let of = |name: &str| -> Vec<&str> {
            facts.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value).collect()
        };
        assert_eq!(of(MESSAGE_ID), [MessageId::from_bits(77).to_string()]);
        assert_eq!((of(SOURCE), of(TYPE)), (vec!["github"], vec!["push"]));
        assert_eq!(of("x-team"), ["a  b"], "no line of its own");
        assert_eq!(key().read([of(HOPS_HEADER)[0].as_bytes()], b"{}"), 3);
    }

    #[test]
    fn a_line_has_the_body_in_the_form_that_fits() {
        let json = written(b"{\"a\":\n 9007199254740993123,\r\n\"b\": \"x\\ny\"}");
        assert_eq!(json["body"]["b"], "x\ny");
        assert_eq!(json["type"], "push");
        assert_eq!(json["headers"]["x-team"], "a  b");
        assert!(json["headers"].get("weir-source").is_none() && json.get("handler").is_none());
        let exact = line(&outgoing(b"9007199254740993123"), &key(), Timestamp::from_millis(0));
        assert!(String::from_utf8(exact).unwrap().contains("\"body\":9007199254740993123}"));
        assert_eq!(written(b"a\nb")["body_text"], "a\nb");
        assert_eq!(written(b"{\"a\":1} x")["body_text"], "{\"a\":1} x");
        assert_eq!(written(b"")["body_text"], "");
        assert_eq!(written(b"\xff\x00")["body_base64"], "/wA=");
    }
}
