//! Serves one connection from its first byte to its last: HTTP/1 by hyper, within the deadlines of
//! its phases, and until it is asked to end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{ConnectionPermits, ConnectionRefusal, ConnectionServer, tls};
use crate::config::ServerSettings;
use crate::ingress::answer::Response;
use crate::ingress::connection::client::Client;
use crate::ingress::connection::limits::{
    DRAIN_TIME_MAX, HEAD_BUFFER_BYTES_MIN, LAST_REQUEST_WAIT, TIMER_RECHECK,
};
use crate::ingress::connection::state::{ConnectionPhase, ConnectionState};
use crate::ingress::connection::timed_io::TimedIo;

/// To a client whose request head takes too long.
const TIMEOUT_ANSWER: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// To a client whose body is waited for, when another connection needs its slot.
const EVICTED_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// To a client that has as many connections as one address may have.
pub(super) const TOO_MANY_CONNECTIONS_ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The settings of hyper for HTTP/1.
pub(super) fn http1(server: &ServerSettings) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Deadlines are kept here, by one lazy timer for all phases of a connection. Without
    // `pipeline_flush`: it loses an answer that is not sent yet when invalid bytes follow its
    // request. With `half_close`: a sender that sends nothing more may still wait for its answer.
    http.half_close(true)
        .header_read_timeout(None)
        .max_header_size(server.max_header_bytes)
        .max_buf_size(server.max_header_bytes.max(HEAD_BUFFER_BYTES_MIN));
    // Setting hyper's own default again would move its header table from the stack to the heap.
    if server.max_headers != 100 {
        http.max_headers(server.max_headers);
    }
    http
}

/// The end of a connection, or of its TLS handshake.
pub(super) enum ConnectionEnd<T> {
    Closed(T),
    /// The client let the deadline of a phase pass.
    TimedOut(ConnectionPhase),
    /// Another connection needs the slot.
    Evicted(ConnectionPhase),
    /// Draining no longer waits.
    Abandoned,
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    server: Arc<ConnectionServer>,
    stream: TcpStream,
    client: Client,
    mut permits: ConnectionPermits,
) {
    let _open = server.metrics.connections().inc();
    let state = Arc::new(ConnectionState::new(server.timeouts, Instant::now()));
    permits.guard.register(&state);
    match server.tls.clone() {
        None => serve_http1(&server, &state, stream, &client).await,
        // Boxed, as most connections should not be as large as these.
        Some(tls) => Box::pin(tls::serve(server, &tls, &state, stream, client)).await,
    }
    drop(permits);
}

/// Serves HTTP/1 on a TCP or TLS stream.
pub(super) async fn serve_http1<S>(
    server: &ConnectionServer,
    state: &Arc<ConnectionState>,
    stream: S,
    client: &Client,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let framing = state.head_received();
        async move {
            let Response { mut answer, drain_bytes } =
                server.pipeline.receive(request, client, framing, state).await;
            if drain_bytes.is_some() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            state.answered(drain_bytes, Instant::now());
            Ok::<_, Infallible>(answer)
        }
    });
    let io = TokioIo::new(TimedIo::new(stream, state.clone()));
    let mut connection = server.http1.serve_connection(io, service);
    let end = drive(server, state, &mut connection).await;
    let mut stream = connection.into_parts().io.into_inner().into_inner();
    finish(server, client, state, &mut stream, end).await;
    drain(server, state, stream).await;
}

/// Counts the end of a connection, and answers a client whose request was not complete.
async fn finish<S: AsyncWrite + Unpin>(
    server: &ConnectionServer,
    client: &Client,
    state: &ConnectionState,
    stream: &mut S,
    end: ConnectionEnd<hyper::Result<()>>,
) {
    match end {
        ConnectionEnd::Closed(Ok(())) => {}
        ConnectionEnd::Closed(Err(error)) => count_error(server, client, state, &error),
        ConnectionEnd::TimedOut(phase @ (ConnectionPhase::Head | ConnectionPhase::Silent)) => {
            server.count(ConnectionRefusal::HeadTimeout);
            if phase == ConnectionPhase::Head {
                server.charge(client);
            }
            // A client that is too slow may also be gone, so the write has a limit.
            let _ = timeout(DRAIN_TIME_MAX, stream.write_all(TIMEOUT_ANSWER)).await;
        }
        ConnectionEnd::Evicted(phase) => {
            server.count(ConnectionRefusal::Evicted);
            let _ = match phase {
                ConnectionPhase::Head => {
                    server.charge(client);
                    stream.write_all(TIMEOUT_ANSWER).now_or_never()
                }
                ConnectionPhase::Body => stream.write_all(EVICTED_ANSWER).now_or_never(),
                ConnectionPhase::Silent | ConnectionPhase::Idle | ConnectionPhase::Serving => None,
            };
        }
        ConnectionEnd::TimedOut(_) | ConnectionEnd::Abandoned => {}
    }
}

