//! `/api/v1/events`: lists, one event with all that is known of it, and its body as it came.

use std::sync::Arc;

use axum::response::IntoResponse as _;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde_json::json as object;
use tokio::sync::OwnedSemaphorePermit;
use weir_core::id::EventId;
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_store::query::{DeliveryDetail, EventDetail, StoredRequest};

use super::seek::{self, IdMatch};
use super::{
    AdminService, ApiError, ApiResult, Id, ServiceState, StatusCode, Uri, any_id, id, json,
    quarantine, query, views, waits,
};
use views::{EventView, PREVIEW_BYTES, PayloadView, RequestView};
use waits::Waits;

/// Events, newest first.
pub(in crate::admin) async fn list(hub: ServiceState, uri: Uri) -> ApiResult {
    let (filter, page) = query::events(uri.query(), hub.clock.now())?;
    let source = filter.source.clone();
    let found = hub.store.events(filter, page).await?;
    if found.items.is_empty() {
        hub.must_know(source.as_ref(), None).await?;
    }
    json::answer(StatusCode::OK, &found)
}

/// The event of an id, with its deliveries, attempts with logs, request, headers and body. The id of a delivery or message
/// shows that too, with the message's body; an id of several events lists them; the `request_id` of a refusal shows the
/// refusal.
pub(in crate::admin) async fn show(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    let full = query::full(uri.query())?;
    let (event, delivery) = match seek::seek(&hub, &any_id(path)).await? {
        IdMatch::Events(events) => match events[..] {
            [event] => (event, None),
            _ => return several(&hub, events).await,
        },
        IdMatch::Delivery { delivery, event } => (event, Some(delivery)),
        IdMatch::Refusal(refusal) => {
            let refusal = seek::refusal(&refusal);
            return json::answer(StatusCode::OK, &object!({ "refusal": refusal }));
        }
        IdMatch::Quarantined(id) => return quarantine::quarantined(&hub, id).await,
    };
    let permit = if full { Some(whole_payload(&hub)?) } else { None };
    let Found { event, request } = find(&hub, event).await?;
    let payload = payload(&event, request.as_ref());
    let limit = if full { usize::MAX } else { PREVIEW_BYTES };
    let waits = Waits::of(&hub).await?;
    let (delivery, message) = match delivery {
        Some(id) => (hub.store.delivery(id).await?, hub.store.message(id).await?),
        None => (None, None),
    };
    let view = EventView {
        event: waits.event(&event),
        delivery: delivery.map(|delivery| waits.delivery(&sent_by(&event, &delivery), &delivery)),
        message: message.as_ref().map(|message| PayloadView::of(message, limit)),
        request: request.as_ref().map(RequestView::of),
        payload: payload.map(|payload| PayloadView::of(payload, limit)),
    };
    let bytes = json::bytes(&view)?;
    Ok(json::response(
        StatusCode::OK,
        match permit {
            None => bytes,
            Some(permit) => Bytes::from_owner(PermittedBytes { bytes, _permit: permit }),
        },
    ))
}

/// Several events of one id.
async fn several(hub: &AdminService, events: Vec<EventId>) -> ApiResult {
    let mut found = Vec::with_capacity(events.len());
    for id in events {
        if let Some(event) = hub.store.event(id).await? {
            found.push(object!({
                "id": event.id, "received_at": event.received_at, "source": event.source, "type": event.kind,
                "status": event.status,
            }));
        }
    }
    json::answer(StatusCode::OK, &object!({ "events": found }))
}

/// The source that a delivery counts as: for a message, the handler that sent it.
fn sent_by(event: &EventDetail, delivery: &DeliveryDetail) -> SourceName {
    let sent = |by: &&DeliveryDetail| {
        let mut messages = by.history.iter().flat_map(|attempt| &attempt.messages);
        messages.any(|message| message.id == delivery.id)
    };
    match event.deliveries.iter().find(sent).map(|by| &by.target) {
        Some(Target::Handler(name)) => SourceName::emitted_by(name),
        _ => event.source.clone(),
    }
}

/// The body of an event, byte for byte, for saving and never for showing: it is a stranger's.
pub(in crate::admin) async fn body(hub: ServiceState, path: Id, uri: Uri) -> ApiResult {
    let event: EventId = id(path)?;
    query::none(uri.query())?;
    let permit = whole_payload(&hub)?;
    let found = find(&hub, event).await?;
    let Some(payload) = payload(&found.event, found.request.as_ref()) else {
        let detail = "the body of this event is no longer kept";
        return Err(ApiError::new(StatusCode::GONE, "payload_gone", detail));
    };
    let name = HeaderValue::try_from(format!("attachment; filename=\"{event}.bin\""))
        .map_err(|_| ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    let kind = HeaderValue::from_static("application/octet-stream");
    let bytes = Bytes::from_owner(PermittedBytes { bytes: payload.body.clone(), _permit: permit });
    Ok(([(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, name)], bytes).into_response())
}

struct Found {
    event: EventDetail,
    request: Option<StoredRequest>,
}

async fn find(hub: &AdminService, id: EventId) -> Result<Found, ApiError> {
    let event = hub.store.event(id).await?.ok_or_else(|| {
        let detail = "there is no event with this id; it may be past its retention";
        ApiError::not_found("event_not_found", detail)
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

fn whole_payload(hub: &AdminService) -> Result<OwnedSemaphorePermit, ApiError> {
    Arc::clone(&hub.whole_payloads)
        .try_acquire_owned()
        .map_err(|_| ApiError::passing("busy", "as many whole payloads as allowed are being sent"))
}

/// Bytes that hold a place among the whole payloads until they are sent, or the receiver is gone.
struct PermittedBytes {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for PermittedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
