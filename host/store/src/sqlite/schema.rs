//! Opening the file: one owner, its settings, its format, and the secrets that belong to it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{failure, room};
use crate::error::StoreError;
use crate::private;

/// How often a lock is asked for again, and how long after.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// The time that a connection waits for another one's lock.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// The format that this program writes, kept in `user_version`.
pub(super) const FORMAT: u32 = 1;
/// The oldest program that may write to what this one wrote.
const MINIMUM_HOST: &str = "0.1.0";
const SCHEMA: &str = include_str!("schema.sql");
/// What the format has gained since it was first written, in order. Each is carried out once, in a new store too;
/// how many were is in `meta.expansions`. A program that does not know them reads and writes around them.
const EXPANSIONS: [&str; 6] = [
    include_str!("expansion-1.sql"),
    include_str!("expansion-2.sql"),
    include_str!("expansion-3.sql"),
    include_str!("expansion-4.sql"),
    include_str!("expansion-5.sql"),
    include_str!("expansion-6.sql"),
];
/// `WEIR` as a number: tells `file` and a curious person whose database this is.
const APPLICATION_ID: i64 = 0x5745_4952;
const STATEMENTS_CACHED: usize = 128;

/// Secrets of one store, made with it.
#[derive(Clone)]
pub(super) struct Keys {
    /// Mixes row numbers into public ids.
    pub(super) ids: [u8; 16],
    /// Hashes dedup material.
    pub(super) dedup: [u8; 16],
}

/// The right to use a store's file. Ends when dropped, or with the process. To be dropped after all of SQLite's
/// connections: closing any descriptor of a file ends the locks that SQLite has on it.
#[derive(Debug)]
pub(super) struct Owner {
    _lock: File,
    _file: File,
}

/// Where a store's file is, and the VFS that it is reached through.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    vfs: Option<String>,
}

impl Place {
    pub(super) fn new(path: &Path, vfs: Option<&str>) -> Self {
        Self { path: path.to_path_buf(), vfs: vfs.map(str::to_owned) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        match self.vfs.as_deref() {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs),
            None => Connection::open_with_flags(&self.path, flags),
        }
    }

    /// Where the slots file is.
    pub(super) fn slots(&self) -> PathBuf {
        self.beside("-slots")
    }

    /// Where the reserve for a full disk is.
    pub(super) fn reserve(&self) -> PathBuf {
        self.beside("-reserve")
    }

    /// Where it is marked how far the store has acknowledged.
    pub(super) fn acks(&self) -> PathBuf {
        self.beside("-acks")
    }

    /// The database, its log, and the log's index.
    pub(super) fn files(&self) -> [PathBuf; 3] {
        // SQLite puts the others beside the file that a link leads to.
        let real = Self { path: self.path.canonicalize().unwrap_or(self.path.clone()), vfs: None };
        [self.path.clone(), real.beside("-wal"), real.beside("-shm")]
    }

    /// True if the files are on a disk that is only simulated.
    pub(super) fn is_simulated(&self) -> bool {
        self.vfs.is_some()
    }

    /// Whether there is a log that nobody moved into the database: the last process did not close it.
    pub(super) fn has_log(&self) -> bool {
        self.files()[1].metadata().is_ok_and(|m| m.len() > 0)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Bytes of the file and its log.
    pub(super) fn bytes(&self) -> u64 {
        let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
        let [database, log, _] = self.files();
        size(&database) + size(&log)
    }

    /// Takes the file for this process, making folder and file if need be, for their owner's eyes only.
    pub(super) fn take(&self) -> Result<Owner, StoreError> {
        if let Some(folder) =
            self.path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists())
        {
            private::folder(folder).map_err(|e| self.failed("make the store's folder", &e))?;
        }
        let lock = private::file(&self.beside(".lock"))
            .map_err(|e| self.failed("open the store's lock file", &e))?;
        self.lock(&lock)?;
        let file =
            private::file(&self.path).map_err(|e| self.failed("open the store's file", &e))?;
        // The lock file can be removed, and another one made in its place; the database itself is what counts. Only
        // on Linux are locks of this kind apart from those that SQLite takes on the same file.
        if cfg!(target_os = "linux") {
            self.lock(&file)?;
        }
        Ok(Owner { _lock: lock, _file: file })
    }

