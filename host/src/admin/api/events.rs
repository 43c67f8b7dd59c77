//! `/api/v1/events`: lists, one event with all that is known of it, and its body as it came.

use std::sync::Arc;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::OwnedSemaphorePermit;
use weir_core::id::EventId;
use weir_core::payload::Payload;
use weir_store::query::{EventDetail, StoredRequest};

use super::{Answer, Hub, Id, Problem, Shared, StatusCode, Uri, id, json, query, views};
use views::{EventView, PREVIEW_BYTES, PayloadView, RequestView};

/// Events, newest first.
pub(in crate::admin) async fn list(hub: Hub, uri: Uri) -> Answer {
    let (filter, page) = query::events(uri.query(), hub.clock.now())?;
    json::answer(StatusCode::OK, &hub.store.events(filter, page).await?)
}

/// One event: deliveries, attempts with logs, the request that carried it, headers and body.
pub(in crate::admin) async fn show(hub: Hub, path: Id, uri: Uri) -> Answer {
    let event: EventId = id(path)?;
    let full = query::full(uri.query())?;
    let permit = if full { Some(whole_payload(&hub)?) } else { None };
    let Found { event, request } = find(&hub, event).await?;
    let payload = payload(&event, request.as_ref());
    let limit = if full { usize::MAX } else { PREVIEW_BYTES };
    let view = EventView {
        event: &event,
        request: request.as_ref().map(RequestView::of),
        payload: payload.map(|payload| PayloadView::of(payload, limit)),
    };
    let bytes = json::bytes(&view)?;
    Ok(json::response(
        StatusCode::OK,
        match permit {
            None => bytes,
            Some(permit) => Bytes::from_owner(Held { bytes, _permit: permit }),
        },
    ))
}

/// The body of an event, byte for byte, for saving and never for showing: it is a stranger's.
pub(in crate::admin) async fn body(hub: Hub, path: Id, uri: Uri) -> Answer {
    let event: EventId = id(path)?;
    query::none(uri.query())?;
    let permit = whole_payload(&hub)?;
    let found = find(&hub, event).await?;
    let Some(payload) = payload(&found.event, found.request.as_ref()) else {
        let detail = "the body of this event is no longer kept";
        return Err(Problem::new(StatusCode::GONE, "payload_gone", detail));
    };
    let name = HeaderValue::try_from(format!("attachment; filename=\"{event}.bin\""))
        .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let bytes = Bytes::from_owner(Held { bytes: payload.body.clone(), _permit: permit });
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], bytes).into_response())
}

struct Found {
    event: EventDetail,
    request: Option<StoredRequest>,
}

async fn find(hub: &Shared, id: EventId) -> Result<Found, Problem> {
    let event = hub.store.event(id).await?.ok_or_else(|| {
        let detail = "there is no event with this id; it may be past its retention";
        Problem::not_found("event_not_found", detail)
    })?;
    let request = match event.request {
        Some(request) => hub.store.request(request).await?,
        None => None,
    };
    Ok(Found { event, request })
}

/// An event's own payload, or that of the request whose only event it is.
fn payload<'a>(event: &'a EventDetail, request: Option<&'a StoredRequest>) -> Option<&'a Payload> {
    event.payload.as_deref().or(request.map(|request| &request.payload))
}

fn whole_payload(hub: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&hub.whole_payloads)
        .try_acquire_owned()
        .map_err(|_| Problem::passing("busy", "as many whole payloads as allowed are being sent"))
}

/// Bytes that hold a place among the whole payloads until they are sent, or the receiver is gone.
struct Held {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
