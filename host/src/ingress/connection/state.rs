//! The state of one connection: its phase, the deadline of that phase, and whether it was asked to
//! end so that another connection gets its slot.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::head_scanner::{Framing, HeadScanner};

/// The longest durations of the phases of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// From the first byte of a head to its last, and from the start to the first head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
}

/// The phases of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// Opened; no byte has come yet.
    Silent,
    /// The head of a request is arriving.
    Head,
    /// A request is served. The reader of the body limits how long the body may take.
    Serving,
    /// All requests wait for more of their bodies, and no request was verified here yet.
    Body,
    /// Between requests.
    Idle,
}

/// The state of one connection, shared by its stream, its service and its driver.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    timeouts: Timeouts,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: ConnectionPhase,
    since: Instant,
    deadline: Option<Instant>,
    /// Requests that are served; at most one over HTTP/1.
    serving: usize,
    /// Those of them that wait for their body.
    waiting_for_body: usize,
    /// The time at which the first of those began to wait.
    body_wait_since: Instant,
    head: HeadScanner,
    drain_bytes: Option<usize>,
    eviction_requested: bool,
    driver: Option<Waker>,
}

impl State {
    fn enter(&mut self, phase: ConnectionPhase, now: Instant, timeout: Option<Duration>) {
        self.phase = phase;
        self.since = now;
        self.deadline = timeout.map(|timeout| now + timeout);
    }

    /// The phase, and the time at which it began. More bytes of a body do not restart it, so a slow
    /// sender gains no time by them.
    fn phase_since(&self) -> (ConnectionPhase, Instant) {
        match self.phase {
            ConnectionPhase::Serving
                if self.waiting_for_body > 0 && self.waiting_for_body >= self.serving =>
            {
                (ConnectionPhase::Body, self.body_wait_since)
            }
            phase => (phase, self.since),
        }
    }
}

impl ConnectionState {
    /// The state of a connection that was just opened.
    pub(crate) fn new(timeouts: Timeouts, now: Instant) -> Self {
        let state = State {
            phase: ConnectionPhase::Silent,
            since: now,
            deadline: Some(now + timeouts.head),
            serving: 0,
            waiting_for_body: 0,
            body_wait_since: now,
            head: HeadScanner::default(),
            drain_bytes: None,
            eviction_requested: false,
            driver: None,
        };
        Self { timeouts, state: Mutex::new(state) }
    }

    /// The head of a request is complete.
    pub(crate) fn head_received(&self) -> Framing {
        let mut state = self.state.lock();
        let since = state.since;
        state.enter(ConnectionPhase::Serving, since, None);
        state.serving += 1;
        // This connection is busy now, so another one has to end instead.
        state.eviction_requested = false;
        std::mem::take(&mut state.head).framing()
    }

    /// A request is answered. `drain_bytes`: the answer goes out before the body was read, and as
    /// many bytes of the body are still read and dropped.
    pub(crate) fn answered(&self, drain_bytes: Option<usize>, now: Instant) {
        let mut state = self.state.lock();
        state.drain_bytes = drain_bytes;
        state.serving = state.serving.saturating_sub(1);
        if state.serving == 0 {
            state.enter(ConnectionPhase::Idle, now, Some(self.timeouts.idle));
        }
    }

    /// A request begins to wait for its body.
    pub(crate) fn body_wait_started(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.waiting_for_body == 0 {
            state.body_wait_since = now;
        }
        state.waiting_for_body += 1;
    }

    /// A request no longer waits for its body.
    pub(crate) fn body_wait_ended(&self) {
        let mut state = self.state.lock();
        state.waiting_for_body = state.waiting_for_body.saturating_sub(1);
    }

    /// The first bytes of a TLS handshake came: the rest is due like the rest of a head.
    pub(crate) fn handshake_started(&self, now: Instant) {
        let mut state = self.state.lock();
        if state.phase == ConnectionPhase::Silent {
            state.phase = ConnectionPhase::Head;
            state.since = now;
        }
    }

    /// The TLS handshake is complete. The first head is due by the deadline of the handshake.
    pub(crate) fn handshake_ended(&self, now: Instant) {
        let mut state = self.state.lock();
        state.phase = ConnectionPhase::Silent;
        state.since = now;
    }

    /// Counts a request of HTTP/2, of which there may be several at a time, until the guard is
    /// dropped.
    pub(crate) fn start_stream(self: &Arc<Self>) -> StreamGuard {
        self.head_received();
        StreamGuard(self.clone())
    }

    /// The phase and the time at which it must end.
    pub(crate) fn phase_and_deadline(&self) -> (ConnectionPhase, Option<Instant>) {
        let state = self.state.lock();
        (state.phase, state.deadline)
    }

    /// True while no byte of a request is here that was not answered.
    pub(crate) fn has_no_request(&self) -> bool {
        matches!(self.state.lock().phase, ConnectionPhase::Silent | ConnectionPhase::Idle)
    }

    /// The phase and its age. `None` if the connection was asked to end already.
    pub(crate) fn waiting(&self, now: Instant) -> Option<(ConnectionPhase, Duration)> {
        let state = self.state.lock();
        let (phase, since) = state.phase_since();
        (!state.eviction_requested).then(|| (phase, now.saturating_duration_since(since)))
    }

