//! Reads a store into a [`World`], through the trait alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use weir_core::delivery::EventStatus;
use weir_core::id::{DeliveryId, EventId};
use weir_core::time::Timestamp;
use weir_store::query::{DeliveryDetail, EventDetail, EventFilter, PageRequest};
use weir_store::sqlite::SqliteStore;
use weir_store::{Operations, Store, StoreError};

use crate::cast;
use crate::script::Script;
use crate::world::{AttemptRow, DeliveryRow, EventRow, Key, World};

/// The names of rows that were read before.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Events by row id.
    pub events: HashMap<EventId, Key>,
    /// Deliveries by id.
    pub deliveries: HashMap<DeliveryId, Key>,
}

impl Names {
    /// The id of a named event.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<EventId> {
        self.events.iter().find(|(_, key)| *key == name).map(|(id, _)| *id)
    }

    /// The id of a named delivery.
    #[must_use]
    pub fn delivery(&self, name: &str) -> Option<DeliveryId> {
        self.deliveries.iter().find(|(_, key)| *key == name).map(|(id, _)| *id)
    }
}

/// The contents of a store.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// All rows by name.
    pub world: World,
    /// The names of its rows.
    pub names: Names,
    /// Lead of the store's due-time line over the wall clock.
    pub ahead: Duration,
    /// Contradictions: two rows with one name, an unknown event, a status that does not follow from
    /// the deliveries.
    pub oddities: Vec<String>,
}

/// Reads all that a store shows at `now`.
///
/// # Errors
/// The store's error if it cannot answer.
pub async fn observe(
    store: &SqliteStore,
    known: &Names,
    now: Timestamp,
) -> Result<Seen, StoreError> {
    let mut seen = Seen { ahead: store.stats().set_back, ..Seen::default() };
    let details = details(store).await?;
    let named = name_events(&details, known, &mut seen);
    for (key, detail) in &named {
        read_event(store, key, detail, known, &mut seen).await?;
    }
    let gone: Vec<Key> = seen.world.events.values().flat_map(|e| &e.deliveries).cloned().collect();
    for key in gone {
        if !seen.world.deliveries.contains_key(&key) {
            seen.oddities.push(format!("delivery {key} is listed and not there"));
        }
    }
    read_state(store, now, &mut seen).await?;
    for hold in store.holds().await? {
        let scope = hold.hold.scope.to_string();
        seen.world.holds.push((scope, hold.hold.until, hold.at));
    }
    seen.world.holds.sort();
    Ok(seen)
}

async fn details(store: &dyn Store) -> Result<Vec<EventDetail>, StoreError> {
    let (mut details, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit: 100, after };
        let found = store.events(EventFilter::default(), page).await?;
        for listed in found.items {
            let detail = store.event(listed.id).await?;
            details.extend(detail);
        }
        after = found.next;
        if after.is_none() {
            return Ok(details);
        }
    }
}

/// Finds the name of each event: by its id, by the body in its request, or by the attempt that
/// emitted it.
fn name_events(
    details: &[EventDetail],
    known: &Names,
    seen: &mut Seen,
) -> BTreeMap<Key, EventDetail> {
    let mut names: HashMap<EventId, Key> = HashMap::new();
    for detail in details {
        let carried = || {
            let body = &detail.payload.as_ref()?.body;
            detail.request.and_then(|_| Script::parse(body)).map(|s| format!("s{}", s.serial))
        };
        if let Some(name) = known.events.get(&detail.id).cloned().or_else(carried) {
            names.insert(detail.id, name);
        }
    }
    loop {
        let before = names.len();
        for detail in details {
            let Some(event) = names.get(&detail.id).cloned() else { continue };
            for delivery in &detail.deliveries {
                for attempt in &delivery.history {
                    let name = attempt_name(&delivery_name(&event, delivery), attempt);
                    for (n, emitted) in attempt.emitted.iter().enumerate() {
                        names.entry(*emitted).or_insert_with(|| format!("{name}+e{n}"));
                    }
                }
            }
        }
        if names.len() == before {
            break;
        }
    }
    let mut named = BTreeMap::new();
    for detail in details {
        match names.get(&detail.id) {
            None => seen.oddities.push(format!("event {} was never sent", detail.id)),
            Some(name) => {
                seen.names.events.insert(detail.id, name.clone());
                if named.insert(name.clone(), detail.clone()).is_some() {
                    seen.oddities.push(format!("event {name} is there twice"));
                }
            }
        }
    }
    named
}

fn delivery_name(event: &str, delivery: &DeliveryDetail) -> Key {
    format!("{event}>{}", delivery.target)
}

