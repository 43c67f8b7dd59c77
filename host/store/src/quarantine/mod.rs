//! The quarantine: requests whose signature was not valid, in a file of their own, so that an
//! operator can look at them and release them.
//!
//! It never delays the store: its own thread writes, nothing is synced, a request that finds its
//! queue full is dropped, and an unreadable file is moved aside. Nothing in it was acknowledged, so
//! nothing is promised.
//!
//! Anyone can fill it, so the largest sender loses first: past the budget of an address its own
//! oldest request is removed, past the budget of a source the oldest of that source's largest
//! address, past the whole budget the oldest of the largest source.
//!
//! Not here: the content of a request, which is opaque, and whether its signature is valid now.

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

/// Requests that wait for the file.
const QUEUE_ITEMS_MAX: usize = 256;
/// Bytes of those requests.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Queries that wait.
const QUERIES_MAX: usize = 64;

/// A request whose signature was not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRequest {
    pub id: QuarantineId,
    pub source: Box<str>,
    /// Address of the sender, or the network that counts as one address.
    pub address: Box<str>,
    /// Time at which it was received.
    pub at: Timestamp,
    /// Code of its latest refusal.
    pub code: Box<str>,
    /// Bytes of its content. The content is deleted when it is released.
    pub size: usize,
    /// Ids of its events, once it was released.
    pub released: Option<Vec<Box<str>>>,
}

/// Result of verifying a quarantined request again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecheckResult {
    /// It was accepted with these events, which may be none.
    Released(Vec<Box<str>>),
    /// It was refused again, with this code.
    Refused(Box<str>),
}

/// Filter of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuarantineFilter {
    pub source: Option<Box<str>>,
    /// Include released requests.
    pub include_released: bool,
    /// Start after this one, in the order of the list.
    pub after: Option<QuarantineId>,
    /// List the oldest first instead of the newest.
    pub oldest_first: bool,
    pub limit: usize,
}

/// Handle of the quarantine. Dropping it ends its thread once the queue is empty.
#[derive(Debug)]
pub struct Quarantine {
    put: Option<Sender<(QuarantinedRequest, Vec<u8>)>>,
    ask: Option<Sender<FileQuery>>,
    queued: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Quarantine {
    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// If the file cannot be opened nor created.
    pub fn open(
        file: &Path,
        budgets: Budgets,
        life: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let keeper = QuarantineFile::open(file, budgets, life, clock)?;
        let (put, to_put): (_, Receiver<(QuarantinedRequest, Vec<u8>)>) = bounded(QUEUE_ITEMS_MAX);
        let (ask, asked) = bounded(QUERIES_MAX);
        let queued = Arc::new(AtomicUsize::new(0));
        let waiting = queued.clone();
        let thread = std::thread::Builder::new()
            .name("quarantine".into())
            .spawn(move || keeper.run(&to_put, &asked, &waiting))
            .map_err(|error| StoreError::engine("start a thread", error))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self { put: Some(put), ask: Some(ask), queued, thread })
    }

    /// Queues a request with its content to be kept. False if the queue is full.
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

    /// Lists kept requests.
    ///
    /// # Errors
    /// If the file cannot be read, or too many queries wait.
    pub async fn list(
        &self,
        wanted: QuarantineFilter,
    ) -> Result<Vec<QuarantinedRequest>, StoreError> {
        self.ask(|answer| FileQuery::List(wanted, answer)).await
    }

    /// Reads a request with its content, which is empty once it was released.
    ///
    /// # Errors
    /// If the file cannot be read, or too many queries wait.
    pub async fn get(
        &self,
        id: QuarantineId,
    ) -> Result<Option<(QuarantinedRequest, Vec<u8>)>, StoreError> {
        self.ask(|answer| FileQuery::Get(id, answer)).await
    }

    /// Records the result of verifying a request again. A released request stays released.
    ///
    /// # Errors
    /// If the file cannot be written, or too many queries wait.
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
            Err(TrySendError::Full(_)) => Err(StoreError::Overloaded { queued: QUERIES_MAX }),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Closed),
        }
    }
}

impl Drop for Quarantine {
    fn drop(&mut self) {
        self.put = None;
        self.ask = None;
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the thread was printed already.
            let _ended = thread.join();
        }
    }
}
