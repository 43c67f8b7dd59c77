//! One simulated life of a store. A seed decides the work, the disk's faults and where the process
//! ends. After each step the store is compared with the model.
//!
//! The store runs as it ships, with its threads. One driver awaits each call, so one operation runs
//! at a time, and all that depends on real time is switched off: see [`crate`] for what a seed
//! decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weir_core::route::RouteTable;
use weir_core::time::{Clock as _, Timestamp};
use weir_store::sqlite::{Options, SqliteStore};
use weir_store::{
    Claim, ClaimRequest, Dispatch, Ingest, Lane, Maintenance, Operations, StoreError,
};

use crate::cast::{self, SimClock};
use crate::disk::{Death, Disk, Faults, Image};
use crate::invariants::{self, Broken, Holds, Ledger, broken};
use crate::model::Model;
use crate::observe::{self, Names, Seen};
use crate::op::{Answers, Op, Prepared};
use crate::vfs;
use crate::world::Key;

/// The store's file in its folder.
const FILE: &str = "weir.db";
/// Claims in a row after which a delivery that was not claimed counts as lost.
const CLAIMS_MAX: usize = 50;

/// Settings of a simulation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Steps of a life.
    pub steps: u32,
    /// One in this many disk operations is checked as a possible crash.
    pub moments_one_in: u32,
    /// The disk's syncs do nothing: proves that the simulator notices it.
    pub lying_disk: bool,
    /// Leaves out faults other than crashes.
    pub only_crashes: bool,
    /// Changes the store's rows after each step: proves that the simulator notices it.
    pub tamper: Option<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 40, moments_one_in: 10, lying_disk: false, only_crashes: false, tamper: None }
    }
}

/// The totals of a life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of steps.
    pub steps: u64,
    /// Number of starts, clean or after a crash.
    pub starts: u64,
    /// Number of crashes and failures that the life survived.
    pub crashes: u64,
    /// Number of possible crashes that were checked.
    pub moments: u64,
    /// Number of operations that changed the disk.
    pub acts: u64,
    /// A fingerprint of all disk operations.
    pub trace: u64,
}

impl Tally {
    /// Adds the totals of another life.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.moments += other.moments;
        self.acts += other.acts;
        self.trace ^= other.trace;
    }
}

/// A claim that is held, and the result of its run.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) key: Key,
    pub(crate) claimed: Claim,
    pub(crate) ready: Option<Prepared>,
}

/// The folders of a worker.
#[derive(Debug)]
pub struct Bench {
    _folder: tempfile::TempDir,
    life: PathBuf,
    fork: PathBuf,
}

impl Bench {
    /// Two folders for lock files; all else is in memory.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (life, fork) = (folder.path().join("life"), folder.path().join("fork"));
        std::fs::create_dir(&life)?;
        std::fs::create_dir(&fork)?;
        Ok(Self { _folder: folder, life, fork })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for folder in [&self.life, &self.fork] {
            vfs::unmount(&folder.to_string_lossy());
        }
    }
}

/// A life in progress.
pub(crate) struct Sim<'b> {
    pub(crate) random: ChaCha8Rng,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) settings: Settings,
    pub(crate) table: RouteTable,
    bench: &'b Bench,
    options: Options,
    pub(crate) disk: Arc<Disk>,
    store: Option<Arc<SqliteStore>>,
    pub(crate) model: Model,
    pub(crate) names: Names,
    pub(crate) open: Vec<Open>,
    pub(crate) past: Vec<Prepared>,
    pub(crate) ledger: Ledger,
    /// The name of each event that was ever sent to the store.
    pub(crate) dedup: BTreeMap<Key, (String, String, u32)>,
    /// The content of messages, by name.
    pub(crate) said: BTreeMap<Key, (u128, Vec<u8>)>,
    pub(crate) full: bool,
    /// The latest time before the clock was set ahead, while the clock is not confirmed.
    pub(crate) doubted_since: Option<Timestamp>,
    /// True if the clock was ever changed.
    pub(crate) clock_moved: bool,
    pub(crate) serial: u64,
    pub(crate) log: Vec<String>,
    pub(crate) tally: Tally,
}

