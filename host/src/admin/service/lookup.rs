//! Finds what an id leads to, whatever its kind: the hub's ids of events, deliveries, messages,
//! attempts, requests and quarantined requests, the ids of refusals, and senders' own.

use weir_core::id::{
    AttemptId, DeliveryId, EventId, InvalidId, MessageId, QuarantineId, RequestId,
};
use weir_store::query::{EventDetail, IdLookup, IdMatches};

use super::AdminService;
use crate::admin::error::ApiError;
use crate::ingress::RefusalRecord;

/// Longest id that is looked for, in bytes: senders' own may be long.
const ID_BYTES_MAX: usize = 256;
/// Characters of an id that an error repeats.
const ID_SHOWN_CHARS: usize = 60;
/// Most ids that an error lists.
const LISTED_MAX: usize = 10;

/// The thing with an id.
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

impl IdMatch {
    /// The one event that was meant.
    pub(super) fn event(self) -> Result<EventId, ApiError> {
        match self {
            Self::Delivery { event, .. } => Ok(event),
            Self::Events(events) => match events[..] {
                [event] => Ok(event),
                _ => Err(several_events(&events)),
            },
            Self::Refusal(_) | Self::Quarantined(_) => {
                let detail =
                    "this is the id of a request that was refused; `weir events ID` shows it";
                Err(ApiError::conflict("refused_request", detail))
            }
        }
    }
}

impl AdminService {
    /// Finds what an id of any kind leads to.
    pub(super) async fn find(&self, id: &str) -> Result<IdMatch, ApiError> {
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            let detail = format!("an id is text of 1 to {ID_BYTES_MAX} bytes");
            return Err(ApiError::bad_request("invalid_id", detail));
        }
        let prefix = id.split_inclusive('_').next().unwrap_or_default();
        if let (QuarantineId::PREFIX, Ok(id)) = (prefix, id.parse()) {
            return Ok(IdMatch::Quarantined(id));
        }
        let of_hub = self.find_hub_id(prefix, id).await;
        if let Some(refusal) = self.ingress.refusal(id) {
            return Ok(IdMatch::Refusal(refusal));
        }
        let matches = match of_hub {
            Ok(matches) if matches != IdMatches::default() => matches,
            // A sender's own id may look like one of the hub's.
            no_match => {
                let of_sender = self.store.find(IdLookup::Sender(id.into())).await?;
                if of_sender.events.is_empty() {
                    return Err(no_match.err().unwrap_or_else(|| id_not_found(id)));
                }
                of_sender
            }
        };
        match matches.delivery {
            Some(delivery) => {
                let known = self.store.delivery(delivery).await?.ok_or_else(|| id_not_found(id))?;
                Ok(IdMatch::Delivery { delivery, event: known.event })
            }
            None => Ok(IdMatch::Events(matches.events)),
        }
    }

    async fn find_hub_id(&self, prefix: &str, id: &str) -> Result<IdMatches, ApiError> {
        match prefix {
            EventId::PREFIX => {
                let event = valid(id.parse())?;
                let found = self.store.event(event).await?;
                let events = found.map(|_| event).into_iter().collect();
                Ok(IdMatches { delivery: None, events })
            }
            DeliveryId::PREFIX => {
                let found = self.store.delivery(valid(id.parse())?).await?;
                Ok(IdMatches { delivery: found.map(|found| found.id), events: Vec::new() })
            }
            MessageId::PREFIX => Ok(self.store.find(IdLookup::Message(valid(id.parse())?)).await?),
            AttemptId::PREFIX => Ok(self.store.find(IdLookup::Attempt(valid(id.parse())?)).await?),
            RequestId::PREFIX => Ok(self.store.find(IdLookup::Request(valid(id.parse())?)).await?),
            // A valid one was found before.
            QuarantineId::PREFIX => {
                valid(id.parse::<QuarantineId>())?;
                Err(id_not_found(id))
            }
            _ => Err(id_not_found(id)),
        }
    }

    /// The one event that an id leads to.
    pub(super) async fn find_event(&self, id: &str) -> Result<EventDetail, ApiError> {
        let event = self.find(id).await?.event()?;
        self.stored_event(event).await
    }

    /// The event of this id.
    pub(super) async fn stored_event(&self, id: EventId) -> Result<EventDetail, ApiError> {
        self.store.event(id).await?.ok_or_else(|| {
            let detail = "there is no event with this id; it may be past its retention";
            ApiError::not_found("event_not_found", detail)
        })
    }
}

fn valid<T>(id: Result<T, InvalidId>) -> Result<T, ApiError> {
    id.map_err(|error| ApiError::invalid_id(&error))
}

/// For an id that several events have, where one was asked for.
pub(super) fn several_events(events: &[EventId]) -> ApiError {
    let ids = events.iter().take(LISTED_MAX).map(ToString::to_string).collect::<Vec<_>>();
    let detail = format!(
        "{} events have this id; give one of their own ids: {}",
        events.len(),
        ids.join(", ")
    );
    ApiError::conflict("not_one_event", detail)
}

/// For an id that leads nowhere.
pub(super) fn id_not_found(id: &str) -> ApiError {
    let id: String = id.chars().take(ID_SHOWN_CHARS).collect();
    let detail = format!(
        "no event, delivery, message, attempt, request or remembered refusal has the id `{id}`, \
         and no sender used it; it may be past its retention"
    );
    ApiError::not_found("event_not_found", detail)
}
