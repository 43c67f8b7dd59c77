//! The store's files: their names, their one owner, and connections to the database.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::private;
use crate::sqlite::files::disk_space;

/// Tries for a lock, and the pause between them.
const LOCK_TRIES: u32 = 20;

const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// Time that a connection waits for another one's lock.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

const STATEMENTS_CACHED: usize = 128;

/// The right to use a store's file, until dropped or the process ends. Drop it after all
/// connections, because closing any descriptor of a file ends SQLite's locks on it.
#[derive(Debug)]
pub(crate) struct Owner {
    _lock: File,
    _file: File,
}

/// Path of a store's database, and the VFS through which it is used.
#[derive(Debug, Clone)]
pub(crate) struct StoreFiles {
    path: PathBuf,
    vfs: Option<String>,
}

impl StoreFiles {
    pub(crate) fn new(path: &Path, vfs: Option<&str>) -> Self {
        Self { path: path.to_path_buf(), vfs: vfs.map(str::to_owned) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        match self.vfs.as_deref() {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs),
            None => Connection::open_with_flags(&self.path, flags),
        }
    }

    /// Path of the slots file.
    pub(crate) fn slots(&self) -> PathBuf {
        self.beside("-slots")
    }

    /// Path of the reserve file.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.beside("-reserve")
    }

    /// Path of the acknowledgement mark.
    pub(crate) fn acks(&self) -> PathBuf {
        self.beside("-acks")
    }

    /// Paths of the database, its log, and the log's index.
    pub(crate) fn files(&self) -> [PathBuf; 3] {
        // SQLite puts them beside the file that a link points to.
        let real = Self { path: self.path.canonicalize().unwrap_or(self.path.clone()), vfs: None };
        [self.path.clone(), real.beside("-wal"), real.beside("-shm")]
    }

    /// True on a simulated disk.
    pub(crate) fn is_simulated(&self) -> bool {
        self.vfs.is_some()
    }

    /// True if there is a log: the last process did not close the store.
    pub(crate) fn has_log(&self) -> bool {
        self.files()[1].metadata().is_ok_and(|m| m.len() > 0)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    /// Bytes of the file and its log.
    pub(crate) fn bytes(&self) -> u64 {
        let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
        let [database, log, _] = self.files();
        size(&database) + size(&log)
    }

    /// Locks the files for this process. Missing ones are created so that only their owner may read
    /// them.
    pub(crate) fn take(&self) -> Result<Owner, StoreError> {
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
        // The lock file can be replaced, so the database is locked too. Only on Linux are these
        // locks separate from SQLite's own locks on the file.
        if cfg!(target_os = "linux") {
            self.lock(&file)?;
        }
        Ok(Owner { _lock: lock, _file: file })
    }

    /// Locks the place of a store that does not exist yet.
    pub(crate) fn take_empty(&self) -> Result<File, StoreError> {
        if let Some(folder) =
            self.path.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists())
        {
            private::folder(folder).map_err(|e| self.failed("make the store's folder", &e))?;
        }
        let lock = private::file(&self.beside(".lock"))
            .map_err(|e| self.failed("open the store's lock file", &e))?;
        self.lock(&lock)?;
        let [database, log, index] = self.files();
        for left in [database, log, index, self.slots(), self.acks()] {
            if left.symlink_metadata().is_ok() {
                return Err(StoreError::Invalid(format!(
                    "{} exists: move the files of the old store aside first",
                    left.display()
                )));
            }
        }
        Ok(lock)
    }

    /// A connection that changes no file, not even the log's. It sees a store that is in use as
    /// others do.
    pub(crate) fn onlooker(&self) -> rusqlite::Result<Connection> {
        let [_, log, index] = self.files();
        if log.exists() || index.exists() {
            return self.reader();
        }
        let mut uri = String::from("file:");
        for byte in self.path.as_os_str().as_encoded_bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                    uri.push(char::from(*byte));
                }
                byte => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        Connection::open_with_flags(
            uri,
            OpenFlags::SQLITE_OPEN_READ_ONLY
                | OpenFlags::SQLITE_OPEN_NO_MUTEX
                | OpenFlags::SQLITE_OPEN_URI,
        )
    }

    fn lock(&self, file: &File) -> Result<(), StoreError> {
        lock_patiently(file).map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::InUse { path: self.path.display().to_string() },
            TryLockError::Error(e) => self.failed("lock the store", &e),
        })
    }

    fn failed(&self, during: &'static str, e: &std::io::Error) -> StoreError {
        if disk_space::is_full(e) {
            return StoreError::DiskFull;
        }
        StoreError::engine(during, format!("{}: {e}", self.path.display()))
    }

    /// A connection that writes, with a page cache of `cache_kib`.
    pub(crate) fn writer(&self, cache_kib: u32) -> rusqlite::Result<Connection> {
        let conn = self.connect(
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        prepare_once(&conn)?;
        // Before anything else: until then a commit on this connection may move the log into the
        // database, at a time when nothing but a checkpoint may change that file.
        conn.execute_batch("PRAGMA wal_autocheckpoint = 0;")?;
        // These take hold only in a new file. In an existing one `auto_vacuum` would be a commit.
        if conn.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))? == 0 {
            conn.execute_batch("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL;")?;
        }
        conn.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;
             PRAGMA trusted_schema = OFF; PRAGMA cache_size = -{cache_kib};"
        ))?;
        Ok(conn)
    }

    /// A connection that only reads.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        let conn =
            self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        prepare_once(&conn)?;
        conn.execute_batch(
            "PRAGMA query_only = ON; PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY;",
        )?;
        Ok(conn)
    }
}

/// Locks a file, and tries again for a moment. A process that ended may have left its lock to a
/// child that it was starting, which keeps open files until it runs another program. A real owner
/// keeps it longer.
fn lock_patiently(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            ended => return ended,
        }
    }
    lock.try_lock()
}

/// Makes SQLite prepare each statement once. Without a stable query plan it prepares a statement
/// again whenever a bound value could make a partial index usable, which took a fifth of all time.
fn prepare_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_connection_changes_neither_the_database_nor_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let files = StoreFiles::new(&dir.path().join("weir.db"), None);
        let first = files.writer(1024).unwrap();
        first.execute_batch("CREATE TABLE pages (bytes BLOB)").unwrap();
        let bytes = || files.files().map(|file| file.metadata().unwrap().len());
        // More pages than those after which SQLite by default moves the log by itself.
        while bytes()[1] < 1_200 * 4_096 {
            first.execute_batch("INSERT INTO pages VALUES (zeroblob(3000))").unwrap();
        }
        let before = bytes();
        let _second = files.writer(1024).unwrap();
        assert_eq!(bytes()[..2], before[..2]);
    }
}