    /// Asks the connection to end, so that another gets its slot.
    pub(crate) fn request_eviction(&self) {
        let driver = {
            let mut state = self.state.lock();
            state.eviction_requested = true;
            state.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_eviction_requested(&self) -> bool {
        self.state.lock().eviction_requested
    }

    /// The phase in which the connection was asked to end, if it was. Wakes the caller when it is.
    pub(crate) fn poll_eviction(&self, cx: &Context<'_>) -> Option<ConnectionPhase> {
        let mut state = self.state.lock();
        if !state.eviction_requested
            && !state.driver.as_ref().is_some_and(|known| known.will_wake(cx.waker()))
        {
            state.driver = Some(cx.waker().clone());
        }
        state.eviction_requested.then(|| state.phase_since().0)
    }

    /// The number of bytes to read and drop after the last answer.
    pub(crate) fn bytes_to_drain(&self) -> Option<usize> {
        self.state.lock().drain_bytes
    }

    /// Bytes came in.
    pub(crate) fn bytes_received(&self, bytes: &[u8], now: Instant) {
        let mut state = self.state.lock();
        match state.phase {
            ConnectionPhase::Serving | ConnectionPhase::Body => return,
            ConnectionPhase::Idle => {
                state.enter(ConnectionPhase::Head, now, Some(self.timeouts.head));
            }
            ConnectionPhase::Silent => {
                // The deadline of the first head runs from the start, whenever its first byte
                // comes.
                state.phase = ConnectionPhase::Head;
                state.since = now;
            }
            ConnectionPhase::Head => {}
        }
        state.head.feed(bytes);
    }
}

/// One of several requests on a connection of HTTP/2.
#[derive(Debug)]
pub(crate) struct StreamGuard(Arc<ConnectionState>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        // The unread rest of a stream's body does not block the connection's other streams.
        self.0.answered(None, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { head: Duration::from_secs(10), idle: Duration::from_secs(75) };

    #[test]
    fn each_phase_has_its_own_deadline() {
        let start = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, start);
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Silent, Some(start + TIMEOUTS.head)),
            "the first head is due"
        );
        state.bytes_received(b"POST / HTTP/1.1\r\n\r\n", start);
        assert_eq!(state.head_received(), Framing::Unambiguous, "it announced no length");
        state.bytes_received(b"body", start);
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
        state.answered(None, start);
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Idle, Some(start + TIMEOUTS.idle))
        );
        let later = start + Duration::from_secs(60);
        state.bytes_received(b"P", later);
        state.bytes_received(b"O", later + Duration::from_secs(5));
        let due = later + TIMEOUTS.head;
        assert_eq!(
            state.phase_and_deadline(),
            (ConnectionPhase::Head, Some(due)),
            "more bytes do not extend the deadline"
        );
    }

    #[test]
    fn a_connection_is_idle_after_its_last_stream_ends() {
        let state = Arc::new(ConnectionState::new(TIMEOUTS, Instant::now()));
        let (one, other) = (state.start_stream(), state.start_stream());
        drop(one);
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
        drop(other);
        assert_eq!(state.phase_and_deadline().0, ConnectionPhase::Idle);
        let _third = state.start_stream();
        assert_eq!(state.phase_and_deadline(), (ConnectionPhase::Serving, None));
    }

    #[test]
    fn the_phase_is_body_only_while_all_streams_wait_for_theirs() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let state = Arc::new(ConnectionState::new(TIMEOUTS, start));
        let (one, other) = (state.start_stream(), state.start_stream());
        state.body_wait_started(at(100));
        assert_eq!(
            state.waiting(at(500)).unwrap().0,
            ConnectionPhase::Serving,
            "one is being stored"
        );
        state.body_wait_started(at(300));
        let body = |waited| Some((ConnectionPhase::Body, Duration::from_millis(waited)));
        assert_eq!(state.waiting(at(500)), body(400));
        state.bytes_received(b"a drop", at(600));
        assert_eq!(state.waiting(at(700)), body(600), "more bytes do not restart the wait");
        state.body_wait_ended();
        drop(one);
        assert_eq!(state.waiting(at(700)), body(600));
        state.body_wait_ended();
        assert_eq!(state.waiting(at(700)).unwrap().0, ConnectionPhase::Serving);
        drop(other);
        assert_eq!(state.phase_and_deadline().0, ConnectionPhase::Idle);
    }

    #[test]
    fn a_complete_head_cancels_a_requested_eviction() {
        let now = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, now);
        state.request_eviction();
        state.bytes_received(b"POST / HTTP/1.1\r\n\r\n", now);
        assert!(state.is_eviction_requested(), "bytes of a head do not cancel it");
        state.head_received();
        assert!(!state.is_eviction_requested());
    }

    #[test]
    fn the_framing_of_a_head_that_was_not_scanned_is_unknown() {
        let now = Instant::now();
        let state = ConnectionState::new(TIMEOUTS, now);
        state.bytes_received(b"POST / HTTP/1.1\r\n\r\n", now);
        assert_eq!(state.head_received(), Framing::Unambiguous);
        let second =
            b"POST /second HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n";
        state.bytes_received(second, now);
        state.answered(None, now);
        assert_eq!(state.head_received(), Framing::Unknown);
    }
}
