//! A connection's bytes on their way to hyper: how long it may take to send what is expected of it now, and what
//! of a request's head hyper does not tell.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long each phase of a connection may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// From the first byte of a head to its last, or to the first head at all.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionPhase {
    /// It was opened, and nothing has come yet.
    Silent,
    /// The head of a request is on its way.
    Head,
    /// A request is being served. How long its body may take is the reader's business.
    Serving,
    /// Nothing is done until more of a body comes, on a connection that has not proven itself.
    Body,
    /// Nothing is asked.
    Idle,
}

/// The pace of one connection, shared by its bytes, its service and its driver.
#[derive(Debug)]
pub(super) struct ConnectionState {
    timeouts: Timeouts,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: ConnectionPhase,
    since: Instant,
    deadline: Option<Instant>,
    /// Requests that are being served: over HTTP/1 one at a time.
    serving: usize,
    /// Those of them whose body is being waited for.
    unfinished: usize,
    /// When the first of those began to wait.
    unfinished_since: Instant,
    head: HeadScanner,
    drain_bytes: Option<usize>,
    eviction_requested: bool,
    driver: Option<Waker>,
}

impl State {
    fn enter(&mut self, phase: ConnectionPhase, now: Instant, timeouts: Option<Duration>) {
        self.phase = phase;
        self.since = now;
        self.deadline = timeouts.map(|timeouts| now + timeouts);
    }

    /// The phase, and since when. More bytes of a body do not count: a slow sender gains no time by them.
    fn waits(&self) -> (ConnectionPhase, Instant) {
        match self.phase {
            ConnectionPhase::Serving if self.unfinished > 0 && self.unfinished >= self.serving => {
                (ConnectionPhase::Body, self.unfinished_since)
            }
            phase => (phase, self.since),
        }
    }
}

impl ConnectionState {
    /// Of a connection that was just opened: a head is due.
    pub(super) fn new(timeouts: Timeouts, now: Instant) -> Self {
        let state = State {
            phase: ConnectionPhase::Silent,
            since: now,
            deadline: Some(now + timeouts.head),
            serving: 0,
            unfinished: 0,
            unfinished_since: now,
            head: HeadScanner::default(),
            drain_bytes: None,
            eviction_requested: false,
            driver: None,
        };
        Self { timeouts, state: Mutex::new(state) }
    }

    /// The head is here. Says whether it is known to announce its length in no more than one way.
    pub(super) fn serving(&self) -> bool {
        let mut state = self.state.lock();
        let since = state.since;
        state.enter(ConnectionPhase::Serving, since, None);
        state.serving += 1;
        // It has found something to do, so another has to make place.
        state.eviction_requested = false;
        let head = std::mem::take(&mut state.head);
        head.ended && !head.content_length
    }

    /// The answer is on its way. `drain_bytes` says that it goes out before the body was read, and how many bytes of it are
    /// still taken.
    pub(super) fn answered(&self, drain_bytes: Option<usize>, now: Instant) {
        let mut state = self.state.lock();
        state.drain_bytes = drain_bytes;
        state.serving = state.serving.saturating_sub(1);
        if state.serving == 0 {
            state.enter(ConnectionPhase::Idle, now, Some(self.timeouts.idle));
        }
    }

    /// The body of a request is waited for from now on.
    pub(super) fn body_begins(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.unfinished == 0 {
            state.unfinished_since = now;
        }
        state.unfinished += 1;
    }

    /// It is waited for no longer.
    pub(super) fn body_ends(&self) {
        let mut state = self.state.lock();
        state.unfinished = state.unfinished.saturating_sub(1);
    }

    /// The first bytes of a TLS handshake came: the rest is due like the rest of a head.
    pub(super) fn handshake_begins(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.phase == ConnectionPhase::Silent {
            state.phase = ConnectionPhase::Head;
            state.since = now;
        }
    }

    /// The handshake is complete, and the first head is due by the deadline that there was.
    pub(super) fn handshake_ends(&self, now: Instant) {
        let mut state = self.state.lock();
        state.phase = ConnectionPhase::Silent;
        state.since = now;
    }

    /// A request over HTTP/2, of which there may be others on the connection, until it is answered or given up.
    pub(super) fn stream(self: &Arc<Self>) -> StreamGuard {
        self.serving();
        StreamGuard(Arc::clone(self))
    }

    /// The phase and when it must end.
    pub(super) fn phase_and_deadline(&self) -> (ConnectionPhase, Option<Instant>) {
        let state = self.state.lock();
        (state.phase, state.deadline)
    }

