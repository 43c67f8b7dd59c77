//! One connection from its first byte to its last: served by hyper, held to its pace, and told when to end.

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
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::Ingress;
use super::client::Client;
use super::connection_table::ConnectionGuard;
use super::limits::{DRAIN_TIME_MAX, HEAD_BUFFER_BYTES_MIN, TIMER_RECHECK};
use super::secure;
use super::timed_io::{ConnectionPhase, ConnectionState, TimedIo};
use crate::config::Server;

const TIMEOUT_ANSWER: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// To a sender whose body is waited for while another needs its place.
const EVICTED_ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// To whom has as many connections as one address may.
pub(super) const TOO_MANY_CONNECTIONS_ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How hyper is to serve HTTP/1.
pub(super) fn http1(server: &Server) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The pace of a connection is kept here, with one lazy timer for all its phases. Not `pipeline_flush`: it loses
    // an answer that is not yet out when what follows it on the connection is no HTTP.
    // A sender that sends nothing more may still wait for its answer.
    http.half_close(true)
        .header_read_timeout(None)
        .max_header_size(server.max_header_bytes)
        .max_buf_size(server.max_header_bytes.max(HEAD_BUFFER_BYTES_MIN));
    // Naming hyper's own limit again would move its header table from the stack to the heap.
    if server.max_headers != 100 {
        http.max_headers(server.max_headers);
    }
    http
}

/// What a connection holds while it is open: one of the places there are, and its line in the roll.
pub(super) struct Place {
    pub(super) guard: ConnectionGuard,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// How a connection, or its handshake, ended.
pub(super) enum ConnectionEnd<T> {
    Closed(T),
    /// The other side let a phase run out.
    TimedOut(ConnectionPhase),
    /// Another needs its place. Says what it was waiting for.
    Evicted(ConnectionPhase),
    /// The process no longer waits.
    Abandoned,
}

/// Serves one connection until it ends.
pub(super) async fn serve(
    ingress: Arc<Ingress>,
    stream: TcpStream,
    client: Client,
    mut place: Place,
) {
    let _open = ingress.metrics.connections().inc();
    let state = Arc::new(ConnectionState::new(ingress.timeouts, Instant::now()));
    place.guard.register(&state);
    match ingress.tls.clone() {
        None => over_http1(&ingress, &state, stream, &client).await,
        // Apart: most connections should not be as large as these.
        Some(tls) => Box::pin(secure::serve(ingress, &tls, &state, stream, client)).await,
    }
    drop(place);
}

/// Serves HTTP/1 on what comes off the listener, or out of TLS.
pub(super) async fn over_http1<S>(
    ingress: &Ingress,
    state: &Arc<ConnectionState>,
    stream: S,
    client: &Client,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let one_length = state.serving();
        async move {
            let (mut answer, unread) = ingress.receive(request, client, one_length, state).await;
            if unread.is_some() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            state.answered(unread, Instant::now());
            Ok::<_, Infallible>(answer)
        }
    });
    let timed_io = TokioIo::new(TimedIo::new(stream, Arc::clone(state)));
    let mut connection = ingress.http1.serve_connection(timed_io, service);
    let end = drive(ingress, state, &mut connection).await;
    let mut stream = connection.into_parts().io.into_inner().into_inner();
    match end {
        ConnectionEnd::Closed(Ok(())) => {}
        ConnectionEnd::Closed(Err(error)) => note(ingress, client, state, &error),
        ConnectionEnd::TimedOut(phase @ (ConnectionPhase::Head | ConnectionPhase::Silent)) => {
            ingress.metrics.refused("head_timeout");
            if phase == ConnectionPhase::Head {
                ingress.charge(client.connection_caller(), None);
            }
            // Whoever is too slow to ask may also be gone: this is a courtesy.
            let _ = timeout(DRAIN_TIME_MAX, stream.write_all(TIMEOUT_ANSWER)).await;
        }
        ConnectionEnd::Evicted(phase) => {
            ingress.metrics.refused("crowded_out");
            let _ = match phase {
                // What it asks is not known, so neither is what to answer.
                ConnectionPhase::Head => {
                    ingress.charge(client.connection_caller(), None);
                    stream.write_all(TIMEOUT_ANSWER).now_or_never()
                }
                ConnectionPhase::Body => stream.write_all(EVICTED_ANSWER).now_or_never(),
                ConnectionPhase::Silent | ConnectionPhase::Idle | ConnectionPhase::Serving => None,
            };
        }
        ConnectionEnd::TimedOut(_) | ConnectionEnd::Abandoned => {}
    }
    if let Some(bytes) = state.bytes_to_drain() {
        let mut rest = stream.take(bytes as u64);
        let mut nowhere = tokio::io::sink();
        let lingering = timeout(DRAIN_TIME_MAX, tokio::io::copy(&mut rest, &mut nowhere));
        tokio::select! {
            _ = lingering => {}
            // Its place is worth more than that its answer is read.
            () = crowded(state) => {}
            () = ingress.drain.waiting_stopped() => {}
        }
    }
}

