//! Replays: makes events and deliveries due again. It moves what is stored and copies nothing.
//!
//! A call does a bounded part of the work and says where the next call goes on, so the client sets
//! the pace. What may not live here: how a replay is carried out, which is the store's.

use serde_json::Map;
use sha2::{Digest as _, Sha256};
use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::id::DeliveryId;
use weir_core::name::{DestinationName, SourceName, Target};
use weir_core::route::RouteTable;
use weir_store::query::{DeliveryFilter, EventDetail, EventFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent};

use super::lookup::IdMatch;
use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::admin::query::QueryError;
use crate::api::params::{InvalidValue, Limit, PointInTime, request_key};
use crate::api::{DeadLetterFilter, ReplayAnswer, ReplayBody, UnroutedFilter};
use crate::routing;

/// Most deliveries of one call; the store does as many in one commit.
const DELIVERIES_MAX: usize = 10_000;

/// The options of a replay of any kind.
struct ReplayOptions {
    /// The idempotency key.
    key: String,
    /// The only destination that gets the events.
    to: Option<DestinationName>,
    new_ids: bool,
    dry_run: bool,
    by: Principal,
}

impl AdminService {
    /// Replays what is asked for. A dry run changes nothing and is not recorded.
    pub(crate) async fn replay(
        &self,
        body: ReplayBody,
        by: Principal,
    ) -> Result<ReplayAnswer, ApiError> {
        if body.dry_run {
            return self.do_replay(body, by).await;
        }
        let many = match (&body.unrouted, &body.dead_letters) {
            (Some(_), _) => Some("unrouted"),
            (None, Some(_)) => Some("dead_letters"),
            (None, None) => None,
        };
        let one = body.event.clone().or_else(|| body.delivery.clone());
        let subject = one.unwrap_or_else(|| many.unwrap_or_default().to_owned());
        let result = self.do_replay(body, by.clone()).await;
        let mut detail = Map::new();
        if let Ok(ReplayAnswer { events, deliveries, .. }) = &result {
            detail.insert("events".to_owned(), (*events).into());
            detail.insert("deliveries".to_owned(), (*deliveries).into());
        }
        self.record(&by, "replay", &subject, &result, detail).await;
        result
    }

    async fn do_replay(&self, body: ReplayBody, by: Principal) -> Result<ReplayAnswer, ApiError> {
        let ReplayBody { event, delivery, unrouted, dead_letters, to, request, new_ids, dry_run } =
            body;
        if to.is_some() && (delivery.is_some() || dead_letters.is_some()) {
            let detail = "`to` is for events: a delivery has its target";
            return Err(ApiError::bad_request("malformed", detail));
        }
        if let Some(to) = &to {
            self.known_names().check_target(&Target::Destination(to.clone()))?;
        }
        let options = ReplayOptions { key: key(request)?, to, new_ids, dry_run, by };
        match (event, delivery, unrouted, dead_letters) {
            (Some(event), None, None, None) => self.replay_event(&event, options).await,
            (None, Some(delivery), None, None) => self.replay_delivery(&delivery, options).await,
            (None, None, Some(filter), None) => self.replay_unrouted(filter, options).await,
            (None, None, None, Some(filter)) => self.replay_dead_letters(filter, options).await,
            _ => {
                let detail =
                    "give exactly one of `event`, `delivery`, `unrouted` and `dead_letters`";
                Err(ApiError::bad_request("malformed", detail))
            }
        }
    }

    async fn replay_event(
        &self,
        id: &str,
        options: ReplayOptions,
    ) -> Result<ReplayAnswer, ApiError> {
        let found = self.find(id).await?;
        if let IdMatch::Delivery { delivery, .. } = found {
            return self.redo_delivery(delivery, options).await;
        }
        let event = self.stored_event(found.event()?).await?;
        not_erased(&event)?;
        let rerouted = self.reroute(&event, &self.routes.current(), &options).await?;
        let is_routed = !rerouted.routed.deliveries.is_empty();
        let deliveries = if options.dry_run {
            due_again(&event, &rerouted)
        } else {
            let request = format!("replay:{}:{}", options.key, event.id);
            self.carry_out(ReplaySelection::Events(vec![rerouted]), request, &options).await?
        };
        Ok(ReplayAnswer {
            dry_run: options.dry_run,
            events: 1,
            routed: is_routed.into(),
            deliveries,
            ..ReplayAnswer::default()
        })
    }

