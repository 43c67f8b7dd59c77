//! What a command reads on stdin: one JSON document with the event and the handler's configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use crate::headers::visible;
use crate::run::Run;

#[derive(Serialize)]
struct Document<'r> {
    event: EventFacts<'r>,
    headers: Vec<(&'r str, String)>,
    /// Where the body is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r str>,
    /// Where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    config: &'r BTreeMap<String, String>,
}

#[derive(Serialize)]
struct EventFacts<'r> {
    id: String,
    source: &'r str,
    #[serde(rename = "type")]
    kind: &'r str,
    category: Option<&'r str>,
    delivery_id: Option<&'r str>,
    received_at: u64,
    content_type: &'r str,
    attempt: u32,
    parent: Option<String>,
}

/// The document for a run.
pub(crate) fn of(run: &Run) -> Bytes {
    let event = &run.event;
    let payload = &event.payload;
    let text = std::str::from_utf8(&payload.body).ok();
    let document = Document {
        event: EventFacts {
            id: event.public_id.to_string(),
            source: event.source.as_str(),
            kind: event.kind.as_str(),
            category: event.category.map(|c| c.as_str()),
            delivery_id: event.delivery_id.as_deref(),
            received_at: event.received_at.as_millis(),
            content_type: payload.content_type(),
            attempt: run.attempt,
            parent: event.lineage.map(|l| l.parent.to_string()),
        },
        headers: payload
            .headers
            .iter()
            .filter(|(name, _)| visible(name))
            .map(|(name, value)| (&**name, String::from_utf8_lossy(value).into_owned()))
            .collect(),
        body: text,
        body_base64: text.is_none().then(|| STANDARD.encode(&payload.body)),
        config: &run.config,
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and string keys always serialize")]
    serde_json::to_vec(&document).expect("an event is JSON").into()
}
