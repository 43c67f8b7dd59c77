//! The `file` kind of destination: appends messages to a file, one JSON line each. `lines` is the
//! file itself.

mod lines;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;

use super::batches::Batches;
use super::facts;
use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::{DestinationKind, FileSettings};
use lines::LineFile;

/// The most lines that are written and synced at once.
const LINES_MAX: usize = 1_000;

/// Appends the messages of one destination.
#[derive(Debug)]
pub(super) struct FileTransport {
    lines: Batches<Vec<u8>>,
    file: Arc<Mutex<LineFile>>,
    path: String,
    hops: Arc<HopKey>,
    timeout: Duration,
}

impl FileTransport {
    pub(super) fn new(settings: &FileSettings, hops: Arc<HopKey>) -> Self {
        let file = Arc::new(Mutex::new(LineFile::new(settings)));
        let path = settings.path.display().to_string();
        Self { lines: Batches::default(), file, path, hops, timeout: settings.timeout }
    }

    async fn carry(&self, lines: Vec<Vec<u8>>) -> Vec<SendOutcome> {
        let count = lines.len();
        let outcome = match self.write(lines).await {
            Ok(()) => SendOutcome::Accepted { receipt: None },
            Err(reason) => SendOutcome::Unavailable { reason },
        };
        vec![outcome; count]
    }

    async fn write(&self, lines: Vec<Vec<u8>>) -> Result<(), Box<str>> {
        let file = self.file.clone();
        let writing = tokio::task::spawn_blocking(move || file.lock().append(&lines));
        match timeout(self.timeout, writing).await {
            Ok(Ok(written)) => written.map_err(|error| error.to_string().into()),
            Ok(Err(_)) => Err("the thread that writes it ended".into()),
            Err(_) => {
                let limit = format_duration(self.timeout);
                Err(format!("{} was not written within {limit}; is its disk stuck?", self.path)
                    .into())
            }
        }
    }
}

#[async_trait]
impl Transport for FileTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::File
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        let line = facts::line(out, &self.hops, at);
        self.lines.send(line, |batch, _| batch.len() < LINES_MAX, |lines| self.carry(lines)).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        self.write(Vec::new()).await
    }
}
