//! Connections that only read, shared by whoever asks. Each look is short: nobody keeps one across an await.

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::schema::Place;

pub(super) struct Readers {
    place: Place,
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

/// Gives the connection back, also when the question panics.
struct Lent<'r> {
    readers: &'r Readers,
    conn: Option<Connection>,
}

impl Drop for Lent<'_> {
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
    pub(super) fn new(place: Place, limit: usize) -> Self {
        Self { place, limit: limit.max(1), pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Asks with a connection of its own, waiting for one if all are in use. Sees all commits so far.
    pub(super) fn with<T>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut lent = Lent { readers: self, conn: self.wait() };
        if lent.conn.is_none() {
            lent.conn = Some(self.place.reader()?);
        }
        match &lent.conn {
            Some(conn) => question(conn),
            None => Err(rusqlite::Error::InvalidQuery),
        }
    }

    /// An idle connection, or none if a new one may be opened.
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

    /// Lets go of idle connections.
    pub(super) fn close(&self) {
        let mut pool = self.pool.lock();
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }
}
