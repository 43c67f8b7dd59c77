//! Effects of a settled run: messages, emitted events, and what waits under a handler's keys.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use weir_core::delivery::{DeliveryState, Fence};
use weir_core::effect::{Cancel, MessageContent, StateWrite};
use weir_core::event::{Event, Lineage};
use weir_core::id::EventId;
use weir_core::name::{HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

use super::due::{Entry, Handoff, Place};
use super::group::{Counted, Writing, take};
use super::ingest::{Born, decisions, store_delivery};
use super::names::NameId;
use super::payloads::{Packed, Packer};
use super::replies::{self, PreparedReply};
use super::settle::{Delivery, end_turn, left_waiting};
use super::{num, state};
use crate::error::StoreError;
use crate::{ClaimedMessage, NewEmit, NewMessage, RoutedEffects};

/// Effects with their payloads packed.
pub(super) struct PreparedEffects {
    cancels: Vec<Cancel>,
    messages: Vec<(NewMessage, Option<Packed>)>,
    emits: Vec<(NewEmit, Packed, i64)>,
    state: Vec<StateWrite>,
    reply: Option<PreparedReply>,
}

/// Packs what effects say.
pub(super) fn prepare(
    shared: &super::Shared,
    effects: RoutedEffects,
) -> Result<PreparedEffects, StoreError> {
    let RoutedEffects { reply, cancels, messages, emits, state } = effects;
    let pack = |message: NewMessage| {
        let packed = match &message.content {
            MessageContent::Own(payload) => Some(Packer::pack_plain(payload)),
            MessageContent::Forward { headers } if headers.is_empty() => None,
            MessageContent::Forward { headers } => {
                let payload = Payload { headers: headers.clone(), body: Bytes::new() };
                Some(Packer::pack_plain(&payload))
            }
        };
        (message, packed)
    };
    let messages = messages.into_iter().map(pack).collect();
    let emits = emits
        .into_iter()
        .map(|emit| {
            let routing = shared.routing(emit.routed.table)?;
            let packed = Packer::pack_plain(&emit.payload);
            Ok((emit, packed, routing))
        })
        .collect::<Result<_, StoreError>>()?;
    let reply = reply.map(PreparedReply::new);
    Ok(PreparedEffects { cancels, messages, emits, state, reply })
}

impl PreparedEffects {
    pub(super) fn bytes(&self) -> usize {
        let packed = |p: &Packed| p.stored_bytes() + 256;
        self.messages.iter().map(|(_, p)| p.as_ref().map_or(256, packed)).sum::<usize>()
            + self.emits.iter().map(|(_, p, _)| packed(p)).sum::<usize>()
            + self
                .state
                .iter()
                .map(|w| w.value.as_ref().map_or(64, |v| v.len() + 64))
                .sum::<usize>()
            + self.reply.as_ref().map_or(0, PreparedReply::bytes)
    }

    /// How many events they emit.
    pub(super) fn emits(&self) -> usize {
        self.emits.len()
    }

    fn is_empty(&self) -> bool {
        self.cancels.is_empty()
            && self.messages.is_empty()
            && self.emits.is_empty()
            && self.state.is_empty()
            && self.reply.is_none()
    }
}

/// What asked for the effects.
pub(super) struct Cause {
    handler: NameId,
    /// `@` and the handler's name.
    source: NameId,
    name: Option<HandlerName>,
    event: i64,
    event_id: EventId,
    /// The line that an emitted event joins.
    lineage: Lineage,
    /// The handled event, if memory still has it.
    handled: Option<Arc<Event>>,
}

/// What effects made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The first message's delivery and how many there are.
    pub(super) messages: Option<(i64, i64)>,
    /// The first emitted event and how many there are.
    pub(super) events: Option<(i64, i64)>,
    pub(super) emitted: Vec<EventId>,
}

