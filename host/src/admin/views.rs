//! The shapes of answers that are not the store's own. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use weir_core::bounds::KIB;
use weir_core::id::RequestId;
use weir_core::name::SourceName;
use weir_core::payload::Payload;
use weir_core::time::Timestamp;
use weir_store::condition::UnreadableRows;
use weir_store::hold::Hold;
use weir_store::query::StoredRequest;

/// Bytes of a body that are shown unless all of it is asked for.
pub(super) const PREVIEW_BYTES: usize = 64 * KIB;

/// An event with what was received.
#[derive(Debug, Serialize)]
pub(super) struct EventView<'a> {
    /// The event with its deliveries, their attempts and what they wait for.
    pub(super) event: Value,
    /// The delivery that was asked for by its own id, or by that of its message or of one of its attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delivery: Option<Value>,
    /// The headers and body of that delivery, if it is a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<PayloadView<'a>>,
    /// The request that carried it; none for what a handler emitted.
    pub(super) request: Option<RequestView<'a>>,
    /// Its headers and body; none once retention has let them go.
    pub(super) payload: Option<PayloadView<'a>>,
}

/// A request as it was received.
#[derive(Debug, Serialize)]
pub(super) struct RequestView<'a> {
    id: RequestId,
    source: &'a SourceName,
    received_at: Timestamp,
    /// The scheme that verified it.
    scheme: &'a str,
    /// The name of the secret that did.
    secret: &'a str,
    /// Who sent it.
    remote: Option<String>,
    headers: Vec<HeaderView<'a>>,
    /// Bytes of the body.
    size: usize,
}

impl<'a> RequestView<'a> {
    pub(super) fn of(request: &'a StoredRequest) -> Self {
        Self {
            id: request.id,
            source: &request.source,
            received_at: request.received_at,
            scheme: &request.scheme,
            secret: &request.secret,
            remote: request.remote.as_ref().map(remote),
            headers: headers(&request.payload),
            size: request.payload.body.len(),
        }
    }
}

/// Headers and body.
#[derive(Debug, Serialize)]
pub(super) struct PayloadView<'a> {
    headers: Vec<HeaderView<'a>>,
    body: BodyView<'a>,
}

impl<'a> PayloadView<'a> {
    /// With at most `limit` bytes of the body.
    pub(super) fn of(payload: &'a Payload, limit: usize) -> Self {
        Self { headers: headers(payload), body: BodyView::of(&payload.body, limit) }
    }
}

/// A header; one that is no text says so.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct HeaderView<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: Text<'a>,
}

fn headers(payload: &Payload) -> Vec<HeaderView<'_>> {
    payload
        .headers
        .iter()
        .map(|(name, value)| HeaderView { name, value: Text::of(value) })
        .collect()
}

/// Bytes as what they are: text, or not.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Text<'a> {
    Text(&'a str),
    Base64(String),
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Base64(STANDARD.encode(bytes)),
        }
    }

    /// The first bytes of something longer: a character that the cut went through is left out.
    fn cut(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => Self::of(&bytes[..error.valid_up_to()]),
            _ => Self::of(bytes),
        }
    }
}

/// A body, or the first bytes of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct BodyView<'a> {
    /// All its bytes, also those that are not shown.
    size: usize,
    truncated: bool,
    #[serde(flatten)]
    shown: Text<'a>,
}

impl<'a> BodyView<'a> {
    fn of(body: &'a [u8], limit: usize) -> Self {
        let size = body.len();
        match body.get(..limit) {
            Some(first) if size > limit => Self { size, truncated: true, shown: Text::cut(first) },
            _ => Self { size, truncated: false, shown: Text::of(body) },
        }
    }
}

/// Stored as the 4 or 16 bytes of an address.
fn remote(stored: &Bytes) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(&stored[..]) {
        IpAddr::from(Ipv4Addr::from(v4)).to_string()
    } else if let Ok(v6) = <[u8; 16]>::try_from(&stored[..]) {
        IpAddr::from(Ipv6Addr::from(v6)).to_string()
    } else {
        hex::encode(stored)
    }
}

/// A hold in force.
pub(super) fn hold(held: &Hold) -> Value {
    json!({
        "id": held.id,
        "scope": held.hold.scope.to_string(),
        "reason": held.hold.reason,
        "by": held.hold.by,
        "at": held.at,
        "until": held.hold.until,
    })
}

/// Rows of the store that could not be read.
pub(super) fn unreadable(rows: &UnreadableRows) -> Value {
    json!({
        "what": rows.what,
        "first": rows.first,
        "last": rows.last,
        "id": rows.id.as_deref(),
        "target": rows.target.as_deref(),
        "reason": &*rows.reason,
        "found_at": rows.found_at,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_preview_is_cut_between_characters() {
        let body = "aé".repeat(3);
        let view = serde_json::to_value(BodyView::of(body.as_bytes(), 5)).unwrap();
        assert_eq!(view, json!({ "size": 9, "truncated": true, "text": "aéa" }));
        let view = serde_json::to_value(BodyView::of(body.as_bytes(), 9)).unwrap();
        assert_eq!(view, json!({ "size": 9, "truncated": false, "text": body }));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_base64() {
        let view = serde_json::to_value(BodyView::of(&[0xff, 0xfe, 0x41], 100)).unwrap();
        assert_eq!(view, json!({ "size": 3, "truncated": false, "base64": "//5B" }));
        let payload = Payload {
            headers: vec![
                ("x-latin".into(), Bytes::from_static(b"caf\xe9")),
                ("x-text".into(), Bytes::from_static(b"caf")),
            ],
            body: Bytes::new(),
        };
        let view = serde_json::to_value(PayloadView::of(&payload, 10)).unwrap();
        let expected = json!([
            { "name": "x-latin", "base64": "Y2Fm6Q==" },
            { "name": "x-text", "text": "caf" },
        ]);
        assert_eq!(view["headers"], expected);
    }

    #[test]
    fn an_address_reads_as_people_write_it() {
        assert_eq!(remote(&Bytes::from_static(&[203, 0, 113, 9])), "203.0.113.9");
        assert_eq!(remote(&Bytes::copy_from_slice(&Ipv6Addr::LOCALHOST.octets())), "::1");
    }

    proptest! {
        #[test]
        fn a_preview_never_shows_more_than_its_limit(
            body in prop::collection::vec(any::<u8>(), 0..200),
            limit in 1_usize..100,
        ) {
            let view = BodyView::of(&body, limit);
            let shown = match &view.shown {
                Text::Text(text) => text.len(),
                Text::Base64(text) => STANDARD.decode(text).unwrap().len(),
            };
            prop_assert!(shown <= limit.min(body.len()));
            prop_assert_eq!(view.truncated, body.len() > limit);
        }
    }
}
