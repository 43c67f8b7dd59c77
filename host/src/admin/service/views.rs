//! Turns what the store and the parts of the hub know into the answers of the API. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use weir_core::bounds::KIB;
use weir_core::payload::Payload;
use weir_store::health::UnreadableRows;
use weir_store::hold::Hold;
use weir_store::quarantine::QuarantinedRequest;
use weir_store::query::{
    AttemptDetail, DeliveryDetail, EventDetail, OtherRunDetail, StoredRequest,
};

use crate::api::{
    AttemptView, BodyView, BytesView, ConnectionError, DeliveryView, EventSummary, EventView,
    FieldChangeView, HeaderView, HoldView, InboxMessageView, OtherRunView, PayloadView,
    QuarantineItem, RefusalView, ShapeView, SourceConnection, SourceView, StoredRequestView,
    UnreadableView,
};
use crate::egress::InboxMessage;
use crate::ingress::{RefusalRecord, SourceStatus};
use crate::observe::shapes::{KnownShape, ShapeChange};
use crate::pull::PullStatus;

/// Bytes of a body that are shown unless all of it is asked for.
pub(crate) const PREVIEW_BYTES: usize = 64 * KIB;

/// An event, with its deliveries as they are stored.
pub(super) fn event(event: &EventDetail) -> EventView {
    EventView {
        id: event.id,
        outward_id: event.outward_id,
        source: event.source.clone(),
        kind: event.kind.clone(),
        category: event.category,
        delivery_id: event.delivery_id.as_deref().map(Into::into),
        received_at: event.received_at,
        status: event.status,
        id_reused: event.id_reused,
        request: event.request,
        parent: event.parent,
        table: event.table.clone(),
        trace: trace(event),
        size: event.size,
        erased_at: event.erased_at,
        keys: event.keys.clone(),
        deliveries: event.deliveries.iter().map(delivery).collect(),
    }
}

/// The id of the trace of an event that was read with its payload.
pub(super) fn trace(event: &EventDetail) -> Option<String> {
    Some(event.payload.as_ref()?.trace()?.trace.to_string())
}

pub(super) fn summary(event: &EventDetail) -> EventSummary {
    EventSummary {
        id: event.id,
        received_at: event.received_at,
        source: event.source.clone(),
        kind: event.kind.clone(),
        status: event.status,
    }
}

/// A delivery as it is stored, without what it waits for.
pub(super) fn delivery(delivery: &DeliveryDetail) -> DeliveryView {
    DeliveryView {
        id: delivery.id,
        event: delivery.event,
        cause: delivery.cause,
        message: delivery.message,
        target: delivery.target.clone(),
        state: delivery.state,
        held: delivery.held,
        generation: delivery.generation,
        attempts: delivery.attempts,
        order_key: delivery.order_key.as_deref().map(Into::into),
        due_at: delivery.due_at,
        reason: text(&delivery.reason),
        waiting: None,
        history: delivery.history.iter().map(attempt).collect(),
    }
}

fn attempt(attempt: &AttemptDetail) -> AttemptView {
    AttemptView {
        id: attempt.id,
        generation: attempt.generation,
        number: attempt.number,
        started_at: attempt.started_at,
        duration_us: attempt.duration_us,
        outcome: attempt.outcome,
        reason: text(&attempt.reason),
        version: attempt.version.clone(),
        other: attempt.other.as_ref().map(other_run),
        log: text(&attempt.log),
        response_status: attempt.response_status,
        response_snippet: text(&attempt.response_snippet),
        messages: attempt.messages.iter().map(delivery).collect(),
        emitted: attempt.emitted.clone(),
    }
}

pub(super) fn other_run(run: &OtherRunDetail) -> OtherRunView {
    OtherRunView { version: run.version.clone(), outcome: run.outcome, reason: text(&run.reason) }
}

pub(super) fn text(text: &Option<Box<str>>) -> Option<String> {
    text.as_deref().map(Into::into)
}

pub(super) fn request(request: &StoredRequest) -> StoredRequestView {
    StoredRequestView {
        id: request.id,
        source: request.source.clone(),
        received_at: request.received_at,
        scheme: request.scheme.to_string(),
        secret: request.secret.to_string(),
        remote: request.remote.as_ref().map(remote),
        headers: headers(&request.payload),
        size: request.payload.body.len(),
    }
}

/// Headers and at most `limit` bytes of the body.
pub(super) fn payload(payload: &Payload, limit: usize) -> PayloadView {
    PayloadView { headers: headers(payload), body: body(&payload.body, limit) }
}

fn headers(payload: &Payload) -> Vec<HeaderView> {
    let header = |(name, value)| header(name, value);
    payload.headers.iter().map(|(name, value)| (&**name, &**value)).map(header).collect()
}

fn header(name: &str, value: &[u8]) -> HeaderView {
    HeaderView { name: name.to_owned(), value: shown(value) }
}

fn body(body: &[u8], limit: usize) -> BodyView {
    let size = body.len();
    match body.get(..limit) {
        Some(first) if size > limit => BodyView { size, truncated: true, shown: cut(first) },
        _ => BodyView { size, truncated: false, shown: shown(body) },
    }
}

fn shown(bytes: &[u8]) -> BytesView {
    match std::str::from_utf8(bytes) {
        Ok(text) => BytesView::Text(text.to_owned()),
        Err(_) => BytesView::Base64(STANDARD.encode(bytes)),
    }
}

/// The same for the first bytes of something longer: a character that is cut in two is left out.
fn cut(bytes: &[u8]) -> BytesView {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => shown(&bytes[..error.valid_up_to()]),
        _ => shown(bytes),
    }
}