    fn lock(&self, file: &File) -> Result<(), StoreError> {
        lock_patiently(file).map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse { path: self.path.display().to_string() },
            TryLockError::Error(e) => self.failed("lock the store", &e),
        })
    }

    fn failed(&self, doing: &'static str, e: &std::io::Error) -> StoreError {
        if room::is_full(e) {
            return StoreError::DiskFull;
        }
        StoreError::Engine { doing, cause: format!("{}: {e}", self.path.display()) }
    }

    /// A connection that writes. `cache_kib` bounds its page cache.
    pub(super) fn writer(&self, cache_kib: u32) -> rusqlite::Result<Connection> {
        let conn = self.connect(
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare_once(&conn)?;
        // The first two only take hold in a new file, before anything is written.
        conn.execute_batch(&format!(
            "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF; PRAGMA cache_size = -{cache_kib};"
        ))?;
        Ok(conn)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> rusqlite::Result<Connection> {
        let conn =
            self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        prepare_once(&conn)?;
        conn.execute_batch(
            "PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(conn)
    }
}

/// A process that has ended may have left its lock for a moment to a child that it was just starting, which holds every
/// open file until it becomes another program. Who really owns the store does so for longer than this.
fn lock_patiently(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            ended => return ended,
        }
    }
    lock.try_lock()
}

/// Statements are prepared once and kept. Without the planner's promise SQLite prepares a statement again whenever
/// a bound value could make a partial index usable: that was a fifth of all time spent.
fn prepare_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes the tables in a new file, refuses a newer format, and returns the store's secrets.
pub(super) fn prepare(conn: &Connection) -> Result<Keys, StoreError> {
    let failed = |cause: rusqlite::Error| failure::told_reader("open the store", &cause);
    let format: u32 = conn.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(failed)?;
    if format > FORMAT {
        return Err(StoreError::TooNew { found: format, known: FORMAT });
    }
    if format == 0 {
        let strangers: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .map_err(failed)?;
        if strangers > 0 {
            return Err(StoreError::Invalid("the file is some other program's database".into()));
        }
        create(conn, &new_keys()?).map_err(failed)?;
    }
    expand(conn).map_err(failed)?;
    read_keys(conn)
        .map_err(failed)?
        .ok_or_else(|| StoreError::Damaged("its secrets are missing".into()))
}

fn expand(conn: &Connection) -> rusqlite::Result<()> {
    let done: usize = meta::<i64>(conn, "expansions")?.map_or(0, super::num::length);
    for (index, expansion) in EXPANSIONS.iter().enumerate().skip(done) {
        let tx = conn.unchecked_transaction()?;
        tx.execute_batch(expansion)?;
        set_meta(&tx, "expansions", &super::num::column(index + 1))?;
        tx.commit()?;
    }
    Ok(())
}

fn new_keys() -> Result<Keys, StoreError> {
    let mut keys = Keys { ids: [0; 16], dedup: [0; 16] };
    for key in [&mut keys.ids, &mut keys.dedup] {
        SysRng.try_fill_bytes(key).map_err(|e| StoreError::Engine {
            doing: "make the store's secrets",
            cause: e.to_string(),
        })?;
    }
    Ok(keys)
}

fn create(conn: &Connection, keys: &Keys) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    tx.execute_batch(SCHEMA)?;
    set_meta(&tx, "minimum_host", &MINIMUM_HOST)?;
    set_meta(&tx, "id_key", &keys.ids)?;
    set_meta(&tx, "dedup_key", &keys.dedup)?;
    tx.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
    ))?;
    tx.commit()
}

pub(super) fn read_keys(conn: &Connection) -> rusqlite::Result<Option<Keys>> {
    let key = |name: &str| -> rusqlite::Result<Option<[u8; 16]>> {
        let stored: Option<Vec<u8>> = meta(conn, name)?;
        Ok(stored.and_then(|bytes| bytes.try_into().ok()))
    };
    let (Some(ids), Some(dedup)) = (key("id_key")?, key("dedup_key")?) else { return Ok(None) };
    Ok(Some(Keys { ids, dedup }))
}

/// One fact about the store.
pub(super) fn meta<T: rusqlite::types::FromSql>(
    conn: &Connection,
    key: &str,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

/// Writes one fact about the store.
pub(super) fn set_meta(
    conn: &Connection,
    key: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
    )?
    .execute(params![key, value])?;
    Ok(())
}
