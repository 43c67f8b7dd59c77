//! The stdin of a command: one JSON document with the event and the handler's configuration.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use weir_core::reserved_headers::{PATH_HEADER, QUERY_HEADER};

use crate::headers::visible;
use crate::host_calls::request;
use crate::run::Run;

#[derive(Serialize)]
struct InputDocument<'r> {
    event: EventFields<'r>,
    headers: Vec<(&'r str, String)>,
    /// Only for a body that is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'r str>,
    /// Only for other bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    config: &'r BTreeMap<String, String>,
    /// Only if the operator's settings name keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'r BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct EventFields<'r> {
    id: String,
    source: &'r str,
    #[serde(rename = "type")]
    kind: &'r str,
    category: Option<&'r str>,
    delivery_id: Option<&'r str>,
    received_at: u64,
    content_type: &'r str,
    method: String,
    query: String,
    path_rest: String,
    attempt: u32,
    parent: Option<String>,
}

/// The document of a run, with these values of its state.
pub(crate) fn of(run: &Run, state: &BTreeMap<String, String>) -> Bytes {
    let event = &run.event;
    let payload = &event.payload;
    let text = std::str::from_utf8(&payload.body).ok();
    let document = InputDocument {
        event: EventFields {
            id: event.public_id.to_string(),
            source: event.source.as_str(),
            kind: event.kind.as_str(),
            category: event.category.map(|c| c.as_str()),
            delivery_id: event.delivery_id.as_deref(),
            received_at: event.received_at.as_millis(),
            content_type: payload.content_type(),
            method: request::method(event),
            query: request::fact(event, QUERY_HEADER),
            path_rest: request::fact(event, PATH_HEADER),
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
        state: (!run.command.state.is_empty()).then_some(state),
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and string keys always serialize")]
    serde_json::to_vec(&document).expect("an event is JSON").into()
}