impl<'b> Sim<'b> {
    pub(crate) fn new(bench: &'b Bench, seed: u64, settings: &Settings) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let clock = Arc::new(SimClock::new());
        let options = options(&mut random, clock.clone());
        Self {
            random,
            clock,
            settings: settings.clone(),
            table: cast::table(),
            bench,
            options,
            disk: Disk::holding(Image::new(), seed),
            store: None,
            model: Model::default(),
            names: Names::default(),
            open: Vec::new(),
            past: Vec::new(),
            ledger: Ledger::default(),
            dedup: BTreeMap::new(),
            said: BTreeMap::new(),
            full: false,
            doubted_since: None,
            clock_moved: false,
            serial: 0,
            log: Vec::new(),
            tally: Tally::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn store(&self) -> Result<Arc<SqliteStore>, Broken> {
        self.store.clone().ok_or_else(|| Broken { promise: "simulator", how: "no store".into() })
    }

    /// True if one claim may take all that is due, and not only a window.
    pub(crate) fn window_is_large(&self) -> bool {
        self.options.due_window > 1_000
    }

    pub(crate) fn faults(&self) -> Faults {
        Faults { full: self.full, lies: self.settings.lying_disk, ..Faults::default() }
    }

    // --- starting

    /// Creates the store, with secrets from the seed, and starts it.
    pub(crate) async fn begin(&mut self) -> Holds {
        let crash =
            self.random.random_bool(0.3).then(|| (self.random.random_range(1..160), self.death()));
        let mut faults = self.faults();
        faults.crash_in = crash;
        let nothing = Model::default();
        self.start(Image::new(), &nothing, None, Some(faults)).await?;
        // From here on the store knows the time.
        let confirmed = self.store()?.confirm_time().await;
        confirmed.map_err(|e| self.unanswered("confirm the time", &e))?;
        let image = self.stop().await?;
        let image = self.plant(image)?;
        self.start(image, &nothing, None, None).await
    }

    /// Replaces the store's random secrets, so that ids and hashes follow from the seed.
    fn plant(&mut self, image: Image) -> Result<Image, Broken> {
        let disk = Disk::holding(image, 0);
        vfs::mount(&self.bench.life.to_string_lossy(), disk.clone());
        let failed = |e: rusqlite::Error| Broken { promise: "simulator", how: e.to_string() };
        let path = self.bench.life.join(FILE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs::NAME);
        let conn = conn.map_err(failed)?;
        for name in ["id_key", "dedup_key"] {
            let secret: [u8; 16] = self.random.random();
            conn.execute("UPDATE meta SET value = ?2 WHERE key = ?1", (name, secret))
                .map_err(failed)?;
        }
        conn.close().map_err(|(_, e)| failed(e))?;
        Ok(disk.end(Death::PowerLoss))
    }

    /// Starts the store on the files of a crash or a clean stop, and checks that it holds one of
    /// the possible worlds. The start itself may crash and is then repeated.
    pub(crate) async fn start(
        &mut self,
        mut image: Image,
        before: &Model,
        under_way: Option<(&Op, Option<&Answers>)>,
        faults: Option<Faults>,
    ) -> Holds {
        let mut faults = faults.unwrap_or_else(|| self.faults());
        let before = before.restarted();
        for _ in 0..4 {
            self.tally.starts += 1;
            self.disk = Disk::holding(std::mem::take(&mut image), self.random.random());
            vfs::mount(&self.bench.life.to_string_lossy(), self.disk.clone());
            let reads_fail = faults.read_fails_in.is_some();
            self.disk.set_faults(faults);
            let started = self.open_store().await;
            let struck = self.disk.is_dead();
            let explained = struck || reads_fail && !self.disk.fault_is_ahead();
            faults = self.faults();
            let store = match started {
                Ok(store) if !struck => store,
                Ok(_) => {
                    image = self.end(Death::PowerLoss);
                    continue;
                }
                Err(e) if explained => {
                    self.note(format!("the start failed: {e}"));
                    image = self.end(Death::PowerLoss);
                    continue;
                }
                Err(e) => return broken("soundness", format!("the store does not start: {e}")),
            };
            self.disk.set_faults(faults.clone());
            self.store = Some(store.clone());
            let report = store.check().await.map_err(|e| self.unanswered("check", &e))?;
            invariants::sound(&report)?;
            self.compare(&store, &before, under_way).await?;
            return Ok(());
        }
        broken("soundness", "the store does not start")
    }

    async fn open_store(&mut self) -> Result<Arc<SqliteStore>, StoreError> {
        let path = self.bench.life.join(FILE);
        let store = Arc::new(weir_store::sqlite::open(&path, self.options.clone())?);
        store.keep_table(&self.table).await?;
        Ok(store)
    }

    /// Ends the process: claims and store are dropped. Returns the files that are left.
    pub(crate) fn end(&mut self, death: Death) -> Image {
        self.tally.acts += self.disk.acts();
        self.tally.trace = self.tally.trace.rotate_left(7) ^ self.disk.trace();
        let image = self.disk.end(death);
        self.open.clear();
        self.store = None;
        image
    }

    /// Stops the store cleanly.
    async fn stop(&mut self) -> Result<Image, Broken> {
        self.open.clear();
        let store = self.store()?;
        let closed = store.close().await;
        if let Err(e) = closed
            && !self.disk.is_dead()
        {
            return broken("soundness", format!("closing failed: {e}")).map(|()| Image::new());
        }
        drop(store);
        let death = self.death();
        Ok(self.end(death))
    }

    /// A clean restart, which a crash may interrupt.
    pub(crate) async fn restart(&mut self) -> Holds {
        self.note("restart".into());
        let mut faults = self.faults();
        if self.random.random_bool(0.5) {
            faults.crash_in = Some((self.random.random_range(1..20), self.death()));
        }
        self.disk.set_faults(faults);
        let image = self.stop().await?;
        let model = self.model.clone();
        self.start(image, &model, None, None).await
    }

    /// A crash between two operations.
    pub(crate) async fn crash(&mut self) -> Holds {
        let death = self.death();
        self.note(format!("crash: {death:?}"));
        self.crashed(death, &self.model.clone(), None).await
    }

    /// Handles a crash, or a failure after which the store accepts no writes.
    pub(crate) async fn crashed(
        &mut self,
        death: Death,
        before: &Model,
        under_way: Option<(&Op, Option<&Answers>)>,
    ) -> Holds {
        self.tally.crashes += 1;
        let image = self.end(death);
        self.full = false;
        for prepared in &mut self.past {
            prepared.reads_are_old = true;
        }
        let mut faults = self.faults();
        match self.random.random_range(0..10) {
            0..2 => faults.crash_in = Some((self.random.random_range(1..12), self.death())),
            2 if !self.settings.only_crashes => {
                faults.read_fails_in = Some(self.random.random_range(1..30));
            }
            _ => {}
        }
        self.start(image, before, under_way, Some(faults)).await
    }

    /// Changes rows with SQL, as far as that is possible.
    pub(crate) fn tamper(&mut self, sql: &str) {
        let path = self.bench.life.join(FILE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        if let Ok(conn) = rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs::NAME) {
            let _as_far_as_it_goes = conn.execute_batch(sql);
        }
    }

    /// Runs a checkpoint on a separate connection, as the checkpoint thread does.
    pub(crate) fn move_log(&mut self, mode: &str) -> Holds {
        let failed = |e: rusqlite::Error| Broken { promise: "simulator", how: e.to_string() };
        let path = self.bench.life.join(FILE);
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
        let conn = rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs::NAME);
        let conn = conn.map_err(failed)?;
        let moved = conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()));
        moved.map_err(failed)
    }

    pub(crate) fn death(&mut self) -> Death {
        if self.random.random_bool(0.3) { Death::Killed } else { Death::PowerLoss }
    }

    // --- comparing

    /// Compares the store with the possible models, and continues with the one that matches.
    pub(crate) async fn compare(
        &mut self,
        store: &SqliteStore,
        before: &Model,
        under_way: Option<(&Op, Option<&Answers>)>,
    ) -> Holds {
        let now = self.now();
        let seen = observe::observe(store, &self.names, now).await;
        let seen = seen.map_err(|e| self.unanswered("observe", &e))?;
        self.model = judge(&self.table, &self.dedup, before, under_way, &seen, now)?;
        self.names.events.extend(seen.names.events);
        self.names.deliveries.extend(seen.names.deliveries);
        Ok(())
    }

    pub(crate) fn note(&mut self, what: String) {
        self.log.push(what);
    }

    pub(crate) fn unanswered(&self, what: &'static str, e: &StoreError) -> Broken {
        let at = if self.disk.is_dead() { " on a dead disk" } else { "" };
        Broken { promise: "simulator", how: format!("{what}{at}: {e}") }
    }

    /// Checks the files that a start would find if the process had ended at this point.
    pub(crate) async fn fork(
        &mut self,
        image: Image,
        before: &Model,
        under_way: Option<&Op>,
    ) -> Holds {
        self.tally.moments += 1;
        let disk = Disk::holding(image, self.random.random());
        vfs::mount(&self.bench.fork.to_string_lossy(), disk);
        let clock = Arc::new(SimClock::new());
        clock.set(self.now());
        let options = Options { clock: clock.clone(), ..self.options.clone() };
        let store = weir_store::sqlite::open(&self.bench.fork.join(FILE), options);
        let store = store.map_err(|e| Broken {
            promise: "soundness",
            how: format!("the store would not start: {e}"),
        })?;
        let checked = self.check_fork(&store, &clock, before, under_way).await;
        let closed = store.close().await;
        checked?;
        closed.map_err(|e| self.unanswered("close", &e))
    }

    async fn check_fork(
        &mut self,
        store: &SqliteStore,
        clock: &SimClock,
        before: &Model,
        under_way: Option<&Op>,
    ) -> Holds {
        let report = store.check().await.map_err(|e| self.unanswered("check", &e))?;
        invariants::sound(&report)?;
        let now = self.now();
        let seen = observe::observe(store, &self.names, now).await;
        let seen = seen.map_err(|e| self.unanswered("observe", &e))?;
        let before = before.restarted();
        let under_way = under_way.map(|op| (op, None));
        let mut model = judge(&self.table, &self.dedup, &before, under_way, &seen, now)?;
        let mut names = self.names.clone();
        names.events.extend(seen.names.events);
        names.deliveries.extend(seen.names.deliveries);
        store.keep_table(&self.table).await.map_err(|e| self.unanswered("keep a table", &e))?;
        self.repeat_one(store, &mut model, &mut names).await?;
        hands_out(store, clock, &mut model, &names).await
    }
}