    async fn replay_delivery(
        &self,
        id: &str,
        options: ReplayOptions,
    ) -> Result<ReplayAnswer, ApiError> {
        match self.find(id).await? {
            IdMatch::Delivery { delivery, .. } => self.redo_delivery(delivery, options).await,
            _ => Err(ApiError::bad_request("invalid_id", "this is not the id of a delivery")),
        }
    }

    async fn redo_delivery(
        &self,
        id: DeliveryId,
        options: ReplayOptions,
    ) -> Result<ReplayAnswer, ApiError> {
        let delivery = self.store.delivery(id).await?.ok_or_else(|| {
            let detail = "there is no delivery with this id; it may be past its retention";
            ApiError::not_found("delivery_not_found", detail)
        })?;
        not_erased(&self.stored_event(delivery.event).await?)?;
        let deliveries = if options.dry_run {
            usize::from(delivery.state.is_final())
        } else {
            let request = format!("replay:{}:{id}", options.key);
            self.carry_out(ReplaySelection::Delivery(id), request, &options).await?
        };
        if deliveries == 0 {
            let state = delivery.state;
            let detail = format!("{id} is still {state}; `weir why {id}` shows its next attempt");
            return Err(ApiError::conflict("not_over", detail));
        }
        let dry_run = options.dry_run;
        Ok(ReplayAnswer { dry_run, events: 1, routed: 1, deliveries, ..ReplayAnswer::default() })
    }

    async fn replay_unrouted(
        &self,
        filter: UnroutedFilter,
        options: ReplayOptions,
    ) -> Result<ReplayAnswer, ApiError> {
        let table = self.routes.current();
        let UnroutedFilter { source, kind, since, until, limit, cursor } = filter;
        let status = Some(EventStatus::Unrouted);
        let statuses = status.into_iter().collect();
        let filter = EventFilter { statuses, ..self.event_filter(source, kind, since, until)? };
        // So few events that their deliveries can be made in one commit.
        let most = (DELIVERIES_MAX / table.rules().len().max(1)).clamp(1, Limit::MAX);
        let page = PageRequest { limit: limit.unwrap_or(most).clamp(1, most), after: cursor };
        let (since, until) = (filter.since, filter.until);
        // As with patterns, the hub's own alerts are meant only where their source is named.
        let (source, is_first) = (filter.sources.first().cloned(), page.after.is_none());
        let mut found = self.store.events(filter, page).await?;
        if is_first && found.items.is_empty() {
            self.check_names(source.as_ref(), None).await?;
        }
        found.items.retain(|event| {
            event.erased_at.is_none() && (source.is_some() || event.source != SourceName::hub())
        });
        let mut rerouted = Vec::new();
        for event in &found.items {
            let event = self.reroute(event, &table, &options).await?;
            if !event.routed.deliveries.is_empty() {
                rerouted.push(event);
            }
        }
        let routed = rerouted.len();
        let deliveries = if options.dry_run {
            rerouted.iter().map(|event| event.routed.deliveries.len()).sum()
        } else {
            let request =
                request_for(&options.key, rerouted.iter().map(|event| event.event.bits()));
            self.carry_out(ReplaySelection::Unrouted(rerouted), request, &options).await?
        };
        let (dry_run, events, next) = (options.dry_run, found.items.len(), found.next);
        Ok(ReplayAnswer { dry_run, events, routed, deliveries, since, until, next })
    }

    async fn replay_dead_letters(
        &self,
        filter: DeadLetterFilter,
        options: ReplayOptions,
    ) -> Result<ReplayAnswer, ApiError> {
        let DeadLetterFilter { target, source, kind, since, until, limit, cursor } = filter;
        let target: Option<Target> = target
            .map(|text| text.parse())
            .transpose()
            .map_err(|why| QueryError::invalid("target", why))?;
        let of = self.event_filter(source, kind, since, until)?;
        let (since, until, source) = (of.since, of.until, of.sources.first().cloned());
        let is_first = cursor.is_none();
        let filter = DeliveryFilter {
            states: vec![DeliveryState::DeadLetter],
            targets: target.clone().into_iter().collect(),
            of,
        };
        let limit = Limit::clamped(limit.unwrap_or(Limit::MAX)).get();
        let found = self.store.deliveries(filter, PageRequest { limit, after: cursor }).await?;
        if is_first && found.items.is_empty() {
            self.check_names(source.as_ref(), target.as_ref()).await?;
        }
        let events = found.items.len();
        let deliveries = if options.dry_run {
            events
        } else {
            let request = request_for(&options.key, found.items.iter().map(|dead| dead.id.bits()));
            // A dead letter that dies again meanwhile lies before the cursor or after it: each is
            // met once.
            let ids = found.items.iter().map(|dead| dead.id).collect();
            self.carry_out(ReplaySelection::DeadOf(ids), request, &options).await?
        };
        let (dry_run, routed, next) = (options.dry_run, events, found.next);
        Ok(ReplayAnswer { dry_run, events, routed, deliveries, since, until, next })
    }

