//! TLS, HTTP/2 and proxies, against real servers.

use hyper_util::rt::TokioExecutor;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;

use super::*;
use crate::guard::ForwardProxy;
use crate::tls::ClientIdentity;

/// An authority with an endpoint, and with the certificate of a client.
struct Secure {
    url: String,
    trust: TrustedRoots,
    client: ClientIdentity,
    /// The versions of the requests, and the numbers of their connections.
    seen: Arc<Mutex<Vec<(http::Version, usize)>>>,
    _folder: tempfile::TempDir,
}

impl Secure {
    /// Starts a TLS endpoint that speaks these protocols, and perhaps demands a certificate of its
    /// authority from clients.
    async fn start(protocols: &[&[u8]], asks_client: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let issue = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let authority = folder.path().join("ca.pem");
        std::fs::write(&authority, issuer.pem()).unwrap();
        let (certificate, key) = issue("client");
        let key = Secret::new(key.serialize_pem());
        let client = ClientIdentity::from_pem(certificate.pem().as_bytes(), key).unwrap();
        let (certificate, key) = issue("localhost");
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(crypto.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_client {
            let mut roots = RootCertStore::empty();
            roots.add(issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        tokio::spawn(serve(listener, config, seen.clone()));
        let trust = TrustedRoots { ca: Some(authority), ..TrustedRoots::default() };
        Self { url, trust, client, seen, _folder: folder }
    }

    fn webhook(&self) -> Webhook {
        Webhook { trust: self.trust.clone(), ..webhook(&self.url) }
    }
}

async fn serve(
    listener: TcpListener,
    config: rustls::ServerConfig,
    seen: Arc<Mutex<Vec<(http::Version, usize)>>>,
) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    for connection in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (acceptor, seen) = (acceptor.clone(), seen.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let seen = seen.clone();
                async move {
                    seen.lock().push((request.version(), connection));
                    let _ = request.into_body().collect().await;
                    let answer = Response::builder().status(204).body(Full::<Bytes>::default());
                    Ok::<_, Infallible>(answer.unwrap())
                }
            });
            let serving = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = serving.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[tokio::test]
async fn an_endpoint_with_a_private_authority_needs_its_certificate() {
    let secure = Secure::start(&[b"http/1.1"], false).await;
    let SendOutcome::Unreachable { reason } = send(&webhook(&secure.url)).await else {
        panic!("reached")
    };
    assert!(reason.contains("ca = \"FILE.pem\""), "{reason}");
    let by_variable =
        TrustedRoots { ssl_cert_file: secure.trust.ca.clone(), ..TrustedRoots::default() };
    for trust in [secure.trust.clone(), by_variable] {
        let answer = send(&Webhook { trust, ..webhook(&secure.url) }).await;
        assert_eq!(response(answer).status, 204);
    }
}

#[tokio::test]
async fn messages_share_one_connection_of_http_2_where_it_is_spoken() {
    for (protocols, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], http::Version::HTTP_2),
        (&[b"http/1.1"], http::Version::HTTP_11),
    ] {
        let secure = Secure::start(protocols, false).await;
        let transport = WebhookTransport::new(&secure.webhook(), 4, hop_key()).unwrap();
        let out = outgoing();
        // The first one makes the connection that the others find.
        assert_eq!(response(transport.send(&out, NOW).await).status, 204);
        let sends = (0..20).map(|_| transport.send(&out, NOW));
        let outcomes = futures_util::future::join_all(sends).await;
        assert!(outcomes.into_iter().all(|outcome| response(outcome).status == 204));
        let seen = secure.seen.lock().clone();
        assert!(seen.iter().all(|(spoken, _)| *spoken == version), "{seen:?}");
        let connections = seen.iter().map(|(_, number)| number + 1).max();
        assert_eq!(connections == Some(1), version == http::Version::HTTP_2, "{seen:?}");
        assert_eq!(seen.len(), 21);
    }
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_certificate_gets_it() {
    let secure = Secure::start(&[b"h2", b"http/1.1"], true).await;
    let refused = send(&secure.webhook()).await;
    let SendOutcome::Unreachable { reason } = refused else { panic!("{refused:?}") };
    assert!(reason.contains("client_cert"), "{reason}");
    let identity = Some(secure.client.clone());
    let answer = send(&Webhook { identity, ..secure.webhook() }).await;
    assert_eq!(response(answer).status, 204);
    let other = Secure::start(&[], true).await;
    let identity = Some(other.client.clone());
    let stranger = send(&Webhook { identity, ..secure.webhook() }).await;
    assert!(matches!(stranger, SendOutcome::Unreachable { .. }), "{stranger:?}");
}

/// A proxy that opens tunnels for those who know its password.
async fn proxy(answer: Option<&'static str>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let record = record.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap() == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                record.lock().push(head.clone());
                if let Some(answer) = answer {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    return;
                }
                let place = head.split(' ').nth(1).unwrap();
                // The name is looked up here, as a proxy does.
                let place = place.replace("ops.example.com", "localhost");
                let mut endpoint = TcpStream::connect(place).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut endpoint).await;
            });
        }
    });
    (port, heads)
}

fn through(port: u16) -> Option<ForwardProxy> {
    let login = (HeaderValue::from_static("Basic d2VpcjpwYTU1"), Secret::new("pa55"));
    Some(ForwardProxy {
        host: "127.0.0.1".into(),
        port,
        authorization: Some(login),
        allow: AllowedNetworks { private: true, ..AllowedNetworks::default() },
    })
}

#[tokio::test]
async fn a_proxy_opens_a_tunnel_that_it_cannot_look_into() {
    let secure = Secure::start(&[b"h2"], false).await;
    let (port, heads) = proxy(None).await;
    let answer = send(&Webhook { proxy: through(port), ..secure.webhook() }).await;
    assert_eq!(response(answer).status, 204);
    let place = secure.url.trim_start_matches("https://").trim_end_matches('/');
    let expected = format!(
        "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\
         Proxy-Authorization: Basic d2VpcjpwYTU1\r\n\r\n"
    );
    assert_eq!(*heads.lock(), [expected]);
}

#[tokio::test]
async fn the_proxy_looks_names_up_and_the_guard_checks_addresses() {
    let recorder = Recorder::answering(204, &[], "").await;
    let (port, heads) = proxy(None).await;
    let at = recorder.url.replace("127.0.0.1", "ops.example.com");
    let allow = AllowedNetworks::default();
    let answer = send(&Webhook { proxy: through(port), allow, ..webhook(&at) }).await;
    assert_eq!(response(answer).status, 204, "a name that only the proxy knows");
    let direct = Webhook { proxy: through(port), allow, ..webhook(&recorder.url) };
    let answer = send(&direct).await;
    assert!(matches!(answer, SendOutcome::Blocked { .. }), "{answer:?}");
    assert_eq!(heads.lock().len(), 1, "the proxy was not asked");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_the_reason() {
    for (answer, words) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 1\r\n\r\nx",
            "proxy.username",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "does not open tunnels"),
        ("HTTP/1.1 200 OK\r\n\r\nearly", "as a proxy does"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "as a proxy does"),
        ("", "broke"),
    ] {
        let (port, _) = proxy(Some(answer)).await;
        let outcome =
            send(&Webhook { proxy: through(port), ..webhook("http://ops.example.com/") }).await;
        let SendOutcome::Unreachable { reason } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains(words) && reason.contains("the proxy 127.0.0.1"), "{reason}");
        assert!(!reason.contains("pa55") && !reason.contains("d2Vpc"), "{reason}");
    }
}
