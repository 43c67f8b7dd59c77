//! The payload of a message that forwards its event.

use bytes::Bytes;
use weir_core::payload::Payload;

/// The payload of a forwarded event: its body and content type, and the headers that the handler
/// set.
pub(crate) fn forwarded(event: &Payload, headers: &[(Box<str>, Bytes)]) -> Payload {
    let content_type = event.header("content-type").map(|v| ("content-type".into(), v.clone()));
    let set = headers.iter().filter(|(name, _)| &**name != "content-type").cloned();
    Payload { headers: content_type.into_iter().chain(set).collect(), body: event.body.clone() }
}
