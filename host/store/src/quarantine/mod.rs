//! The quarantine: requests that were not believed, in a file of their own, to be looked at and perhaps let in later.
//!
//! It is never in the store's way: a thread of its own writes, nothing is synced, what finds no place in the queue is
//! dropped, and a file that cannot be read is put aside. Nothing here was acknowledged, so nothing here is promised.
//!
//! Strangers fill it, so that whoever fills it most loses first: past an address's budget its own oldest go, past a
//! source's budget the oldest of the address that has most there, past the whole budget those of the largest source.
//!
//! What may not live here: what a request says (its content is opaque), and whether it is believed now.

mod budget;
#[cfg(test)]
mod tests;
mod thread;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use weir_core::id::QuarantineId;
use weir_core::time::{Clock, Timestamp};

use crate::error::StoreError;
use thread::{FileQuery, QuarantineFile};

pub use budget::Budgets;

/// Requests on their way into the file.
const QUEUE_ITEMS_MAX: usize = 256;
/// Bytes of them.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Questions that wait.
const QUESTIONS_MAX: usize = 64;

/// A request that was not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRequest {
    /// Its id.
    pub id: QuarantineId,
    /// The source that it was for.
    pub source: Box<str>,
    /// Where it came from: the address, or the network that counts as one.
    pub address: Box<str>,
    /// When it came.
    pub at: Timestamp,
    /// Why it was refused, last.
    pub code: Box<str>,
    /// Bytes of its content, which is let go when it is let in.
    pub size: usize,
    /// The ids of the events that it became, once it was let in.
    pub released: Option<Vec<Box<str>>>,
}

/// What became of a request that was to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecheckResult {
    /// It became these events, or is one of those that become none.
    Released(Vec<Box<str>>),
    /// It is still not believed, for this reason.
    Refused(Box<str>),
}

/// Which requests to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    /// Of this source only.
    pub source: Option<Box<str>>,
    /// Also those that were let in.
    pub include_released: bool,
    /// After this one, in the order of the list.
    pub after: Option<QuarantineId>,
    /// The oldest first; else the newest.
    pub oldest_first: bool,
    /// At most so many.
    pub limit: usize,
}

/// Keeps requests that were not believed. Dropping it ends its thread once the queue is empty.
#[derive(Debug)]
pub struct Quarantine {
    put: Option<Sender<(QuarantinedRequest, Vec<u8>)>>,
    ask: Option<Sender<FileQuery>>,
    queued: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Quarantine {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If there can be no such file.
    pub fn open(
        file: &Path,
        budgets: Budgets,
        life: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let keeper = QuarantineFile::open(file, budgets, life, clock)?;
        let (put, to_put): (_, Receiver<(QuarantinedRequest, Vec<u8>)>) = bounded(QUEUE_ITEMS_MAX);
        let (ask, asked) = bounded(QUESTIONS_MAX);
        let queued = Arc::new(AtomicUsize::new(0));
        let waiting = Arc::clone(&queued);
        let thread = std::thread::Builder::new()
            .name("quarantine".into())
            .spawn(move || keeper.run(&to_put, &asked, &waiting))
            .map_err(|error| StoreError::Engine {
                doing: "start a thread",
                cause: error.to_string(),
            })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { put: Some(put), ask: Some(ask), queued, thread })
    }

    /// Keeps a request with its content, soon. False if there was no room for it in the queue.
    pub fn put(&self, request: QuarantinedRequest, content: Vec<u8>) -> bool {
        let bytes = content.len();
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let sent = queued + bytes <= QUEUE_BYTES_MAX
            && self.put.as_ref().is_some_and(|put| put.try_send((request, content)).is_ok());
        if !sent {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// What is kept.
    ///
    /// # Errors
    /// If the file cannot be read, or too much is being asked.
    pub async fn list(
        &self,
        wanted: QuarantineFilter,
    ) -> Result<Vec<QuarantinedRequest>, StoreError> {
        self.ask(|answer| FileQuery::List(wanted, answer)).await
    }

    /// One request with its content, which is empty once it was let in.
    ///
    /// # Errors
    /// If the file cannot be read, or too much is being asked.
    pub async fn get(
        &self,
        id: QuarantineId,
    ) -> Result<Option<(QuarantinedRequest, Vec<u8>)>, StoreError> {
        self.ask(|answer| FileQuery::Get(id, answer)).await
    }

    /// Notes what became of a request. Once let in it stays so.
    ///
    /// # Errors
    /// If the file cannot be written, or too much is being asked.
    pub async fn settle(&self, id: QuarantineId, verdict: RecheckResult) -> Result<(), StoreError> {
        self.ask(|answer| FileQuery::Settle(id, verdict, answer)).await
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> FileQuery,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let sending = self.ask.as_ref().ok_or(StoreError::Closed)?.try_send(ask(answer));
        match sending {
            Ok(()) => answered.await.unwrap_or(Err(StoreError::Closed)),
            Err(TrySendError::Full(_)) => Err(StoreError::Overloaded { queued: QUESTIONS_MAX }),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        self.put = None;
        self.ask = None;
        if let Some(thread) = self.thread.lock().take() {
            // It ends by itself, and a panic of it has been printed.
            let _ended = thread.join();
        }
    }
}