    fn event_filter(
        &self,
        source: Option<String>,
        kind: Option<String>,
        since: Option<String>,
        until: Option<String>,
    ) -> Result<EventFilter, QueryError> {
        let now = self.clock.now();
        let time = |key: &str, text: Option<String>| {
            let moment = text.map(|text| text.parse::<PointInTime>()).transpose();
            let invalid = |why: InvalidValue| QueryError::invalid(key, why);
            moment.map(|moment| moment.map(|moment| moment.resolve(now))).map_err(invalid)
        };
        let source = source.map(|text| text.parse()).transpose();
        let kind = kind.map(|text| weir_core::event::EventType::new(&text)).transpose();
        Ok(EventFilter {
            sources: source
                .map_err(|why| QueryError::invalid("source", why))?
                .into_iter()
                .collect(),
            kinds: kind.map_err(|why| QueryError::invalid("type", why))?.into_iter().collect(),
            since: time("since", since)?,
            until: time("until", until)?,
            ..EventFilter::default()
        })
    }

    /// Routes a stored event by the rules of now, or to one destination only.
    async fn reroute(
        &self,
        event: &EventDetail,
        table: &RouteTable,
        options: &ReplayOptions,
    ) -> Result<ReroutedEvent, ApiError> {
        let mut rerouted = routing::reroute(&*self.store, event, table).await?;
        if let Some(to) = &options.to {
            rerouted.routed = routing::only_to(to, rerouted.routed);
        }
        Ok(rerouted)
    }

    async fn carry_out(
        &self,
        what: ReplaySelection,
        request: String,
        options: &ReplayOptions,
    ) -> Result<usize, ApiError> {
        let (new_ids, by) = (options.new_ids, &options.by);
        let replay = ReplayRequest { what, limit: DELIVERIES_MAX, request, new_ids };
        let deliveries = self.store.replay(replay).await?.deliveries.len();
        if deliveries > 0 {
            tracing::info!(deliveries, new_ids, %by, "deliveries replayed");
        }
        Ok(deliveries)
    }
}

/// Refuses an event whose contents were erased: nothing of it could be handled.
fn not_erased(event: &EventDetail) -> Result<(), ApiError> {
    let Some(at) = event.erased_at else { return Ok(()) };
    let detail = format!("the contents of {} were erased at {at}", event.id);
    Err(ApiError::conflict("erased", detail))
}

/// The idempotency key that was given, or a fresh one.
fn key(given: Option<String>) -> Result<String, ApiError> {
    let Some(key) = given else { return Ok(hex::encode(rand::random::<[u8; 16]>())) };
    let invalid = |why| ApiError::bad_request("invalid_request_name", format!("`request`: {why}"));
    request_key(&key).map_err(invalid)?;
    Ok(key)
}

/// The number of an event's deliveries that would become due: those that are done, and those that
/// do not exist yet.
pub(super) fn due_again(event: &EventDetail, rerouted: &ReroutedEvent) -> usize {
    let waits = |target: &Target| {
        event.deliveries.iter().any(|known| known.target == *target && !known.state.is_final())
    };
    let delivered = rerouted.routed.deliveries.iter().filter(|delivery| delivery.error.is_none());
    delivered.filter(|delivery| !waits(&delivery.target)).count()
}

/// The store's key for one page of a replay. It is made of the page's content and not of its
/// number: where a replay was interrupted, the next one under its key meets other pages.
fn request_for(key: &str, ids: impl Iterator<Item = u128>) -> String {
    let mut hash = Sha256::new();
    ids.for_each(|id| hash.update(id.to_be_bytes()));
    format!("replay:{key}:{}", hex::encode(hash.finalize()))
}
