//! HTTPS over real sockets: HTTP/1 and HTTP/2, replaced certificates, and client certificates.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::hub::{IngressHub, Reply, closed, junk, reply, until};

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign_for(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        Identity { certificate, key }
    }
}

impl Identity {
    /// Writes the certificate and key to the files that the hub reads.
    fn write(&self, folder: &Path) {
        let certificate = pem("CERTIFICATE", &self.certificate);
        std::fs::write(folder.join("key.pem.new"), self.key.serialize_pem()).unwrap();
        std::fs::write(folder.join("cert.pem.new"), certificate).unwrap();
        std::fs::rename(folder.join("key.pem.new"), folder.join("key.pem")).unwrap();
        std::fs::rename(folder.join("cert.pem.new"), folder.join("cert.pem")).unwrap();
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

/// A hub with a certificate of the authority, which also signs client certificates.
async fn secure(authority: &Authority, server: &str, tls: &str) -> IngressHub {
    let folder = tempfile::tempdir().unwrap();
    authority.sign_for("hub").write(folder.path());
    std::fs::write(folder.path().join("clients.pem"), authority.0.pem()).unwrap();
    hub_in(folder, server, tls).await
}

async fn hub_in(folder: TempDir, server: &str, tls: &str) -> IngressHub {
    let tls = format!("{server}\n[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n{tls}");
    IngressHub::with_folder(folder, &tls).await
}

fn client(authority: &Authority, identity: Option<Identity>, protocols: &[&str]) -> TlsConnector {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { certificate, key }) => {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    // A resumed session would hide which certificate is served.
    config.resumption = rustls::client::Resumption::disabled();
    TlsConnector::from(Arc::new(config))
}

async fn connect(hub: &IngressHub, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    client.connect(ServerName::try_from("hub").unwrap(), hub.connect().await).await
}

async fn ask(hub: &IngressHub, client: &TlsConnector, request: &str) -> std::io::Result<Reply> {
    let mut stream = connect(hub, client).await?;
    stream.write_all(request.as_bytes()).await?;
    // A client without a required certificate learns it after its side of the handshake.
    let mut first = [0; 1];
    stream.read_exact(&mut first).await?;
    Ok(reply(&mut first.chain(stream)).await)
}

/// A connection of HTTP/2.
async fn http2(hub: &IngressHub, client: &TlsConnector) -> SendRequest<Full<Bytes>> {
    let stream = connect(hub, client).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    sender
}

/// The same request for HTTP/2.
fn as_http2(text: &str) -> Request<Full<Bytes>> {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let path = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut request = Request::post(format!("https://hub{path}"));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name != "Host" {
            request = request.header(name, value);
        }
    }
    request.body(Full::from(body.to_owned())).unwrap()
}

async fn send(sender: &mut SendRequest<Full<Bytes>>, text: &str) -> (u16, serde_json::Value) {
    let response = sender.send_request(as_http2(text)).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn webhooks_are_accepted_over_http_1_and_http_2() {
    let authority = Authority::new();
    let hub = secure(&authority, "", "").await;
    for protocols in [&["http/1.1"][..], &[]] {
        let client = client(&authority, None, protocols);
        let id = format!("one-{}", protocols.len());
        let taken = ask(&hub, &client, &hub.push(&id, "{}")).await.unwrap();
        assert_eq!(taken.status, 200, "{protocols:?}");
    }
    let mut sender = http2(&hub, &client(&authority, None, &["h2", "http/1.1"])).await;
    // Several requests at a time on one connection.
    let sent = (0..50).map(|n| {
        let (mut sender, push) = (sender.clone(), hub.push(&format!("two-{n}"), "{\"n\":1}"));
        async move { send(&mut sender, &push).await }
    });
    for (status, answer) in futures_util::future::join_all(sent).await {
        assert_eq!((status, &answer["status"]), (200, &"accepted".into()));
    }
    let (status, problem) = send(&mut sender, &junk("github")).await;
    assert_eq!((status, &problem["code"]), (401, &"signature_mismatch".into()));
    let (status, problem) = send(&mut sender, &crate::hub::request("/webhook/x", &[], "")).await;
    assert_eq!((status, &problem["code"]), (404, &"unknown_source".into()));
    let (status, _) = send(&mut sender, &hub.push("two-0", "{\"n\":1}")).await;
    assert_eq!(status, 200, "the connection stays open");
    assert_eq!(hub.metrics.connections().get(), 1, "the other connections are closed");
}

#[tokio::test]
async fn http_2_has_the_same_bounds_as_http_1() {
    let authority = Authority::new();
    let server = "max_headers = 20\nbody_limit = \"1KiB\"\nbody_budget = \"4KiB\"";
    let hub = secure(&authority, server, "").await;
    let mut sender = http2(&hub, &client(&authority, None, &["h2"])).await;
    let long = hub.signed("stripe", &[], &"x".repeat(2_000), 0);
    let (status, problem) = send(&mut sender, &long).await;
    assert_eq!((status, &problem["code"]), (413, &"body_too_large".into()));
    let many: Vec<_> = (0..30).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let (status, problem) =
        send(&mut sender, &crate::hub::request("/webhook/github", &many, "")).await;
    assert_eq!((status, &problem["code"]), (431, &"head_too_large".into()));
    let large = "y".repeat(6_000);
    let large = crate::hub::request("/webhook/stripe", &[("x-large", &large)], "{}");
    let (status, problem) = send(&mut sender, &large).await;
    assert_eq!((status, &problem["code"]), (503, &"overloaded".into()), "heads count like bodies");
    let small = hub.signed("stripe", &[], r#"{"id":"evt_1","type":"a"}"#, 0);
    assert_eq!(send(&mut sender, &small).await.0, 200);
    assert_eq!(hub.metrics.body_bytes().get(), 0);
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed() {
    let authority = Authority::new();
    let hub = secure(&authority, "idle_timeout = \"50ms\"", "").await;
    let mut sender = http2(&hub, &client(&authority, None, &["h2"])).await;
    assert_eq!(send(&mut sender, &hub.push("d-1", "{}")).await.0, 200);
    until(|| sender.is_closed()).await;
    assert_eq!(hub.metrics.connections().get(), 0);
}

#[tokio::test]
async fn a_replaced_certificate_is_served_to_the_next_connection() {
    let authority = Authority::new();
    let hub = secure(&authority, "", "").await;
    let client = client(&authority, None, &["h2", "http/1.1"]);
    let mut before = http2(&hub, &client).await;
    let served = async || {
        let stream = connect(&hub, &client).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = served().await;
    let second = authority.sign_for("hub");
    second.write(hub.dir.path());
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while served().await == first {
            tick.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(),
        "the new certificate was never served"
    );
    assert_eq!(served().await, second.certificate);
    assert_eq!(
        send(&mut before, &hub.push("d-1", "{}")).await.0,
        200,
        "open connections are not affected"
    );
}

#[tokio::test]
async fn a_client_without_a_required_certificate_is_refused() {
    let authority = Authority::new();
    let hub = secure(&authority, "", "client_ca = \"clients.pem\"").await;
    let push = hub.push("d-1", "{}");
    assert!(ask(&hub, &client(&authority, None, &[]), &push).await.is_err());
    let stranger = Authority::new().sign_for("partner");
    assert!(ask(&hub, &client(&authority, Some(stranger), &[]), &push).await.is_err());
    let partner = client(&authority, Some(authority.sign_for("partner")), &[]);
    assert_eq!(ask(&hub, &partner, &push).await.unwrap().status, 200);
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn a_replaced_client_authority_counts_from_the_next_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    let hub = secure(&authority, "", "client_ca = \"clients.pem\"").await;
    // The hub's own certificate stays.
    let client = |of: &Authority| client(&authority, Some(of.sign_for("partner")), &[]);
    let (before, after) = (client(&authority), client(&other));
    assert_eq!(ask(&hub, &before, &hub.push("d-1", "{}")).await.unwrap().status, 200);
    assert!(ask(&hub, &after, &hub.push("d-2", "{}")).await.is_err());
    std::fs::write(hub.dir.path().join("clients.pem"), "garbage").unwrap();
    std::fs::write(hub.dir.path().join("new.pem"), other.0.pem()).unwrap();
    std::fs::rename(hub.dir.path().join("new.pem"), hub.dir.path().join("clients.pem")).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while ask(&hub, &after, &hub.push("d-2", "{}")).await.is_err() {
            tick.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(),
        "the new authority never counted"
    );
    assert!(ask(&hub, &before, &hub.push("d-3", "{}")).await.is_err());
}

#[tokio::test]
async fn a_source_can_require_an_optional_client_certificate() {
    let authority = Authority::new();
    let tls = "client_ca = \"clients.pem\"\nclient_cert = \"optional\"\n\
               [sources.partner]\nprovider = \"custom\"\nsecrets = [{ file = \"secret\" }]\n\
               require_client_cert = true";
    let hub = secure(&authority, "", tls).await;
    let signed = hub.signed("partner", &[("x-webhook-event", "a")], "{}", 0);
    let anonymous = client(&authority, None, &[]);
    let refused = ask(&hub, &anonymous, &signed).await.unwrap();
    assert_eq!(refused.problem(), (403, "client_cert_missing".into()));
    assert_eq!(ask(&hub, &anonymous, &hub.push("d-1", "{}")).await.unwrap().status, 200);
    let partner = client(&authority, Some(authority.sign_for("partner")), &["h2"]);
    let mut sender = http2(&hub, &partner).await;
    assert_eq!(send(&mut sender, &signed).await.0, 200);
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_closed_or_evicted() {
    let authority = Authority::new();
    let hub = secure(&authority, "max_connections = 5\nheader_timeout = \"2s\"", "").await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(hub.connect().await);
    }
    until(|| hub.metrics.connections().get() == 5).await;
    let client = client(&authority, None, &[]);
    let served = ask(&hub, &client, &hub.push("d-1", "{}")).await.unwrap();
    assert_eq!(served.status, 200, "a slot was freed");
    for mut stream in silent {
        assert_eq!(closed(&mut stream).await, 0);
    }
    until(|| refused(&hub, "tls_timeout") > 0).await;
}

#[tokio::test]
async fn failed_handshakes_are_charged_to_their_address() {
    const FLOODER: [u8; 4] = [127, 0, 0, 9];
    let per_address =
        "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1\nloopback = true";
    let authority = Authority::new();
    let hub = secure(&authority, "", per_address).await;
    for _ in 0..15 {
        let mut stream = hub.connect_from(FLOODER).await;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        closed(&mut stream).await;
    }
    assert_eq!(refused(&hub, "tls_failed"), 10, "no further handshake was tried");
    let client = client(&authority, None, &[]);
    let hub_name = ServerName::try_from("hub").unwrap();
    assert!(client.connect(hub_name, hub.connect_from(FLOODER).await).await.is_err());
    assert_eq!(ask(&hub, &client, &hub.push("d-1", "{}")).await.unwrap().status, 200);
}

/// A hub with ten slots and a low limit for refusals.
const TEN_PLACES: &str = "max_connections = 10\n[server.per_address]\nrefusals = 3\n\
     refusals_per_second = 1\nloopback = true";

#[tokio::test]
async fn half_a_handshake_loses_its_slot_and_is_charged() {
    const STRANGER: [u8; 4] = [127, 0, 0, 9];
    let authority = Authority::new();
    let hub = secure(&authority, TEN_PLACES, "").await;
    let mut half = Vec::new();
    for _ in 0..10 {
        let mut stream = hub.connect_from(STRANGER).await;
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await.unwrap();
        half.push(stream);
    }
    until(|| hub.metrics.connections().get() == 10).await;
    let client = client(&authority, None, &[]);
    let mut kept = Vec::new();
    for n in 0..6 {
        let stream = hub.connect_from([127, 0, 7, n]).await;
        let name = ServerName::try_from("hub").unwrap();
        let shaking = tokio::time::timeout(Duration::from_secs(4), client.connect(name, stream));
        kept.push(shaking.await.unwrap().unwrap());
    }
    assert_eq!(refused(&hub, "crowded_out"), 6);
    drop((half, kept));
    until(|| hub.metrics.connections().get() == 0).await;
    let name = ServerName::try_from("hub").unwrap();
    assert!(client.connect(name, hub.connect_from(STRANGER).await).await.is_err(), "charged");
}

#[tokio::test]
async fn half_sent_http_2_streams_lose_their_connections_slots() {
    let authority = Authority::new();
    let hub = secure(&authority, "max_connections = 1", "").await;
    let client = client(&authority, None, &["h2"]);
    let stream = connect(&hub, &client).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let endless = || {
        let begun = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"x"))]);
        let body = futures_util::StreamExt::chain(begun, futures_util::stream::pending());
        let frames = futures_util::StreamExt::map(body, |data| data.map(hyper::body::Frame::data));
        Request::post("https://hub/webhook/github").body(http_body_util::StreamBody::new(frames))
    };
    let half: Vec<_> = (0..5).map(|_| sender.send_request(endless().unwrap())).collect();
    let waiting = tokio::spawn(futures_util::future::join_all(half));
    until(|| hub.metrics.body_bytes().get() >= 5).await;
    let serving = async {
        let mut other = http2(&hub, &client).await;
        send(&mut other, &hub.push("d-1", "{}")).await.0
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(4), serving).await.unwrap(), 200);
    assert!(waiting.await.unwrap().iter().all(Result::is_err));
}

fn refused(hub: &IngressHub, code: &str) -> u64 {
    let start = format!("weir_unattributed_requests_total{{code=\"{code}\"}} ");
    let text = hub.metrics.encode();
    let count = text.lines().find_map(|line| line.strip_prefix(&start));
    count.map_or(0, |count| count.parse().unwrap())
}
