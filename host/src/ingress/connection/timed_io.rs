//! Streams that tell a connection's state of the bytes that come in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::state::ConnectionState;

/// Is told of bytes that were read from a stream.
pub(crate) trait ReadObserver: Unpin {
    /// `bytes` were read; there is at least one.
    fn on_read(&mut self, bytes: &[u8]);
}

/// A stream whose reads are observed. Writes pass unchanged.
#[derive(Debug)]
pub(crate) struct ObservedIo<S, O> {
    stream: S,
    observer: O,
}

/// A stream of HTTP/1: every read moves the state of its connection.
pub(crate) type TimedIo<S> = ObservedIo<S, Arc<ConnectionState>>;

impl<S, O> ObservedIo<S, O> {
    pub(crate) fn new(stream: S, observer: O) -> Self {
        Self { stream, observer }
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl ReadObserver for Arc<ConnectionState> {
    fn on_read(&mut self, bytes: &[u8]) {
        self.bytes_received(bytes, Instant::now());
    }
}

/// Observes a TLS handshake, which begins with the first bytes that come.
#[derive(Debug)]
pub(crate) struct HandshakeStart(Option<Arc<ConnectionState>>);

impl HandshakeStart {
    pub(crate) fn new(state: Arc<ConnectionState>) -> Self {
        Self(Some(state))
    }
}

impl ReadObserver for HandshakeStart {
    fn on_read(&mut self, _bytes: &[u8]) {
        if let Some(state) = self.0.take() {
            state.handshake_started(Instant::now());
        }
    }
}

impl<S: AsyncRead + Unpin, O: ReadObserver> AsyncRead for ObservedIo<S, O> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            this.observer.on_read(new);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin, O: Unpin> AsyncWrite for ObservedIo<S, O> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
