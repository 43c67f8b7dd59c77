//! Shared parts of the fuzz targets: readable inputs, sources that receive them, and seeds.
//!
//! The first lines of each target say what it attacks and what must hold for every input, besides
//! that there is no panic. Inputs are texts, so that a crash can be read and reduced by hand.
//! Nothing here is part of the hub.

pub mod input;
pub mod models;
pub mod seeds;
pub mod sources;
pub mod vectors;

use weir_core::bounds::{DELIVERY_ID_BYTES_MAX, EVENT_TYPE_BYTES_MAX, EVENTS_PER_REQUEST_MAX};
use weir_core::identify::Identified;

/// Checks what must hold for the events of any request with this payload.
///
/// # Panics
///
/// Panics if it does not hold.
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
        // Decoded bytes are not a part of the payload.
        if event.decoded.is_none() {
            assert!(end <= span.start, "{span:?} begins before {end}");
            end = span.end;
        }
        let json = serde_json::from_slice::<&serde_json::value::RawValue>(event.bytes(payload));
        assert!(!found.is_batch || json.is_ok(), "{span:?}");
    }
}
