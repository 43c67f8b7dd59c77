//! Events: lists, one with all that is known of it, and its body as it was received.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use weir_core::id::EventId;
use weir_core::name::{SourceName, Target};
use weir_core::payload::Payload;
use weir_store::query::{
    DeliveryDetail, EventDetail, EventFilter, PageOf, PageRequest, StoredRequest,
};

use super::AdminService;
use super::lookup::IdMatch;
use super::views::{self, PREVIEW_BYTES};
use crate::admin::error::ApiError;
use crate::api::params::{Cursor, Limit};
use crate::api::{
    CountAnswer, EventAnswer, EventDetailView, EventSummary, EventView, EventsQuery, ListPage,
};

/// Most events that are counted.
const COUNT_MAX: u64 = 10_000;

impl AdminService {
    /// Events, newest first.
    pub(crate) async fn events(&self, query: EventsQuery) -> Result<ListPage<EventView>, ApiError> {
        let (limit, cursor) = (query.limit, query.cursor.clone());
        let filter = self.events_filter(&query);
        let found = self.store.events(filter, page_request(limit, cursor)).await?;
        if found.items.is_empty() || has_alternatives(&query) {
            self.check_names_of(&query).await?;
        }
        Ok(list_page(found, views::event))
    }

    /// The number of events that a query matches. Its limit and cursor do not count.
    pub(crate) async fn count_events(&self, query: EventsQuery) -> Result<CountAnswer, ApiError> {
        let counted = self.store.count_events(self.events_filter(&query), COUNT_MAX).await?;
        if counted.count == 0 || has_alternatives(&query) {
            self.check_names_of(&query).await?;
        }
        Ok(CountAnswer { count: counted.count, more: counted.more })
    }

    pub(super) fn events_filter(&self, query: &EventsQuery) -> EventFilter {
        let EventsQuery { source, kind, category, status, handler, destination, key, text, .. } =
            query.clone();
        let now = self.clock.now();
        EventFilter {
            sources: source.into_values(),
            kinds: kind.into_values(),
            categories: category.into_values(),
            statuses: status.into_values(),
            handlers: handler.into_values(),
            destinations: destination.into_values(),
            keys: key.into_values(),
            text: text.map(Into::into),
            since: query.since.map(|moment| moment.resolve(now)),
            until: query.until.map(|moment| moment.resolve(now)),
        }
    }

    /// Refuses unknown names of a query that found nothing.
    pub(super) async fn check_names_of(&self, query: &EventsQuery) -> Result<(), ApiError> {
        let handlers = query.handler.values().iter().cloned().map(Target::Handler);
        let destinations = query.destination.values().iter().cloned().map(Target::Destination);
        self.check_sources(query.source.values()).await?;
        self.check_targets(&handlers.chain(destinations).collect::<Vec<_>>()).await
    }

    /// The thing with an id: an event in full, several events, a refusal, or a quarantined request.
    /// The id of a delivery or message shows its event, and a message's headers and body. `full`
    /// shows whole bodies.
    pub(crate) async fn event(&self, id: &str, full: bool) -> Result<EventAnswer, ApiError> {
        let limit = if full { usize::MAX } else { PREVIEW_BYTES };
        match self.find(id).await? {
            IdMatch::Events(events) => match events[..] {
                [event] => self.event_detail(event, None, limit).await,
                _ => self.summaries(events).await,
            },
            IdMatch::Delivery { delivery, event } => {
                let message = self.store.message(delivery).await?;
                let delivery = self.store.delivery(delivery).await?;
                let delivery = delivery.map(|delivery| (delivery, message.as_ref()));
                self.event_detail(event, delivery, limit).await
            }
            IdMatch::Refusal(refusal) => {
                Ok(EventAnswer::Refusal { refusal: views::refusal(&refusal) })
            }
            IdMatch::Quarantined(id) => {
                Ok(EventAnswer::Quarantined { quarantined: self.quarantined_request(id).await? })
            }
        }
    }

    async fn event_detail(
        &self,
        id: EventId,
        delivery: Option<(DeliveryDetail, Option<&Payload>)>,
        limit: usize,
    ) -> Result<EventAnswer, ApiError> {
        let event = self.stored_event(id).await?;
        let request = self.request_of(&event).await?;
        let reasons = self.wait_reasons().await?;
        let message = delivery.as_ref().and_then(|(_, message)| *message);
        Ok(EventAnswer::Event(Box::new(EventDetailView {
            event: reasons.event(&event),
            message: message.map(|message| views::payload(message, limit)),
            delivery: delivery
                .as_ref()
                .map(|(delivery, _)| reasons.delivery(&sent_by(&event, delivery), delivery)),
            request: request.as_ref().map(views::request),
            payload: payload(&event, request.as_ref()).map(|p| views::payload(p, limit)),
        })))
    }

    /// An event in one line. None once retention has removed it.
    pub(crate) async fn event_summary(
        &self,
        id: EventId,
    ) -> Result<Option<EventSummary>, ApiError> {
        Ok(self.store.event(id).await?.as_ref().map(views::summary))
    }

    async fn summaries(&self, events: Vec<EventId>) -> Result<EventAnswer, ApiError> {
        let mut summaries = Vec::with_capacity(events.len());
        for id in events {
            summaries.extend(self.store.event(id).await?.as_ref().map(views::summary));
        }
        Ok(EventAnswer::Events { events: summaries })
    }

    /// The body of an event, byte for byte.
    pub(crate) async fn event_body(&self, id: EventId) -> Result<Bytes, ApiError> {
        let event = self.stored_event(id).await?;
        let request = self.request_of(&event).await?;
        let payload = payload(&event, request.as_ref()).ok_or_else(|| {
            ApiError::gone("payload_gone", "the body of this event is no longer stored")
        })?;
        Ok(payload.body.clone())
    }

    /// A permit to hold one whole payload in memory until it is sent.
    pub(crate) fn payload_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = self.whole_payloads.clone().try_acquire_owned();
        permit.map_err(|_| {
            ApiError::transient("busy", "as many whole payloads as allowed are being sent")
        })
    }

    async fn request_of(&self, event: &EventDetail) -> Result<Option<StoredRequest>, ApiError> {
        match event.request {
            Some(request) => Ok(self.store.request(request).await?),
            None => Ok(None),
        }
    }
}

/// True if a name of a query may be unknown although another one found something.
fn has_alternatives(query: &EventsQuery) -> bool {
    let EventsQuery { source, handler, destination, .. } = query;
    [source.values().len(), handler.values().len(), destination.values().len()]
        .iter()
        .any(|names| *names > 1)
}

/// A page of the store as one of the API.
pub(super) fn list_page<T, V>(found: PageOf<T>, view: impl Fn(&T) -> V) -> ListPage<V> {
    ListPage {
        items: found.items.iter().map(view).collect(),
        next: found.next,
        previous: found.previous,
        searched_to: found.searched_to,
    }
}

/// The page of a list that a query asks for.
pub(super) fn page_request(limit: Option<Limit>, cursor: Option<Cursor>) -> PageRequest {
    PageRequest { limit: limit.unwrap_or_default().get(), after: cursor.map(Cursor::into_inner) }
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

/// The payload of an event: its own, or that of the request whose only event it is.
fn payload<'a>(event: &'a EventDetail, request: Option<&'a StoredRequest>) -> Option<&'a Payload> {
    event.payload.as_deref().or(request.map(|request| &request.payload))
}
