//! TLS: the handshake, within the deadlines of its connection, then HTTP/2 for clients that ask for
//! it and HTTP/1 for others.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::serve::{ConnectionEnd, Graceful, drive, serve_http1};
use super::{ConnectionRefusal, ConnectionServer};
use crate::config::ServerSettings;
use crate::ingress::answer::Answer;
use crate::ingress::answer::refused::Refused;
use crate::ingress::connection::client::Client;
use crate::ingress::connection::head_scanner::Framing;
use crate::ingress::connection::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
use crate::ingress::connection::state::{ConnectionPhase, ConnectionState};
use crate::ingress::connection::timed_io::{HandshakeStart, ObservedIo};
use crate::ingress::request::budget::BudgetSpent;
use crate::ingress::request::head;
use crate::tls::ServerTls;

/// The name that failed handshakes are charged to. No source can have it.
const HANDSHAKES: &str = ":tls";

/// The stream of a TLS connection: its handshake is observed, later reads are not.
type HandshakeIo = ObservedIo<TcpStream, HandshakeStart>;

/// The settings of hyper for HTTP/2.
pub(super) fn http2(server: &ServerSettings) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    let head = u32::try_from(server.max_header_bytes).unwrap_or(u32::MAX);
    http.max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
        .max_header_list_size(head);
    http
}

/// Completes the TLS handshake, and serves the protocol that was agreed on.
pub(super) async fn serve(
    server: Arc<ConnectionServer>,
    tls: &ServerTls,
    state: &Arc<ConnectionState>,
    stream: TcpStream,
    client: Client,
) {
    let Some(stream) = handshake(&server, tls, state, stream, &client).await else { return };
    let (_, session) = stream.get_ref();
    let client = client.with_certificate(session.peer_certificates().is_some());
    if session.alpn_protocol() == Some(b"h2") {
        serve_http2(server, state.clone(), stream, client).await;
    } else {
        serve_http1(&server, state, stream, &client).await;
    }
}

async fn handshake(
    server: &ConnectionServer,
    tls: &ServerTls,
    state: &Arc<ConnectionState>,
    stream: TcpStream,
    client: &Client,
) -> Option<TlsStream<HandshakeIo>> {
    let (penalties, caller) = (&server.pipeline.penalties, client.connection_caller());
    // A handshake costs more than anything else that an unverified client can ask for.
    if penalties.check(caller, Some(HANDSHAKES), Instant::now()).is_err() {
        server.count(ConnectionRefusal::TooManyRefusals);
        return None;
    }
    let stream = ObservedIo::new(stream, HandshakeStart::new(state.clone()));
    let mut accepting = TlsAcceptor::from(tls.current()).accept(stream);
    let refusal = match drive(server, state, &mut accepting).await {
        ConnectionEnd::Closed(Ok(stream)) => {
            state.handshake_ended(tokio::time::Instant::now());
            return Some(stream);
        }
        ConnectionEnd::Closed(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            ConnectionRefusal::TlsFailed
        }
        ConnectionEnd::TimedOut(_) => ConnectionRefusal::TlsTimeout,
        ConnectionEnd::Evicted(phase) => {
            server.count(ConnectionRefusal::Evicted);
            if phase == ConnectionPhase::Head {
                penalties.charge(caller, Some(HANDSHAKES));
            }
            return None;
        }
        ConnectionEnd::Abandoned => return None,
    };
    server.count(refusal);
    penalties.charge(caller, Some(HANDSHAKES));
    None
}

impl Graceful for Accept<HandshakeIo> {
    fn start_shutdown(self: Pin<&mut Self>) {}
}

async fn serve_http2(
    server: Arc<ConnectionServer>,
    state: Arc<ConnectionState>,
    stream: TlsStream<HandshakeIo>,
    client: Client,
) {
    let client = Arc::new(client);
    let service = service_fn(|request| {
        let serving = state.start_stream();
        let (server, client, state) = (server.clone(), client.clone(), state.clone());
        async move {
            let pipeline = &server.pipeline;
            // A connection of HTTP/1 has one head at a time, one of HTTP/2 many, so heads count
            // like bodies.
            let mut share = pipeline.budget.share();
            let answer = match share.grow(head::memory_bytes(request.headers())) {
                Ok(()) => {
                    pipeline.receive(request, &client, Framing::Unambiguous, &state).await.answer
                }
                Err(BudgetSpent) => {
                    pipeline.refuse(client.connection_caller(), None, &Refused::Overloaded)
                }
            };
            drop((share, serving));
            Ok::<Answer, Infallible>(answer)
        }
    });
    let mut connection = server.http2.serve_connection(TokioIo::new(stream), service);
    match drive(&server, &state, &mut connection).await {
        ConnectionEnd::Closed(Err(error)) => tracing::trace!(%error, "connection ended early"),
        ConnectionEnd::TimedOut(ConnectionPhase::Head | ConnectionPhase::Silent) => {
            server.count(ConnectionRefusal::HeadTimeout);
        }
        ConnectionEnd::Evicted(_) => server.count(ConnectionRefusal::Evicted),
        ConnectionEnd::Closed(Ok(())) | ConnectionEnd::TimedOut(_) | ConnectionEnd::Abandoned => {}
    }
}

impl<I, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    S: HttpService<Incoming, ResBody = Full<Bytes>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    TokioExecutor: Http2ServerConnExec<S::Future, Full<Bytes>>,
{
    fn start_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
