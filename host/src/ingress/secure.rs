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
use super::budget::Spent;
use super::client::Client;
use super::connection::{End, Graceful, drive, over_http1};
use super::head;
use super::limits::{STREAM_WINDOW_BYTES, STREAMS_MAX};
use super::refused::Refused;
use super::wire::{Greeted, Pace, Phase};
use crate::config::Server;
use crate::tls::Tls;

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
    tls: &Tls,
    pace: &Arc<Pace>,
    stream: TcpStream,
    client: Client,
) {
    let Some(stream) = handshake(&ingress, tls, pace, stream, &client).await else { return };
    let (_, session) = stream.get_ref();
    let client = client.after_handshake(session.peer_certificates().is_some());
    if session.alpn_protocol() == Some(b"h2") {
        over_http2(ingress, Arc::clone(pace), stream, client).await;
    } else {
        over_http1(&ingress, pace, stream, &client).await;
    }
}

async fn handshake(
    ingress: &Ingress,
    tls: &Tls,
    pace: &Arc<Pace>,
    stream: TcpStream,
    client: &Client,
) -> Option<TlsStream<Greeted<TcpStream>>> {
    // It costs more than anything else that a stranger can ask for.
    if ingress.in_debt(client.itself(), Some(HANDSHAKES), Instant::now()).is_err() {
        ingress.metrics.refused("too_many_refusals");
        return None;
    }
    let stream = Greeted::new(stream, Arc::clone(pace));
    let mut shaking = TlsAcceptor::from(tls.current()).accept(stream);
    let failed = match drive(ingress, pace, &mut shaking).await {
        End::Closed(Ok(stream)) => {
            pace.handshake_ends(tokio::time::Instant::now());
            return Some(stream);
        }
        End::Closed(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            "tls_failed"
        }
        End::Late(_) => "tls_timeout",
        End::Crowded(phase) => {
            ingress.metrics.refused("crowded_out");
            if phase == Phase::Head {
                ingress.charge(client.itself(), Some(HANDSHAKES));
            }
            return None;
        }
        End::Abandoned => return None,
    };
    ingress.metrics.refused(failed);
    ingress.charge(client.itself(), Some(HANDSHAKES));
    None
}

impl Graceful for Accept<Greeted<TcpStream>> {
    fn finish(self: Pin<&mut Self>) {}
}

async fn over_http2(
    ingress: Arc<Ingress>,
    pace: Arc<Pace>,
    stream: TlsStream<Greeted<TcpStream>>,
    client: Client,
) {
    let client = Arc::new(client);
    let service = service_fn(|request| {
        let serving = pace.stream();
        let (ingress, client, pace) =
            (Arc::clone(&ingress), Arc::clone(&client), Arc::clone(&pace));
        async move {
            // Over HTTP/1 there is one head a connection; here there may be many, so they count like bodies.
            let mut share = ingress.budget.share();
            let answer = match share.grow(head::bytes(request.headers())) {
                Ok(()) => ingress.receive(request, &client, true, &pace).await.0,
                Err(Spent) => ingress.refuse(client.itself(), None, &Refused::Overloaded),
            };
            drop((share, serving));
            Ok::<Answer, Infallible>(answer)
        }
    });
    let mut connection = ingress.http2.serve_connection(TokioIo::new(stream), service);
    match drive(&ingress, &pace, &mut connection).await {
        End::Closed(Err(error)) => tracing::trace!(%error, "connection ended early"),
        End::Late(Phase::Head | Phase::Silent) => ingress.metrics.refused("head_timeout"),
        End::Crowded(_) => ingress.metrics.refused("crowded_out"),
        End::Closed(Ok(())) | End::Late(_) | End::Abandoned => {}
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
