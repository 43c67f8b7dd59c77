//! Opening a store: its files, what the process before left, and what is loaded into memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, SetOnce};
use weir_core::time::{DueClock, Timestamp};

use crate::error::StoreError;
use crate::health::{IntegrityStatus, LostRows};
use crate::sqlite::engine::queue::{Queue, QueueBounds};
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::files::acks::Acks;
use crate::sqlite::files::checkpoint::Checkpointer;
use crate::sqlite::files::disk_space::{DiskSpace, Reserve};
use crate::sqlite::files::identity::FileIdentity;
use crate::sqlite::files::readers::Readers;
use crate::sqlite::files::slots::{LastEnd, Slots};
use crate::sqlite::files::store_files::{Owner, StoreFiles};
use crate::sqlite::files::{acks, slots};
use crate::sqlite::format::damage::{UnreadableRange, is_unreadable};
use crate::sqlite::format::failure::engine_error;
use crate::sqlite::format::ids::Ids;
use crate::sqlite::format::names::Names;
use crate::sqlite::format::next_numbers::NextNumbers;
use crate::sqlite::format::payloads::Packer;
use crate::sqlite::format::schema;
use crate::sqlite::format::schema::Keys;
use crate::sqlite::memory::dedup::Dedup;
use crate::sqlite::memory::due::Due;
use crate::sqlite::memory::holds_in_force::Holds;
use crate::sqlite::memory::integrity_progress::Progress;
use crate::sqlite::memory::stats::Counters;
use crate::sqlite::memory::time;
use crate::sqlite::memory::time::Now;
use crate::sqlite::memory::unreadable::UnreadableLog;
use crate::sqlite::memory::watchers::Watchers;
use crate::sqlite::memory::watermarks::{Totals, Watermarks};
use crate::sqlite::rows::suspect_rows;
use crate::sqlite::upkeep::{host_lost, integrity, integrity_checks, rebuild};
use crate::sqlite::write::complete_blocks::CompleteBlocks;
use crate::sqlite::write::{registry, writer};
use crate::sqlite::{Options, SqliteStore, WRITER_CACHE_KIB};
use crate::upkeep::CheckReport;

/// Opens the store in a file, or creates it. Inside a tokio runtime, answers are sent from its
/// threads and reads run on its blocking threads. On a full disk the reserve file is given up to
/// open the store.
///
/// # Errors
/// [`StoreError::InUse`] if another process uses it, [`StoreError::TooNew`] if a newer weir wrote
/// it, [`StoreError::DiskFull`] if the disk is full even without the reserve, and `Invalid`,
/// `Damaged` or `Engine` for other problems of the file.
pub fn open(path: &Path, options: Options) -> Result<SqliteStore, StoreError> {
    let files = StoreFiles::new(path, options.vfs.as_deref());
    let owner = files.take()?;
    let reserve = Reserve::new(&files, options.reserve_bytes);
    let room = DiskSpace::new(reserve.clone());
    let mut gave_up = false;
    let opened = loop {
        match Opened::of(&files, &options) {
            Err(StoreError::DiskFull) if reserve.release() || reserve.give_up() => gave_up = true,
            opened => break opened?,
        }
    };
    if gave_up || !room.refill() {
        room.ran_out(options.clock.now());
        tracing::error!(
            file = %path.display(),
            "the disk is full: the hub starts and refuses webhooks until there is free space"
        );
    }
    start(files, owner, room, opened, &options)
}

/// The files of a store, opened and recovered.
struct Opened {
    conn: rusqlite::Connection,
    keys: Keys,
    slots: Slots,
    line: DueClock,
    over: IntegrityStatus,
    given_up: Vec<(Timestamp, i64)>,
    missing: Vec<LostRows>,
}

impl Opened {
    fn of(files: &StoreFiles, options: &Options) -> Result<Self, StoreError> {
        let left = slots::open(files)?;
        let last_end = if files.has_log() { left.end.at_best(LastEnd::Unclean) } else { left.end };
        let conn = files.writer(WRITER_CACHE_KIB).map_err(engine_error("open the store"))?;
        let keys = schema::prepare(&conn)?;
        let over = integrity::before_work(last_end, &conn, files, options.whole_check_bytes)?;
        if let Some(pages) = options.max_pages {
            conn.execute_batch(&format!("PRAGMA max_page_count = {pages}"))
                .map_err(engine_error("limit the store's size"))?;
        }
        let missing = missing(&conn, files, &keys, options.clock.now())
            .map_err(engine_error("look for what was acknowledged"))?;
        let line =
            time::open(&conn, &*options.clock).map_err(engine_error("read the store's time"))?;
        let charged =
            host_lost::charge(&conn, &left.runs(&keys), options.clock.now().after(line.ahead()));
        let given_up =
            charged.map_err(engine_error("charge the runs that the hub did not survive"))?;
        let slots = left.take_over(&keys, options.run_slots)?;
        Ok(Self { conn, keys, slots, line, over, given_up, missing })
    }
}

