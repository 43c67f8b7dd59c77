//! The thread that owns the quarantine's file: keeps, lists, releases and prunes requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, select};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ffi, params};
use tokio::sync::oneshot;
use weir_core::id::QuarantineId;
use weir_core::time::{Clock, Timestamp, millis};

use super::budget::{Budgets, Shares};
use super::{QuarantineFilter, QuarantinedRequest, RecheckResult};
use crate::error::StoreError;

/// Format of the file. A file of another format is moved aside, because nothing in it is promised.
const FORMAT: i64 = 1;
/// Time between two removals of old requests while nothing happens.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Requests written in one transaction.
const GROUP_MAX: usize = 64;
/// Requests in one answer.
const LIST_MAX: usize = 1_000;

const SCHEMA: &str = "
PRAGMA auto_vacuum = FULL;
CREATE TABLE request (
  n       INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT NOT NULL UNIQUE,
  source  TEXT NOT NULL,
  address TEXT NOT NULL,
  at      INTEGER NOT NULL,
  code    TEXT NOT NULL,
  size    INTEGER NOT NULL,
  events  TEXT,              -- ids with spaces between, once it was released
  content BLOB NOT NULL      -- sealed
);
CREATE INDEX of_address ON request (source, address, n);
PRAGMA user_version = 1;
";

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A query to the thread.
pub(super) enum FileQuery {
    List(QuarantineFilter, Answer<Vec<QuarantinedRequest>>),
    Get(QuarantineId, Answer<Option<(QuarantinedRequest, Vec<u8>)>>),
    Settle(QuarantineId, RecheckResult, Answer<()>),
}

/// The open file, and the shares of its requests.
pub(super) struct QuarantineFile {
    file: Connection,
    shares: Shares,
    life: Duration,
    clock: Arc<dyn Clock>,
}

fn failed(during: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::engine(during, error)
}

