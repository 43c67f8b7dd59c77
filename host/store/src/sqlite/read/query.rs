//! Queries: lists, newest first, and single events, requests and deliveries.
//!
//! A list reads a bounded number of rows and then returns what it found with a cursor, so that no
//! query takes long.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;
use weir_core::delivery::{DeliveryState, EventStatus, Outcome};
use weir_core::event::Category;
use weir_core::id::{DeliveryId, EventId, MessageId, RequestId};
use weir_core::name::{SourceName, Target};
use weir_core::route::Glob;
use weir_core::time::Timestamp;

use crate::error::StoreError;
use crate::query::{
    AttemptDetail, CountRow, CountsFilter, DeliveryDetail, DeliveryFilter, EventDetail,
    EventFilter, PageOf, PageRequest, StoredRequest,
};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::format::failure::LoadedRow;
use crate::sqlite::format::ids::RowKind;
use crate::sqlite::format::names::NameId;
use crate::sqlite::format::{num, payloads};
use crate::sqlite::memory::due::QueueKey;
use crate::sqlite::read::claim::{event_type, unreadable};
use crate::sqlite::rows::history::{attempts_of, direct};

/// Rows read for one page.
const ROWS_AT_ONCE: usize = 20_000;

/// Items of one page.
pub(crate) const PAGE_MAX: usize = 1_000;

/// The number below which a page starts.
pub(crate) fn cursor(page: &PageRequest) -> Result<i64, StoreError> {
    let Some(after) = &page.after else { return Ok(i64::MAX) };
    let invalid = || StoreError::Invalid("the cursor is not one that a page gave".into());
    let digits = after.strip_prefix('n').ok_or_else(invalid)?;
    i64::from_str_radix(digits, 36).map_err(|_| invalid())
}

pub(crate) fn cursor_text(n: i64) -> String {
    let mut digits = Vec::new();
    let mut rest = n.unsigned_abs();
    while rest > 0 || digits.is_empty() {
        digits.push(char::from_digit(u32::try_from(rest % 36).unwrap_or(0), 36).unwrap_or('0'));
        rest /= 36;
    }
    std::iter::once('n').chain(digits.into_iter().rev()).collect()
}

const EVENT_COLUMNS: &str = "n, at, request, source, type, category, delivery_id, id_reused, payload, size, \
     routing, outward, parent, decisions";

struct EventRow {
    n: i64,
    payload: i64,
    detail: EventDetail,
}

fn event_row(shared: &Shared, conn: &Connection, row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let (n, at) = (row.get(0)?, num::time(row.get(1)?));
    let request: Option<i64> = row.get(2)?;
    let bits = |column| -> rusqlite::Result<Option<EventId>> {
        let stored: Option<[u8; 16]> = row.get(column)?;
        Ok(stored.and_then(|b| num::id_bits(&b)).map(EventId::from_bits))
    };
    let table: Option<[u8; 16]> = conn
        .prepare_cached("SELECT hash FROM routing WHERE n = ?1")?
        .query_row([row.get::<_, i64>(10)?], |r| r.get(0))
        .optional()?;
    let detail = EventDetail {
        id: shared.ids.event(at, n),
        outward_id: bits(11)?,
        source: SourceName::stored(&shared.names.text(row.get(3)?)),
        kind: event_type(&row.get::<_, String>(4)?)?,
        category: row.get::<_, Option<String>>(5)?.and_then(|c| Category::parse(&c)),
        delivery_id: row.get::<_, Option<String>>(6)?.map(Into::into),
        received_at: at,
        status: EventStatus::Unrouted,
        id_reused: row.get::<_, Option<bool>>(7)?.unwrap_or(false),
        // A request has the time of its events.
        request: request.map(|n| shared.ids.request(at, n)),
        parent: bits(12)?,
        table: table.map(hex::encode).unwrap_or_default(),
        decisions: row.get::<_, Option<Box<str>>>(13)?.unwrap_or_default(),
        size: num::count(row.get(9)?),
        deliveries: Vec::new(),
        payload: None,
    };
    Ok(EventRow { n, payload: row.get(8)?, detail })
}

