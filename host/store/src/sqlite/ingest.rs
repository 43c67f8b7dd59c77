//! Storing requests: what is prepared on the caller's thread, and what the writer does with it.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::params;
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::event::Event;
use weir_core::name::Target;
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::time::Timestamp;

use super::dedup::{First, HashedKey, Key, Seen};
use super::due::{Entry, Handoff, Place};
use super::group::{Counted, Writing, take};
use super::names::NameId;
use super::payloads::Packed;
use super::{claim, num, reroute};
use crate::{Claim, EventIngested, Ingested, NewDelivery, NewEvent, NewRequest, Routed};

/// A request as far as it can be prepared without the writer: packed, hashed, its routing table looked up.
pub(super) struct PreparedRequest {
    pub(super) source: weir_core::name::SourceName,
    pub(super) scheme: Arc<str>,
    pub(super) secret: Arc<str>,
    pub(super) remote: Option<IpAddr>,
    pub(super) payload: Arc<Payload>,
    pub(super) packed: Packed,
    pub(super) on_redelivery: OnRedelivery,
    pub(super) events: Vec<PreparedEvent>,
    pub(super) claiming: Option<Claiming>,
}

/// A wish to claim the delivery to a target with the commit that stores it.
pub(super) struct Claiming {
    pub(super) target: Target,
    /// Where the claim is put once the commit has held, and before the request is answered.
    pub(super) place: Arc<Mutex<Option<Claim>>>,
}

/// An event of a prepared request.
pub(super) struct PreparedEvent {
    pub(super) event: NewEvent,
    pub(super) key: Option<HashedKey>,
    /// Its own part of a batch.
    pub(super) part: Option<(Arc<Payload>, Packed)>,
    pub(super) routing: i64,
}

/// What a request's events have in common.
struct Carrier<'r> {
    request: &'r PreparedRequest,
    n: i64,
    payload: i64,
    source: NameId,
}

/// Stores a request with those of its events that are new. Its answer may go out only after the commit.
pub(super) fn store(
    writing: &mut Writing<'_>,
    request: &PreparedRequest,
) -> rusqlite::Result<Ingested> {
    let source = writing.name(request.source.as_str())?;
    let mut answers = Vec::with_capacity(request.events.len());
    let first_event = writing.next.event;
    let mut carrier = None;
    if request.events.is_empty() {
        carrier = Some(begin(writing, request, source)?);
    }
    for event in &request.events {
        let key = match seen(writing, event)? {
            Ok(key) => key,
            Err(first) => {
                writing.learned.counted(source, Counted::Duplicate);
                let requeued = request.on_redelivery == OnRedelivery::Requeue
                    && reroute::redelivered(writing, first, &event.event.routed, event.routing)?;
                let first = writing.shared.ids.event(num::time(first.at), first.event);
                answers.push(EventIngested::Duplicate { first, requeued });
                continue;
            }
        };
        let begun = match carrier.take() {
            Some(begun) => begun,
            None => begin(writing, request, source)?,
        };
        let carrier = carrier.insert(begun);
        answers.push(store_event(writing, carrier, event, key)?);
    }
    let Some(carrier) = carrier else { return Ok(Ingested { request: None, events: answers }) };
    insert_request(writing, &carrier, first_event)?;
    let id = writing.shared.ids.request(writing.now.wall, carrier.n);
    Ok(Ingested { request: Some(id), events: answers })
}

/// The key to store an event under, with whether the sender reused its id; or the first event of that key.
fn seen(
    writing: &Writing<'_>,
    event: &PreparedEvent,
) -> rusqlite::Result<Result<(Option<Key>, bool), First>> {
    let Some(key) = &event.key else { return Ok(Ok((None, false))) };
    Ok(match writing.dedup.seen(writing.conn, key)? {
        Seen::New(key) => Ok((Some(key), false)),
        Seen::Reused(key) => Ok((Some(key), true)),
        Seen::Duplicate(first) => Err(first),
    })
}

fn begin<'r>(
    writing: &mut Writing<'_>,
    request: &'r PreparedRequest,
    source: NameId,
) -> rusqlite::Result<Carrier<'r>> {
    let (n, payload) = (take(&mut writing.next.request), take(&mut writing.next.payload));
    request.packed.insert(writing.conn, payload)?;
    Ok(Carrier { request, n, payload, source })
}

fn insert_request(
    writing: &mut Writing<'_>,
    carrier: &Carrier<'_>,
    first_event: i64,
) -> rusqlite::Result<()> {
    let Carrier { request, n, payload, source } = carrier;
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
    carrier: &Carrier<'_>,
    prepared: &PreparedEvent,
    (key, id_reused): (Option<Key>, bool),
) -> rusqlite::Result<EventIngested> {
    let event = &prepared.event;
    let n = take(&mut writing.next.event);
    let (payload, payload_row) = match &prepared.part {
        None => (&carrier.request.payload, carrier.payload),
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
        source: carrier.request.source.clone(),
        kind: event.kind.clone(),
        category: event.category,
        delivery_id: event.delivery_id.clone(),
        received_at: writing.now.wall,
        lineage: None,
        payload: payload.clone(),
    });
    let first_delivery = store_deliveries(writing, &event.routed, carrier, n, &stored)?;
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
            carrier.n,
            carrier.source,
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
    if let (Some(key), Some(body_tag)) = (key, body_tag) {
        writing
            .dedup
            .add(key, First { event: n, at: num::stored_time(writing.now.wall), body_tag });
    }
    writing.learned.counted(carrier.source, Counted::Stored);
    let unrouted = event.routed.deliveries.is_empty();
    if unrouted {
        writing.learned.counted(carrier.source, Counted::Unrouted);
        writing.learned.unrouted(carrier.source, 1);
    }
    Ok(EventIngested::Stored { id, id_reused, unrouted })
}

