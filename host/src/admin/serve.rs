//! Accepts connections of the admin listener, bounds their number and time, and ends them in a
//! drain.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;
use weir_core::bounds::KIB;

use super::connection_slots::{ConnectionSlot, ConnectionSlots};
use super::extract::Peer;
use super::guard::Authorized;
use crate::runtime::shutdown::Drain;
use crate::tls::ServerTls;

/// Longest time to send the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// The answer to a client while all slots are busy.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";
/// Longest life of a connection, so that a slow reader cannot keep one.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);
/// Longest time to finish the current answer when a connection ends.
const LAST_ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * KIB;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Pause after a failed accept, usually for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener with its address.
#[derive(Debug)]
pub(super) struct BoundListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundListener {
    /// Must be called within a runtime.
    pub(super) fn on(listener: std::net::TcpListener) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { address: listener.local_addr()?, listener })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves until the drain stops claims, then finishes the current answers.
pub(super) async fn serve(
    bound: BoundListener,
    tls: Option<Arc<ServerTls>>,
    router: Router,
    drain: Drain,
) {
    let slots = Arc::<ConnectionSlots>::default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drain.claiming_stopped() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => report(ended),
            accepted = bound.listener.accept() => match accepted {
                Ok((stream, peer)) => match slots.take(peer.ip(), Instant::now()) {
                    Some(slot) => {
                        let parts = (tls.clone(), router.clone(), drain.clone(), Peer(peer.ip()));
                        connections.spawn(serve_slot(stream, parts, Arc::new(slot)));
                    }
                    None => {
                        // Best effort: it fits into the socket's buffer or is lost.
                        let _ = stream.try_write(BUSY);
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "admin listener cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(bound);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an admin request crashed");
    }
}

/// The parts that every connection needs.
type ConnectionParts = (Option<Arc<ServerTls>>, Router, Drain, Peer);

/// Serves a connection until it ends or another needs its slot.
async fn serve_slot(stream: TcpStream, parts: ConnectionParts, slot: Arc<ConnectionSlot>) {
    tokio::select! {
        () = open(stream, parts, slot.clone()) => {}
        () = slot.lost() => tracing::debug!("an idle admin connection is closed for another"),
    }
}

/// Makes the TLS handshake, if there is one, and serves the connection.
async fn open(stream: TcpStream, parts: ConnectionParts, slot: Arc<ConnectionSlot>) {
    let (tls, router, drain, peer) = parts;
    // Answers are small and sent whole; waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return connection(stream, router, (drain, peer), slot).await };
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    let result = tokio::select! {
        result = tokio::time::timeout(HEAD_TIME_MAX, handshake) => result,
        () = drain.claiming_stopped() => return,
    };
    match result {
        Ok(Ok(stream)) => connection(stream, router, (drain, peer), slot).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake with the admin listener failed"),
        Err(_) => tracing::debug!("TLS handshake with the admin listener took too long"),
    }
}

async fn connection<S>(
    stream: S,
    router: Router,
    (drain, peer): (Drain, Peer),
    slot: Arc<ConnectionSlot>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (mut router, slot) = (router.clone(), slot.clone());
        async move {
            slot.busy();
            let response = router.call(request).await.unwrap_or_else(|e| match e {});
            slot.answered(response.extensions().get::<Authorized>().is_some(), Instant::now());
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => finish(serving).await,
        () = drain.claiming_stopped() => finish(serving).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended with an error");
    }
}

async fn finish<F>(mut serving: std::pin::Pin<&mut F>) -> hyper::Result<()>
where
    F: GracefulConnection<Error = hyper::Error>,
{
    serving.as_mut().graceful_shutdown();
    tokio::time::timeout(LAST_ANSWER_TIME_MAX, serving).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;

    use super::super::connection_slots::ADMIN_CONNECTIONS_MAX;
    use super::*;
    use crate::http_client::HttpClient;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    fn listening() -> BoundListener {
        BoundListener::on(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_current_answer_is_finished_in_a_drain() {
        let (drain, listening) = (Drain::new(), listening());
        let address = listening.address();
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, wait) = (asked.clone(), go_on.clone());
        let answer = async move || {
            tell.notify_one();
            wait.notified().await;
            "finished"
        };
        let router = Router::new().route("/", get(answer));
        let serving = tokio::spawn(serve(listening, None, router, drain.clone()));

        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(REQUEST).await.unwrap();
        asked.notified().await;
        drain.stop_claiming();
        let mut nothing = Vec::new();
        idle.read_to_end(&mut nothing).await.unwrap();
        assert!(nothing.is_empty(), "a connection with no request is closed at once");
        go_on.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("finished"), "{answer}");
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_head_above_the_limit_is_refused() {
        let (drain, listening) = (Drain::new(), listening());
        let address = listening.address();
        let router = Router::new().route("/", get(async || "served"));
        let serving = tokio::spawn(serve(listening, None, router, drain.clone()));

        let mut large = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX));
        let _ = large.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = large.read_to_end(&mut answer).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");

        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        next.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("served"), "{answer}");
        drain.stop_claiming();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn idle_clients_do_not_lock_an_operator_out() {
        let (drain, listening) = (Drain::new(), listening());
        let address = listening.address();
        let router = Router::new().route("/", get(async || "served"));
        let serving = tokio::spawn(serve(listening, None, router, drain.clone()));
        let mut held = Vec::new();
        for begun in ["", "GET / HTTP/1.1\r\nx: "].repeat(ADMIN_CONNECTIONS_MAX) {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            held.push(stream);
        }
        let ask = async {
            let mut operator = TcpStream::connect(address).await.unwrap();
            operator.write_all(REQUEST).await.unwrap();
            let mut answer = [0; 12];
            operator.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        };
        tokio::time::timeout(HEAD_TIME_MAX / 2, ask).await.unwrap();
        drop(held);
        drain.stop_claiming();
        serving.await.unwrap();
    }

    /// The files of a new certificate.
    fn certificate(folder: &std::path::Path, name: &str) -> crate::tls::TlsFiles {
        let made = rcgen::generate_simple_self_signed(["admin.example".to_owned()]).unwrap();
        let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        crate::tls::TlsFiles { cert, key, client_ca: None }
    }

    #[tokio::test]
    async fn over_tls_the_cli_trusts_only_the_configured_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let (files, other) = (certificate(folder.path(), "a"), certificate(folder.path(), "b"));
        let (drain, listening) = (Drain::new(), listening());
        let address = listening.address();
        let tls = Arc::new(ServerTls::load(&files, crate::tls::HTTP_1).unwrap());
        let router = Router::new().route("/", get(async || "served"));
        let serving = tokio::spawn(serve(listening, Some(tls), router, drain.clone()));
        let ask = async |http: HttpClient| {
            let request = http::Request::get(format!("https://{address}/"));
            http.send(request.body(Default::default()).unwrap()).await
        };
        let answer = ask(HttpClient::trusting(Some(&files.cert)).unwrap()).await.unwrap();
        assert_eq!(&answer.body[..], b"served");
        assert!(ask(HttpClient::trusting(Some(&other.cert)).unwrap()).await.is_err());
        assert!(ask(HttpClient::trusting(None).unwrap()).await.is_err());
        let mut plain = TcpStream::connect(address).await.unwrap();
        plain.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        drain.stop_claiming();
        serving.await.unwrap();
    }
}
