//! The `stdout` kind of destination: writes messages to the standard output of the hub, one JSON
//! line each, for development and for programs that start the hub.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use weir_core::hops::HopKey;
use weir_core::time::Timestamp;
use weir_core::units::format_duration;

use super::batches::Batches;
use super::facts;
use super::outgoing::Outgoing;
use super::transport::{SendOutcome, Transport};
use crate::config::DestinationKind;

/// The most lines that are written at once.
const LINES_MAX: usize = 1_000;

/// Writes the messages of one destination.
#[derive(Debug)]
pub(super) struct StdoutTransport {
    lines: Batches<Vec<u8>>,
    hops: Arc<HopKey>,
    timeout: Duration,
}

impl StdoutTransport {
    pub(super) fn new(hops: Arc<HopKey>, timeout: Duration) -> Self {
        Self { lines: Batches::default(), hops, timeout }
    }

    async fn carry(&self, lines: Vec<Vec<u8>>) -> Vec<SendOutcome> {
        let count = lines.len();
        vec![self.write(lines).await; count]
    }

    async fn write(&self, lines: Vec<Vec<u8>>) -> SendOutcome {
        // A reader that does not read blocks the thread.
        let writing = tokio::task::spawn_blocking(move || write(&lines));
        match timeout(self.timeout, writing).await {
            Ok(Ok(Ok(()))) => SendOutcome::Accepted { receipt: None },
            Ok(Ok(Err(error))) => unavailable(&error.to_string()),
            Ok(Err(_)) => unavailable("the thread that writes it ended"),
            Err(_) => {
                let limit = format_duration(self.timeout);
                unavailable(&format!("its reader took nothing within {limit}"))
            }
        }
    }
}

fn write(lines: &[Vec<u8>]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| out.write_all(line))?;
    out.flush()
}

fn unavailable(what: &str) -> SendOutcome {
    let reason =
        format!("the standard output cannot be written: {what}; start a program that reads it");
    SendOutcome::Unavailable { reason: reason.into() }
}

#[async_trait]
impl Transport for StdoutTransport {
    fn kind(&self) -> DestinationKind {
        DestinationKind::Stdout
    }

    async fn send(&self, out: &Outgoing, at: Timestamp) -> SendOutcome {
        let line = facts::line(out, &self.hops, at);
        self.lines.send(line, |batch, _| batch.len() < LINES_MAX, |lines| self.carry(lines)).await
    }

    async fn check(&self, _: Timestamp) -> Result<(), Box<str>> {
        Ok(())
    }
}
