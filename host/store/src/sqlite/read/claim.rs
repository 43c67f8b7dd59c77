//! Claiming: taking due deliveries out of the queues in memory, and reading those that are not
//! complete there.

use crate::sqlite::read::refill;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};
use weir_core::event::{Category, Event, EventType, Lineage};
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::health::UnreadableRows;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::failure::LoadedRow;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::num;
use crate::sqlite::memory::due::{ClaimMode, DueEntry, HandlerTurn, TakenDelivery};
use crate::sqlite::memory::time::Now;
use crate::sqlite::rows::delivery::Delivery;
use crate::sqlite::rows::message::forwarded;
use crate::sqlite::rows::order;
use crate::{Claim, ClaimGuard, ClaimRequest, ClaimedMessage, Lane};

/// Prefix of a handler as a target.
const HANDLER: &str = "handler:";

/// A claim whose delivery must be read from the table.
struct UnreadClaim {
    target: Target,
    taken: TakenDelivery,
    guard: ClaimGuard,
    suspect: bool,
}

/// Claims due deliveries.
pub(crate) async fn claim(
    shared: &Arc<Shared>,
    wanted: &[ClaimRequest],
) -> Result<Vec<Claim>, StoreError> {
    shared.writable()?;
    let now = shared.now();
    let mut claimed = Vec::new();
    let turn = handler_turn(shared, wanted, now.due);
    let handlers_wait = !matches!(turn, HandlerTurn::Any);
    if let HandlerTurn::Suspect(taken) = turn {
        let guard = shared.claim_guard(taken.entry.n, taken.token);
        let target = shared.names.text(taken.queue_key.target).parse::<Target>();
        if let Ok(target) = target {
            let suspect = UnreadClaim { target, taken: *taken, guard, suspect: true };
            claimed.extend(read_back(shared, vec![suspect], now).await?);
        }
    }
    for wish in wanted {
        if handlers_wait && matches!(wish.target, Target::Handler(_)) {
            continue;
        }
        claim_wish(shared, wish, ClaimMode::Due, now, &mut claimed).await?;
    }
    Ok(claimed)
}

/// Claims all waiting deliveries of a target.
pub(crate) async fn claim_abandoned(
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
        claim_wish(shared, &wish, ClaimMode::Abandoned, now, &mut claimed).await?;
    }
    Ok(claimed)
}