impl EventRow {
    /// Adds the deliveries, and the status by them and the messages of their attempts.
    fn complete(
        mut self,
        shared: &Shared,
        conn: &Connection,
        with_history: bool,
    ) -> rusqlite::Result<EventDetail> {
        let mut states = Vec::new();
        for n in direct(conn, self.n)? {
            let Some(found) = delivery_row(shared, conn, n)? else { continue };
            let mut delivery = found.detail;
            states.push((delivery.state, delivery.held));
            if with_history {
                delivery.history = history(shared, conn, n)?;
                for message in delivery.history.iter().flat_map(|a| &a.messages) {
                    states.push((message.state, message.held));
                }
            } else {
                for message in attempts_of(conn, n)?.into_iter().flat_map(|(_, messages)| messages)
                {
                    if let Some(message) = delivery_row(shared, conn, message)? {
                        states.push((message.detail.state, message.detail.held));
                    }
                }
            }
            self.detail.deliveries.push(delivery);
        }
        self.detail.status = EventStatus::of(states);
        Ok(self.detail)
    }
}

/// Lists events.
pub(crate) fn events(
    shared: &Shared,
    filter: &EventFilter,
    limit: usize,
    below: i64,
) -> rusqlite::Result<PageOf<EventDetail>> {
    let end = PageOf::only(Vec::new());
    let Ok(wanted) = EventMatcher::of(shared, filter) else { return Ok(end) };
    shared.readers.with(|conn| {
        if filter.statuses == [EventStatus::Unrouted] {
            return unrouted(shared, conn, &wanted, limit.min(PAGE_MAX), below);
        }
        let sql =
            format!("SELECT {EVENT_COLUMNS} FROM event WHERE n < ?1 ORDER BY n DESC LIMIT ?2");
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query([below, num::column(ROWS_AT_ONCE)])?;
        let (mut page, mut last, mut looked) = (end, below, 0);
        while let Some(row) = rows.next()? {
            if page.items.len() >= limit.min(PAGE_MAX) {
                page.next = Some(cursor_text(last));
                return Ok(page);
            }
            last = row.get(0)?;
            looked += 1;
            if !wanted.matches_row(row, [1, 3, 4, 5])? {
                continue;
            }
            let event = event_row(shared, conn, row)?.complete(shared, conn, false)?;
            if filter.statuses.is_empty() || filter.statuses.contains(&event.status) {
                page.items.push(event);
            }
        }
        page.next = (looked >= ROWS_AT_ONCE).then(|| cursor_text(last));
        Ok(page)
    })
}

/// Lists unrouted events from an index of only those: the newest of each source, merged.
fn unrouted(
    shared: &Shared,
    conn: &Connection,
    wanted: &EventMatcher,
    limit: usize,
    below: i64,
) -> rusqlite::Result<PageOf<EventDetail>> {
    let sources = match &wanted.sources {
        Some(sources) => sources.clone(),
        None => shared.totals.lock().unrouted.keys().copied().collect(),
    };
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM event WHERE deliveries = 0 AND source = ?1 AND n < ?2
         ORDER BY n DESC LIMIT ?3"
    );
    let (mut found, mut looked_to) = (Vec::new(), 0);
    for source in sources {
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params![source, below, num::column(ROWS_AT_ONCE)])?;
        let (mut last, mut looked, mut matching) = (below, 0, 0);
        while matching <= limit
            && let Some(row) = rows.next()?
        {
            last = row.get(0)?;
            looked += 1;
            if wanted.matches_row(row, [1, 3, 4, 5])? {
                matching += 1;
                found.push(event_row(shared, conn, row)?);
            }
        }
        // Below this, the source may have more.
        if matching > limit || looked >= ROWS_AT_ONCE {
            looked_to = looked_to.max(last);
        }
    }
    found.retain(|row| row.n >= looked_to);
    found.sort_unstable_by_key(|row| std::cmp::Reverse(row.n));
    let next = match found.get(limit.saturating_sub(1)) {
        Some(last) if found.len() > limit => Some(last.n),
        _ => (looked_to > 0).then_some(looked_to),
    };
    found.truncate(limit);
    let items = found.into_iter().map(|row| row.detail).collect();
    Ok(PageOf { next: next.map(cursor_text), ..PageOf::only(items) })
}

/// Times, sources, types and categories of a filter.
struct EventMatcher {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    sources: Option<Vec<NameId>>,
    kinds: Vec<Glob>,
    categories: Vec<Category>,
}

impl EventMatcher {
    /// `Err` if none of the sources has events.
    fn of(shared: &Shared, filter: &EventFilter) -> Result<Self, NoSuchSource> {
        let sources = match &filter.sources[..] {
            [] => None,
            named => {
                Some(named.iter().filter_map(|s| shared.names.find(s.as_str())).collect::<Vec<_>>())
            }
        };
        if sources.as_ref().is_some_and(Vec::is_empty) {
            return Err(NoSuchSource);
        }
        Ok(Self {
            since: filter.since,
            until: filter.until,
            sources,
            kinds: filter.kinds.iter().map(|kind| Glob::new(kind.as_str())).collect(),
            categories: filter.categories.clone(),
        })
    }