/// Reads and drops the rest of an unread body, so that its sender can read the answer.
async fn drain<S: AsyncRead + Unpin>(
    server: &ConnectionServer,
    state: &ConnectionState,
    stream: S,
) {
    let Some(bytes) = state.bytes_to_drain() else { return };
    let mut rest = stream.take(bytes as u64);
    let mut sink = tokio::io::sink();
    let draining = timeout(DRAIN_TIME_MAX, tokio::io::copy(&mut rest, &mut sink));
    tokio::select! {
        _ = draining => {}
        // The slot is worth more than the answer.
        () = evicted(state) => {}
        () = server.drain.waiting_stopped() => {}
    }
}

/// Resolves when the connection is asked to end.
async fn evicted(state: &ConnectionState) {
    let poll = |cx: &mut Context<'_>| match state.poll_eviction(cx) {
        Some(_) => Poll::Ready(()),
        None => Poll::Pending,
    };
    poll_fn(poll).await;
}

/// The end of a connection when the hub stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    NotAsked,
    /// No request is under way. One that its sender has sent already is still waited for, until
    /// this time.
    AskedUntil(Instant),
    /// The connection ends after its current requests.
    Begun,
}

/// Polls a connection, or its TLS handshake, until it ends, its deadline passes or it must end.
pub(super) async fn drive<C>(
    server: &ConnectionServer,
    state: &ConnectionState,
    connection: &mut C,
) -> ConnectionEnd<C::Output>
where
    C: Graceful + Unpin,
{
    let drain = &server.drain;
    let mut stopping = pin!(drain.accepting_stopped());
    let mut abandoning = pin!(drain.waiting_stopped());
    let mut stop = Stop::NotAsked;
    let mut timer = DeadlineTimer::new(Instant::now() + server.timeouts.head);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(ConnectionEnd::Closed(result));
            }
            if stop == Stop::NotAsked && stopping.as_mut().poll(cx).is_ready() {
                stop = Stop::AskedUntil(Instant::now() + LAST_REQUEST_WAIT);
            }
            match stop {
                Stop::AskedUntil(last) if last <= Instant::now() || !state.has_no_request() => {
                    stop = Stop::Begun;
                    Pin::new(&mut *connection).start_shutdown();
                }
                Stop::NotAsked | Stop::AskedUntil(_) | Stop::Begun => break,
            }
        }
        if stop != Stop::NotAsked && abandoning.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ConnectionEnd::Abandoned);
        }
        if let Some(phase) = state.poll_eviction(cx) {
            return Poll::Ready(ConnectionEnd::Evicted(phase));
        }
        let (phase, deadline) = state.phase_and_deadline();
        if let Stop::AskedUntil(last) = stop
            && deadline.is_none_or(|deadline| last < deadline)
        {
            if timer.poll_passed(cx, Some(last)) {
                // Polled again at once, which begins the shutdown.
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if timer.poll_passed(cx, deadline) {
            Poll::Ready(ConnectionEnd::TimedOut(phase))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// One timer for all deadlines of a connection. It is reset only if the deadline comes nearer; a
/// later deadline is noticed when the timer fires.
struct DeadlineTimer {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl DeadlineTimer {
    fn new(at: Instant) -> Self {
        Self { at, sleep: Box::pin(sleep_until(at)) }
    }

    fn reset(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at);
    }

    /// True once `deadline` has passed. Otherwise the task is woken when it has.
    fn poll_passed(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        if let Some(deadline) = deadline.filter(|deadline| *deadline < self.at) {
            self.reset(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return true,
                Some(deadline) => self.reset(deadline),
                None => self.reset(Instant::now() + TIMER_RECHECK),
            }
        }
        false
    }
}

/// A connection that can be asked to end after its current requests.
pub(super) trait Graceful: Future {
    fn start_shutdown(self: Pin<&mut Self>);
}

impl<I, B, S> Graceful for http1::Connection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn start_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Counts and charges a head that hyper could not read, and has answered by itself.
fn count_error(
    server: &ConnectionServer,
    client: &Client,
    state: &ConnectionState,
    error: &hyper::Error,
) {
    let refusal = if error.is_parse_too_large() {
        ConnectionRefusal::HeadTooLarge
    } else if error.is_parse() {
        ConnectionRefusal::Malformed
    } else if state.phase_and_deadline().0 == ConnectionPhase::Head {
        ConnectionRefusal::HeadIncomplete
    } else {
        return tracing::trace!(%error, "connection ended early");
    };
    server.count(refusal);
    server.charge(client);
}