/// The first model that the store's contents match.
fn judge(
    table: &RouteTable,
    dedup: &BTreeMap<Key, (String, String, u32)>,
    before: &Model,
    under_way: Option<(&Op, Option<&Answers>)>,
    seen: &Seen,
    now: Timestamp,
) -> Result<Model, Broken> {
    let mut models = match under_way {
        None => vec![before.clone()],
        Some((op, answers)) => op.after(before, answers, &seen.world, table, now)?,
    };
    let may_go = under_way.map(|(op, _)| op.may_go(before, now)).unwrap_or_default();
    invariants::nothing_acknowledged_is_lost(&models[0].world, &seen.world, &may_go)?;
    let (may, must): (Vec<_>, Vec<_>) =
        before.claims().into_iter().partition(|k| models.iter().any(|m| !m.is_claimed(k)));
    let must: BTreeSet<Key> = must.into_iter().collect();
    let may: BTreeSet<Key> = may.into_iter().chain(must.iter().cloned()).collect();
    invariants::each_delivery_is_in_one_state(&seen.world, &may, &must, &seen.oddities)?;
    let alive = dedup.iter().filter(|(_, (source, id, _))| !before.has_forgotten(source, id));
    let alive = alive.map(|(key, (source, id, tag))| (key.clone(), format!("{source}/{id}#{tag}")));
    invariants::once_in(&seen.world, &alive.collect())?;
    let worlds: Vec<_> = models.iter().map(|model| model.shows(now, seen.ahead)).collect();
    let which = invariants::all_or_nothing(&worlds, &seen.world)?;
    let mut model = models.swap_remove(which);
    model.ahead = seen.ahead;
    Ok(model)
}

