//! Claiming: taking due deliveries out of the queues in memory, and reading back what was not handed on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension};
use std::time::Duration;
use weir_core::event::{Category, Event, EventType, Lineage};
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

use super::due::{Entry, Heed, Taken, Turn};
use super::effects::forwarded;
use super::names::NameId;
use super::settle::Delivery;
use super::time::Now;
use super::{Shared, feed, num};
use crate::condition::UnreadableRows;
use crate::error::StoreError;
use crate::{Claim, ClaimGuard, ClaimRequest, ClaimedMessage, Lane};

/// The beginning of a handler's name as a target.
const HANDLER: &str = "handler:";

/// A claim whose delivery must be read back.
struct Unread {
    target: Target,
    taken: Taken,
    guard: ClaimGuard,
    suspect: bool,
}

/// Claims what is wanted and due.
pub(super) async fn claim(
    shared: &Arc<Shared>,
    wanted: &[ClaimRequest],
) -> Result<Vec<Claim>, StoreError> {
    shared.writable()?;
    let now = shared.now();
    let mut claimed = Vec::new();
    let turn = handlers_turn(shared, wanted, now.due);
    let handlers_wait = !matches!(turn, Turn::Anybodys);
    if let Turn::Suspects(taken) = turn {
        let guard = guard(shared, taken.entry.n, taken.token);
        let target = shared.names.text(taken.place.target).parse::<Target>();
        if let Ok(target) = target {
            let suspect = Unread { target, taken: *taken, guard, suspect: true };
            claimed.extend(read_back(shared, vec![suspect], now).await?);
        }
    }
    for wish in wanted {
        if handlers_wait && matches!(wish.target, Target::Handler(_)) {
            continue;
        }
        claim_wish(shared, wish, Heed::Everything, now, &mut claimed).await?;
    }
    Ok(claimed)
}

/// Claims whatever waits for a target.
pub(super) async fn claim_abandoned(
    shared: &Arc<Shared>,
    target: &Target,
    limit: usize,
) -> Result<Vec<Claim>, StoreError> {
    shared.writable()?;
    let now = shared.now();
    let mut claimed = Vec::new();
    for lane in [Lane::Fresh, Lane::Late] {
        let limit = limit.saturating_sub(claimed.len());
        let wish = ClaimRequest { target: target.clone(), lane, limit };
        claim_wish(shared, &wish, Heed::Nothing, now, &mut claimed).await?;
    }
    Ok(claimed)
}

async fn claim_wish(
    shared: &Arc<Shared>,
    wish: &ClaimRequest,
    heed: Heed,
    now: Now,
    claimed: &mut Vec<Claim>,
) -> Result<(), StoreError> {
    let Some(target) = shared.names.find(&wish.target.to_string()) else { return Ok(()) };
    let enough = claimed.len() + wish.limit;
    // What was read back may have been settled since it was queued; there may be others behind it.
    while claimed.len() < enough {
        let mut unread = Vec::new();
        let missing = |claimed: &[Claim], unread: &[Unread]| {
            enough.saturating_sub(claimed.len() + unread.len())
        };
        let wanted = Wanted { target, wish, heed, now };
        let left = missing(claimed, &unread);
        take(shared, wanted, left, claimed, &mut unread);
        let left = missing(claimed, &unread);
        if left > 0 && refill(shared, target, wish.lane, heed).await? {
            take(shared, wanted, left, claimed, &mut unread);
        }
        let asked = unread.len();
        let read = if asked > 0 { read_back(shared, unread, now).await? } else { Vec::new() };
        let all_stand = read.len() == asked;
        claimed.extend(read);
        if all_stand {
            break;
        }
    }
    Ok(())
}

/// A wish as memory sees it.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    target: NameId,
    wish: &'w ClaimRequest,
    heed: Heed,
    now: Now,
}