    /// How long the other side has been waited for, and for what; none for a connection that is asked to end.
    pub(super) fn waiting(&self, now: Instant) -> Option<(ConnectionPhase, Duration)> {
        let state = self.state.lock();
        let (phase, since) = state.waits();
        (!state.eviction_requested).then(|| (phase, now.saturating_duration_since(since)))
    }

    /// Asks the connection to make place for another.
    pub(super) fn request_eviction(&self) {
        let driver = {
            let mut state = self.state.lock();
            state.eviction_requested = true;
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Whether it was asked to.
    #[cfg(test)]
    pub(super) fn is_eviction_requested(&self) -> bool {
        self.state.lock().eviction_requested
    }

    /// What it was waiting for, if it was asked to end. The driver, who asks this, is woken when that changes.
    pub(super) fn poll_eviction(&self, cx: &Context<'_>) -> Option<ConnectionPhase> {
        let mut state = self.state.lock();
        if !state.eviction_requested
            && !state.driver.as_ref().is_some_and(|known| known.will_wake(cx.waker()))
        {
            state.driver = Some(cx.waker().clone());
        }
        state.eviction_requested.then(|| state.waits().0)
    }

    /// How many bytes that may be on their way, although the last answer is out, are still taken.
    pub(super) fn bytes_to_drain(&self) -> Option<usize> {
        self.state.lock().drain_bytes
    }

    /// Bytes came in.
    pub(super) fn arrived(&self, bytes: &[u8], now: Instant) {
        let mut state = self.state.lock();
        match state.phase {
            ConnectionPhase::Serving | ConnectionPhase::Body => return,
            ConnectionPhase::Idle => {
                state.enter(ConnectionPhase::Head, now, Some(self.timeouts.head))
            }
            ConnectionPhase::Silent => {
                // The first head is due from the start: a byte in between buys no more time.
                state.phase = ConnectionPhase::Head;
                state.since = now;
            }
            ConnectionPhase::Head => {}
        }
        state.head.feed(bytes);
    }
}

/// One of several requests.
#[derive(Debug)]
pub(super) struct StreamGuard(Arc<ConnectionState>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // What is left of a stream's body is nobody else's on the connection.
        self.0.answered(None, Instant::now());
    }
}

const CONTENT_LENGTH: &[u8] = b"content-length:";

/// Looks through the lines of a head for `Content-Length`: of a request with both lengths, hyper shows only
/// `Transfer-Encoding`. A head that came together with the end of the request before is not looked through.
#[derive(Debug, Default)]
struct HeadScanner {
    start: [u8; CONTENT_LENGTH.len()],
    length: usize,
    any: bool,
    content_length: bool,
    ended: bool,
}

impl HeadScanner {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !self.ended && !bytes.is_empty() {
            let (line, rest, whole) = match memchr::memchr(b'\n', bytes) {
                Some(end) => (&bytes[..end], &bytes[end + 1..], true),
                None => (bytes, &[][..], false),
            };
            self.begin(line);
            if whole {
                self.end();
            }
            bytes = rest;
        }
    }

    /// Keeps so much of the line's start as it takes to know it.
    fn begin(&mut self, part: &[u8]) {
        let room = self.start.len() - self.length;
        let part = &part[..part.len().min(room)];
        self.start[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }

    fn end(&mut self) {
        match &self.start[..self.length] {
            // Empty lines before the request line are allowed.
            b"" | b"\r" => self.ended = self.any,
            line => {
                self.any = true;
                self.content_length |= line.eq_ignore_ascii_case(CONTENT_LENGTH);
            }
        }
        self.length = 0;
    }
}

/// A stream whose pace is kept.
#[derive(Debug)]
pub(super) struct TimedIo<S> {
    stream: S,
    state: Arc<ConnectionState>,
}

impl<S> TimedIo<S> {
    /// Keeps the pace of `stream`.
    pub(super) fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self { stream, state }
    }

