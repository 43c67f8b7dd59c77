//! Copies of the store: a backup into a new file while the store is used, and the way back into an
//! empty place. Each copy is checked whole before it gets its name, and replaces nothing.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::error::StoreError;
use crate::private;
use crate::sqlite::engine::shared::Shared;
use crate::sqlite::files::store_files::StoreFiles;
use crate::sqlite::format::failure::engine_error;
use crate::sqlite::format::{num, schema};
use crate::sqlite::upkeep::integrity_checks;
use crate::upkeep::{CheckReport, CopyProgress};

/// Pages that are copied between two reports of progress: 8 MiB.
const PAGES: i32 = 2_048;
/// Pause before a page is tried again that another connection has locked, and the tries.
const LOCKED_PAUSE: Duration = Duration::from_millis(50);
const LOCKED_TRIES: u32 = 200;

/// Copies the store that is open here into a new file.
pub(crate) async fn backup(shared: &Arc<Shared>, to: &Path) -> Result<(), StoreError> {
    let (files, to) = (shared.files.clone(), to.to_owned());
    let copied = tokio::task::spawn_blocking(move || back_up(&files, &to, &mut |_| {})).await;
    copied.map_err(|e| StoreError::engine("copy the store", e))?.map(|_| ())
}

/// Copies a store, in use or not, into a new file that only its owner may read. Returns what the
/// check of the copy found.
pub(crate) fn back_up(
    files: &StoreFiles,
    to: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<CheckReport, StoreError> {
    if !files.path().exists() {
        let what = format!("there is no store at {}", files.path().display());
        return Err(StoreError::Invalid(what));
    }
    let partial = PartialCopy::create(to)?;
    let conn = files.reader().map_err(engine_error("open the store"))?;
    let report = partial.fill(&conn, progress)?;
    partial.publish()?;
    Ok(report)
}

/// Copies a backup to the place of a store that does not exist yet.
pub(crate) fn restore(
    files: &StoreFiles,
    from: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<CheckReport, StoreError> {
    let source = StoreFiles::new(from, None);
    if !from.is_file() {
        return Err(StoreError::Invalid(format!("there is no file {}", from.display())));
    }
    if source.has_log() {
        return Err(StoreError::Invalid(format!(
            "{} has a log beside it, so it is the store of a hub and not a backup; make one with \
             `weir backup`",
            from.display()
        )));
    }
    let _place = files.take_empty()?;
    let conn = source.reader().map_err(engine_error("open the backup"))?;
    schema::refuse_other(&conn)?;
    let partial = PartialCopy::create(files.path())?;
    let report = partial.fill(&conn, progress)?;
    partial.publish()?;
    Ok(report)
}

/// A copy that is not complete. Dropping it removes it.
struct PartialCopy {
    path: PathBuf,
    to: PathBuf,
    file: File,
}

impl PartialCopy {
    /// Creates `NAME.partial` beside the copy's place. What an interrupted copy left is replaced.
    fn create(to: &Path) -> Result<Self, StoreError> {
        refuse_existing(to)?;
        let mut name = to.as_os_str().to_owned();
        name.push(".partial");
        let path = PathBuf::from(name);
        let io = |e| writing(&path, e);
        let file = private::file(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("another copy is being written to {}", path.display());
                return Err(StoreError::Invalid(what));
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        file.set_len(0).map_err(io)?;
        Ok(Self { path, to: to.to_owned(), file })
    }

    /// Copies all pages as of now, then checks the copy.
    fn fill(
        &self,
        from: &Connection,
        progress: &mut dyn FnMut(CopyProgress),
    ) -> Result<CheckReport, StoreError> {
        copy(from, &self.path, progress).map_err(engine_error("copy the store"))?;
        let files = StoreFiles::new(&self.path, None);
        let checked = files.reader().and_then(|conn| integrity_checks::report(&conn, &files));
        let report = checked.map_err(engine_error("check the copy"))?;
        match report.problems.first() {
            None => Ok(report),
            Some(problem) => Err(StoreError::Damaged(format!(
                "{problem}; the copy was removed. `weir check --store` lists all problems"
            ))),
        }
    }

    /// Gives the copy its name, unless there is a file of that name by now.
    fn publish(self) -> Result<(), StoreError> {
        let io = |e| writing(&self.to, e);
        self.file.sync_all().map_err(io)?;
        // A link never replaces a file. Some file systems have none.
        match std::fs::hard_link(&self.path, &self.to) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => refuse_existing(&self.to)?,
            Err(_) => {
                refuse_existing(&self.to)?;
                std::fs::rename(&self.path, &self.to).map_err(io)?;
            }
        }
        let folder = self.to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or_else(|| Path::new("."))).map_err(io)?;
        folder.sync_all().map_err(io)
    }
}

impl Drop for PartialCopy {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.path);
    }
}

fn refuse_existing(to: &Path) -> Result<(), StoreError> {
    match to.symlink_metadata() {
        Ok(_) => Err(StoreError::Invalid(format!("{} exists already", to.display()))),
        Err(_) => Ok(()),
    }
}

fn writing(path: &Path, e: std::io::Error) -> StoreError {
    if crate::sqlite::files::disk_space::is_full(&e) {
        return StoreError::DiskFull;
    }
    StoreError::engine("write the copy", format!("{}: {e}", path.display()))
}

/// Copies every page as of one moment. The transaction keeps writers from changing what is read;
/// they go on, and the log of the store grows meanwhile.
fn copy(
    from: &Connection,
    to: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> rusqlite::Result<()> {
    let moment = from.unchecked_transaction()?;
    let page: i64 = moment.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let _read: i64 =
        moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let mut copy = Connection::open(to)?;
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")?;
    let copying = Backup::new(from, &mut copy)?;
    let mut tries = 0;
    loop {
        let step = copying.step(PAGES)?;
        let of = copying.progress();
        let bytes = |pages: i32| num::count(i64::from(pages)) * num::count(page);
        let (all, left) = (bytes(of.pagecount), bytes(of.remaining));
        progress(CopyProgress { done: all.saturating_sub(left), all });
        match step {
            StepResult::Done => break,
            StepResult::More => tries = 0,
            _ if tries == LOCKED_TRIES => {
                let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
                return Err(rusqlite::Error::SqliteFailure(busy, None));
            }
            _ => {
                tries += 1;
                std::thread::sleep(LOCKED_PAUSE);
            }
        }
    }
    drop(copying);
    drop(copy);
    // Without a log, so that the copy is one file.
    let copy = Connection::open(to)?;
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    copy.close().map_err(|(_, e)| e)
}
