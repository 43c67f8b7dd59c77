//! A pool of read connections. A query uses one for a short time and never across an await.

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::sqlite::files::store_files::StoreFiles;

pub(crate) struct Readers {
    files: StoreFiles,
    limit: usize,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Returns the connection, also when the query panics.
struct BorrowedReader<'r> {
    readers: &'r Readers,
    conn: Option<Connection>,
}

impl Drop for BorrowedReader<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.pool.lock();
        match self.conn.take() {
            Some(conn) => pool.idle.push(conn),
            None => pool.open -= 1,
        }
        self.readers.returned.notify_one();
    }
}

impl Readers {
    pub(crate) fn new(files: StoreFiles, limit: usize) -> Self {
        Self { files, limit: limit.max(1), pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Runs a query with a connection, and waits for one if all are in use. It sees all commits so
    /// far.
    pub(crate) fn with<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut lent = BorrowedReader { readers: self, conn: self.wait() };
        if lent.conn.is_none() {
            lent.conn = Some(self.files.reader()?);
        }
        match &lent.conn {
            Some(conn) => question(conn),
            None => Err(rusqlite::Error::InvalidQuery),
        }
    }

    /// An idle connection; none if a new one may be opened.
    fn wait(&self) -> Option<Connection> {
        let mut pool = self.pool.lock();
        loop {
            if let Some(conn) = pool.idle.pop() {
                return Some(conn);
            }
            if pool.open < self.limit {
                pool.open += 1;
                return None;
            }
            self.returned.wait(&mut pool);
        }
    }

    /// Closes the idle connections.
    pub(crate) fn close(&self) {
        let mut pool = self.pool.lock();
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }
}