/// True if the disk is too full for the file, its log or the log's index. The file may be sound.
fn is_full(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(cause, _) = error else { return false };
    cause.code == ErrorCode::DiskFull || cause.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

impl QuarantineFile {
    pub(super) fn open(
        path: &Path,
        budgets: Budgets,
        life: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let opened = match connect(path) {
            Ok(opened) => opened,
            Err(error) if is_full(&error) => return Err(StoreError::DiskFull),
            Err(error) => {
                tracing::warn!(%error, "the quarantine cannot be read: its file is moved aside and a new one is created");
                move_aside(path);
                connect(path).map_err(failed("open the quarantine"))?
            }
        };
        let (file, found) = opened;
        let mut shares = Shares::new(budgets);
        found.iter().for_each(|(source, address, bytes)| shares.add(source, address, *bytes));
        Ok(Self { file, shares, life, clock })
    }

    /// Runs until every handle is dropped and the queue is empty.
    pub(super) fn run(
        mut self,
        put: &Receiver<(QuarantinedRequest, Vec<u8>)>,
        asked: &Receiver<FileQuery>,
        queued: &AtomicUsize,
    ) {
        loop {
            select! {
                recv(put) -> first => {
                    let Ok(first) = first else { break };
                    let group: Vec<_> = std::iter::once(first).chain(put.try_iter().take(GROUP_MAX)).collect();
                    let bytes: usize = group.iter().map(|(_, content)| content.len()).sum();
                    if let Err(error) = self.put(group) {
                        tracing::warn!(%error, "requests could not be written to the quarantine");
                    }
                    queued.fetch_sub(bytes, Ordering::Relaxed);
                }
                recv(asked) -> ask => match ask {
                    Ok(ask) => self.answer(ask),
                    Err(_) => break,
                },
                default(PRUNE_EVERY) => {}
            }
            if let Err(error) = self.prune() {
                tracing::warn!(%error, "old requests could not be removed from the quarantine");
            }
        }
    }

    fn put(&mut self, group: Vec<(QuarantinedRequest, Vec<u8>)>) -> rusqlite::Result<()> {
        self.file.execute_batch("BEGIN")?;
        let done =
            group.into_iter().try_for_each(|(request, content)| self.put_one(&request, &content));
        match done {
            Ok(()) => self.file.execute_batch("COMMIT"),
            Err(error) => {
                self.file.execute_batch("ROLLBACK")?;
                self.recount()?;
                Err(error)
            }
        }
    }

    fn put_one(&mut self, request: &QuarantinedRequest, content: &[u8]) -> rusqlite::Result<()> {
        if !self.shares.admits(request.size) {
            return Ok(());
        }
        while let Some((source, address)) =
            self.shares.victim(&request.source, &request.address, request.size)
        {
            self.drop_oldest(&source, &address)?;
        }
        let sql = "INSERT INTO request (id, source, address, at, code, size, content) VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.file.prepare_cached(sql)?.execute(params![
            request.id.to_string(),
            request.source,
            request.address,
            number(request.at.as_millis()),
            request.code,
            number(request.size as u64),
            content,
        ])?;
        self.shares.add(&request.source, &request.address, request.size);
        Ok(())
    }

    fn drop_oldest(&mut self, source: &str, address: &str) -> rusqlite::Result<()> {
        let sql = "DELETE FROM request WHERE n = \
                   (SELECT min(n) FROM request WHERE source = ? AND address = ?) \
                   RETURNING length(content)";
        let size: Option<i64> = self
            .file
            .prepare_cached(sql)?
            .query_row([source, address], |row| row.get(0))
            .optional()?;
        match size {
            Some(size) => self.shares.take(source, address, bytes(size)),
            // The shares disagree with the file, which is right.
            None => self.recount()?,
        }
        Ok(())
    }

    fn prune(&mut self) -> rusqlite::Result<()> {
        let oldest = self.clock.now().as_millis().saturating_sub(millis(self.life));
        let sql = "DELETE FROM request WHERE n IN \
                   (SELECT n FROM request ORDER BY n LIMIT 100) AND at < ? \
                   RETURNING source, address, length(content)";
        let mut gone = Vec::new();
        {
            let mut statement = self.file.prepare_cached(sql)?;
            let mut rows = statement.query([number(oldest)])?;
            while let Some(row) = rows.next()? {
                gone.push((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                ));
            }
        }
        gone.iter()
            .for_each(|(source, address, size)| self.shares.take(source, address, bytes(*size)));
        Ok(())
    }

    fn recount(&mut self) -> rusqlite::Result<()> {
        let mut shares = Shares::new(self.shares.budgets());
        for (source, address, bytes) in contents(&self.file)? {
            shares.add(&source, &address, bytes);
        }
        self.shares = shares;
        Ok(())
    }

    // The caller may have gone away, so a failed send is ignored.
    fn answer(&mut self, ask: FileQuery) {
        match ask {
            FileQuery::List(wanted, answer) => {
                let _ = answer.send(self.list(&wanted).map_err(failed("list the quarantine")));
            }
            FileQuery::Get(id, answer) => {
                let _ = answer.send(self.get(id).map_err(failed("read the quarantine")));
            }
            FileQuery::Settle(id, verdict, answer) => {
                let settled = self.settle(id, &verdict);
                let _ = answer.send(settled.map_err(failed("write the quarantine")));
            }
        }
    }

    fn list(&self, wanted: &QuarantineFilter) -> rusqlite::Result<Vec<QuarantinedRequest>> {
        let (order, beyond) = if wanted.oldest_first { ("ASC", ">") } else { ("DESC", "<") };
        let sql = format!(
            "SELECT id, source, address, at, code, size, events FROM request \
             WHERE (?1 IS NULL OR source = ?1) AND (?2 OR events IS NULL) \
             AND (?3 IS NULL OR n {beyond} (SELECT n FROM request WHERE id = ?3)) \
             ORDER BY n {order} LIMIT ?4"
        );
        let mut statement = self.file.prepare_cached(&sql)?;
        let limit = number(wanted.limit.min(LIST_MAX) as u64);
        let after = wanted.after.map(|id| id.to_string());
        let rows = statement.query_map(
            params![wanted.source, wanted.include_released, after, limit],
            quarantined,
        )?;
        rows.filter_map(Result::transpose).collect()
    }

    fn get(&self, id: QuarantineId) -> rusqlite::Result<Option<(QuarantinedRequest, Vec<u8>)>> {
        let sql =
            "SELECT id, source, address, at, code, size, events, content FROM request WHERE id = ?";
        let mut statement = self.file.prepare_cached(sql)?;
        let found = statement.query_row([id.to_string()], |row| {
            Ok(quarantined(row)?.map(|request| (request, row.get(7))))
        });
        match found.optional()?.flatten() {
            Some((request, content)) => Ok(Some((request, content?))),
            None => Ok(None),
        }
    }

    fn settle(&mut self, id: QuarantineId, verdict: &RecheckResult) -> rusqlite::Result<()> {
        let id = id.to_string();
        match verdict {
            RecheckResult::Refused(code) => {
                let sql = "UPDATE request SET code = ? WHERE id = ? AND events IS NULL";
                self.file.prepare_cached(sql)?.execute(params![code, id])?;
            }
            RecheckResult::Released(events) => {
                // The store has its events now, so only the fact is kept here.
                let sql = "UPDATE request SET events = ?, content = x'' WHERE id = ? AND events IS NULL \
                           RETURNING source, address, size";
                let emptied = self
                    .file
                    .prepare_cached(sql)?
                    .query_row(params![events.join(" "), id], |row| {
                        Ok((row.get(0)?, row.get(1)?, bytes(row.get(2)?)))
                    });
                if let Some::<Kept>((source, address, size)) = emptied.optional()? {
                    self.shares.empty(&source, &address, size);
                }
            }
        }
        Ok(())
    }
}