impl Cause {
    /// Of the delivery being settled. Only a handler's delivery can have effects.
    pub(super) fn of(
        writing: &Writing<'_>,
        delivery: &Delivery,
        effects: &PreparedEffects,
    ) -> rusqlite::Result<Result<Self, StoreError>> {
        let event_id = writing.shared.ids.event(delivery.event_at, delivery.event);
        let lineage = Lineage { root: event_id, parent: event_id, depth: 1 };
        let mut cause = Self {
            handler: delivery.place.target,
            source: delivery.place.source,
            name: None,
            event: delivery.event,
            event_id,
            lineage,
            handled: None,
        };
        if effects.is_empty() {
            return Ok(Ok(cause));
        }
        let text = writing.shared.names.text(delivery.place.target);
        let Ok(Target::Handler(name)) = text.parse::<Target>() else {
            return Ok(Err(StoreError::Invalid(
                "only a handler's delivery can have effects".into(),
            )));
        };
        cause.source = writing.name(SourceName::emitted_by(&name).as_str())?;
        cause.name = Some(name);
        cause.handled = writing.shared.due.lock().claimed_event(delivery.n);
        if !effects.emits.is_empty() {
            let (root, depth): (Option<[u8; 16]>, Option<u8>) = writing
                .conn
                .prepare_cached("SELECT root, depth FROM event WHERE n = ?1")?
                .query_row([delivery.event], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if let Some(root) = root.and_then(|bytes| num::id_bits(&bytes)) {
                cause.lineage.root = EventId::from_bits(root);
            }
            cause.lineage.depth = depth.unwrap_or(0).saturating_add(1);
        }
        Ok(Ok(cause))
    }
}

/// Writes all effects of one attempt.
pub(super) fn apply(
    writing: &mut Writing<'_>,
    cause: &Cause,
    attempt: i64,
    effects: &PreparedEffects,
) -> rusqlite::Result<Made> {
    let mut made = Made::default();
    for cancel in &effects.cancels {
        cancel_key(writing, cause, cancel)?;
    }
    if !effects.messages.is_empty() {
        made.messages = Some((writing.next.delivery, num::column(effects.messages.len())));
        for (message, packed) in &effects.messages {
            let key = take_key(writing, cause, message.key.as_deref())?;
            let n = store_message(writing, cause, attempt, message, packed.as_ref(), &key)?;
            key.point_to(writing.conn, n, 1)?;
        }
    }
    if !effects.emits.is_empty() {
        made.events = Some((writing.next.event, num::column(effects.emits.len())));
        for (emit, packed, routing) in &effects.emits {
            let id = store_emit(writing, cause, attempt, emit, packed, *routing)?;
            made.emitted.push(id);
        }
    }
    state::write(writing, cause.handler, &effects.state)?;
    if let Some(reply) = &effects.reply {
        replies::keep(writing, cause.event, reply)?;
    }
    Ok(made)
}

fn store_message(
    writing: &mut Writing<'_>,
    cause: &Cause,
    attempt: i64,
    message: &NewMessage,
    packed: Option<&Packed>,
    key: &KeyTaken,
) -> rusqlite::Result<i64> {
    let n = take(&mut writing.next.delivery);
    let row = match packed {
        Some(packed) => {
            let row = take(&mut writing.next.payload);
            packed.insert(writing.conn, row)?;
            Some(row)
        }
        None => None,
    };
    let own = matches!(message.content, MessageContent::Own(_));
    let target = writing.name(&Target::Destination(message.destination.clone()).to_string())?;
    let state = if key.cancelled { DeliveryState::Cancelled } else { DeliveryState::Pending };
    let delayed = (!message.delay.is_zero()).then(|| writing.now.due.after(message.delay));
    let due_at = delayed.filter(|_| !key.cancelled);
    writing
        .conn
        .prepare_cached(
            "INSERT INTO delivery (n, event, target, source, state, generation, attempts, due_at, last_attempt,
               order_key, cause, message, payload, headers, keyed)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, NULL, NULL, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            n,
            cause.event,
            target,
            cause.source,
            state as u8,
            due_at.map(num::stored_time),
            attempt,
            num::stored_id(message.id.bits()),
            row.filter(|_| own),
            row.filter(|_| !own),
            key.row.filter(|_| !key.cancelled)
        ])?;
    let place = Place { target, source: cause.source };
    writing.learned.moved(place, None, Some(state));
    if !key.cancelled {
        let fence = Fence { generation: 0, attempt: 1 };
        let handoff = handoff_of(cause, message).map(Arc::new);
        writing.learned.fed.push((place, Entry { n, due_at, fence, order_key: None, handoff }));
        if due_at.is_none() {
            writing.learned.fresh.push((n, 1));
        }
    }
    Ok(n)
}

fn handoff_of(cause: &Cause, message: &NewMessage) -> Option<Handoff> {
    let event = cause.handled.clone()?;
    let payload = match &message.content {
        MessageContent::Own(payload) => payload.clone(),
        MessageContent::Forward { headers } => Arc::new(forwarded(&event.payload, headers)),
    };
    let handler = cause.name.clone()?;
    let message = ClaimedMessage { id: message.id, handler, payload };
    Some(Handoff { event, message: Some(message) })
}

