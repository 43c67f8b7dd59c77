//! Storing prepared requests with their events and deliveries.

use rusqlite::params;
use std::net::IpAddr;
use std::sync::Arc;

use weir_core::bounds::REASON_BYTES_MAX;
use weir_core::delivery::{DeliveryState, Fence, Outcome};
use weir_core::event::Event;
use weir_core::provider::OnRedelivery;
use weir_core::time::Timestamp;

use crate::sqlite::engine::group::Writing;
use crate::sqlite::engine::prepared_request::{Claiming, PreparedEvent, PreparedRequest};
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;
use crate::sqlite::memory::dedup::{FirstEvent, Key, KeyStatus};
use crate::sqlite::memory::due::{DueEntry, Handoff, QueueKey};
use crate::sqlite::memory::watermarks::EventCounter;
use crate::sqlite::rows::business_keys;
use crate::sqlite::write::reroute;
use crate::{Claim, EventIngested, Ingested, NewDelivery, Routed};

/// A request whose rows are being written.
struct RequestInsert<'r> {
    request: &'r PreparedRequest,
    n: i64,
    payload: i64,
    source: NameId,
}

/// Stores a request with its new events. Its answer may be sent only after the commit.
pub(crate) fn store(
    writing: &mut Writing<'_>,
    request: &PreparedRequest,
) -> rusqlite::Result<Ingested> {
    let source = writing.name(request.source.as_str())?;
    let mut answers = Vec::with_capacity(request.events.len());
    let first_event = writing.next.event;
    let mut inserted = None;
    if request.events.is_empty() {
        inserted = Some(begin(writing, request, source)?);
    }
    for event in &request.events {
        let seen = match &event.key {
            Some(key) => writing.dedup.seen(writing.conn, key)?,
            None => KeyStatus::Unkeyed,
        };
        let (key, id_reused) = match seen {
            KeyStatus::Unkeyed => (None, false),
            KeyStatus::New(key) => (Some(key), false),
            KeyStatus::Reused(key) => (Some(key), true),
            KeyStatus::Duplicate(first) => {
                writing.post_commit.counted(source, EventCounter::Duplicate);
                let requeued = request.on_redelivery == OnRedelivery::Requeue
                    && reroute::redelivered(writing, first, &event.event.routed, event.routing)?;
                let first = writing.shared.ids.event(num::time(first.at), first.event);
                answers.push(EventIngested::Duplicate { first, requeued });
                continue;
            }
        };
        let begun = match inserted.take() {
            Some(begun) => begun,
            None => begin(writing, request, source)?,
        };
        let inserted = inserted.insert(begun);
        answers.push(store_event(writing, inserted, event, key, id_reused)?);
    }
    let Some(inserted) = inserted else { return Ok(Ingested { request: None, events: answers }) };
    insert_request(writing, &inserted, first_event)?;
    let id = writing.shared.ids.request(writing.now.wall, inserted.n);
    Ok(Ingested { request: Some(id), events: answers })
}

fn begin<'r>(
    writing: &mut Writing<'_>,
    request: &'r PreparedRequest,
    source: NameId,
) -> rusqlite::Result<RequestInsert<'r>> {
    let (n, payload) = (take(&mut writing.next.request), take(&mut writing.next.payload));
    request.packed.insert(writing.conn, payload)?;
    Ok(RequestInsert { request, n, payload, source })
}

fn insert_request(
    writing: &mut Writing<'_>,
    inserted: &RequestInsert<'_>,
    first_event: i64,
) -> rusqlite::Result<()> {
    let RequestInsert { request, n, payload, source } = inserted;
    let events = writing.next.event - first_event;
    let remote = request.remote.map(|ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    });
    writing
        .conn
        .prepare_cached(
            "INSERT INTO request (n, received_at, source, scheme, secret, remote, payload, first_event, events)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            n,
            num::stored_time(writing.now.wall),
            source,
            writing.name(&request.scheme)?,
            writing.name(&request.secret)?,
            remote,
            payload,
            (events > 0).then_some(first_event),
            events
        ])?;
    Ok(())
}