/// Whether handlers' work is to be had, or a suspect of theirs.
fn handlers_turn(shared: &Shared, wanted: &[ClaimRequest], now: Timestamp) -> Turn {
    if shared.suspects.load(Ordering::Relaxed) == 0 {
        return Turn::Anybodys;
    }
    let handlers = wanted.iter().filter(|w| matches!(w.target, Target::Handler(_)) && w.limit > 0);
    let asking: Vec<NameId> =
        handlers.filter_map(|w| shared.names.find(&w.target.to_string())).collect();
    let is_handler = |name| shared.names.text(name).starts_with(HANDLER);
    shared.due.lock().turn(&asking, is_handler, now)
}

/// Takes from memory: what was handed on is complete, the rest has to be read.
fn take(
    shared: &Arc<Shared>,
    wanted: Wanted<'_>,
    limit: usize,
    claimed: &mut Vec<Claim>,
    unread: &mut Vec<Unread>,
) {
    let Wanted { target: name, wish, heed, now } = wanted;
    let taken = shared.due.lock().take(name, wish.lane, limit, now.due, heed);
    for taken in taken {
        let guard = guard(shared, taken.entry.n, taken.token);
        let target = wish.target.clone();
        match taken.entry.handoff.clone() {
            Some(handoff) => claimed.push(Claim {
                delivery: shared.ids.delivery(handoff.event.received_at, taken.entry.n),
                target,
                fence: taken.entry.fence,
                // What was just stored was never replayed.
                id_round: 0,
                event: handoff.event.clone(),
                message: handoff.message.clone(),
                now: now.wall,
                suspect: false,
                guard,
            }),
            None => unread.push(Unread { target, taken, guard, suspect: false }),
        }
    }
}

/// What gives a delivery back, if it is still claimed by that token.
pub(super) fn guard(shared: &Arc<Shared>, n: i64, token: u64) -> ClaimGuard {
    let shared = shared.clone();
    ClaimGuard::new(move || {
        if shared.due.lock().give_back(n, token) {
            shared.wake.notify_waiters();
        }
    })
}

/// Reads in what waits on disk only. False if nothing does.
async fn refill(
    shared: &Arc<Shared>,
    target: NameId,
    lane: Lane,
    heed: Heed,
) -> Result<bool, StoreError> {
    let waits_on_disk = shared.due.lock().waits_on_disk(target, lane);
    if !waits_on_disk {
        return Ok(false);
    }
    shared
        .blocking("read in waiting deliveries", move |shared| {
            // Planned here, where it is also carried out whatever becomes of who asked.
            let refills = shared.due.lock().refills(target, lane, heed);
            let mut failed = None;
            for refill in refills {
                // After a failure the rest is not read either, but each is told.
                let found = match &failed {
                    None => shared.readers.with(|conn| feed::refill(&shared, conn, &refill)),
                    Some(_) => Err(rusqlite::Error::InvalidQuery),
                };
                let mut due = shared.due.lock();
                match found {
                    Ok(found) => due.refilled(refill, found),
                    Err(e) => {
                        due.refill_failed(refill);
                        failed.get_or_insert(e);
                    }
                }
            }
            failed.map_or(Ok(true), Err)
        })
        .await
}