/// A forwarded event: its body with its content type, and the headers that the handler set.
pub(super) fn forwarded(event: &Payload, headers: &[(Box<str>, Bytes)]) -> Payload {
    let content_type = event.header("content-type").map(|v| ("content-type".into(), v.clone()));
    let set = headers.iter().filter(|(name, _)| &**name != "content-type").cloned();
    Payload { headers: content_type.into_iter().chain(set).collect(), body: event.body.clone() }
}

fn store_emit(
    writing: &mut Writing<'_>,
    cause: &Cause,
    attempt: i64,
    emit: &NewEmit,
    packed: &Packed,
    routing: i64,
) -> rusqlite::Result<EventId> {
    let n = take(&mut writing.next.event);
    let payload = take(&mut writing.next.payload);
    packed.insert(writing.conn, payload)?;
    let id = writing.shared.ids.event(writing.now.wall, n);
    let event = Arc::new(Event {
        id,
        public_id: emit.id,
        source: writing.source_name(cause.source),
        kind: emit.kind.clone(),
        category: None,
        delivery_id: None,
        received_at: writing.now.wall,
        lineage: Some(cause.lineage),
        payload: emit.payload.clone(),
    });
    let deliveries = num::column(emit.routed.deliveries.len());
    let has_key = emit.key.as_deref().filter(|_| deliveries > 0);
    let key = take_key(writing, cause, has_key)?;
    let delayed = (!emit.delay.is_zero()).then(|| writing.now.due.after(emit.delay));
    let born = Born {
        source: cause.source,
        event: n,
        due_at: delayed,
        keyed: key.row.filter(|_| !key.cancelled),
        cancelled: key.cancelled,
    };
    let first = writing.next.delivery;
    let handoff = Arc::new(Handoff { event, message: None });
    for delivery in &emit.routed.deliveries {
        store_delivery(writing, &born, delivery, Some(&handoff))?;
    }
    key.point_to(writing.conn, first, deliveries)?;
    writing
        .conn
        .prepare_cached(
            "INSERT INTO event (n, at, source, type, payload, size, routing, first_delivery, deliveries, outward,
               root, parent, depth, cause, decisions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            n,
            num::stored_time(writing.now.wall),
            cause.source,
            emit.kind.as_str(),
            payload,
            num::column(emit.payload.size()),
            routing,
            (deliveries > 0).then_some(first),
            deliveries,
            num::stored_id(emit.id.bits()),
            num::stored_id(cause.lineage.root.bits()),
            num::stored_id(cause.event_id.bits()),
            cause.lineage.depth,
            attempt,
            decisions(&emit.routed)
        ])?;
    writing.learned.counted(cause.source, Counted::Stored);
    if deliveries == 0 {
        writing.learned.counted(cause.source, Counted::Unrouted);
        writing.learned.unrouted(cause.source, 1);
    }
    Ok(id)
}

// --- keys

/// A handler's key, taken for something new.
#[derive(Default)]
struct KeyTaken {
    row: Option<i64>,
    /// A cancellation made ahead: what is put under the key is dropped.
    cancelled: bool,
}

impl KeyTaken {
    fn point_to(&self, conn: &Connection, first: i64, deliveries: i64) -> rusqlite::Result<()> {
        if let Some(row) = self.row.filter(|_| !self.cancelled) {
            conn.prepare_cached(
                "UPDATE keyed SET first_delivery = ?2, deliveries = ?3 WHERE n = ?1",
            )?
            .execute(params![row, first, deliveries])?;
        }
        Ok(())
    }
}

/// What is known under a key.
struct Keyed {
    n: i64,
    first_delivery: Option<i64>,
    deliveries: i64,
    until: Option<Timestamp>,
}

fn find_key(conn: &Connection, handler: NameId, key: &str) -> rusqlite::Result<Option<Keyed>> {
    conn.prepare_cached(
        "SELECT n, first_delivery, deliveries, until FROM keyed WHERE handler = ?1 AND key = ?2",
    )?
    .query_row(params![handler, key], |row| {
        Ok(Keyed {
            n: row.get(0)?,
            first_delivery: row.get(1)?,
            deliveries: row.get(2)?,
            until: row.get::<_, Option<i64>>(3)?.map(num::time),
        })
    })
    .optional()
}