fn store_event(
    writing: &mut Writing<'_>,
    inserted: &RequestInsert<'_>,
    prepared: &PreparedEvent,
    key: Option<Key>,
    id_reused: bool,
) -> rusqlite::Result<EventIngested> {
    let event = &prepared.event;
    let n = take(&mut writing.next.event);
    let (payload, payload_row) = match &prepared.part {
        None => (&inserted.request.payload, inserted.payload),
        Some((part, packed)) => {
            let row = take(&mut writing.next.payload);
            packed.insert(writing.conn, row)?;
            (part, row)
        }
    };
    let id = writing.shared.ids.event(writing.now.wall, n);
    let stored = Arc::new(Event {
        id,
        public_id: id,
        source: inserted.request.source.clone(),
        kind: event.kind.clone(),
        category: event.category,
        delivery_id: event.delivery_id.clone(),
        received_at: writing.now.wall,
        lineage: None,
        payload: payload.clone(),
    });
    let first_delivery = store_deliveries(writing, &event.routed, inserted, n, &stored)?;
    let body_tag = prepared.key.map(|k| k.body_tag);
    writing
        .conn
        .prepare_cached(
            "INSERT INTO event (n, at, request, source, type, category, delivery_id, key, body_tag, id_reused,
               payload, size, routing, first_delivery, deliveries, decisions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            n,
            num::stored_time(writing.now.wall),
            inserted.n,
            inserted.source,
            event.kind.as_str(),
            event.category.map(weir_core::event::Category::as_str),
            event.delivery_id,
            key,
            body_tag,
            id_reused.then_some(1),
            payload_row,
            num::column(payload.size()),
            prepared.routing,
            first_delivery,
            num::column(event.routed.deliveries.len()),
            decisions(&event.routed)
        ])?;
    for key in &event.keys {
        let name = writing.name(&business_keys::stored_name(&key.name))?;
        business_keys::write(writing.conn, n, name, &key.value)?;
    }
    if let (Some(key), Some(body_tag)) = (key, body_tag) {
        writing
            .dedup
            .add(key, FirstEvent { event: n, at: num::stored_time(writing.now.wall), body_tag });
    }
    let unrouted = event.routed.deliveries.is_empty();
    writing.post_commit.event_stored(inserted.source, n, unrouted);
    let dead = event.routed.deliveries.iter().position(|delivery| delivery.error.is_some());
    let dead = first_delivery.zip(dead).map(|(first, place)| {
        writing.shared.ids.delivery(writing.now.wall, first + num::column(place))
    });
    Ok(EventIngested::Stored { id, id_reused, unrouted, dead })
}

/// The decisions as a column; none if the text is empty.
pub(crate) fn decisions(routed: &Routed) -> Option<&str> {
    Some(&*routed.decisions).filter(|text| !text.is_empty())
}

/// Stores an event's deliveries, due at once. Returns the first one's number.
fn store_deliveries(
    writing: &mut Writing<'_>,
    routed: &Routed,
    inserted: &RequestInsert<'_>,
    event: i64,
    stored: &Arc<Event>,
) -> rusqlite::Result<Option<i64>> {
    let source = inserted.source;
    let claiming = inserted.request.claiming.as_ref();
    let defaults = DeliveryDefaults { source, event, due_at: None, keyed: None, cancelled: false };
    let first = writing.next.delivery;
    let handoff = Arc::new(Handoff { event: stored.clone(), message: None });
    for delivery in &routed.deliveries {
        store_delivery(writing, &defaults, delivery, Some(&handoff))?;
        let claiming = claiming.filter(|_| delivery.error.is_none());
        if let Some(claiming) = claiming.filter(|claiming| claiming.target == delivery.target) {
            claim_at_once(writing, claiming, stored);
        }
    }
    Ok((!routed.deliveries.is_empty()).then_some(first))
}