/// Claims all waiting deliveries once, at the time at which they are due.
async fn hands_out(
    store: &SqliteStore,
    clock: &SimClock,
    model: &mut Model,
    names: &Names,
) -> Holds {
    clock.forward(Duration::from_secs(400 * 86_400));
    let now = clock.now();
    let mut wanted = BTreeSet::new();
    for target in cast::targets() {
        for late in [false, true] {
            wanted.extend(model.claimable(&target.to_string(), late, now));
        }
    }
    let (mut claims, mut handed) = (Vec::new(), BTreeSet::new());
    // With a small window a claim may see only deliveries that wait for their turn; the next claim
    // looks further.
    for _ in 0..CLAIMS_MAX {
        for target in cast::targets() {
            for lane in [Lane::Fresh, Lane::Late] {
                let wish = ClaimRequest { target: target.clone(), lane, limit: 100 };
                let found = store.claim(&[wish]).await.map_err(|e| Broken {
                    promise: "soundness",
                    how: format!("claim after a start: {e}"),
                })?;
                for claimed in found {
                    let name = names.deliveries.get(&claimed.delivery).cloned();
                    let name = name.unwrap_or_else(|| claimed.delivery.to_string());
                    if !handed.insert(name.clone()) {
                        return broken("INV-2", format!("delivery {name} is handed out twice"));
                    }
                    claims.push(claimed);
                }
            }
        }
        if handed.is_superset(&wanted) {
            break;
        }
    }
    invariants::what_waits_is_handed_out(&wanted, &handed)?;
    match handed.difference(&wanted).next() {
        Some(key) => broken("INV-2", format!("delivery {key} is handed out and does not wait")),
        None => Ok(()),
    }
}

/// The options of this store. Small bounds make rare paths common; all that depends on real time is
/// off.
fn options(random: &mut impl Rng, clock: Arc<SimClock>) -> Options {
    let mut options = Options::new(clock);
    options.vfs = Some(vfs::NAME.to_owned());
    // The check is done whole at the start: a check in the background would read the disk at times
    // that no seed decides.
    options.whole_check_bytes = u64::MAX;
    options.settle_hold = Duration::ZERO;
    options.dictionary_after = 0;
    options.checkpoint_pages = u32::MAX;
    options.keys_per_run = random.random_range(2..12);
    options.readers = 1;
    if random.random_bool(0.5) {
        options.due_window = random.random_range(1..5);
    }
    if random.random_bool(0.5) {
        options.handoff_bytes = 0;
    }
    let hour = Duration::from_secs(3600);
    options.marks_every = if random.random_bool(0.5) { Duration::ZERO } else { hour };
    options
}
