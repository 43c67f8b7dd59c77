//! `POST /api/v1/replay`: puts events and deliveries back to work. It moves what is there, and never copies.
//!
//! A call does a bounded part of the work and says where to go on: whoever asks sets the pace, and stops when they
//! like. What may not live here: how a replay is carried out, which is the store's.

use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use weir_core::delivery::{DeliveryState, EventStatus};
use weir_core::id::DeliveryId;
use weir_core::name::{SourceName, Target};
use weir_core::route::{EventFacts, RouteTable};
use weir_core::time::Timestamp;
use weir_store::query::{DeliveryFilter, EventDetail, EventFilter, PageRequest};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, ReroutedEvent};

use super::seek::{self, IdMatch};
use super::{AdminService, ApiError, ApiResult, ServiceState, StatusCode, Uri, asked, json, query};
use crate::routing;

/// Most deliveries of one call; the store does as many in one commit.
const DELIVERIES_MAX: usize = 10_000;
/// Longest name of a replay, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What is asked for: one of `event`, `delivery`, `unrouted` and `dead_letters`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// An event, to whom the routes say now.
    event: Option<String>,
    /// A delivery, as it was filed.
    delivery: Option<String>,
    /// Events that went to nobody, to whom the routes say now.
    unrouted: Option<Unrouted>,
    /// Deliveries that were given up, as they were filed.
    dead_letters: Option<DeadLetters>,
    /// Two replays by the same name are one.
    request: Option<String>,
    /// Receivers are to take what follows for something new.
    #[serde(default)]
    new_ids: bool,
    /// Count, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Which unrouted events, newest first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unrouted {
    source: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Received at or after: a time, or how long ago.
    since: Option<String>,
    /// Received before.
    until: Option<String>,
    /// How many events to look at in this call.
    limit: Option<usize>,
    /// Where the call before ended.
    cursor: Option<String>,
}

/// Which dead letters, newest first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadLetters {
    /// `handler:NAME` or `destination:NAME`.
    target: Option<String>,
    /// Of events of this source.
    source: Option<String>,
    /// Of events of this type.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of events received at or after: a time, or how long ago.
    since: Option<String>,
    /// Of events received before.
    until: Option<String>,
    /// How many to look at in this call.
    limit: Option<usize>,
    /// Where the call before ended.
    cursor: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Default, Serialize)]
struct Replayed {
    dry_run: bool,
    /// Events looked at, or dead letters.
    events: usize,
    /// Of them, those that somebody gets.
    routed: usize,
    /// Deliveries that are due now and were not before.
    deliveries: usize,
    /// Since when events were looked at: a later call that says so means the same moment.
    since: Option<Timestamp>,
    /// Until when.
    until: Option<Timestamp>,
    /// Where to go on; none at the end.
    next: Option<String>,
}

/// Replays what is asked for.
pub(in crate::admin) async fn replay(
    hub: ServiceState,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult {
    query::none(uri.query())?;
    let asked: Asked = asked(body)?;
    let how = How { name: name(asked.request)?, new_ids: asked.new_ids, dry_run: asked.dry_run };
    let replayed = match (asked.event, asked.delivery, asked.unrouted, asked.dead_letters) {
        (Some(event), None, None, None) => one_event(&hub, &event, how).await?,
        (None, Some(delivery), None, None) => one_delivery(&hub, &delivery, how).await?,
        (None, None, Some(which), None) => unrouted(&hub, which, how).await?,
        (None, None, None, Some(which)) => dead_letters(&hub, which, how).await?,
        _ => {
            let detail = "say one of `event`, `delivery`, `unrouted` and `dead_letters`";
            return Err(refuse("malformed", detail));
        }
    };
    json::answer(StatusCode::OK, &replayed)
}

/// How it is done, whatever it is.
struct How {
    name: String,
    new_ids: bool,
    dry_run: bool,
}

fn name(given: Option<String>) -> Result<String, ApiError> {
    let Some(name) = given else { return Ok(hex::encode(rand::random::<[u8; 16]>())) };
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        let detail = format!("`request` has 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, `-`, `_`, `.`");
        return Err(refuse("invalid_request_name", detail));
    }
    Ok(name)
}