/// Claims the delivery that was just stored, instead of queueing it.
fn claim_at_once(writing: &mut Writing<'_>, claiming: &Claiming, event: &Arc<Event>) {
    let Some((queue_key, entry)) = writing.post_commit.queued.pop() else { return };
    // A delivery with an order key waits for its turn.
    let may = entry.order_key.is_none();
    let token = may.then(|| writing.shared.due.lock().may_claim_at_once(queue_key)).flatten();
    let Some(token) = token else {
        writing.post_commit.queued.push((queue_key, entry));
        return;
    };
    let claimed = Claim {
        delivery: writing.shared.ids.delivery(event.received_at, entry.n),
        target: claiming.target.clone(),
        fence: entry.fence,
        event: event.clone(),
        id_round: 0,
        message: None,
        order_key: None,
        now: writing.now.wall,
        suspect: false,
        // Without effect if the commit fails: there is no claim with this token then.
        guard: writing.shared.claim_guard(entry.n, token),
    };
    let to = claiming.slot.clone();
    writing.post_commit.on_commit.push(Box::new(move |shared| {
        shared.due.lock().claim_at_once(queue_key, entry, token);
        *to.lock() = Some(claimed);
    }));
}

/// Initial columns of the deliveries of one event.
pub(crate) struct DeliveryDefaults {
    pub(crate) source: NameId,
    pub(crate) event: i64,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) keyed: Option<i64>,
    /// True if a cancellation made ahead drops them.
    pub(crate) cancelled: bool,
}

/// Stores a delivery of an event.
pub(crate) fn store_delivery(
    writing: &mut Writing<'_>,
    defaults: &DeliveryDefaults,
    delivery: &NewDelivery,
    handoff: Option<&Arc<Handoff>>,
) -> rusqlite::Result<()> {
    let n = take(&mut writing.next.delivery);
    let target = writing.name(&delivery.target.to_string())?;
    let (state, attempt) = match &delivery.error {
        _ if defaults.cancelled => (DeliveryState::Cancelled, None),
        None => (DeliveryState::Pending, None),
        Some(reason) => {
            (DeliveryState::DeadLetter, Some(store_condition_error(writing, n, reason)?))
        }
    };
    let waits = state == DeliveryState::Pending;
    let due_at = defaults.due_at.filter(|_| waits);
    writing
        .conn
        .prepare_cached(
            "INSERT INTO delivery (n, event, target, source, state, generation, attempts, due_at, last_attempt,
               order_key, keyed)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?9, ?6, ?10, ?7, ?8)",
        )?
        .execute(params![
            n,
            defaults.event,
            target,
            defaults.source,
            state as u8,
            due_at.map(num::stored_time),
            delivery.order_key,
            defaults.keyed,
            u8::from(attempt.is_some()),
            attempt
        ])?;
    let queue_key = QueueKey { target, source: defaults.source };
    writing.post_commit.moved((queue_key, n), None, Some(state));
    if waits {
        let entry = DueEntry {
            n,
            due_at,
            fence: Fence { generation: 0, attempt: 1 },
            order_key: delivery.order_key.as_deref().map(Arc::from),
            handoff: handoff.cloned(),
        };
        writing.post_commit.queued.push((queue_key, entry));
        if due_at.is_none() {
            writing.post_commit.fresh.push((n, 1));
        }
    }
    Ok(())
}

/// Records that a delivery cannot be attempted, because its rule has no decision on the event.
/// Returns the number of the attempt.
fn store_condition_error(
    writing: &mut Writing<'_>,
    delivery: i64,
    reason: &str,
) -> rusqlite::Result<i64> {
    let n = take(&mut writing.next.attempt);
    writing
        .conn
        .prepare_cached(
            "INSERT INTO attempt (n, delivery, generation, number, started_at, duration_us, outcome, reason)
             VALUES (?1, ?2, 0, 1, ?3, 0, ?4, ?5)",
        )?
        .execute(params![
            n,
            delivery,
            num::stored_time(writing.now.wall),
            Outcome::ConditionError.as_str(),
            &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
        ])?;
    Ok(n)
}