    fn matches_all(&self) -> bool {
        let Self { since, until, sources, kinds, categories } = self;
        since.is_none()
            && until.is_none()
            && sources.is_none()
            && kinds.is_empty()
            && categories.is_empty()
    }

    /// True if an event matches, by the columns of its time, source, type and category.
    fn matches_row(
        &self,
        row: &Row<'_>,
        [at, source, kind, category]: [usize; 4],
    ) -> rusqlite::Result<bool> {
        let at = num::time(row.get(at)?);
        if self.until.is_some_and(|until| at >= until) || self.since.is_some_and(|since| at < since)
        {
            return Ok(false);
        }
        let source: NameId = row.get(source)?;
        if self.sources.as_ref().is_some_and(|sources| !sources.contains(&source)) {
            return Ok(false);
        }
        let text = |column| row.get_ref(column).ok().and_then(|value| value.as_str().ok());
        let is_kind = text(kind).is_some_and(|text| self.kinds.iter().any(|k| k.matches(text)));
        if !self.kinds.is_empty() && !is_kind {
            return Ok(false);
        }
        let category = text(category).and_then(Category::parse);
        Ok(self.categories.is_empty() || category.is_some_and(|c| self.categories.contains(&c)))
    }

    /// True if a delivery's event matches.
    fn matches_delivery(&self, conn: &Connection, delivery: i64) -> rusqlite::Result<bool> {
        let sql = "SELECT e.at, e.source, e.type, e.category
                   FROM delivery d JOIN event e ON e.n = d.event WHERE d.n = ?1";
        let found = conn
            .prepare_cached(sql)?
            .query_row([delivery], |row| self.matches_row(row, [0, 1, 2, 3]))
            .optional()?;
        Ok(found.unwrap_or(false))
    }
}

/// The source has no events.
struct NoSuchSource;

/// Reads an event by row id or outward id.
pub(crate) fn event(shared: &Shared, id: EventId) -> rusqlite::Result<Option<EventDetail>> {
    shared.readers.with(|conn| {
        let by_row = match shared.ids.open(RowKind::Event, id.bits()) {
            Some(row) => {
                let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE n = ?1 AND at = ?2");
                conn.prepare_cached(&sql)?
                    .query_row([row.n, num::stored_time(row.at)], |row| {
                        event_row(shared, conn, row)
                    })
                    .optional()?
            }
            None => None,
        };
        let found = match by_row {
            Some(found) => Some(found),
            None => {
                // After a replay several events have the same outward id: the newest is found.
                let sql = format!(
                    "SELECT {EVENT_COLUMNS} FROM event WHERE outward = ?1 ORDER BY n DESC LIMIT 1"
                );
                conn.prepare_cached(&sql)?
                    .query_row([num::stored_id(id.bits())], |row| event_row(shared, conn, row))
                    .optional()?
            }
        };
        let Some(found) = found else { return Ok(None) };
        let payload = shared.packer.read(conn, found.payload)?;
        let mut detail = found.complete(shared, conn, true)?;
        match payload {
            Ok(payload) => detail.payload = Some(Arc::new(payload)),
            Err(damaged) => shared.set_aside("payload", vec![damaged.hole()]),
        }
        Ok(Some(detail))
    })
}

/// Reads a request as it was received.
pub(crate) fn request(
    shared: &Shared,
    id: RequestId,
) -> rusqlite::Result<LoadedRow<StoredRequest>> {
    let Some(row) = shared.ids.open(RowKind::Request, id.bits()) else {
        return Ok(LoadedRow::Missing);
    };
    type Columns = (NameId, NameId, NameId, Option<Vec<u8>>, i64);
    shared.readers.with(|conn| {
        let found: Option<Columns> = conn
            .prepare_cached(
                "SELECT source, scheme, secret, remote, payload FROM request WHERE n = ?1 AND received_at = ?2",
            )?
            .query_row([row.n, num::stored_time(row.at)], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })
            .optional()?;
        let Some((source, scheme, secret, remote, payload)) = found else {
            return Ok(LoadedRow::Missing);
        };
        let payload = match shared.packer.read(conn, payload)? {
            Ok(payload) => payload,
            Err(damaged) => {
                shared.set_aside("payload", vec![damaged.hole()]);
                return Ok(LoadedRow::Damaged(damaged.to_string()));
            }
        };
        Ok(LoadedRow::Found(StoredRequest {
            id,
            source: SourceName::stored(&shared.names.text(source)),
            received_at: row.at,
            scheme: shared.names.text(scheme),
            secret: shared.names.text(secret),
            remote: remote.map(Bytes::from),
            payload,
        }))
    })
}

