//! Messages are sent over real connections to an endpoint that records its requests.

mod answers;
mod auth;
mod connection;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use weir_core::event::EventType;
use weir_core::hops::{HOPS_HEADER, HopKey};
use weir_core::id::{DeliveryId, EventId, MessageId};
use weir_core::name::{HandlerName, SourceName};
use weir_core::provider::Catalog;
use weir_core::request::RequestView;
use weir_core::time::Timestamp;
use weir_core::verify::{NamedSecret, Secret, Unverified};
use weir_store::ResponseRecord;

use super::WebhookTransport;
use crate::config::{Signing, Webhook};
use crate::egress::outgoing::Outgoing;
use crate::egress::transport::{SendOutcome, Transport as _};
use crate::guard::AllowedNetworks;
use crate::tls::TrustedRoots;

const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

/// A request that an endpoint received.
#[derive(Debug, Clone)]
struct RecordedRequest {
    connection: usize,
    headers: HeaderMap,
    body: Bytes,
}

/// An endpoint that records its requests and always gives the same response.
struct Recorder {
    url: String,
    received: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Recorder {
    async fn answering(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Self {
        let answer =
            headers.iter().fold(Response::builder().status(status), |b, (n, v)| b.header(*n, *v));
        let answer = answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
        let received: Arc<Mutex<Vec<RecordedRequest>>> = Arc::default();
        let record = received.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (record, answer) = (record.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (record, answer) = (record.clone(), answer.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        record.lock().push(RecordedRequest {
                            connection,
                            headers: head.headers,
                            body,
                        });
                        Ok::<_, Infallible>(answer)
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<RecordedRequest> {
        self.received.lock().clone()
    }
}

fn webhook(url: &str) -> Webhook {
    let allow = AllowedNetworks { private: true, ..AllowedNetworks::default() };
    Webhook::plain(url.parse().unwrap(), Duration::from_secs(10), allow, TrustedRoots::default())
}

fn outgoing() -> Outgoing {
    Outgoing {
        id: MessageId::from_bits(77),
        delivery: DeliveryId::from_bits(1),
        event: EventId::from_bits(2),
        source: SourceName::stored("github"),
        event_type: EventType::new("push").unwrap(),
        handler: Some(HandlerName::new("orders").unwrap()),
        content_type: "application/json".into(),
        headers: vec![("x-team".into(), Bytes::from_static(b"ops"))],
        body: Bytes::from_static(b"{\"n\":1}"),
        path: None,
        order_key: None,
        hops: 3,
        trace: None,
        trace_state: None,
    }
}

fn hop_key() -> Arc<HopKey> {
    Arc::new(HopKey::new(&[7; 32]))
}

async fn send(webhook: &Webhook) -> SendOutcome {
    WebhookTransport::new(webhook, 4, hop_key()).unwrap().send(&outgoing(), NOW).await
}

#[tokio::test]
async fn the_hop_count_cannot_be_set_by_configuration() {
    let recorder = Recorder::answering(204, &[], "").await;
    let lie = (HeaderName::from_static(HOPS_HEADER), HeaderValue::from_static("0;00"));
    send(&Webhook { headers: vec![lie], ..webhook(&recorder.url) }).await;
    let [got] = &recorder.received()[..] else { panic!("one request") };
    let values = got.headers.get_all(HOPS_HEADER).iter().map(HeaderValue::as_bytes);
    assert_eq!(hop_key().read(values, &got.body), 3);
    assert_eq!(got.headers.get_all(HOPS_HEADER).iter().count(), 1);
}

/// The response that an outcome records.
fn response(outcome: SendOutcome) -> ResponseRecord {
    match outcome {
        SendOutcome::Accepted { receipt: Some(response) }
        | SendOutcome::Rejected { response, .. } => response,
        other => panic!("no response: {other:?}"),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[tokio::test]
async fn a_standard_webhooks_receiver_accepts_a_signed_message() {
    let recorder = Recorder::answering(204, &[], "").await;
    let secrets = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    ];
    let secrets: Vec<Secret> = secrets.into_iter().map(Secret::new).collect();
    let answer = send(&Webhook { secrets: secrets.clone(), ..webhook(&recorder.url) }).await;
    assert_eq!(response(answer).status, 204);
    let [got] = &recorder.received()[..] else { panic!("one request") };
    assert_eq!(&got.body[..], b"{\"n\":1}");
    assert_eq!(text(&got.headers, "content-type"), "application/json");
    assert_eq!(text(&got.headers, "x-team"), "ops");
    assert_eq!(text(&got.headers, "user-agent"), "Weir/0.1");
    assert_eq!(text(&got.headers, "webhook-id"), MessageId::from_bits(77).to_string());

    let provider = Catalog::built_in().unwrap().get("standard-webhooks").unwrap().clone();
    let headers: Vec<(&str, &[u8])> =
        got.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    for secret in secrets {
        let verifier = provider.verifier(&[NamedSecret::new("current", secret)]).unwrap();
        let verify = |body| {
            let request =
                RequestView { method: "POST", url: &recorder.url, headers: &headers, body };
            verifier.verify(&request, NOW)
        };
        assert!(verify(&got.body).is_ok());
        assert!(matches!(verify(b"{\"n\":2}"), Err(Unverified::Refused(_))));
    }
}

#[tokio::test]
async fn keys_of_a_pair_sign_beside_shared_secrets() {
    let recorder = Recorder::answering(204, &[], "").await;
    let random = ring::rand::SystemRandom::new();
    let provider = Catalog::built_in().unwrap().get("standard-webhooks").unwrap().clone();
    let pair = provider.generate_secret(Some("v1a"), &random).unwrap();
    let (older, shared) = (
        provider.generate_secret(Some("v1a"), &random).unwrap(),
        Secret::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    );
    let secrets = vec![pair.sending.clone(), older.sending.clone(), shared.clone()];
    send(&Webhook { secrets, ..webhook(&recorder.url) }).await;
    let [got] = &recorder.received()[..] else { panic!("one request") };
    let schemes: Vec<_> = text(&got.headers, "webhook-signature")
        .split(' ')
        .map(|one| one.split_once(',').unwrap().0)
        .collect();
    assert_eq!(schemes, ["v1a", "v1a", "v1"], "one signature by each secret");
    let headers: Vec<(&str, &[u8])> =
        got.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    for secret in [pair.verifying, older.verifying, shared] {
        let verifier = provider.verifier(&[NamedSecret::new("only", secret)]).unwrap();
        let request =
            RequestView { method: "POST", url: &recorder.url, headers: &headers, body: &got.body };
        assert!(verifier.verify(&request, NOW).is_ok());
    }
}

#[tokio::test]
async fn only_the_accepted_statuses_are_a_success() {
    let accept = crate::config::AcceptedStatuses::of([200..=202, 409..=409]);
    for (status, is_accepted) in [(202, true), (409, true), (204, false), (500, false)] {
        let recorder = Recorder::answering(status, &[], "").await;
        let answer = send(&Webhook { accept: accept.clone(), ..webhook(&recorder.url) }).await;
        let accepted = matches!(answer, SendOutcome::Accepted { .. });
        assert_eq!(accepted, is_accepted, "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_signed_as_it_is_sent() {
    let recorder = Recorder::answering(204, &[], "").await;
    let secret = Secret::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let gzip = Webhook { gzip: true, secrets: vec![secret.clone()], ..webhook(&recorder.url) };
    let transport = WebhookTransport::new(&gzip, 4, hop_key()).unwrap();
    for length in [1, 1_000, 300_000] {
        let body: Bytes = "weir ".repeat(length / 5 + 1).into();
        transport.send(&Outgoing { body: body.clone(), ..outgoing() }, NOW).await;
        let got = recorder.received().pop().unwrap();
        assert_eq!(text(&got.headers, "content-encoding"), "gzip");
        let mut plain = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&got.body[..]);
        std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
        assert_eq!(plain, body);
        assert!(length == 1 || got.body.len() * 10 < body.len());
        let signed = weir_core::sign::sign_standard_webhooks(
            text(&got.headers, "webhook-id"),
            NOW,
            &got.body,
            std::slice::from_ref(&secret),
        );
        assert_eq!(text(&got.headers, "webhook-signature"), signed.unwrap());
        let values = got.headers.get_all(HOPS_HEADER).iter().map(HeaderValue::as_bytes);
        assert_eq!(hop_key().read(values, &got.body), 3);
    }
}

#[tokio::test]
async fn a_message_can_be_signed_with_a_plain_hmac_header() {
    let recorder = Recorder::answering(200, &[], "").await;
    let secrets = vec![Secret::new("current"), Secret::new("older")];
    let webhook = Webhook { secrets, signing: Signing::Sha256Header, ..webhook(&recorder.url) };
    send(&webhook).await;
    let [got] = &recorder.received()[..] else { panic!("one request") };
    let expected = weir_core::sign::sign_sha256_header(&got.body, &Secret::new("current")).unwrap();
    assert_eq!(text(&got.headers, "x-webhook-signature"), expected);
    assert!(
        got.headers.contains_key("webhook-id") && !got.headers.contains_key("webhook-signature")
    );
}

#[tokio::test]
async fn without_a_secret_a_message_is_not_signed() {
    let recorder = Recorder::answering(200, &[], "").await;
    let headers = vec![("x-team".parse().unwrap(), "platform".parse().unwrap())];
    send(&Webhook { headers, ..webhook(&recorder.url) }).await;
    let [got] = &recorder.received()[..] else { panic!("one request") };
    assert!(
        got.headers.contains_key("webhook-id") && !got.headers.contains_key("webhook-signature")
    );
    assert_eq!(text(&got.headers, "webhook-timestamp"), "1760000000");
    assert_eq!(text(&got.headers, "x-team"), "platform", "the destination's word wins");
}

#[tokio::test]
async fn the_outcome_has_status_wait_and_snippet() {
    let long = Box::leak("é".repeat(4_000).into_boxed_str());
    let recorder = Recorder::answering(503, &[("retry-after", "120")], long).await;
    let SendOutcome::Rejected { response, retry_after, .. } = send(&webhook(&recorder.url)).await
    else {
        panic!("not rejected")
    };
    let snippet = response.snippet;
    assert_eq!((response.status, retry_after), (503, Some(Duration::from_secs(120))));
    assert!(snippet.len() <= 1024 && snippet.starts_with("éé"), "{}", snippet.len());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Recorder::answering(200, &[], "").await;
    let recorder = Recorder::answering(307, &[("location", &target.url)], "").await;
    let answer = send(&webhook(&recorder.url)).await;
    assert_eq!(response(answer).status, 307);
    assert_eq!((recorder.received().len(), target.received().len()), (1, 0));
}

#[tokio::test]
async fn a_connection_is_reused() {
    let recorder = Recorder::answering(200, &[], "ok").await;
    let endpoint = WebhookTransport::new(&webhook(&recorder.url), 4, hop_key()).unwrap();
    for _ in 0..3 {
        endpoint.send(&outgoing(), NOW).await;
    }
    let connections: Vec<_> = recorder.received().iter().map(|r| r.connection).collect();
    assert_eq!(connections, [0, 0, 0]);
}

#[tokio::test]
async fn an_endless_response_is_cut_off() {
    let endless = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let recorder = Recorder::answering(200, &[], endless).await;
    let snippet = response(send(&webhook(&recorder.url)).await).snippet;
    assert_eq!(snippet.len(), 1024);
}

#[tokio::test]
async fn a_private_address_is_blocked_with_the_setting_named() {
    let recorder = Recorder::answering(200, &[], "").await;
    let port = recorder.url.parse::<http::Uri>().unwrap().port_u16().unwrap();
    for host in
        ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0177.0.0.1", "0x7f.1"]
    {
        let url = format!("http://{host}:{port}/");
        let answer = send(&Webhook { allow: AllowedNetworks::default(), ..webhook(&url) }).await;
        let SendOutcome::Blocked { reason } = answer else { panic!("{url}: {answer:?}") };
        assert!(reason.contains("allow = [\"@private\"]"), "{reason}");
    }
    assert!(recorder.received().is_empty());
}

#[tokio::test]
async fn metadata_addresses_are_not_allowed_by_private() {
    let answer = send(&webhook("http://169.254.169.254/latest/meta-data")).await;
    let SendOutcome::Blocked { reason } = answer else { panic!("{answer:?}") };
    assert!(!reason.contains("@private"), "{reason}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable_and_the_path_is_not_shown() {
    // Bound and dropped: the port is closed now.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = send(&webhook(&format!("http://{address}/secret-path?token=1"))).await;
    let SendOutcome::Unreachable { reason } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("refused") && !reason.contains("secret-path"), "{reason}");
}

#[tokio::test]
async fn a_silent_endpoint_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(50);
    let answer = send(&Webhook { timeout, ..webhook(&url) }).await;
    assert_eq!(answer, SendOutcome::TimedOut { limit: timeout });
}

/// An endpoint that reads a request, then writes `beginning`, and then `again` without end.
async fn dripping(beginning: &'static [u8], again: &'static [u8], every: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let mut written = stream.write_all(beginning).await;
                let mut pace = tokio::time::interval(every.max(Duration::from_nanos(1)));
                while written.is_ok() {
                    if !every.is_zero() {
                        pace.tick().await;
                    }
                    written = stream.write_all(again).await;
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_endless_head_times_out_or_is_refused() {
    const BEGINNING: &[u8] = b"HTTP/1.1 200 OK\r\n";
    const HEADER: &[u8] = b"x-more: and more\r\n";
    let timeout = Duration::from_millis(200);
    let url = dripping(BEGINNING, HEADER, Duration::from_millis(10)).await;
    let answer = send(&Webhook { timeout, ..webhook(&url) }).await;
    assert!(
        matches!(answer, SendOutcome::TimedOut { .. } | SendOutcome::Unreachable { .. }),
        "{answer:?}"
    );

    let url = dripping(BEGINNING, HEADER, Duration::ZERO).await;
    let answer = send(&webhook(&url)).await;
    assert!(matches!(answer, SendOutcome::Unreachable { .. }), "{answer:?}");
}

#[tokio::test]
async fn an_endless_header_is_refused() {
    let url =
        dripping(b"HTTP/1.1 200 OK\r\nx: ", b"aaaaaaaaaaaaaaaaaaaaaaaa", Duration::ZERO).await;
    let answer = send(&webhook(&url)).await;
    assert!(matches!(answer, SendOutcome::Unreachable { .. }), "{answer:?}");
}

#[tokio::test]
async fn endless_interim_responses_time_out() {
    let timeout = Duration::from_millis(300);
    let url = dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", Duration::from_millis(5)).await;
    let answer = send(&Webhook { timeout, ..webhook(&url) }).await;
    assert_eq!(answer, SendOutcome::TimedOut { limit: timeout });
}

#[tokio::test]
async fn a_slow_endless_body_does_not_change_the_outcome() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let url = dripping(HEAD, b"x", Duration::from_millis(20)).await;
    let started = std::time::Instant::now();
    let answer = send(&webhook(&url)).await;
    let ResponseRecord { status, snippet } = response(answer);
    assert!(status == 200 && snippet.starts_with('x') && snippet.len() < 1024);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[tokio::test]
async fn echoed_secrets_and_urls_are_masked() {
    let body = "Cannot POST /hook/S3gment-0123456789?token=t0ken-0123456789 \
                (Bearer 0perator-0123456789, whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw) \
                %2Fhook%2FS3gment%2D0123456789";
    let recorder = Recorder::answering(404, &[], body).await;
    let url = recorder
        .url
        .replace("/hook?token=hidden", "/hook/S3gment-0123456789?token=t0ken-0123456789");
    let mut value = HeaderValue::from_static("Bearer 0perator-0123456789");
    value.set_sensitive(true);
    let headers = vec![(http::header::AUTHORIZATION, value)];
    let secrets = vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    let answer = send(&Webhook { headers, secrets, ..webhook(&url) }).await;
    let snippet = response(answer).snippet;
    assert!(snippet.starts_with("Cannot POST /hook/****"), "{snippet}");
    for secret in ["S3gment", "t0ken", "0perator", "MfKQ9r8G", "0123456789", "%2D"] {
        assert!(!snippet.contains(secret), "{secret} in {snippet}");
    }
}

#[tokio::test]
async fn a_secret_at_the_end_of_the_snippet_is_masked() {
    for padding in [1000, 1010, 1020, 1023] {
        let body = format!("{}token-0123456789-token and more", "x".repeat(padding));
        let recorder = Recorder::answering(500, &[], body.leak()).await;
        let url = recorder.url.replace("hidden", "token-0123456789-token");
        let answer = send(&webhook(&url)).await;
        let snippet = response(answer).snippet;
        assert!(!snippet.contains('t') && !snippet.contains('0'), "{snippet}");
        assert!(snippet.len() <= 1024);
    }
}

#[tokio::test]
async fn a_providers_standard_webhooks_signature_keeps_its_id() {
    let recorder = Recorder::answering(204, &[], "").await;
    let signed =
        |name: &str, value: &'static str| (name.into(), Bytes::from_static(value.as_bytes()));
    let out = Outgoing {
        handler: None,
        headers: vec![
            signed("webhook-id", "msg_1"),
            signed("webhook-timestamp", "1"),
            signed("webhook-signature", "v1,AAAA"),
        ],
        ..outgoing()
    };
    let send = async |webhook: Webhook| {
        WebhookTransport::new(&webhook, 4, hop_key()).unwrap().send(&out, NOW).await
    };
    send(webhook(&recorder.url)).await;
    let secrets = vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    send(Webhook { secrets, ..webhook(&recorder.url) }).await;
    let [theirs, ours] = &recorder.received()[..] else { panic!("two requests") };
    assert_eq!(text(&theirs.headers, "webhook-id"), "msg_1");
    assert_eq!(text(&theirs.headers, "webhook-signature"), "v1,AAAA");
    assert_ne!(text(&ours.headers, "webhook-id"), "msg_1");
    assert_eq!(ours.headers.get_all("webhook-signature").iter().count(), 1);
    assert_ne!(text(&ours.headers, "webhook-signature"), "v1,AAAA");
}