/// Rows that the process before acknowledged and that are missing. They are stored and logged.
fn missing(
    conn: &rusqlite::Connection,
    files: &StoreFiles,
    keys: &Keys,
    now: Timestamp,
) -> rusqlite::Result<Vec<LostRows>> {
    let Some(mark) = acks::read(files) else { return Ok(Vec::new()) };
    let lost = acks::missing(&mark, keys, &NextNumbers::load(conn)?, now);
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

/// Loads the memory of the store and starts its threads.
fn start(
    files: StoreFiles,
    owner: Owner,
    room: DiskSpace,
    opened: Opened,
    options: &Options,
) -> Result<SqliteStore, StoreError> {
    let Opened { mut conn, keys, slots, line, over, given_up, missing } = opened;
    let acks = Acks::open(&files, &keys);
    let identity =
        FileIdentity::of(&files).map_err(|e| StoreError::engine("look at the store's files", e))?;
    let side = SideFiles { slots, room, identity, acks };
    let loaded = load(&conn, files, keys, side, (line, over, missing), options)
        .map_err(engine_error("load the store"))?;
    let Loaded { shared, dedup, next, watermarks } = loaded;
    let shared = Arc::new(shared);
    let told = shared.clone();
    let attempt = Box::new(move |conn: &rusqlite::Connection| told.checkpoint(conn));
    let files = shared.files.clone();
    let checkpointer = Checkpointer::start(&files, &mut conn, options.checkpoint_pages, attempt)
        .map_err(|e| StoreError::engine("start checkpoints", e))?;
    let runtime = tokio::runtime::Handle::try_current().ok();
    let blocks = CompleteBlocks::load(&conn, &next).map_err(engine_error("load the store"))?;
    let writer = writer::Writer {
        shared: shared.clone(),
        conn,
        blocks,
        dedup,
        next,
        watermarks,
        checkpointer,
        runtime,
        met_damage: false,
        owner,
    };
    let thread = std::thread::Builder::new()
        .name("weir-store".into())
        .spawn(move || writer.run())
        .map_err(|e| StoreError::engine("start the writer", e))?;
    let given_up = given_up.into_iter().map(|(at, n)| shared.ids.delivery(at, n)).collect();
    let given_up = Mutex::new(given_up);
    let integrity_check = Mutex::new(integrity::start(&shared));
    Ok(SqliteStore { shared, writer: Mutex::new(Some(thread)), integrity_check, given_up })
}

/// Checks a whole store, in use or not, and changes nothing.
///
/// # Errors
/// `Engine` if it does not exist or cannot be read, `Damaged` if it is not a database.
pub fn check(path: &Path) -> Result<CheckReport, StoreError> {
    let files = StoreFiles::new(path, None);
    let looked = files.reader().and_then(|conn| integrity_checks::report(&conn, &files));
    looked.map_err(engine_error("check the store"))
}

/// Waiting deliveries with their totals and watermarks.
pub(crate) struct WaitingTotals {
    pub(crate) due: Due,
    pub(crate) totals: Totals,
    pub(crate) watermarks: Watermarks,
    /// Deliveries that cannot be read.
    pub(crate) holes: Vec<UnreadableRange>,
}

fn waiting(
    conn: &rusqlite::Connection,
    now: Now,
    options: &Options,
) -> rusqlite::Result<WaitingTotals> {
    let empty = || -> rusqlite::Result<WaitingTotals> {
        Ok(WaitingTotals {
            due: Due::new(options.due_window, options.handoff_bytes),
            totals: Totals::load(conn)?,
            watermarks: Watermarks::load(conn, now, options.marks_every)?,
            holes: Vec::new(),
        })
    };
    let mut all = empty()?;
    match rebuild::rebuild(conn, &mut all.due, &mut all.totals, &mut all.watermarks) {
        Err(e) if is_unreadable(&e) => {
            all = empty()?;
            let WaitingTotals { due, totals, watermarks, .. } = &mut all;
            all.holes = rebuild::rebuild_around(conn, due, totals, watermarks)?;
        }
        rebuilt => rebuilt?,
    }
    Ok(all)
}

/// The files beside the database, and their identity.
struct SideFiles {
    slots: Slots,
    room: DiskSpace,
    identity: FileIdentity,
    acks: Acks,
}

struct Loaded {
    pub(crate) shared: Shared,
    pub(crate) dedup: Dedup,
    pub(crate) next: NextNumbers,
    pub(crate) watermarks: Watermarks,
}

fn load(
    conn: &rusqlite::Connection,
    files: StoreFiles,
    keys: Keys,
    side: SideFiles,
    (line, over, lost_rows): (DueClock, IntegrityStatus, Vec<LostRows>),
    options: &Options,
) -> rusqlite::Result<Loaded> {
    let (monotonic, wall) = (options.clock.monotonic(), options.clock.now());
    let now = Now { wall, due: wall.after(line.ahead()), monotonic };
    let names = Names::load(conn)?;
    let packer = Packer::load(conn, |id| names.text(id), options.dictionary_after)?;
    let WaitingTotals { mut due, totals, watermarks, holes } = waiting(conn, now, options)?;
    for delivery in suspect_rows::suspects(conn)? {
        due.suspect(delivery.queue_key, delivery.entry());
    }
    let holds = Holds::load(conn, &names, &mut due)?;
    let bounds = QueueBounds {
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
        readers: Readers::new(files.clone(), options.readers),
        state_readers: Readers::new(files.clone(), options.readers),
        files,
        ids: Ids::new(&keys),
        keys,
        names,
        packer,
        routings: RwLock::new(registry::routings(conn)?),
        slots: side.slots,
        disk_space: side.room,
        identity: side.identity,
        acks: side.acks,
        unreadable: UnreadableLog::default(),
        lost_rows,
        integrity: Progress::new(over),
        suspects: AtomicUsize::new(due.suspects()),
        due: Mutex::new(due),
        holds: Mutex::new(holds),
        totals: Mutex::new(totals),
        queue: Queue::new(bounds),
        bounds,
        wake: Notify::new(),
        watchers: Watchers::default(),
        poisoned: SetOnce::new(),
        stats: Counters::default(),
    };
    shared.set_aside("delivery", holes);
    let (dedup, holes) = Dedup::load(conn, options.keys_per_run)?;
    shared.set_aside("event", holes);
    Ok(Loaded { shared, dedup, next: NextNumbers::load(conn)?, watermarks })
}