/// An address, which is stored as its 4 or 16 bytes.
fn remote(stored: &Bytes) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(&stored[..]) {
        IpAddr::from(Ipv4Addr::from(v4)).to_string()
    } else if let Ok(v6) = <[u8; 16]>::try_from(&stored[..]) {
        IpAddr::from(Ipv6Addr::from(v6)).to_string()
    } else {
        hex::encode(stored)
    }
}

pub(super) fn hold(held: &Hold) -> HoldView {
    HoldView {
        id: held.id.0,
        scope: held.hold.scope.to_string(),
        reason: held.hold.reason.to_string(),
        by: held.hold.by.to_string(),
        at: held.at,
        until: held.hold.until,
    }
}

pub(super) fn unreadable(rows: &UnreadableRows) -> UnreadableView {
    UnreadableView {
        what: rows.what.to_owned(),
        first: rows.first,
        last: rows.last,
        id: rows.id.as_deref().map(Into::into),
        target: rows.target.as_deref().map(Into::into),
        reason: rows.reason.to_string(),
        found_at: rows.found_at,
    }
}

pub(super) fn refusal(refusal: &RefusalRecord) -> RefusalView {
    RefusalView {
        request_id: refusal.id.to_string(),
        at: refusal.at,
        source: text(&refusal.source),
        address: refusal.address.to_string(),
        status: refusal.status,
        code: refusal.code.to_owned(),
        reason: refusal.reason.to_string(),
    }
}

pub(super) fn quarantined(request: &QuarantinedRequest) -> QuarantineItem {
    let events = |ids: &Vec<Box<str>>| ids.iter().map(ToString::to_string).collect();
    QuarantineItem {
        id: request.id,
        source: request.source.to_string(),
        address: request.address.to_string(),
        received_at: request.at,
        code: request.code.to_string(),
        size: request.size,
        events: request.released.as_ref().map(events),
    }
}

pub(super) fn source(source: SourceStatus, connection: Option<PullStatus>) -> SourceView {
    let texts = |list: &[std::sync::Arc<str>]| list.iter().map(ToString::to_string).collect();
    SourceView {
        path: format!("/webhook/{}", source.name),
        name: source.name,
        kind: source.kind.as_str().to_owned(),
        connection: connection.map(self::connection),
        provider: source.provider.to_string(),
        schemes: texts(&source.schemes),
        secrets: texts(&source.secrets),
        awaits_secret: source.awaits_secret,
        window_until: source.window_until,
        about: source.about,
        docs: source.docs,
        public_url: source.public_url,
        samples: source.samples,
        health: None,
        shapes: None,
    }
}

fn connection(status: PullStatus) -> SourceConnection {
    let PullStatus { address, state, since, last_error } = status;
    let last_error = last_error.map(|(at, reason)| ConnectionError { at, reason: reason.into() });
    SourceConnection { address: address.into(), state, since, last_error }
}

pub(super) fn shape(shape: KnownShape) -> ShapeView {
    let change = |change: ShapeChange| FieldChangeView {
        at: change.at,
        field: change.field.into(),
        change: change.change,
        before: change.before,
        now: change.now,
    };
    ShapeView {
        kind: shape.kind,
        samples: shape.samples,
        fields: shape.fields,
        learned: shape.is_learned,
        changes: shape.changes.into_iter().map(change).collect(),
    }
}

pub(super) fn inbox_message(message: InboxMessage) -> InboxMessageView {
    InboxMessageView {
        number: message.number,
        at: message.at,
        destination: message.destination,
        id: message.id,
        delivery: message.delivery,
        event: message.event,
        source: message.source,
        handler: message.handler,
        content_type: message.content_type.into(),
        body: message.body.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_preview_is_cut_between_characters() {
        let text = "aé".repeat(3);
        let view = serde_json::to_value(body(text.as_bytes(), 5)).unwrap();
        assert_eq!(view, json!({ "size": 9, "truncated": true, "text": "aéa" }));
        let view = serde_json::to_value(body(text.as_bytes(), 9)).unwrap();
        assert_eq!(view, json!({ "size": 9, "truncated": false, "text": text }));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_shown_as_base64() {
        let view = serde_json::to_value(body(&[0xff, 0xfe, 0x41], 100)).unwrap();
        assert_eq!(view, json!({ "size": 3, "truncated": false, "base64": "//5B" }));
        let stored = Payload {
            headers: vec![
                ("x-latin".into(), Bytes::from_static(b"caf\xe9")),
                ("x-text".into(), Bytes::from_static(b"caf")),
            ],
            body: Bytes::new(),
        };
        let view = serde_json::to_value(payload(&stored, 10)).unwrap();
        let expected = json!([
            { "name": "x-latin", "base64": "Y2Fm6Q==" },
            { "name": "x-text", "text": "caf" },
        ]);
        assert_eq!(view["headers"], expected);
        let read: PayloadView = serde_json::from_value(view).unwrap();
        assert_eq!(read, payload(&stored, 10), "a client reads what the hub writes");
    }

    #[test]
    fn an_address_is_shown_in_its_usual_form() {
        assert_eq!(remote(&Bytes::from_static(&[203, 0, 113, 9])), "203.0.113.9");
        assert_eq!(remote(&Bytes::copy_from_slice(&Ipv6Addr::LOCALHOST.octets())), "::1");
    }

    proptest! {
        #[test]
        fn a_preview_never_shows_more_than_its_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            limit in 1_usize..100,
        ) {
            let view = body(&bytes, limit);
            let shown = match &view.shown {
                BytesView::Text(text) => text.len(),
                BytesView::Base64(text) => STANDARD.decode(text).unwrap().len(),
            };
            prop_assert!(shown <= limit.min(bytes.len()));
            prop_assert_eq!(view.truncated, bytes.len() > limit);
        }
    }
}
