//! Answers: what goes back to a sender, whether its request was accepted or refused.
//!
//! This file builds the answers to accepted requests, handshakes and health checks; `refused` and
//! `problem` those to refused requests. What may not live here: the decision itself.

pub(crate) mod penalties;
pub(crate) mod problem;
pub(crate) mod refusal_log;
pub(crate) mod refused;

use std::fmt::Write;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http_body_util::Full;
use weir_core::handshake::HandshakeAnswer;
use weir_core::payload::Payload;
use weir_core::provider::AnswerTable;
use weir_store::EventIngested;

/// The HTTP response to a sender.
pub(crate) type Answer = http::Response<Full<Bytes>>;

/// An answer, and what to do with the connection after it.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) answer: Answer,
    /// The body was not read: as many bytes of it are read and dropped after the answer, then the
    /// connection ends.
    pub(crate) drain_bytes: Option<usize>,
}

impl Response {
    /// The answer to a request whose body was read, or has none.
    pub(crate) fn complete(answer: Answer) -> Self {
        Self { answer, drain_bytes: None }
    }
}

/// An accepted request, with its answer.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) outcome: IngressOutcome,
    pub(crate) answer: Answer,
}

/// The kind of an accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IngressOutcome {
    /// At least one event is new, or there is none.
    Accepted,
    /// Every event was stored before.
    Duplicate,
    /// A handshake, which carries no event.
    Handshake,
}

impl IngressOutcome {
    /// The outcome of a request with these events.
    pub(crate) fn of(events: &[EventIngested]) -> Self {
        let is_duplicate = |e: &EventIngested| matches!(e, EventIngested::Duplicate { .. });
        match !events.is_empty() && events.iter().all(is_duplicate) {
            true => Self::Duplicate,
            false => Self::Accepted,
        }
    }

    /// The word in answers and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Handshake => "handshake",
        }
    }
}

/// The number of events that a request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestShape {
    /// The request is one event.
    Single,
    /// The request is a batch, whose events each have a part of its body.
    Batch,
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer that a provider requires for every accepted request.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledgement {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
}

impl Acknowledgement {
    /// Reads a provider's answer. `None` if it is not valid HTTP.
    pub(crate) fn new(table: &AnswerTable) -> Option<Self> {
        let content_type = match &table.content_type {
            Some(text) => Some(HeaderValue::from_str(text).ok()?),
            None => None,
        };
        let status = StatusCode::from_u16(table.status).ok()?;
        Some(Self { status, content_type, body: table.body.clone().into() })
    }

    pub(crate) fn answer(&self) -> Answer {
        answer(self.status, self.content_type.clone(), self.body.clone())
    }
}

/// The hub's own answer: the id of the event, or for a batch the ids of new events and of
/// duplicates.
pub(crate) fn stored(events: &[EventIngested], shape: RequestShape) -> Answer {
    let word = IngressOutcome::of(events).as_str();
    let mut body = String::with_capacity(48 + 34 * events.len());
    // Writing to a string cannot fail.
    let _ = match (events, shape) {
        (
            [EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. }],
            RequestShape::Single,
        ) => {
            write!(body, r#"{{"status":"{word}","event_id":"{id}"}}"#)
        }
        _ => write_batch(&mut body, word, events),
    };
    answer(StatusCode::OK, Some(JSON), body.into())
}

fn write_batch(body: &mut String, word: &str, events: &[EventIngested]) -> std::fmt::Result {
    write!(body, r#"{{"status":"{word}","event_ids":["#)?;
    let new = events.iter().filter_map(|e| match e {
        EventIngested::Stored { id, .. } => Some(id),
        EventIngested::Duplicate { .. } => None,
    });
    let known = events.iter().filter_map(|e| match e {
        EventIngested::Duplicate { first, .. } => Some(first),
        EventIngested::Stored { .. } => None,
    });
    for (n, id) in new.enumerate() {
        write!(body, "{}\"{id}\"", if n > 0 { "," } else { "" })?;
    }
    body.push_str(r#"],"duplicates":["#);
    for (n, id) in known.enumerate() {
        write!(body, "{}\"{id}\"", if n > 0 { "," } else { "" })?;
    }
    body.push_str("]}");
    Ok(())
}

/// An answer with a status only.
pub(crate) fn empty(status: StatusCode) -> Answer {
    answer(status, None, Bytes::new())
}

/// The answer to a handshake. An invalid header is left out; the provider file was checked for
/// that.
pub(crate) fn handshake(reply: HandshakeAnswer) -> Answer {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    let mut response = answer(status, None, reply.body.into());
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// A handler's reply as an answer. Its parts were checked when the handler set them; an invalid
/// part is left out all the same.
pub(crate) fn reply(status: u16, payload: &Payload) -> Answer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    let body = if bodiless { Bytes::new() } else { payload.body.clone() };
    let mut response = answer(status, None, body);
    for (name, value) in &payload.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&**name), HeaderValue::from_bytes(value))
        {
            response.headers_mut().append(name, value);
        }
    }
    // A reply is data for the sender. No browser may take it for a page of this host.
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Asks caches on the way not to keep the answer to a `GET`: a cached answer would tell a later
/// sender that its event is stored, though the request never came here. A handler's own header
/// stays.
pub(crate) fn without_caching(mut answer: Answer) -> Answer {
    answer.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// The answer to a health check. `problem` is the reason why it fails.
pub(crate) fn health(problem: Option<&str>) -> Answer {
    match problem {
        None => answer(StatusCode::OK, Some(JSON), Bytes::from_static(br#"{"status":"ok"}"#)),
        Some(reason) => {
            let body = format!(r#"{{"status":"unavailable","reason":"{reason}"}}"#);
            answer(StatusCode::SERVICE_UNAVAILABLE, Some(JSON), body.into())
        }
    }
}

fn answer(status: StatusCode, content_type: Option<HeaderValue>, body: Bytes) -> Answer {
    let mut response = http::Response::new(Full::new(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use weir_core::id::EventId;

    use super::*;

    fn new(bits: u128) -> EventIngested {
        EventIngested::Stored {
            id: EventId::from_bits(bits),
            id_reused: false,
            unrouted: true,
            dead: None,
        }
    }

    fn known(bits: u128) -> EventIngested {
        EventIngested::Duplicate { first: EventId::from_bits(bits), requeued: false }
    }

    async fn body_of(events: &[EventIngested], shape: RequestShape) -> serde_json::Value {
        let body = stored(events, shape).into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn an_event_is_answered_with_its_id_and_a_duplicate_with_the_first() {
        let id = EventId::from_bits(5).to_string();
        assert_eq!(
            body_of(&[new(5)], RequestShape::Single).await,
            serde_json::json!({ "status": "accepted", "event_id": id })
        );
        assert_eq!(
            body_of(&[known(5)], RequestShape::Single).await,
            serde_json::json!({ "status": "duplicate", "event_id": id })
        );
    }

    #[tokio::test]
    async fn a_batch_lists_new_events_apart_from_duplicates() {
        let id = |bits| EventId::from_bits(bits).to_string();
        assert_eq!(
            body_of(&[new(1), known(2), new(3)], RequestShape::Batch).await,
            serde_json::json!({
                "status": "accepted", "event_ids": [id(1), id(3)], "duplicates": [id(2)],
            })
        );
        assert_eq!(body_of(&[known(2)], RequestShape::Batch).await["status"], "duplicate");
        assert_eq!(
            body_of(&[], RequestShape::Batch).await,
            serde_json::json!({ "status": "accepted", "event_ids": [], "duplicates": [] })
        );
    }
}
