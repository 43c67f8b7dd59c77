//! Opening a store: its files, what a process before this one left, and what memory starts with.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use weir_core::time::{DueClock, Timestamp};

use super::checkpoint::Checkpointer;
use super::queue::{Bounds, Queue};
use super::room::{Reserve, Room};
use super::slots::LastEnd;
use super::{
    Options, Shared, SqliteStore, WRITER_CACHE_KIB, acks, aside, control, dedup, due, engine, feed,
    group, holds, identity, ids, look_over, lost, marks, names, payloads, readers, schema, slots,
    soundness, stats, time, writer,
};
use crate::condition::LostRows;
use crate::error::StoreError;
use crate::upkeep::{CheckReport, IntegrityStatus};

/// Opens the store in a file, making it if it is not there. Called inside a tokio runtime, answers are sent from
/// it; the store's reads run on its blocking threads. On a full disk it opens with what the reserve holds.
///
/// # Errors
/// [`StoreError::InUse`] if another process has it, [`StoreError::TooNew`] if a newer weir wrote it,
/// [`StoreError::DiskFull`] if there is no room at all, and `Invalid`, `Damaged` or `Engine` for what else is wrong
/// with the file.
pub fn open(path: &Path, options: Options) -> Result<SqliteStore, StoreError> {
    let place = schema::Place::new(path, options.vfs.as_deref());
    let owner = place.take()?;
    let reserve = Reserve::new(&place, options.reserve_bytes);
    let room = Room::new(reserve.clone());
    let mut gave_up = false;
    let opened = loop {
        match Opened::of(&place, &options) {
            Err(StoreError::DiskFull) if reserve.release() || reserve.give_up() => gave_up = true,
            opened => break opened?,
        }
    };
    if gave_up || !room.refill() {
        room.ran_out(options.clock.now());
        tracing::error!(
            file = %path.display(),
            "the disk is full: the hub starts, and webhooks are refused until there is room; free some space"
        );
    }
    start(place, owner, room, opened, &options)
}

/// The files of a store, opened and recovered.
struct Opened {
    conn: rusqlite::Connection,
    keys: schema::Keys,
    slots: slots::Slots,
    line: DueClock,
    over: IntegrityStatus,
    given_up: Vec<(Timestamp, i64)>,
    missing: Vec<LostRows>,
}

impl Opened {
    fn of(place: &schema::Place, options: &Options) -> Result<Self, StoreError> {
        let left = slots::open(place)?;
        let last_end = if place.has_log() { left.end.at_best(LastEnd::Unclean) } else { left.end };
        let conn = place.writer(WRITER_CACHE_KIB).map_err(engine("open the store"))?;
        let keys = schema::prepare(&conn)?;
        let over = look_over::before_work(last_end, &conn, place, options.whole_check_bytes)?;
        if let Some(pages) = options.max_pages {
            conn.execute_batch(&format!("PRAGMA max_page_count = {pages}"))
                .map_err(engine("limit the store's size"))?;
        }
        let missing = missing(&conn, place, &keys, options.clock.now())
            .map_err(engine("look for what was acknowledged"))?;
        let line = time::open(&conn, &*options.clock).map_err(engine("read the store's time"))?;
        let lost = lost::charge(&conn, &left.runs(&keys), options.clock.now().after(line.ahead()));
        let given_up = lost.map_err(engine("charge the runs that the host did not survive"))?;
        let slots = left.take_over(&keys, options.run_slots)?;
        Ok(Self { conn, keys, slots, line, over, given_up, missing })
    }
}

/// Rows that the process before acknowledged and that are not there any more. They are noted, and told everywhere.
fn missing(
    conn: &rusqlite::Connection,
    place: &schema::Place,
    keys: &schema::Keys,
    now: Timestamp,
) -> rusqlite::Result<Vec<LostRows>> {
    let Some(mark) = acks::read(place) else { return Ok(Vec::new()) };
    let lost = acks::missing(&mark, keys, &group::Next::load(conn)?, now);
    if !lost.is_empty() {
        acks::note(conn, &mark, &lost)?;
    }
    for LostRows { what, first, last, .. } in &lost {
        tracing::error!(
            what,
            first,
            last,
            "{}",
            acks::sentence(what, *first, *last, "noticed now")
        );
    }
    Ok(lost)
}