/// Source, address and content size of a request.
type Kept = (String, String, usize);

/// Opens the file, and counts its requests.
fn connect(path: &Path) -> rusqlite::Result<(Connection, Vec<Kept>)> {
    // Created first, because SQLite would create it with a wider mode.
    if let Err(e) = crate::private::file(path) {
        let failed = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        return Err(rusqlite::Error::SqliteFailure(failed, Some(e.to_string())));
    }
    let file = Connection::open(path)?;
    let format: i64 = file.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let is_new = format == 0;
    if is_new {
        file.execute_batch(SCHEMA)?;
    } else if format != FORMAT {
        let unknown = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        let what = Some(format!("it has format {format}"));
        return Err(rusqlite::Error::SqliteFailure(unknown, what));
    }
    // With a log, so that a killed process leaves a whole file. Never synced, so that no caller
    // waits.
    file.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    file.execute_batch("PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;")?;
    let found = contents(&file)?;
    Ok((file, found))
}

fn contents(file: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut statement = file.prepare("SELECT source, address, length(content) FROM request")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, bytes(row.get(2)?))))?;
    rows.collect()
}

fn move_aside(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(end);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".damaged{end}"));
        // A missing file needs no move. One that cannot be moved fails the creation of the new one.
        let _moved = std::fs::rename(PathBuf::from(from), PathBuf::from(to));
    }
}

/// A row; none if its id is not valid, which only an edit by hand can cause.
fn quarantined(row: &Row<'_>) -> rusqlite::Result<Option<QuarantinedRequest>> {
    let id: String = row.get(0)?;
    let Ok(id) = id.parse() else { return Ok(None) };
    let events: Option<String> = row.get(6)?;
    let events = events.map(|ids| ids.split_whitespace().map(Into::into).collect());
    Ok(Some(QuarantinedRequest {
        id,
        source: row.get(1)?,
        address: row.get(2)?,
        at: Timestamp::from_millis(row.get::<_, i64>(3)?.try_into().unwrap_or(0)),
        code: row.get(4)?,
        size: bytes(row.get(5)?),
        released: events,
    }))
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn bytes(size: i64) -> usize {
    usize::try_from(size).unwrap_or(0)
}