/// The decisions as a column: none where there are none to tell.
pub(super) fn decisions(routed: &Routed) -> Option<&str> {
    Some(&*routed.decisions).filter(|text| !text.is_empty())
}

/// Stores an event's deliveries, due at once. Returns the number of the first.
fn store_deliveries(
    writing: &mut Writing<'_>,
    routed: &Routed,
    carrier: &Carrier<'_>,
    event: i64,
    stored: &Arc<Event>,
) -> rusqlite::Result<Option<i64>> {
    let source = carrier.source;
    let claiming = carrier.request.claiming.as_ref();
    let born = Born { source, event, due_at: None, keyed: None, cancelled: false };
    let first = writing.next.delivery;
    let handoff = Arc::new(Handoff { event: stored.clone(), message: None });
    for delivery in &routed.deliveries {
        store_delivery(writing, &born, delivery, Some(&handoff))?;
        if let Some(claiming) = claiming.filter(|claiming| claiming.target == delivery.target) {
            claim_at_once(writing, claiming, stored);
        }
    }
    Ok((!routed.deliveries.is_empty()).then_some(first))
}

/// Makes a claim of the delivery that was stored just now, instead of a place in its queue.
fn claim_at_once(writing: &mut Writing<'_>, claiming: &Claiming, event: &Arc<Event>) {
    let Some((place, entry)) = writing.learned.fed.pop() else { return };
    // One that stands in line waits for its turn.
    let may = entry.order_key.is_none();
    let token = may.then(|| writing.shared.due.lock().may_claim_at_once(place)).flatten();
    let Some(token) = token else {
        writing.learned.fed.push((place, entry));
        return;
    };
    let claimed = Claim {
        delivery: writing.shared.ids.delivery(event.received_at, entry.n),
        target: claiming.target.clone(),
        fence: entry.fence,
        event: event.clone(),
        id_round: 0,
        message: None,
        now: writing.now.wall,
        suspect: false,
        // Without effect if the commit fails, for then there is no claim by this token.
        guard: claim::guard(writing.shared, entry.n, token),
    };
    let to = claiming.place.clone();
    writing.learned.then.push(Box::new(move |shared| {
        shared.due.lock().claim_at_once(place, entry, token);
        *to.lock() = Some(claimed);
    }));
}

/// How the deliveries of one event begin.
pub(super) struct Born {
    pub(super) source: NameId,
    pub(super) event: i64,
    pub(super) due_at: Option<Timestamp>,
    pub(super) keyed: Option<i64>,
    /// A cancellation was there first.
    pub(super) cancelled: bool,
}

/// Stores one delivery of an event.
pub(super) fn store_delivery(
    writing: &mut Writing<'_>,
    born: &Born,
    delivery: &NewDelivery,
    handoff: Option<&Arc<Handoff>>,
) -> rusqlite::Result<()> {
    let n = take(&mut writing.next.delivery);
    let target = writing.name(&delivery.target.to_string())?;
    let state = if born.cancelled { DeliveryState::Cancelled } else { DeliveryState::Pending };
    let due_at = born.due_at.filter(|_| !born.cancelled);
    writing
        .conn
        .prepare_cached(
            "INSERT INTO delivery (n, event, target, source, state, generation, attempts, due_at, last_attempt,
               order_key, keyed)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, NULL, ?7, ?8)",
        )?
        .execute(params![
            n,
            born.event,
            target,
            born.source,
            state as u8,
            due_at.map(num::stored_time),
            delivery.order_key,
            born.keyed
        ])?;
    let place = Place { target, source: born.source };
    writing.learned.moved(place, None, Some(state));
    if !born.cancelled {
        let entry = Entry {
            n,
            due_at,
            fence: Fence { generation: 0, attempt: 1 },
            order_key: delivery.order_key.as_deref().map(Arc::from),
            handoff: handoff.cloned(),
        };
        writing.learned.fed.push((place, entry));
        if due_at.is_none() {
            writing.learned.fresh.push((n, 1));
        }
    }
    Ok(())
}

/// Prepares a request: all of it that is work and needs no writer.
pub(super) fn prepare(
    shared: &Arc<super::Shared>,
    request: NewRequest,
) -> Result<PreparedRequest, crate::error::StoreError> {
    let NewRequest { source, scheme, secret, remote, payload, on_redelivery, events } = request;
    let mut prepared = Vec::with_capacity(events.len());
    for mut event in events {
        let routing = shared.routing(event.routed.table)?;
        let part = event.part.take().map(|part| {
            let packed = shared.pack(source.as_str(), &part);
            (Arc::new(part), packed)
        });
        let key = event
            .dedup
            .as_ref()
            .map(|key| super::dedup::hash_key(&shared.keys.dedup, source.as_str(), key));
        prepared.push(PreparedEvent { event, key, part, routing });
    }
    let packed = shared.pack(source.as_str(), &payload);
    let payload = Arc::new(payload);
    Ok(PreparedRequest {
        source,
        scheme,
        secret,
        remote,
        payload,
        packed,
        on_redelivery,
        events: prepared,
        claiming: None,
    })
}

impl PreparedRequest {
    /// Bytes that it will write, for bounding queue and group.
    pub(super) fn bytes(&self) -> usize {
        let part = |event: &PreparedEvent| event.part.as_ref().map_or(0, |(_, p)| p.stored_bytes());
        self.packed.stored_bytes()
            + self
                .events
                .iter()
                .map(|e| part(e) + e.event.routed.decisions.len() + 256)
                .sum::<usize>()
            + 256
    }
}
