//! Finding events, deliveries and refusals by any kind of id. All routes that take an id use this.

use serde_json::{Value, json};
use weir_core::id::{
    AttemptId, DeliveryId, EventId, InvalidId, MessageId, QuarantineId, RequestId,
};
use weir_store::query::{IdLookup, IdMatches};

use super::{AdminService, ApiError, StatusCode};
use crate::ingress::RefusalRecord;

/// Longest sender's id that is looked for, in bytes.
const ID_BYTES_MAX: usize = 256;

/// The result of a search for an id.
#[derive(Debug)]
pub(super) enum IdMatch {
    /// Events, at least one.
    Events(Vec<EventId>),
    /// A delivery of an event, perhaps a message.
    Delivery { delivery: DeliveryId, event: EventId },
    /// A request that was refused.
    Refusal(RefusalRecord),
    /// A request in the quarantine.
    Quarantined(QuarantineId),
}

/// Finds an id of any kind.
pub(super) async fn seek(hub: &AdminService, id: &str) -> Result<IdMatch, ApiError> {
    if id.is_empty() || id.len() > ID_BYTES_MAX {
        let detail = format!("an id is text of 1 to {ID_BYTES_MAX} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_id", detail));
    }
    let prefix = id.split_inclusive('_').next().unwrap_or_default();
    // A sender's own id may begin like one of ours, and even have its form.
    let found = match prefix {
        EventId::PREFIX => event_of_ours(hub, id).await,
        DeliveryId::PREFIX => delivery_of_ours(hub, id).await,
        MessageId::PREFIX => asked(hub, id.parse().map(IdLookup::Message)).await,
        AttemptId::PREFIX => asked(hub, id.parse().map(IdLookup::Attempt)).await,
        RequestId::PREFIX => asked(hub, id.parse().map(IdLookup::Request)).await,
        QuarantineId::PREFIX => match id.parse() {
            Ok(id) => return Ok(IdMatch::Quarantined(id)),
            Err(error) => Err(ApiError::invalid_id(&error)),
        },
        _ => Err(unknown(id)),
    };
    if let Some(refusal) = hub.ingress.refusal(id) {
        return Ok(IdMatch::Refusal(refusal));
    }
    let found = match found {
        Ok(found) if found != IdMatches::default() => found,
        not_ours => {
            let of_sender = hub.store.find(IdLookup::Sender(id.into())).await?;
            if of_sender.events.is_empty() {
                return Err(not_ours.err().unwrap_or_else(|| unknown(id)));
            }
            of_sender
        }
    };
    match found.delivery {
        Some(delivery) => {
            let known = hub.store.delivery(delivery).await?.ok_or_else(|| unknown(id))?;
            Ok(IdMatch::Delivery { delivery, event: known.event })
        }
        None => Ok(IdMatch::Events(found.events)),
    }
}

/// The one event that an id leads to.
pub(super) async fn event(hub: &AdminService, id: &str) -> Result<EventId, ApiError> {
    event_of(seek(hub, id).await?)
}

/// The one event of what was found.
pub(super) fn event_of(led: IdMatch) -> Result<EventId, ApiError> {
    match led {
        IdMatch::Delivery { event, .. } => Ok(event),
        IdMatch::Events(events) => match events[..] {
            [event] => Ok(event),
            _ => Err(not_one(&events)),
        },
        IdMatch::Refusal(_) | IdMatch::Quarantined(_) => {
            let detail = "this is the id of a request that was refused: `weir events ID` shows it";
            Err(ApiError::new(StatusCode::CONFLICT, "refused_request", detail))
        }
    }
}

/// One was asked for, and the id is that of several.
pub(super) fn not_one(events: &[EventId]) -> ApiError {
    let ids = events.iter().take(10).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let detail = format!("this id is that of {} events, say which: {ids}", events.len());
    ApiError::new(StatusCode::CONFLICT, "not_one_event", detail)
}

async fn event_of_ours(hub: &AdminService, id: &str) -> Result<IdMatches, ApiError> {
    let event: EventId = id.parse().map_err(|error| ApiError::invalid_id(&error))?;
    let found = hub.store.event(event).await?;
    Ok(IdMatches { delivery: None, events: found.map(|_| event).into_iter().collect() })
}

async fn delivery_of_ours(hub: &AdminService, id: &str) -> Result<IdMatches, ApiError> {
    let delivery: DeliveryId = id.parse().map_err(|error| ApiError::invalid_id(&error))?;
    let found = hub.store.delivery(delivery).await?;
    Ok(IdMatches { delivery: found.map(|found| found.id), events: Vec::new() })
}

async fn asked(
    hub: &AdminService,
    sought: Result<IdLookup, InvalidId>,
) -> Result<IdMatches, ApiError> {
    let sought = sought.map_err(|error| ApiError::invalid_id(&error))?;
    Ok(hub.store.find(sought).await?)
}

/// Nothing has this id.
pub(super) fn unknown(id: &str) -> ApiError {
    let id: String = id.chars().take(60).collect();
    let detail = format!(
        "nothing has the id `{id}`: no event, delivery, message, attempt or request, no refusal that is remembered, \
         and no sender's id; it may be past its retention"
    );
    ApiError::not_found("event_not_found", detail)
}

/// A refusal as it is shown.
pub(super) fn refusal(refusal: &RefusalRecord) -> Value {
    let RefusalRecord { id, at, source, address, status, code, reason } = refusal;
    json!({
        "request_id": id, "at": at, "source": source, "address": address, "status": status, "code": code,
        "reason": reason,
    })
}