struct DeliveryRow {
    detail: DeliveryDetail,
    event_at: Timestamp,
}

/// Reads a delivery without its attempts.
fn delivery_row(
    shared: &Shared,
    conn: &Connection,
    n: i64,
) -> rusqlite::Result<Option<DeliveryRow>> {
    conn.prepare_cached(
        "SELECT d.event, e.at, d.target, d.source, d.state, d.generation, d.attempts, d.due_at, d.cause,
           c.started_at, d.message, a.reason
         FROM delivery d JOIN event e ON e.n = d.event
         LEFT JOIN attempt a ON a.n = d.last_attempt LEFT JOIN attempt c ON c.n = d.cause
         WHERE d.n = ?1",
    )?
    .query_row([n], |row| {
        let event_at = num::time(row.get(1)?);
        let queue_key = QueueKey { target: row.get(2)?, source: row.get(3)? };
        let stored = DeliveryState::from_stored(row.get(4)?).unwrap_or(DeliveryState::DeadLetter);
        let (claimed, held) = {
            let due = shared.due.lock();
            (due.is_claimed(n) && !stored.is_final(), due.is_held(queue_key) && !stored.is_final())
        };
        let cause: (Option<i64>, Option<i64>) = (row.get(8)?, row.get(9)?);
        let message: Option<[u8; 16]> = row.get(10)?;
        let detail = DeliveryDetail {
            id: shared.ids.delivery(event_at, n),
            event: shared.ids.event(event_at, row.get(0)?),
            cause: match cause {
                (Some(n), Some(at)) => Some(shared.ids.attempt(num::time(at), n)),
                _ => None,
            },
            message: message.and_then(|b| num::id_bits(&b)).map(MessageId::from_bits),
            target: target(shared, queue_key.target)?,
            state: if claimed { DeliveryState::Processing } else { stored },
            held,
            generation: row.get(5)?,
            attempts: row.get(6)?,
            due_at: row.get::<_, Option<i64>>(7)?.map(|at| shared.wall_time(num::time(at))),
            reason: row.get::<_, Option<String>>(11)?.map(Into::into),
            history: Vec::new(),
        };
        Ok(DeliveryRow { detail, event_at })
    })
    .optional()
}

/// The target of a stored number.
fn target(shared: &Shared, name: NameId) -> rusqlite::Result<Target> {
    shared.names.text(name).parse().map_err(unreadable)
}

/// A delivery's attempts, oldest first.
fn history(
    shared: &Shared,
    conn: &Connection,
    delivery: i64,
) -> rusqlite::Result<Vec<AttemptDetail>> {
    let mut history = Vec::new();
    for (n, messages) in attempts_of(conn, delivery)? {
        let mut attempt = attempt(shared, conn, n)?;
        for message in messages {
            attempt.messages.extend(delivery_row(shared, conn, message)?.map(|m| m.detail));
        }
        history.push(attempt);
    }
    history.reverse();
    Ok(history)
}

fn attempt(shared: &Shared, conn: &Connection, n: i64) -> rusqlite::Result<AttemptDetail> {
    let (mut attempt, emitted) = conn
        .prepare_cached(
            "SELECT generation, number, started_at, duration_us, outcome, reason, version, log, log_size, status,
               snippet, first_event, events FROM attempt WHERE n = ?1",
        )?
        .query_row([n], |row| {
            let started_at = num::time(row.get(2)?);
            let log: Option<Vec<u8>> = row.get(7)?;
            let log_size = row.get::<_, Option<i64>>(8)?.map(num::length);
            let version: Option<NameId> = row.get(6)?;
            let first: i64 = row.get::<_, Option<i64>>(11)?.unwrap_or(0);
            let detail = AttemptDetail {
                id: shared.ids.attempt(started_at, n),
                generation: row.get(0)?,
                number: row.get(1)?,
                started_at,
                duration_us: num::count(row.get(3)?),
                outcome: Outcome::parse(&row.get::<_, String>(4)?).unwrap_or(Outcome::Internal),
                reason: row.get::<_, Option<String>>(5)?.map(Into::into),
                version: version.map(|v| shared.names.text(v).to_string()),
                log: log.and_then(|log| payloads::unpack_text(&log, log_size)),
                response_status: row.get(9)?,
                response_snippet: row.get::<_, Option<String>>(10)?.map(Into::into),
                messages: Vec::new(),
                emitted: Vec::new(),
            };
            Ok((detail, first..first + row.get::<_, Option<i64>>(12)?.unwrap_or(0)))
        })?;
    for event in emitted {
        let at: Option<i64> = conn
            .prepare_cached("SELECT at FROM event WHERE n = ?1")?
            .query_row([event], |row| row.get(0))
            .optional()?;
        attempt.emitted.extend(at.map(|at| shared.ids.event(num::time(at), event)));
    }
    Ok(attempt)
}