async fn claim_wish(
    shared: &Arc<Shared>,
    wish: &ClaimRequest,
    mode: ClaimMode,
    now: Now,
    claimed: &mut Vec<Claim>,
) -> Result<(), StoreError> {
    let Some(target) = shared.names.find(&wish.target.to_string()) else { return Ok(()) };
    let enough = claimed.len() + wish.limit;
    // A delivery may have been settled since it was queued; others may wait behind it.
    while claimed.len() < enough {
        let mut unread = Vec::new();
        let missing = |claimed: &[Claim], unread: &[UnreadClaim]| {
            enough.saturating_sub(claimed.len() + unread.len())
        };
        let wanted = ClaimPlan { target, wish, mode, now };
        let left = missing(claimed, &unread);
        take(shared, wanted, left, claimed, &mut unread);
        let left = missing(claimed, &unread);
        if left > 0 && load_from_disk(shared, target, wish.lane, mode).await? {
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

/// A claim request with its target as a name.
#[derive(Clone, Copy)]
struct ClaimPlan<'w> {
    target: NameId,
    wish: &'w ClaimRequest,
    mode: ClaimMode,
    now: Now,
}

/// The turn among handlers: their deliveries, or a suspect.
fn handler_turn(shared: &Shared, wanted: &[ClaimRequest], now: Timestamp) -> HandlerTurn {
    if shared.suspects.load(Ordering::Relaxed) == 0 {
        return HandlerTurn::Any;
    }
    let handlers = wanted.iter().filter(|w| matches!(w.target, Target::Handler(_)) && w.limit > 0);
    let asking: Vec<NameId> =
        handlers.filter_map(|w| shared.names.find(&w.target.to_string())).collect();
    let is_handler = |name| shared.names.text(name).starts_with(HANDLER);
    shared.due.lock().turn(&asking, is_handler, now)
}

/// Takes deliveries from memory. Those with a handoff are complete, the others must be read.
fn take(
    shared: &Arc<Shared>,
    wanted: ClaimPlan<'_>,
    limit: usize,
    claimed: &mut Vec<Claim>,
    unread: &mut Vec<UnreadClaim>,
) {
    let ClaimPlan { target: name, wish, mode, now } = wanted;
    let deliveries = shared.due.lock().take(name, wish.lane, limit, now.due, mode);
    for due in deliveries {
        let guard = shared.claim_guard(due.entry.n, due.token);
        let target = wish.target.clone();
        match due.entry.handoff.clone() {
            Some(handoff) => claimed.push(Claim {
                delivery: shared.ids.delivery(handoff.event.received_at, due.entry.n),
                target,
                fence: due.entry.fence,
                // A delivery with a handoff was never replayed.
                id_round: 0,
                event: handoff.event.clone(),
                message: handoff.message.clone(),
                order_key: due.entry.order_key.clone(),
                now: now.wall,
                suspect: false,
                guard,
            }),
            None => unread.push(UnreadClaim { target, taken: due, guard, suspect: false }),
        }
    }
}

/// Loads deliveries that wait on disk only. False if there are none.
async fn load_from_disk(
    shared: &Arc<Shared>,
    target: NameId,
    lane: Lane,
    mode: ClaimMode,
) -> Result<bool, StoreError> {
    let waits_on_disk = shared.due.lock().waits_on_disk(target, lane);
    if !waits_on_disk {
        return Ok(false);
    }
    shared
        .blocking("read in waiting deliveries", move |shared| {
            // Planned on the thread that carries it out, which runs on if the caller goes away.
            let refills = shared.due.lock().refills(target, lane, mode);
            let mut failed = None;
            for refill in refills {
                // After a failure the rest is not read, but each refill is ended.
                let found = match &failed {
                    None => shared.readers.with(|conn| refill::refill(&shared, conn, &refill)),
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

/// Reads the rows of claimed deliveries. Those that changed meanwhile are put back where they wait,
/// those that cannot be read are set aside.
async fn read_back(
    shared: &Arc<Shared>,
    unread: Vec<UnreadClaim>,
    now: Now,
) -> Result<Vec<Claim>, StoreError> {
    shared
        .blocking("read back claimed deliveries", move |shared| {
            let mut claimed = Vec::with_capacity(unread.len());
            let mut failed = None;
            for one in unread {
                let n = one.taken.entry.n;
                let found = match shared.readers.with(|conn| read(&shared, conn, &one.taken)) {
                    Ok(found) => found,
                    Err(e) if shared.unreadable.is_hopeless(n, &e) => Read::Damaged(e.to_string()),
                    // Given back and tried again later. The others go on.
                    Err(e) => {
                        failed.get_or_insert(e);
                        continue;
                    }
                };
                claimed.extend(one.complete(&shared, found, now)?);
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

impl UnreadClaim {
    /// Completes the claim, if its delivery did not change since.
    fn complete(self, shared: &Shared, found: Read, now: Now) -> rusqlite::Result<Option<Claim>> {
        let Self { target, taken, guard, suspect } = self;
        let (n, fence) = (taken.entry.n, taken.entry.fence);
        let order_key = taken.entry.order_key.clone();
        match found {
            Read::Ready { delivery, id_round, event, message } => {
                shared.due.lock().note_event(n, taken.token, &event);
                let now = now.wall;
                Ok(Some(Claim {
                    delivery,
                    target,
                    fence,
                    id_round,
                    event,
                    message,
                    order_key,
                    now,
                    suspect,
                    guard,
                }))
            }
            Read::Stale(waiting) => {
                shared.readers.with(|conn| {
                    let mut due = shared.due.lock();
                    due.end_claim(n, Some(fence));
                    if due.clear_suspect(n) {
                        shared.suspects.store(due.suspects(), Ordering::Relaxed);
                    }
                    if let Some(entry) = waiting {
                        // A replay may have put it behind others.
                        order::enqueue(conn, &mut due, taken.queue_key, entry);
                    }
                    Ok(())
                })?;
                Ok(None)
            }
            // Left claimed until the next start: claiming it again would only fail again.
            Read::Damaged(why) => {
                set_aside(shared, &taken, &target, why);
                shared.due.lock().set_aside(n, taken.token);
                Ok(None)
            }
        }
    }
}

/// Sets an unreadable delivery aside, with all that is known of it.
fn set_aside(shared: &Shared, taken: &TakenDelivery, target: &Target, why: String) {
    let n = taken.entry.n;
    let event_at: Option<i64> = shared
        .readers
        .with(|conn| {
            let sql = "SELECT e.at FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1";
            conn.query_row(sql, [n], |row| row.get(0)).optional()
        })
        .unwrap_or_default();
    let id = event_at.map(|at| shared.ids.delivery(num::time(at), n).to_string());
    shared.unreadable.put(UnreadableRows {
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
    /// The row changed; its new queue entry, if it waits.
    Stale(Option<DueEntry>),
    Damaged(String),
}

fn read(shared: &Shared, conn: &Connection, taken: &TakenDelivery) -> rusqlite::Result<Read> {
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
        LoadedRow::Found(event) => Arc::new(event),
        LoadedRow::Damaged(why) => return Ok(Read::Damaged(why)),
        LoadedRow::Missing => return Ok(Read::Damaged("its event is missing".into())),
    };
    let message = match message(shared, conn, &delivery, &event)? {
        LoadedRow::Found(message) => Some(message),
        LoadedRow::Missing => None,
        LoadedRow::Damaged(why) => return Ok(Read::Damaged(why)),
    };
    let id = shared.ids.delivery(delivery.event_at, delivery.n);
    Ok(Read::Ready { delivery: id, id_round: delivery.id_round, event, message })
}

/// Reads an event with its payload.
pub(crate) fn event(
    shared: &Shared,
    conn: &Connection,
    n: i64,
) -> rusqlite::Result<LoadedRow<Event>> {
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
    let Some((event, payload)) = found else { return Ok(LoadedRow::Missing) };
    Ok(match shared.packer.read(conn, payload)? {
        Ok(payload) => LoadedRow::Found(Event { payload: Arc::new(payload), ..event }),
        Err(damaged) => LoadedRow::Damaged(damaged.to_string()),
    })
}

/// Reads a stored type.
pub(crate) fn event_type(stored: &str) -> rusqlite::Result<EventType> {
    EventType::new(stored).map_err(unreadable)
}

/// The error for a value that was valid when it was stored and is not now.
pub(crate) fn unreadable(e: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
}

/// Reads what to send instead of the event; missing for a delivery that is not a message.
fn message(
    shared: &Shared,
    conn: &Connection,
    delivery: &Delivery,
    event: &Event,
) -> rusqlite::Result<LoadedRow<ClaimedMessage>> {
    type Columns = (Option<[u8; 16]>, Option<i64>, Option<i64>);
    let (id, payload, headers): Columns = conn
        .prepare_cached("SELECT message, payload, headers FROM delivery WHERE n = ?1")?
        .query_row([delivery.n], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let Some(id) = id else { return Ok(LoadedRow::Missing) };
    let source = shared.names.text(delivery.queue_key.source);
    let Some(handler) = source.strip_prefix('@').and_then(|name| HandlerName::new(name).ok())
    else {
        return Ok(LoadedRow::Damaged(format!("its sender `{source}` is not a handler")));
    };
    let payload = match (payload, headers) {
        (Some(row), _) => shared.packer.read(conn, row)?,
        (None, Some(row)) => {
            shared.packer.read(conn, row)?.map(|set| forwarded(&event.payload, &set.headers))
        }
        (None, None) => Ok(forwarded(&event.payload, &[])),
    };
    Ok(match payload {
        Ok(payload) => {
            let id = MessageId::from_bits(num::id_bits(&id).unwrap_or_default());
            LoadedRow::Found(ClaimedMessage { id, handler, payload: Arc::new(payload) })
        }
        Err(damaged) => LoadedRow::Damaged(damaged.to_string()),
    })
}

/// Waits until work may be due.
pub(crate) async fn wait_due(shared: &Shared, at_most: Duration) {
    let end = Instant::now() + at_most;
    loop {
        let woken = shared.wake.notified();
        tokio::pin!(woken);
        // From here on no wake-up is missed.
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
