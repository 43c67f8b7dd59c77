//! TLS before HTTP: the handshake, held to the pace of its connection, and HTTP/2 for who asks for it in there.

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

use super::Ingress;
use super::answer::Answer;
use super::budget::BudgetSpent;
use super::client::Client;
use super::connection::{ConnectionEnd, Graceful, drive, over_http1};
use super::head;
use super::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
use super::refused::Refused;
use super::timed_io::{ConnectionPhase, ConnectionState, HandshakeIo};
use crate::config::Server;
use crate::tls::ServerTls;

/// What failed handshakes are charged to: no source can have this name.
const HANDSHAKES: &str = ":tls";

/// How hyper is to serve HTTP/2.
pub(super) fn http2(server: &Server) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    let head = u32::try_from(server.max_header_bytes).unwrap_or(u32::MAX);
    http.max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
        .max_header_list_size(head);
    http
}

/// Shakes hands, and serves what the two sides have agreed on.
pub(super) async fn serve(
    ingress: Arc<Ingress>,
    tls: &ServerTls,
    state: &Arc<ConnectionState>,
    stream: TcpStream,
    client: Client,
) {
    let Some(stream) = handshake(&ingress, tls, state, stream, &client).await else { return };
    let (_, session) = stream.get_ref();
    let client = client.with_certificate(session.peer_certificates().is_some());
    if session.alpn_protocol() == Some(b"h2") {
        over_http2(ingress, Arc::clone(state), stream, client).await;
    } else {
        over_http1(&ingress, state, stream, &client).await;
    }
}

async fn handshake(
    ingress: &Ingress,
    tls: &ServerTls,
    state: &Arc<ConnectionState>,
    stream: TcpStream,
    client: &Client,
) -> Option<TlsStream<HandshakeIo<TcpStream>>> {
    // It costs more than anything else that a stranger can ask for.
    if ingress.check_penalty(client.connection_caller(), Some(HANDSHAKES), Instant::now()).is_err()
    {
        ingress.metrics.refused("too_many_refusals");
        return None;
    }
    let stream = HandshakeIo::new(stream, Arc::clone(state));
    let mut shaking = TlsAcceptor::from(tls.current()).accept(stream);
    let failed = match drive(ingress, state, &mut shaking).await {
        ConnectionEnd::Closed(Ok(stream)) => {
            state.handshake_ends(tokio::time::Instant::now());
            return Some(stream);
        }
        ConnectionEnd::Closed(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            "tls_failed"
        }
        ConnectionEnd::TimedOut(_) => "tls_timeout",
        ConnectionEnd::Evicted(phase) => {
            ingress.metrics.refused("crowded_out");
            if phase == ConnectionPhase::Head {
                ingress.charge(client.connection_caller(), Some(HANDSHAKES));
            }
            return None;
        }
        ConnectionEnd::Abandoned => return None,
    };
    ingress.metrics.refused(failed);
    ingress.charge(client.connection_caller(), Some(HANDSHAKES));
    None
}

impl Graceful for Accept<HandshakeIo<TcpStream>> {
    fn finish(self: Pin<&mut Self>) {}
}

async fn over_http2(
    ingress: Arc<Ingress>,
    state: Arc<ConnectionState>,
    stream: TlsStream<HandshakeIo<TcpStream>>,
    client: Client,
) {
    let client = Arc::new(client);
    let service = service_fn(|request| {
        let serving = state.stream();
        let (ingress, client, state) =
            (Arc::clone(&ingress), Arc::clone(&client), Arc::clone(&state));
        async move {
            // Over HTTP/1 there is one head a connection; here there may be many, so they count like bodies.
            let mut share = ingress.budget.share();
            let answer = match share.grow(head::bytes(request.headers())) {
                Ok(()) => ingress.receive(request, &client, true, &state).await.0,
                Err(BudgetSpent) => {
                    ingress.refuse(client.connection_caller(), None, &Refused::Overloaded)
                }
            };
            drop((share, serving));
            Ok::<Answer, Infallible>(answer)
        }
    });
    let mut connection = ingress.http2.serve_connection(TokioIo::new(stream), service);
    match drive(&ingress, &state, &mut connection).await {
        ConnectionEnd::Closed(Err(error)) => tracing::trace!(%error, "connection ended early"),
        ConnectionEnd::TimedOut(ConnectionPhase::Head | ConnectionPhase::Silent) => {
            ingress.metrics.refused("head_timeout")
        }
        ConnectionEnd::Evicted(_) => ingress.metrics.refused("crowded_out"),
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
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