/// One delivery with its attempts.
pub(crate) fn delivery(
    shared: &Shared,
    id: DeliveryId,
) -> rusqlite::Result<Option<DeliveryDetail>> {
    let Some(row) = shared.ids.open(RowKind::Delivery, id.bits()) else { return Ok(None) };
    shared.readers.with(|conn| {
        let found = delivery_row(shared, conn, row.n)?.filter(|found| found.event_at == row.at);
        let Some(found) = found else { return Ok(None) };
        let mut detail = found.detail;
        detail.history = history(shared, conn, row.n)?;
        Ok(Some(detail))
    })
}

/// A page of deliveries.
pub(crate) fn deliveries(
    shared: &Shared,
    filter: &DeliveryFilter,
    limit: usize,
    below: i64,
) -> rusqlite::Result<PageOf<DeliveryDetail>> {
    let mut page = PageOf::only(Vec::new());
    let name = |target: &Target| shared.names.find(&target.to_string());
    let targets: Vec<NameId> = filter.targets.iter().filter_map(name).collect();
    if targets.is_empty() && !filter.targets.is_empty() {
        return Ok(page);
    }
    let Ok(of_events) = EventMatcher::of(shared, &filter.of) else { return Ok(page) };
    let dead = if filter.states == [DeliveryState::DeadLetter] { "AND state = 4" } else { "" };
    let sql =
        format!("SELECT n, target FROM delivery WHERE n < ?1 {dead} ORDER BY n DESC LIMIT ?2");
    shared.readers.with(|conn| {
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query([below, num::column(ROWS_AT_ONCE)])?;
        let (mut last, mut looked) = (below, 0);
        while let Some(row) = rows.next()? {
            if page.items.len() >= limit.min(PAGE_MAX) {
                page.next = Some(cursor_text(last));
                return Ok(page);
            }
            last = row.get(0)?;
            looked += 1;
            if !targets.is_empty() && !targets.contains(&row.get(1)?) {
                continue;
            }
            if !of_events.matches_all() && !of_events.matches_delivery(conn, last)? {
                continue;
            }
            let Some(found) = delivery_row(shared, conn, last)? else { continue };
            if filter.states.is_empty() || filter.states.contains(&found.detail.state) {
                page.items.push(found.detail);
            }
        }
        page.next = (looked >= ROWS_AT_ONCE).then(|| cursor_text(last));
        Ok(page)
    })
}

/// Totals from memory.
pub(crate) fn counts(shared: &Shared, filter: CountsFilter) -> Vec<CountRow> {
    let mut rows: FxHashMap<(NameId, &'static str), i64> = FxHashMap::default();
    match filter {
        CountsFilter::Events => {
            for ((source, what), count) in &shared.totals.lock().events {
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                *rows.entry((*source, what.as_str())).or_insert(0) += count;
            }
        }
        CountsFilter::Unrouted => {
            for (source, count) in &shared.totals.lock().unrouted {
                *rows.entry((*source, "unrouted")).or_insert(0) += count;
            }
        }
        CountsFilter::Deliveries => {
            let totals = shared.totals.lock();
            let due = shared.due.lock();
            for ((queue_key, state), count) in &totals.states {
                let held = *state == DeliveryState::Pending && due.is_held(*queue_key);
                let what = if held { "held" } else { state.as_str() };
                *rows.entry((queue_key.target, what)).or_insert(0) += count;
            }
            for (queue_key, first_attempt) in due.claimed() {
                let state =
                    if first_attempt { DeliveryState::Pending } else { DeliveryState::Retrying };
                let held = first_attempt && due.is_held(queue_key);
                let what = if held { "held" } else { state.as_str() };
                *rows.entry((queue_key.target, what)).or_insert(0) -= 1;
                *rows.entry((queue_key.target, DeliveryState::Processing.as_str())).or_insert(0) +=
                    1;
            }
        }
    }
    let row = |((name, what), count): ((NameId, &'static str), i64)| CountRow {
        of: shared.names.text(name).to_string(),
        what,
        count: num::count(count),
    };
    let mut rows: Vec<CountRow> = rows.into_iter().filter(|(_, n)| *n > 0).map(row).collect();
    rows.sort_by(|a, b| (&a.of, a.what).cmp(&(&b.of, b.what)));
    rows
}