fn attempt_name(delivery: &str, attempt: &weir_store::query::AttemptDetail) -> Key {
    format!("{delivery}#{}.{}", attempt.generation, attempt.number)
}

async fn read_event(
    store: &dyn Store,
    key: &str,
    detail: &EventDetail,
    known: &Names,
    seen: &mut Seen,
) -> Result<(), StoreError> {
    let name_of = |id: EventId, seen: &Seen| {
        let name = known.events.get(&id).or_else(|| seen.names.events.get(&id));
        name.cloned().unwrap_or_else(|| format!("unknown {id}"))
    };
    let mut states = Vec::new();
    let mut deliveries = Vec::new();
    for delivery in &detail.deliveries {
        let name = delivery_name(key, delivery);
        deliveries.push(name.clone());
        let messages = add_delivery(&name, delivery, &mut states, &name_of, seen);
        for (name, id) in messages {
            if let Some(message) = store.delivery(id).await? {
                add_delivery(&name, &message, &mut states, &name_of, seen);
            }
        }
    }
    let status = EventStatus::of(states);
    if status != detail.status {
        let said = detail.status;
        seen.oddities.push(format!("event {key} says {said}, its deliveries say {status}"));
    }
    let body = detail.payload.as_ref().map(|p| String::from_utf8_lossy(&p.body).into_owned());
    let row = EventRow {
        source: detail.source.as_str().to_owned(),
        kind: detail.kind.to_string(),
        at: detail.received_at,
        delivery_id: detail.delivery_id.as_deref().map(String::from),
        id_reused: detail.id_reused,
        outward: detail.outward_id.map(EventId::bits),
        parent: detail.parent.map(|id| name_of(id, seen)),
        body: body.unwrap_or_else(|| "unreadable".into()),
        deliveries,
    };
    seen.world.events.insert(key.to_owned(), row);
    Ok(())
}

/// Adds a delivery with its attempts. Returns the messages that these sent.
fn add_delivery(
    name: &str,
    delivery: &DeliveryDetail,
    states: &mut Vec<(weir_core::delivery::DeliveryState, bool)>,
    name_of: &impl Fn(EventId, &Seen) -> Key,
    seen: &mut Seen,
) -> Vec<(Key, DeliveryId)> {
    states.push((delivery.state, delivery.held));
    let row = DeliveryRow {
        target: delivery.target.to_string(),
        state: delivery.state,
        generation: delivery.generation,
        attempts: delivery.attempts,
        due_at: delivery.due_at,
        message: delivery.message.map(weir_core::id::MessageId::bits),
    };
    if seen.world.deliveries.insert(name.to_owned(), row).is_some() {
        seen.oddities.push(format!("delivery {name} is there twice"));
    }
    seen.names.deliveries.insert(delivery.id, name.to_owned());
    let mut messages = Vec::new();
    for attempt in &delivery.history {
        let of = attempt_name(name, attempt);
        let sent = attempt.messages.iter().enumerate();
        let sent: Vec<_> = sent.map(|(n, m)| (format!("{of}+m{n}"), m.id)).collect();
        let row = AttemptRow {
            started_at: attempt.started_at,
            outcome: attempt.outcome,
            messages: sent.iter().map(|(name, _)| name.clone()).collect(),
            emitted: attempt.emitted.iter().map(|id| name_of(*id, seen)).collect(),
        };
        messages.extend(sent);
        if seen.world.attempts.insert(of.clone(), row).is_some() {
            seen.oddities.push(format!("attempt {of} is there twice"));
        }
    }
    messages
}

async fn read_state(store: &dyn Store, now: Timestamp, seen: &mut Seen) -> Result<(), StoreError> {
    let failed = |e: weir_core::state::StateUnavailable| {
        StoreError::engine("read a handler's state", e.to_string())
    };
    for name in cast::HANDLERS {
        let reader = store.state(&cast::handler(name));
        for key in reader.keys("", "", 1000, now).await.map_err(failed)? {
            if let Some(entry) = reader.get(&key).await.map_err(failed)? {
                let place = (name.to_owned(), String::from(key));
                seen.world.state.insert(place, entry.value.into());
            }
        }
        for key in cast::EFFECT_KEYS {
            if reader.has_queued(key).await.map_err(failed)? {
                seen.world.waiting.insert((name.to_owned(), key.to_owned()));
            }
        }
    }
    Ok(())
}

/// Names that are in one set and not in the other.
#[must_use]
pub fn missing(expected: &World, seen: &World) -> BTreeSet<Key> {
    expected.events.keys().filter(|key| !seen.events.contains_key(*key)).cloned().collect()
}
