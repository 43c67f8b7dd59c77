//! Events as the hub exports them, as the events that handlers get.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use weir_core::event::{Event, Lineage};
use weir_core::payload::Payload;

use super::error::CommandError;
use crate::api::{BytesView, ExportedEvent, LineageView};

/// The event that was exported.
pub(super) fn event_of(exported: ExportedEvent) -> Result<Event, CommandError> {
    let ExportedEvent { id, outward_id, payload, .. } = exported;
    let bytes = |view: BytesView| match view {
        BytesView::Text(text) => Ok(Bytes::from(text)),
        BytesView::Base64(text) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| CommandError::Failed(format!("the hub sent {id} damaged"))),
    };
    let headers =
        payload.headers.into_iter().map(|header| Ok((header.name.into(), bytes(header.value)?)));
    let headers = headers.collect::<Result<Vec<_>, CommandError>>()?;
    let body = bytes(payload.body.shown)?;
    let lineage = |LineageView { root, parent, depth }| Lineage { root, parent, depth };
    Ok(Event {
        id,
        public_id: outward_id.unwrap_or(id),
        source: exported.source,
        kind: exported.kind,
        category: exported.category,
        delivery_id: exported.delivery_id.map(Into::into),
        received_at: exported.received_at,
        lineage: exported.lineage.map(lineage),
        payload: Arc::new(Payload { headers, body }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exported_event_is_the_event_that_handlers_got() {
        let exported = json!({
            "id": "evt_01K9ZR3V6QH8N4T2M5W7XADCBE", "source": "github", "type": "push",
            "received_at": "2026-11-23T15:52:19.000Z",
            "payload": {
                "headers": [{ "name": "x-a", "text": "1" }, { "name": "x-b", "base64": "/w==" }],
                "body": { "size": 2, "truncated": false, "text": "{}" },
            },
        });
        let event = event_of(serde_json::from_value(exported).unwrap()).unwrap();
        assert_eq!(event.id, event.public_id);
        assert_eq!(event.payload.header("x-b").unwrap().as_ref(), b"\xff");
        assert_eq!(event.payload.body.as_ref(), b"{}");
    }
}