async fn read_back(
    shared: &Arc<Shared>,
    unread: Vec<Unread>,
    now: Now,
) -> Result<Vec<Claim>, StoreError> {
    shared
        .blocking("read back claimed deliveries", move |shared| {
            let mut claimed = Vec::with_capacity(unread.len());
            let mut failed = None;
            for Unread { target, taken, guard, suspect } in unread {
                let n = taken.entry.n;
                let found = match shared.readers.with(|conn| read(&shared, conn, &taken)) {
                    Ok(found) => found,
                    Err(e) if shared.aside.is_hopeless(n, &e) => Read::Damaged(e.to_string()),
                    // Given back, and tried again later; the others go on.
                    Err(e) => {
                        failed.get_or_insert(e);
                        continue;
                    }
                };
                match found {
                    Read::Ready { delivery, id_round, event, message } => {
                        shared.due.lock().note_event(n, taken.token, &event);
                        let fence = taken.entry.fence;
                        claimed.push(Claim {
                            delivery,
                            target,
                            fence,
                            id_round,
                            event,
                            message,
                            now: now.wall,
                            suspect,
                            guard,
                        });
                    }
                    Read::Stale(now_waiting) => shared.readers.with(|conn| {
                        let mut due = shared.due.lock();
                        due.end_claim(n, Some(taken.entry.fence));
                        if due.clear_suspect(n) {
                            shared.suspects.store(due.suspects(), Ordering::Relaxed);
                        }
                        if let Some(entry) = now_waiting {
                            // It may have been requeued, and stand behind others now.
                            feed::feed(conn, &mut due, taken.place, entry);
                        }
                        Ok(())
                    })?,
                    // Left claimed until the next start: handing it out again would only fail again.
                    Read::Damaged(why) => {
                        set_aside(&shared, &taken, &target, why);
                        shared.due.lock().set_aside(n, taken.token);
                    }
                }
            }
            match failed {
                Some(e) if claimed.is_empty() => Err(e),
                Some(e) => {
                    tracing::warn!(error = %e, "a delivery could not be read and is tried again");
                    Ok(claimed)
                }
                None => Ok(claimed),
            }
        })
        .await
}

/// Sets a delivery aside that cannot be read, with all that can be told of it.
fn set_aside(shared: &Shared, taken: &Taken, target: &Target, why: String) {
    let n = taken.entry.n;
    let event_at: Option<i64> = shared
        .readers
        .with(|conn| {
            let sql = "SELECT e.at FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1";
            conn.query_row(sql, [n], |row| row.get(0)).optional()
        })
        .unwrap_or_default();
    let id = event_at.map(|at| shared.ids.delivery(num::time(at), n).to_string());
    shared.aside.put(UnreadableRows {
        what: "delivery",
        first: n,
        last: n,
        id: id.map(Into::into),
        target: Some(target.to_string().into()),
        reason: why.into(),
        found_at: shared.clock.now(),
    });
}

enum Read {
    Ready {
        delivery: DeliveryId,
        id_round: u32,
        event: Arc<Event>,
        message: Option<ClaimedMessage>,
    },
    /// The row says something else by now; how it waits, if it does.
    Stale(Option<Entry>),
    Damaged(String),
}

fn read(shared: &Shared, conn: &Connection, taken: &Taken) -> rusqlite::Result<Read> {
    let Some(delivery) = Delivery::read(conn, taken.entry.n)? else {
        let is_there: bool = conn
            .prepare_cached("SELECT count(*) FROM delivery WHERE n = ?1")?
            .query_row([taken.entry.n], |row| row.get(0))?;
        return Ok(match is_there {
            true => Read::Damaged("its event is missing".into()),
            false => Read::Stale(None),
        });
    };
    if !delivery.waits() || delivery.fence() != taken.entry.fence {
        let entry = delivery.waits().then(|| delivery.entry());
        return Ok(Read::Stale(entry));
    }
    let event = match event(shared, conn, delivery.event)? {
        Some(Ok(event)) => Arc::new(event),
        Some(Err(why)) => return Ok(Read::Damaged(why)),
        None => return Ok(Read::Damaged("its event is missing".into())),
    };
    let message = match message(shared, conn, &delivery, &event)? {
        Ok(message) => message,
        Err(why) => return Ok(Read::Damaged(why)),
    };
    let id = shared.ids.delivery(delivery.event_at, delivery.n);
    Ok(Read::Ready { delivery: id, id_round: delivery.id_round, event, message })
}