/// Loads what memory holds, and starts the threads.
fn start(
    place: schema::Place,
    owner: schema::Owner,
    room: Room,
    opened: Opened,
    options: &Options,
) -> Result<SqliteStore, StoreError> {
    let Opened { mut conn, keys, slots, line, over, given_up, missing } = opened;
    let acks = acks::Acks::open(&place, &keys);
    let identity = identity::Identity::of(&place).map_err(|e| StoreError::Engine {
        doing: "look at the store's files",
        cause: e.to_string(),
    })?;
    let files = Beside { slots, room, identity, acks };
    let loaded = load(&conn, place, keys, files, (line, over, missing), options)
        .map_err(engine("load the store"))?;
    let Loaded { shared, dedup, next, marks } = loaded;
    let shared = Arc::new(shared);
    let told = shared.clone();
    let attempt = Box::new(move |conn: &rusqlite::Connection| told.checkpoint(conn));
    let place = shared.place.clone();
    let checkpointer = Checkpointer::start(&place, &mut conn, options.checkpoint_pages, attempt)
        .map_err(|e| StoreError::Engine { doing: "start checkpoints", cause: e.to_string() })?;
    let runtime = tokio::runtime::Handle::try_current().ok();
    let writer = writer::Writer {
        shared: shared.clone(),
        conn,
        dedup,
        next,
        marks,
        checkpointer,
        runtime,
        met_damage: false,
        owner,
    };
    let thread = std::thread::Builder::new()
        .name("weir-store".into())
        .spawn(move || writer.run())
        .map_err(|e| StoreError::Engine { doing: "start the writer", cause: e.to_string() })?;
    let given_up = given_up.into_iter().map(|(at, n)| shared.ids.delivery(at, n)).collect();
    let looker = Mutex::new(look_over::start(&shared));
    Ok(SqliteStore { shared, writer: Mutex::new(Some(thread)), looker, given_up })
}

/// Looks over the whole of a store, whether a process uses it or not, and changes nothing.
///
/// # Errors
/// `Engine` if it is not there or cannot be read, `Damaged` if it is no database.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let place = schema::Place::new(path, None);
    let looked = place.reader().and_then(|conn| soundness::report(&conn, &place));
    looked.map_err(engine("check the store"))
}

/// Deliveries that wait, with their totals and marks.
struct Waiting {
    due: due::Due,
    totals: marks::Totals,
    marks: marks::Marks,
    /// Deliveries that cannot be read.
    holes: Vec<aside::Hole>,
}

fn waiting(
    conn: &rusqlite::Connection,
    now: time::Now,
    options: &Options,
) -> rusqlite::Result<Waiting> {
    let empty = || -> rusqlite::Result<Waiting> {
        Ok(Waiting {
            due: due::Due::new(options.due_window, options.handoff_bytes),
            totals: marks::Totals::load(conn)?,
            marks: marks::Marks::load(conn, now, options.marks_every)?,
            holes: Vec::new(),
        })
    };
    let mut all = empty()?;
    match feed::rebuild(conn, &mut all.due, &mut all.totals, &mut all.marks) {
        Err(e) if aside::is_unreadable(&e) => {
            all = empty()?;
            let Waiting { due, totals, marks, .. } = &mut all;
            all.holes = feed::rebuild_around(conn, due, totals, marks)?;
        }
        rebuilt => rebuilt?,
    }
    Ok(all)
}

/// The files beside the database, and their identity.
struct Beside {
    slots: slots::Slots,
    room: Room,
    identity: identity::Identity,
    acks: acks::Acks,
}

struct Loaded {
    shared: Shared,
    dedup: dedup::Dedup,
    next: group::Next,
    marks: marks::Marks,
}

fn load(
    conn: &rusqlite::Connection,
    place: schema::Place,
    keys: schema::Keys,
    files: Beside,
    (line, over, lost): (DueClock, IntegrityStatus, Vec<LostRows>),
    options: &Options,
) -> rusqlite::Result<Loaded> {
    let (monotonic, wall) = (options.clock.monotonic(), options.clock.now());
    let now = time::Now { wall, due: wall.after(line.ahead()), monotonic };
    let names = names::Names::load(conn)?;
    let packer = payloads::Packer::load(conn, |id| names.text(id), options.dictionary_after)?;
    let Waiting { mut due, totals, marks, holes } = waiting(conn, now, options)?;
    for delivery in lost::suspects(conn)? {
        due.suspect(delivery.place, delivery.entry());
    }
    let holds = holds::Holds::load(conn, &names, &mut due)?;
    let bounds = Bounds {
        items: options.queue_items.max(1),
        bytes: options.queue_bytes,
        group_items: options.group_items.max(1),
        group_bytes: options.group_bytes,
        settle_items: options.settle_items.max(1),
        settle_hold: options.settle_hold,
    };
    let shared = Shared {
        clock: options.clock.clone(),
        line: Mutex::new(line),
        readers: readers::Readers::new(place.clone(), options.readers),
        state_readers: readers::Readers::new(place.clone(), options.readers),
        place,
        ids: ids::Ids::new(&keys),
        keys,
        names,
        packer,
        routings: RwLock::new(control::routings(conn)?),
        slots: files.slots,
        room: files.room,
        identity: files.identity,
        acks: files.acks,
        aside: aside::Aside::default(),
        lost,
        look_over: look_over::Progress::new(over),
        suspects: AtomicUsize::new(due.suspects()),
        due: Mutex::new(due),
        holds: Mutex::new(holds),
        totals: Mutex::new(totals),
        queue: Queue::new(bounds),
        bounds,
        wake: Notify::new(),
        watchers: control::Watchers::default(),
        poisoned: OnceLock::new(),
        stats: stats::Counters::default(),
    };
    shared.set_aside("delivery", holes);
    let (dedup, holes) = dedup::Dedup::load(conn, options.keys_per_run)?;
    shared.set_aside("event", holes);
    Ok(Loaded { shared, dedup, next: group::Next::load(conn)?, marks })
}
