//! Effects of a settled run: messages and emitted events.

use rusqlite::params;
use std::sync::Arc;

use weir_core::delivery::{DeliveryState, Fence};
use weir_core::effect::MessageContent;
use weir_core::event::{Event, Lineage};
use weir_core::id::EventId;
use weir_core::name::{HandlerName, SourceName, Target};

use crate::sqlite::engine::group::{WriteError, Writing};
use crate::sqlite::engine::packed_effects::PackedEffects;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::next_numbers::take;
use crate::sqlite::format::num;
use crate::sqlite::format::payloads::Packed;
use crate::sqlite::memory::due::{DueEntry, Handoff, QueueKey};
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::message::forwarded;
use crate::sqlite::write::effect_keys::{TakenKey, cancel_key, take_key};
use crate::sqlite::write::ingest::{DeliveryDefaults, decisions, store_delivery};
use crate::sqlite::write::{replies, state};
use crate::{ClaimedMessage, NewEmit, NewMessage, RoutedEffects};

/// Effects of a run with their packed payloads.
#[derive(Clone, Copy)]
pub(crate) struct EffectsToWrite<'e> {
    pub(crate) asked: &'e RoutedEffects,
    pub(crate) packed: &'e PackedEffects,
}

/// The settled delivery as the cause of effects.
pub(crate) struct EffectCause {
    pub(crate) handler: NameId,
    /// The handler or the destination as a source.
    pub(crate) source: NameId,
    pub(crate) name: Option<HandlerName>,
    pub(crate) event: i64,
    pub(crate) event_id: EventId,
    /// Lineage of emitted events.
    pub(crate) lineage: Lineage,
    /// The handled event, if it is in memory.
    pub(crate) handled: Option<Arc<Event>>,
    /// The order key of the settled delivery.
    pub(crate) order_key: Option<Arc<str>>,
}

/// Rows that effects added.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// First delivery of the messages, and their number.
    pub(crate) messages: Option<(i64, i64)>,
    /// First emitted event, and their number.
    pub(crate) events: Option<(i64, i64)>,
    pub(crate) emitted: Vec<EventId>,
}

impl EffectCause {
    /// The cause for a delivery. A destination's delivery can have only events as effects, made of
    /// its answer.
    pub(crate) fn of(
        writing: &Writing<'_>,
        delivery: &Delivery,
        effects: &RoutedEffects,
    ) -> Result<Self, WriteError> {
        let event_id = writing.shared.ids.event(delivery.event_at, delivery.event);
        let lineage = Lineage { root: event_id, parent: event_id, depth: 1 };
        let mut cause = Self {
            handler: delivery.queue_key.target,
            source: delivery.queue_key.source,
            name: None,
            event: delivery.event,
            event_id,
            lineage,
            handled: None,
            order_key: delivery.order_key.clone(),
        };
        if effects.is_empty() {
            return Ok(cause);
        }
        let text = writing.shared.names.text(delivery.queue_key.target);
        let source = match text.parse::<Target>() {
            Ok(Target::Handler(name)) => {
                let source = SourceName::emitted_by(&name);
                cause.name = Some(name);
                source
            }
            Ok(Target::Destination(name)) if effects.are_answers() => {
                SourceName::answered_by(&name)
            }
            _ => {
                let problem = "only a handler's delivery can have effects";
                return Err(WriteError::invalid(problem.into()));
            }
        };
        cause.source = writing.name(source.as_str())?;
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
        Ok(cause)
    }
}

/// Writes all effects of an attempt.
pub(crate) fn apply(
    writing: &mut Writing<'_>,
    cause: &EffectCause,
    attempt: i64,
    EffectsToWrite { asked, packed }: EffectsToWrite<'_>,
) -> rusqlite::Result<Written> {
    let mut made = Written::default();
    for cancel in &asked.cancels {
        cancel_key(writing, cause, cancel)?;
    }
    if !asked.messages.is_empty() {
        made.messages = Some((writing.next.delivery, num::column(asked.messages.len())));
        for (message, packed) in asked.messages.iter().zip(&packed.messages) {
            let key = take_key(writing, cause, message.key.as_deref())?;
            let n = store_message(writing, cause, attempt, message, packed.as_ref(), &key)?;
            key.point_to(writing.conn, n, 1)?;
        }
    }
    if !asked.emits.is_empty() {
        made.events = Some((writing.next.event, num::column(asked.emits.len())));
        for (emit, (packed, routing)) in asked.emits.iter().zip(&packed.emits) {
            let id = store_emit(writing, cause, attempt, emit, packed, *routing)?;
            made.emitted.push(id);
        }
    }
    state::write(writing, cause.handler, &asked.state)?;
    if let (Some(reply), Some(packed)) = (&asked.reply, &packed.reply) {
        replies::keep(writing, cause.event, reply, packed)?;
    }
    Ok(made)
}

fn store_message(
    writing: &mut Writing<'_>,
    cause: &EffectCause,
    attempt: i64,
    message: &NewMessage,
    packed: Option<&Packed>,
    key: &TakenKey,
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
    // A message that is to wait would make those behind it wait too.
    let order_key = cause.order_key.clone().filter(|_| message.ordered && message.delay.is_zero());
    writing
        .conn
        .prepare_cached(
            "INSERT INTO delivery (n, event, target, source, state, generation, attempts, due_at, last_attempt,
               order_key, cause, message, payload, headers, keyed)
             VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6, NULL, ?12, ?7, ?8, ?9, ?10, ?11)",
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
            key.row.filter(|_| !key.cancelled),
            order_key.as_deref()
        ])?;
    let queue_key = QueueKey { target, source: cause.source };
    writing.post_commit.moved((queue_key, n), None, Some(state));
    if !key.cancelled {
        let fence = Fence { generation: 0, attempt: 1 };
        let handoff = handoff_of(cause, message).map(Arc::new);
        writing
            .post_commit
            .queued
            .push((queue_key, DueEntry { n, due_at, fence, order_key, handoff }));
        if due_at.is_none() {
            writing.post_commit.fresh.push((n, 1));
        }
    }
    Ok(n)
}

fn handoff_of(cause: &EffectCause, message: &NewMessage) -> Option<Handoff> {
    let event = cause.handled.clone()?;
    let payload = match &message.content {
        MessageContent::Own(payload) => payload.clone(),
        MessageContent::Forward { headers } => Arc::new(forwarded(&event.payload, headers)),
    };
    let handler = cause.name.clone()?;
    let message = ClaimedMessage { id: message.id, handler, payload };
    Some(Handoff { event, message: Some(message) })
}

fn store_emit(
    writing: &mut Writing<'_>,
    cause: &EffectCause,
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
    let defaults = DeliveryDefaults {
        source: cause.source,
        event: n,
        due_at: delayed,
        keyed: key.row.filter(|_| !key.cancelled),
        cancelled: key.cancelled,
    };
    let first = writing.next.delivery;
    let handoff = Arc::new(Handoff { event, message: None });
    for delivery in &emit.routed.deliveries {
        store_delivery(writing, &defaults, delivery, Some(&handoff))?;
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
    writing.post_commit.event_stored(cause.source, n, deliveries == 0);
    Ok(id)
}