/// Takes a key for something new: what waits under it is dropped, unless a cancellation made ahead drops the new.
fn take_key(
    writing: &mut Writing<'_>,
    cause: &Cause,
    key: Option<&str>,
) -> rusqlite::Result<KeyTaken> {
    let Some(key) = key else { return Ok(KeyTaken::default()) };
    match find_key(writing.conn, cause.handler, key)? {
        Some(known) if known.until.is_some_and(|until| until > writing.now.wall) => {
            Ok(KeyTaken { row: Some(known.n), cancelled: true })
        }
        Some(known) => {
            cancel_waiting(writing, &known)?;
            Ok(KeyTaken { row: Some(known.n), cancelled: false })
        }
        None => {
            writing
                .conn
                .prepare_cached("INSERT INTO keyed (handler, key, deliveries) VALUES (?1, ?2, 0)")?
                .execute(params![cause.handler, key])?;
            Ok(KeyTaken { row: Some(writing.conn.last_insert_rowid()), cancelled: false })
        }
    }
}

/// Drops what waits under a key, and with `ahead_seconds` also what is put under it until then.
fn cancel_key(writing: &mut Writing<'_>, cause: &Cause, cancel: &Cancel) -> rusqlite::Result<()> {
    let known = find_key(writing.conn, cause.handler, &cancel.key)?;
    if let Some(known) = &known {
        cancel_waiting(writing, known)?;
    }
    let until = (cancel.ahead_seconds > 0).then(|| {
        let until =
            writing.now.wall.after(std::time::Duration::from_secs(cancel.ahead_seconds.into()));
        known.as_ref().and_then(|k| k.until).map_or(until, |earlier| earlier.max(until))
    });
    match (until, known) {
        (Some(until), _) => {
            writing
                .conn
                .prepare_cached(
                    "INSERT INTO keyed (handler, key, deliveries, until) VALUES (?1, ?2, 0, ?3)
                     ON CONFLICT (handler, key) DO UPDATE SET until = ?3, first_delivery = NULL, deliveries = 0",
                )?
                .execute(params![cause.handler, cancel.key, num::stored_time(until)])?;
        }
        (None, Some(known)) => tidy_key(writing.conn, known.n)?,
        (None, None) => {}
    }
    Ok(())
}

/// Cancels those of a key's deliveries that have not been claimed.
fn cancel_waiting(writing: &mut Writing<'_>, known: &Keyed) -> rusqlite::Result<()> {
    let Some(first) = known.first_delivery else { return Ok(()) };
    for n in first..first + known.deliveries {
        let Some(delivery) = Delivery::read(writing.conn, n)? else { continue };
        let untried = delivery.state == Some(DeliveryState::Pending) && delivery.attempts == 0;
        if !untried || delivery.keyed != Some(known.n) {
            continue;
        }
        let shared = writing.shared;
        // One that this very group made is in no queue yet, and is taken out of what is to be fed.
        let unfed = writing.learned.fed.iter().position(|(_, entry)| entry.n == n);
        match unfed {
            Some(index) => {
                writing.learned.fed.remove(index);
            }
            None => match shared.due.lock().seize(delivery.place, n, delivery.due_at) {
                Some(token) => writing.learned.seized.push((n, token)),
                None => continue,
            },
        }
        writing
            .conn
            .prepare_cached("UPDATE delivery SET state = ?2, due_at = NULL WHERE n = ?1")?
            .execute(params![n, DeliveryState::Cancelled as u8])?;
        left_waiting(writing, &delivery, DeliveryState::Cancelled);
        end_turn(writing, &delivery);
    }
    Ok(())
}

/// Removes a key under which nothing waits any more, unless it is a cancellation made ahead.
pub(super) fn tidy_key(conn: &Connection, keyed: i64) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "DELETE FROM keyed WHERE n = ?1 AND until IS NULL AND NOT EXISTS (
           SELECT 1 FROM delivery d WHERE d.n >= keyed.first_delivery
             AND d.n < keyed.first_delivery + keyed.deliveries AND d.state = 0 AND d.attempts = 0)",
    )?
    .execute([keyed])?;
    Ok(())
}

/// Whether something that is not claimed waits under a key. For readers.
pub(super) fn waits_under(
    conn: &Connection,
    handler: NameId,
    key: &str,
    claimed: impl Fn(i64) -> bool,
) -> rusqlite::Result<bool> {
    let Some(Keyed { first_delivery: Some(first), deliveries, .. }) = find_key(conn, handler, key)?
    else {
        return Ok(false);
    };
    let mut statement = conn.prepare_cached(
        "SELECT n FROM delivery WHERE n >= ?1 AND n < ?1 + ?2 AND state = 0 AND attempts = 0",
    )?;
    let mut rows = statement.query([first, deliveries])?;
    while let Some(row) = rows.next()? {
        if !claimed(row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes cancellations made ahead whose time is over.
pub(super) fn forget_cancellations(conn: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM keyed WHERE until <= ?1", [num::stored_time(now)])?;
    Ok(())
}