/// Reads an event with its payload; an error says what cannot be read.
pub(super) fn event(
    shared: &Shared,
    conn: &Connection,
    n: i64,
) -> rusqlite::Result<Option<Result<Event, String>>> {
    let found = conn
        .prepare_cached(
            "SELECT at, source, type, category, delivery_id, payload, outward, root, parent, depth
             FROM event WHERE n = ?1",
        )?
        .query_row([n], |row| {
            let at = num::time(row.get(0)?);
            let id = shared.ids.event(at, n);
            let bits = |column| -> rusqlite::Result<Option<EventId>> {
                let stored: Option<[u8; 16]> = row.get(column)?;
                Ok(stored.and_then(|b| num::id_bits(&b)).map(EventId::from_bits))
            };
            let lineage = match (bits(7)?, bits(8)?, row.get::<_, Option<u8>>(9)?) {
                (Some(root), Some(parent), Some(depth)) => Some(Lineage { root, parent, depth }),
                _ => None,
            };
            let event = Event {
                id,
                public_id: bits(6)?.unwrap_or(id),
                source: SourceName::stored(&shared.names.text(row.get(1)?)),
                kind: event_type(&row.get::<_, String>(2)?)?,
                category: row.get::<_, Option<String>>(3)?.and_then(|c| Category::parse(&c)),
                delivery_id: row.get::<_, Option<String>>(4)?.map(Into::into),
                received_at: at,
                lineage,
                payload: Arc::new(Payload::default()),
            };
            Ok((event, row.get::<_, i64>(5)?))
        })
        .optional()?;
    let Some((event, payload)) = found else { return Ok(None) };
    let payload = shared.packer.read(conn, payload)?;
    Ok(Some(match payload {
        Ok(payload) => Ok(Event { payload: Arc::new(payload), ..event }),
        Err(damaged) => Err(damaged.to_string()),
    }))
}

/// A stored type.
pub(super) fn event_type(stored: &str) -> rusqlite::Result<EventType> {
    EventType::new(stored).map_err(unreadable)
}

/// What was checked before it was stored and is not valid now.
pub(super) fn unreadable(e: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
}

fn message(
    shared: &Shared,
    conn: &Connection,
    delivery: &Delivery,
    event: &Event,
) -> rusqlite::Result<Result<Option<ClaimedMessage>, String>> {
    type Columns = (Option<[u8; 16]>, Option<i64>, Option<i64>);
    let (id, payload, headers): Columns = conn
        .prepare_cached("SELECT message, payload, headers FROM delivery WHERE n = ?1")?
        .query_row([delivery.n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(id) = id else { return Ok(Ok(None)) };
    let source = shared.names.text(delivery.place.source);
    let Some(handler) = source.strip_prefix('@').and_then(|name| HandlerName::new(name).ok())
    else {
        return Ok(Err(format!("its sender `{source}` is not a handler")));
    };
    let payload = match (payload, headers) {
        (Some(row), _) => shared.packer.read(conn, row)?,
        (None, Some(row)) => {
            shared.packer.read(conn, row)?.map(|set| forwarded(&event.payload, &set.headers))
        }
        (None, None) => Ok(forwarded(&event.payload, &[])),
    };
    Ok(payload.map_err(|damaged| damaged.to_string()).map(|payload| {
        let id = MessageId::from_bits(num::id_bits(&id).unwrap_or_default());
        Some(ClaimedMessage { id, handler, payload: Arc::new(payload) })
    }))
}

/// Waits until something may be due.
pub(super) async fn wait_due(shared: &Shared, at_most: Duration) {
    let end = Instant::now() + at_most;
    loop {
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        // From here on no wake-up is missed, so looking now is enough.
        woken.as_mut().enable();
        let now = shared.now().due;
        let next = shared.due.lock().next_due(now);
        if next.is_some_and(|at| at <= now) {
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        let wait = next.map_or(left, |at| at.since(now).min(left));
        if wait.is_zero() {
            return;
        }
        if tokio::time::timeout(wait, woken).await.is_ok() {
            return;
        }
    }
}