/// Resolves when another needs the place of a connection.
async fn crowded(state: &ConnectionState) {
    poll_fn(|cx| if state.poll_eviction(cx).is_some() { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

/// Attends to a connection, or its handshake: it ends by itself, or when its pace or the process says so.
pub(super) async fn drive<C>(
    ingress: &Ingress,
    state: &ConnectionState,
    connection: &mut C,
) -> ConnectionEnd<C::Output>
where
    C: Graceful + Unpin,
{
    let drain = &ingress.drain;
    let mut stopping = pin!(drain.accepting_stopped());
    let mut abandoning = pin!(drain.waiting_stopped());
    let mut is_stopping = false;
    let mut alarm = DeadlineTimer::new(Instant::now() + ingress.timeouts.head);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(result) = Pin::new(&mut *connection).poll(cx) {
                return Poll::Ready(ConnectionEnd::Closed(result));
            }
            if is_stopping || stopping.as_mut().poll(cx).is_pending() {
                break;
            }
            is_stopping = true;
            Pin::new(&mut *connection).finish();
        }
        if is_stopping && abandoning.as_mut().poll(cx).is_ready() {
            return Poll::Ready(ConnectionEnd::Abandoned);
        }
        if let Some(phase) = state.poll_eviction(cx) {
            return Poll::Ready(ConnectionEnd::Evicted(phase));
        }
        let (phase, deadline) = state.phase_and_deadline();
        if alarm.poll_late(cx, deadline) {
            Poll::Ready(ConnectionEnd::TimedOut(phase))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// One timer for the deadlines of a connection. It is moved only where a deadline comes nearer; one that has gone
/// further away is noticed when it rings.
struct DeadlineTimer {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl DeadlineTimer {
    fn new(at: Instant) -> Self {
        Self { at, sleep: Box::pin(sleep_until(at)) }
    }

    fn set(&mut self, at: Instant) {
        self.at = at;
        self.sleep.as_mut().reset(at);
    }

    /// True once `deadline` has passed; asks to be polled again when it has.
    fn poll_late(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        if let Some(deadline) = deadline.filter(|deadline| *deadline < self.at) {
            self.set(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return true,
                Some(deadline) => self.set(deadline),
                None => self.set(Instant::now() + TIMER_RECHECK),
            }
        }
        false
    }
}

/// A connection that can be asked to end after what it is doing.
pub(super) trait Graceful: Future {
    /// Asks it to.
    fn finish(self: Pin<&mut Self>);
}

impl<I, B, S> Graceful for http1::Connection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// hyper answers by itself what it cannot read; that is counted here.
fn note(ingress: &Ingress, client: &Client, state: &ConnectionState, error: &hyper::Error) {
    if error.is_parse_too_large() {
        ingress.metrics.refused("head_too_large");
        ingress.charge(client.connection_caller(), None);
    } else if error.is_parse() {
        ingress.metrics.refused("malformed");
        ingress.charge(client.connection_caller(), None);
    } else if state.phase_and_deadline().0 == ConnectionPhase::Head {
        ingress.metrics.refused("head_incomplete");
        ingress.charge(client.connection_caller(), None);
    } else {
        tracing::trace!(%error, "connection ended early");
    }
}
