//! The stdout and stderr of a guest: into the log, or for a command's stdout into a bounded buffer.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::log::{LogLevel, LogRecorder};
use crate::stop::Stop;

/// Bytes of one write; WASI needs a limit.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The target of a stream. Clones share it.
#[derive(Debug, Clone)]
pub(crate) enum GuestOutput {
    /// The log, as lines of this level.
    Log(LogLevel, Arc<Mutex<LogRecorder>>),
    /// A buffer with a limit in bytes; more ends the run.
    Buffer(Arc<Mutex<Vec<u8>>>, usize),
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    /// Only WASI 0.3 uses this form, and it is not linked.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self {
            Self::Log(level, log) => log.lock().printed(*level, &bytes),
            Self::Buffer(buffer, max) => {
                let mut buffer = buffer.lock();
                if buffer.len() + bytes.len() > *max {
                    let stop = Stop::TooMuch(format!("printed more than {max} bytes on stdout"));
                    return Err(StreamError::Trap(stop.into()));
                }
                buffer.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}