async fn one_event(hub: &AdminService, id: &str, how: How) -> Result<Replayed, ApiError> {
    let led = seek::seek(hub, id).await?;
    if let IdMatch::Delivery { delivery, .. } = led {
        return delivery_again(hub, delivery, how).await;
    }
    let event = seek::event_of(led)?;
    let event = hub.store.event(event).await?.ok_or_else(|| seek::unknown(id))?;
    let routed = reroute(hub, &event, &hub.routes.current()).await?;
    let is_routed = !routed.routed.deliveries.is_empty();
    let deliveries = if how.dry_run {
        due_again(&event, &routed)
    } else {
        let what = ReplaySelection::Events(vec![routed]);
        carry_out(hub, what, &format!("replay:{}:{}", how.name, event.id), how.new_ids).await?
    };
    Ok(Replayed {
        dry_run: how.dry_run,
        events: 1,
        routed: is_routed.into(),
        deliveries,
        ..Replayed::default()
    })
}

async fn one_delivery(hub: &AdminService, id: &str, how: How) -> Result<Replayed, ApiError> {
    match seek::seek(hub, id).await? {
        IdMatch::Delivery { delivery, .. } => delivery_again(hub, delivery, how).await,
        _ => Err(refuse("invalid_id", "this is not the id of a delivery")),
    }
}

async fn delivery_again(
    hub: &AdminService,
    id: DeliveryId,
    how: How,
) -> Result<Replayed, ApiError> {
    let delivery = hub.store.delivery(id).await?.ok_or_else(|| {
        let detail = "there is no delivery with this id; it may be past its retention";
        ApiError::not_found("delivery_not_found", detail)
    })?;
    let deliveries = if how.dry_run {
        usize::from(delivery.state.is_final())
    } else {
        let what = ReplaySelection::Delivery(id);
        carry_out(hub, what, &format!("replay:{}:{id}", how.name), how.new_ids).await?
    };
    if deliveries == 0 {
        let detail =
            format!("{id} is still {}; `weir why {id}` says when it is tried next", delivery.state);
        return Err(ApiError::new(StatusCode::CONFLICT, "not_over", detail));
    }
    Ok(Replayed { dry_run: how.dry_run, events: 1, routed: 1, deliveries, ..Replayed::default() })
}

async fn unrouted(hub: &AdminService, which: Unrouted, how: How) -> Result<Replayed, ApiError> {
    let table = hub.routes.current();
    let (filter, page) = read(hub, which, &table)?;
    let (since, until) = (filter.since, filter.until);
    // As with patterns: what the hub says of itself is meant only where it is named.
    let (source, first) = (filter.source.clone(), page.after.is_none());
    let any = source.is_none();
    let mut found = hub.store.events(filter, page).await?;
    if first && found.items.is_empty() {
        hub.must_know(source.as_ref(), None).await?;
    }
    found.items.retain(|event| !any || event.source != SourceName::hub());
    let events = found.items.len();
    let mut routed = Vec::new();
    for event in &found.items {
        let event = reroute(hub, event, &table).await?;
        if !event.routed.deliveries.is_empty() {
            routed.push(event);
        }
    }
    let count = routed.len();
    let request = request_for(&how.name, routed.iter().map(|event| event.event.bits()));
    let deliveries = if how.dry_run {
        routed.iter().map(|event| event.routed.deliveries.len()).sum()
    } else {
        let what = ReplaySelection::Unrouted(routed);
        carry_out(hub, what, &request, how.new_ids).await?
    };
    let next = found.next;
    Ok(Replayed { dry_run: how.dry_run, events, routed: count, deliveries, since, until, next })
}

async fn dead_letters(
    hub: &AdminService,
    which: DeadLetters,
    how: How,
) -> Result<Replayed, ApiError> {
    let DeadLetters { target, source, kind, since, until, limit, cursor } = which;
    let target = target.map(|text| query::target(&text)).transpose();
    let target = target.map_err(|why| query::QueryError::Invalid { key: "target", why })?;
    let limit = limit.unwrap_or(query::LIMIT_MAX).clamp(1, query::LIMIT_MAX);
    let of = filter(hub, None, (source, kind), (since, until))?;
    let (since, until, source) = (of.since, of.until, of.source.clone());
    let first = cursor.is_none();
    let wanted =
        DeliveryFilter { state: Some(DeliveryState::DeadLetter), target: target.clone(), of };
    let found = hub.store.deliveries(wanted, PageRequest { limit, after: cursor }).await?;
    if first && found.items.is_empty() {
        hub.must_know(source.as_ref(), target.as_ref()).await?;
    }
    let events = found.items.len();
    let request = request_for(&how.name, found.items.iter().map(|dead| dead.id.bits()));
    let deliveries = if how.dry_run {
        events
    } else {
        // What has died again meanwhile lies behind the cursor or before it: each is met once.
        let what = ReplaySelection::DeadOf(found.items.iter().map(|dead| dead.id).collect());
        carry_out(hub, what, &request, how.new_ids).await?
    };
    Ok(Replayed {
        dry_run: how.dry_run,
        events,
        routed: events,
        deliveries,
        since,
        until,
        next: found.next,
    })
}