    /// The stream alone.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedIo<S> {
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
            this.state.arrived(new, Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedIo<S> {
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

/// A connection during its TLS handshake, which begins with the first bytes that come.
#[derive(Debug)]
pub(super) struct HandshakeIo<S> {
    stream: S,
    state: Option<Arc<ConnectionState>>,
}

impl<S> HandshakeIo<S> {
    /// Nothing has come yet.
    pub(super) fn new(stream: S, state: Arc<ConnectionState>) -> Self {
        Self { stream, state: Some(state) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HandshakeIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before
            && let Some(state) = this.state.take()
        {
            state.handshake_begins(Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HandshakeIo<S> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    fn seen(head: &str, cuts: &[usize]) -> (bool, bool) {
        let mut lines = HeadScanner::default();
        let mut rest = head.as_bytes();
        for cut in cuts {
            let (part, after) = rest.split_at(*cut.min(&rest.len()));
            lines.feed(part);
            rest = after;
        }
        lines.feed(rest);
        (lines.content_length, lines.ended)
    }

    #[test]
    fn a_content_length_is_seen_whatever_its_case_and_only_as_a_header_of_this_head() {
        assert_eq!(
            seen("POST / HTTP/1.1\r\nHost: h\r\ncOntent-Length: 3\r\n\r\n", &[]),
            (true, true)
        );
        assert_eq!(seen("\r\nPOST / HTTP/1.1\nContent-Length: 3\n\n", &[]), (true, true));
        assert_eq!(
            seen("POST / HTTP/1.1\r\nHost: h\r\n\r\nContent-Length: 3\r\n", &[]),
            (false, true)
        );
        assert_eq!(seen("POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n", &[]), (false, true));
        assert_eq!(seen("POST / HTTP/1.1\r\nHost: h\r\n", &[]), (false, false));
    }

    proptest! {
        #[test]
        fn how_a_head_is_cut_into_packets_makes_no_difference(cuts in prop::collection::vec(0usize..20, 0..12)) {
            let head = "POST /webhook/a HTTP/1.1\r\nHost: h\r\nCONTENT-LENGTH:10\r\nX: y\r\n\r\nbody\n\n";
            prop_assert_eq!(seen(head, &cuts), (true, true));
        }
    }

    #[test]
    fn each_phase_has_its_own_deadline() {
        let start = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, start);
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Silent, Some(start + TIMEOUTS.head)),
            "the first head is due"
        );
        state.arrived(b"POST / HTTP/1.1\r\n\r\n", start);
        assert!(state.serving(), "it announced no length");
        state.arrived(b"body", start);
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
        state.answered(None, start);
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Idle, Some(start + TIMEOUTS.idle))
        );
        let later = start + Duration::from_secs(60);
        state.arrived(b"P", later);
        state.arrived(b"O", later + Duration::from_secs(5));
        let due = later + TIMEOUTS.head;
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Head, Some(due)),
            "more bytes buy no more time"
        );
    }

    #[test]
    fn a_connection_is_idle_when_the_last_of_its_requests_is_answered_or_given_up() {
        let state = Arc::new(ConnectionState::new(TIMEOUTS, Instant::now()));
        let (one, other) = (state.stream(), state.stream());
        drop(one);
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
        drop(other);
        assert_eq!(state.phase_and_deadline().0, ConnectionPhase::Idle);
        let _third = state.stream();
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
    }

    #[test]
    fn a_connection_waits_for_a_body_if_it_does_nothing_else() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let state = Arc::new(ConnectionState::new(TIMEOUTS, start));
        let (one, other) = (state.stream(), state.stream());
        state.body_begins(at(100));
        assert_eq!(
            state.waiting(at(500)).unwrap().0,
            ConnectionPhase::Serving,
            "one is being stored"
        );
        state.body_begins(at(300));
        let body = |waited| Some((ConnectionPhase::Body, Duration::from_millis(waited)));
        assert_eq!(state.waiting(at(500)), body(400));
        state.arrived(b"a drop", at(600));
        assert_eq!(state.waiting(at(700)), body(600), "a drop gains no time");
        state.body_ends();
        drop(one);
        assert_eq!(state.waiting(at(700)), body(600));
        state.body_ends();
        assert_eq!(state.waiting(at(700)).unwrap().0, ConnectionPhase::Serving);
        drop(other);
        assert_eq!(state.phase_and_deadline().0, ConnectionPhase::Idle);
    }

    #[test]
    fn who_is_asked_to_make_place_and_has_something_to_do_stays() {
        let now = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, now);
        state.request_eviction();
        state.arrived(b"POST / HTTP/1.1\r\n\r\n", now);
        assert!(state.is_eviction_requested(), "a head that may never end is nothing to do");
        state.serving();
        assert!(!state.is_eviction_requested());
    }

    #[test]
    fn a_head_that_was_not_looked_through_is_not_vouched_for() {
        let now = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, now);
        state.arrived(b"POST / HTTP/1.1\r\n\r\n", now);
        assert!(state.serving());
        let second =
            b"POST /second HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        state.arrived(second, now);
        state.answered(None, now);
        assert!(!state.serving());
    }
}
