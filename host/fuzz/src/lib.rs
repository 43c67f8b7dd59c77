//! What the fuzz targets share: inputs that people can read, sources to send them to, and what to begin with.
//!
//! A target says in its first lines what it attacks and what it holds to be true of every input, besides that there is
//! no panic. Its inputs are texts, so that a crash can be read and mended by hand. Nothing here is part of the hub.

pub mod input;
pub mod models;
pub mod seeds;
pub mod sources;
pub mod vectors;

use weir_core::bounds::{DELIVERY_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, EVENTS_PER_REQUEST_MAX};
use weir_core::identify::Identified;

/// What holds of the events of any request with this payload.
///
/// # Panics
///
/// If it does not hold.
pub fn identified(found: &Identified, payload: &[u8]) {
    assert!(found.events.len() <= EVENTS_PER_REQUEST_MAX, "{} events", found.events.len());
    assert!(found.is_batch || found.events.len() == 1, "{} events", found.events.len());
    let mut end = 0;
    for event in &found.events {
        let kind = event.kind.as_str();
        assert!((1..=EVENT_TYPE_BYTES_MAX).contains(&kind.len()), "{kind:?}");
        assert!(!kind.contains(char::is_control), "{kind:?}");
        if let Some(id) = &event.delivery_id {
            assert!((1..=DELIVERY_ID_BYTES_MAX).contains(&id.len()), "{id:?}");
            assert!(!id.contains(char::is_control), "{id:?}");
        }
        assert!(event.dedup.as_ref().is_none_or(|dedup| !dedup.as_bytes().is_empty()));
        let span = event.span.clone();
        assert!(span.start <= span.end && span.end <= payload.len(), "{span:?}");
        // What had to be decoded stands nowhere in the payload as it is.
        if event.decoded.is_none() {
            assert!(end <= span.start, "{span:?} begins before {end}");
            end = span.end;
        }
        let json = serde_json::from_slice::<&serde_json::value::RawValue>(event.bytes(payload));
        assert!(!found.is_batch || json.is_ok(), "{span:?}");
    }
}