/// Which events are meant.
fn filter(
    hub: &AdminService,
    status: Option<EventStatus>,
    (source, kind): (Option<String>, Option<String>),
    (since, until): (Option<String>, Option<String>),
) -> Result<EventFilter, ApiError> {
    let bad = |key: &'static str| move |why: String| query::QueryError::Invalid { key, why };
    let now = hub.clock.now();
    let time = |text: Option<String>| text.map(|text| query::time(&text, now)).transpose();
    Ok(EventFilter {
        source: source.map(|text| query::source(&text)).transpose().map_err(bad("source"))?,
        kind: kind.map(|text| query::kind(&text)).transpose().map_err(bad("type"))?,
        status,
        since: time(since).map_err(bad("since"))?,
        until: time(until).map_err(bad("until"))?,
    })
}

/// The filter, and a page of so few events that their deliveries can be made in one commit.
fn read(
    hub: &AdminService,
    which: Unrouted,
    table: &RouteTable,
) -> Result<(EventFilter, PageRequest), ApiError> {
    let (of, times) = ((which.source, which.kind), (which.since, which.until));
    let filter = filter(hub, Some(EventStatus::Unrouted), of, times)?;
    let most = (DELIVERIES_MAX / table.rules().len().max(1)).clamp(1, query::LIMIT_MAX);
    let limit = which.limit.unwrap_or(query::LIMIT_MAX).clamp(1, most);
    Ok((filter, PageRequest { limit, after: which.cursor }))
}

/// Routes a stored event by the rules of today. A list of events comes without payloads: they are
/// read one by one, and only where a rule needs them.
async fn reroute(
    hub: &AdminService,
    event: &EventDetail,
    table: &RouteTable,
) -> Result<ReroutedEvent, ApiError> {
    let mut payload = event.payload.clone();
    if payload.is_none() && table.reads_payload() {
        payload = hub.store.event(event.id).await?.and_then(|event| event.payload);
    }
    let routed = routing::routed(
        table,
        &EventFacts {
            source: &event.source,
            kind: &event.kind,
            category: event.category,
            payload: payload.as_deref(),
        },
    );
    Ok(ReroutedEvent { event: event.id, routed })
}

/// How many deliveries of an event would become due: those that are over, and those that are not there yet.
fn due_again(event: &EventDetail, routed: &ReroutedEvent) -> usize {
    let waits = |target: &Target| {
        event.deliveries.iter().any(|known| known.target == *target && !known.state.is_final())
    };
    routed.routed.deliveries.iter().filter(|delivery| !waits(&delivery.target)).count()
}

/// The name of a part of a replay. It is made of what is in it and not of its place: where a replay was interrupted,
/// the next one by its name meets other parts.
fn request_for(name: &str, ids: impl Iterator<Item = u128>) -> String {
    let mut hash = Sha256::new();
    ids.for_each(|id| hash.update(id.to_be_bytes()));
    format!("replay:{name}:{}", hex::encode(hash.finalize()))
}

async fn carry_out(
    hub: &AdminService,
    what: ReplaySelection,
    request: &str,
    new_ids: bool,
) -> Result<usize, ApiError> {
    let request = request.to_owned();
    let replay = ReplayRequest { what, limit: DELIVERIES_MAX, request, new_ids };
    let replayed = hub.store.replay(replay).await?;
    let deliveries = replayed.deliveries.len();
    if deliveries > 0 {
        tracing::info!(deliveries, new_ids, "replayed by an operator");
    }
    Ok(deliveries)
}

fn refuse(code: &'static str, detail: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, code, detail)
}
