//! Published keys, fetched from a local server that stands in for the sender's.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_core::verify::Secret;

use crate::hub::{IngressHub, NOW_MS, Reply, request};

/// A server that gives one answer to every request and records the requests.
pub(crate) struct KeyServer {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    pub(crate) answer: Arc<Mutex<String>>,
    /// Other answers, by path.
    pub(crate) by_path: Arc<Mutex<Vec<(&'static str, String)>>>,
    /// If set, answers wait for this.
    gate: Arc<Mutex<Option<Arc<Notify>>>>,
}

pub(crate) fn ok(document: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{document}", document.len())
}

impl KeyServer {
    pub(crate) async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, gate) = (Arc::new(Mutex::new(answer)), Arc::default());
        let by_path = Arc::default();
        let server = Self { addr, asked, answer, by_path, gate };
        let (asked, answer) = (server.asked.clone(), server.answer.clone());
        let by_path = server.by_path.clone();
        let gate: Arc<Mutex<Option<Arc<Notify>>>> = server.gate.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (asked, answer, gate) = (asked.clone(), answer.clone(), gate.clone());
                let by_path = by_path.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) {
                        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                            return;
                        }
                    }
                    let question = String::from_utf8(bytes).unwrap();
                    let path = question.split(' ').nth(1).unwrap_or_default().to_owned();
                    asked.lock().push(question);
                    let wait = gate.lock().clone();
                    if let Some(wait) = wait {
                        wait.notified().await;
                    }
                    let other = by_path.lock().iter().find(|(p, _)| **p == path).cloned();
                    let answer = other.map_or_else(|| answer.lock().clone(), |(_, answer)| answer);
                    // The client may have gone.
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        server
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some(end) = text.find("\r\n\r\n") else { return false };
    let length = text.lines().find_map(|l| l.strip_prefix("content-length: "));
    text.len() >= end + 4 + length.map_or(0, |l| l.parse::<usize>().unwrap())
}

/// A published vector by its id.
fn vector(id: &str) -> Value {
    let all: Value =
        serde_json::from_str(include_str!("../../core/tests/providers/vectors.json")).unwrap();
    let vectors = all["vectors"].as_array().unwrap();
    vectors.iter().find(|v| v["id"] == id).unwrap().clone()
}

fn body(vector: &Value) -> String {
    String::from_utf8(STANDARD.decode(vector["body"].as_str().unwrap()).unwrap()).unwrap()
}

async fn post(hub: &IngressHub, vector: &Value) -> Reply {
    let name = vector["provider"].as_str().unwrap();
    let headers = vector["headers"].as_object().unwrap();
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
    hub.raw(request(&format!("/webhook/{name}"), &headers, &body(vector))).await
}

/// The same from another loopback address, with another key name.
async fn post_from(hub: &IngressHub, address: [u8; 4], paypal: &Value, key: &str) -> Reply {
    let headers = paypal["headers"].as_object().unwrap();
    let url = format!("https://api.sandbox.paypal.com/v1/notifications/certs/{key}");
    let value = |name: &String, value: &Value| match name.as_str() {
        "PAYPAL-CERT-URL" => url.clone(),
        _ => value.as_str().unwrap().to_owned(),
    };
    let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), value(n, v))).collect();
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    hub.raw_from(address, &request("/webhook/paypal", &headers, &body(paypal))).await
}

/// The published keys of a token's issuer.
fn key_set(vector: &Value) -> String {
    format!("{{\"keys\":[{}]}}", vector["extra"]["jwk"])
}

pub(crate) fn fetching(instead_of: &str, server: &KeyServer) -> String {
    let addr = server.addr;
    format!(
        "[fetch]\ninstead = {{ \"{instead_of}\" = \"http://{addr}/\" }}\nallow = [\"@private\"]\n"
    )
}

/// The same, with this certificate as an authority that the operator trusts.
pub(crate) fn trusting(
    pem: &str,
    instead_of: &str,
    server: &KeyServer,
) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    let fetch = fetching(instead_of, server);
    let path = file.path().display().to_string();
    (file, format!("{fetch}signing_authorities = [\"{path}\"]\n"))
}

const PUBSUB: &str = r#"
[sources.google-pubsub]
provider = "google-pubsub"
[sources.google-pubsub.params]
audience = "https://example.com/webhooks/in"
service_account_email = "push@example-project.iam.gserviceaccount.com"
"#;
const GOOGLE: &str = "https://www.googleapis.com/";

async fn pubsub(server: &KeyServer) -> IngressHub {
    IngressHub::of(&format!("{}{PUBSUB}", fetching(GOOGLE, server))).await
}

#[tokio::test]
async fn a_key_is_fetched_on_demand_and_used_for_a_day() {
    let oidc = vector("google-pubsub/oidc");
    let server = KeyServer::start(ok(&key_set(&oidc))).await;
    let hub = pubsub(&server).await;
    assert_eq!(post(&hub, &oidc).await.status, 204);
    assert_eq!(post(&hub, &oidc).await.status, 204);
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /oauth2/v3/certs HTTP/1.1\r\n"), "{asked:?}");
    assert_eq!(hub.stored().await.len(), 1, "the second was a duplicate");
    let secret = hub.only_request().await.secret;
    assert_eq!(&*secret, "published");
}

#[tokio::test]
async fn requests_that_need_the_same_key_wait_for_one_fetch() {
    let oidc = vector("google-pubsub/oidc");
    let server = KeyServer::start(ok(&key_set(&oidc))).await;
    let gate = Arc::new(Notify::new());
    *server.gate.lock() = Some(gate.clone());
    let hub = Arc::new(pubsub(&server).await);
    let sending: Vec<_> = (0..20)
        .map(|_| {
            let (hub, oidc) = (hub.clone(), oidc.clone());
            tokio::spawn(async move { post(&hub, &oidc).await.status })
        })
        .collect();
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for one in sending {
        assert_eq!(one.await.unwrap(), 204);
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn an_unavailable_key_is_503_and_not_fetched_again_at_once() {
    let oidc = vector("google-pubsub/oidc");
    for answer in [
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
        ok("no keys here"),
        ok(&" ".repeat(weir_core::verify::KEY_DOCUMENT_BYTES_MAX + 1)),
        "not HTTP at all".to_owned(),
    ] {
        let server = KeyServer::start(answer.clone()).await;
        let hub = pubsub(&server).await;
        for _ in 0..3 {
            let reply = post(&hub, &oidc).await;
            assert_eq!(reply.problem(), (503, "key_unavailable".into()), "{answer:.40}");
            assert!(reply.head.contains("\r\nretry-after: "), "{}", reply.head);
        }
        assert_eq!(server.asked().len(), 1, "{answer:.40}");
        assert!(hub.stored().await.is_empty());
    }
}

#[tokio::test]
async fn a_wrong_key_refuses_the_request_without_a_fetch_loop() {
    let oidc = vector("google-pubsub/oidc");
    let other = key_set(&oidc).replace("\"k1\"", "\"k2\"");
    let server = KeyServer::start(ok(&other)).await;
    let hub = pubsub(&server).await;
    for _ in 0..3 {
        assert_eq!(post(&hub, &oidc).await.problem(), (401, "key_untrusted".into()));
    }
    assert_eq!(server.asked().len(), 1);
    // The issuer has a new key a minute later: one more fetch finds it.
    *server.answer.lock() = ok(&key_set(&oidc));
    hub.clock.set(NOW_MS + 61_000);
    assert_eq!(post(&hub, &oidc).await.status, 204);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_private_address_is_fetched_only_if_the_operator_allows_it() {
    let oidc = vector("google-pubsub/oidc");
    let server = KeyServer::start(ok(&key_set(&oidc))).await;
    let config = fetching(GOOGLE, &server).replace("allow = [\"@private\"]", "");
    let hub = IngressHub::of(&format!("{config}{PUBSUB}")).await;
    assert_eq!(post(&hub, &oidc).await.problem(), (503, "key_unavailable".into()));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_certificate_is_fetched_from_an_allowed_url_of_the_request() {
    let paypal = vector("paypal/own-cert");
    let certificate = paypal["extra"]["certificate_pem"].as_str().unwrap();
    let server = KeyServer::start(ok(certificate)).await;
    let (_file, config) = trusting(certificate, "https://api.sandbox.paypal.com/", &server);
    let source = "[sources.paypal]\nprovider = \"paypal\"\n\
         params = { webhook_id = \"6HY79521VR978045E\" }\n";
    let hub = IngressHub::of(&format!("{config}{source}")).await;
    assert_eq!(post(&hub, &paypal).await.status, 200);
    assert!(server.asked()[0].starts_with("GET /v1/notifications/certs/CERT-"));
    let mut elsewhere = paypal.clone();
    elsewhere["headers"]["PAYPAL-CERT-URL"] = "https://evil.example/cert.pem".into();
    assert_eq!(post(&hub, &elsewhere).await.problem(), (401, "key_untrusted".into()));
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_named_key_is_fetched_with_the_operators_credentials() {
    let plaid = vector("plaid/es256");
    let server = KeyServer::start(ok(&format!("{{\"key\":{}}}", plaid["extra"]["jwk"]))).await;
    let config = fetching("https://sandbox.plaid.com/", &server);
    let source = "[sources.plaid]\nprovider = \"plaid\"\n\
                  params = { client_id = \"me\", api_secret = \"s3cret\", \
                  environment = \"sandbox\" }\n";
    let hub = IngressHub::of(&format!("{config}{source}")).await;
    hub.clock.set(plaid["now"].as_u64().unwrap() * 1000);
    assert_eq!(post(&hub, &plaid).await.status, 200);
    let asked = server.asked();
    assert!(asked[0].starts_with("POST /webhook_verification_key/get HTTP/1.1"), "{asked:?}");
    assert!(asked[0].contains("\"secret\":\"s3cret\""), "{asked:?}");
    assert!(asked[0].contains("\"key_id\":\"bfbd5111-8e33-4643-8ced-b2e642a72f3c\""), "{asked:?}");
}

const GRAPH: &str = r#"
[sources.graph]
provider = "msgraph"
secrets = ["the state"]
[sources.graph.params]
app_id = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f"
tenant = "84bd8158-6d4d-4958-8b9f-9d6445542f95"
"#;

/// A notification with resource data, whose two tokens are signed with the tests' key for this app.
fn notification(hub: &IngressHub, state: &str, app_id: &str) -> Value {
    let source = &hub.config.sources["graph"];
    let item = serde_json::json!({"id": "n", "clientState": state, "changeType": "created"});
    let body = serde_json::json!({"value": [item], "validationTokens": ["", ""]});
    let draft = RequestDraft {
        method: "POST".into(),
        url: "https://hub/".into(),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    let mut params = source.params.clone();
    params.insert("app_id".into(), Secret::new(app_id));
    let secret = Secret::new(include_str!("../../core/tests/providers/rsa-private.pem"));
    let signing =
        SigningInput { secret: &secret, params: &params, scheme: Some("validation-tokens") };
    let now = Timestamp::from_millis(NOW_MS);
    let signed = source.provider.sign_request(signing, &draft, now, &SystemRandom::new()).unwrap();
    serde_json::from_slice(&signed.body).unwrap()
}

#[tokio::test]
async fn every_token_and_state_of_a_rich_notification_is_checked() {
    let server =
        KeyServer::start(ok(include_str!("../../core/tests/providers/rsa-public.jwks.json"))).await;
    let config = fetching("https://login.microsoftonline.com/", &server);
    let hub = IngressHub::of(&format!("{config}{GRAPH}")).await;
    let post = async |body: &Value| hub.post("/webhook/graph", &[], &body.to_string()).await;
    let ours = "8e460676-ae3f-4b1e-8790-ee0fb5d6148f";
    let refused = |code: &str| (401, code.to_owned());

    let guessed = notification(&hub, "another state", ours);
    assert_eq!(post(&guessed).await.problem(), refused("signature_mismatch"));
    assert!(server.asked().is_empty(), "an unproven sender causes no fetch");

    let rich = notification(&hub, "the state", ours);
    assert_eq!(post(&rich).await.status, 202);
    let asked = server.asked();
    let keys = "GET /84bd8158-6d4d-4958-8b9f-9d6445542f95/discovery/v2.0/keys HTTP/1.1\r\n";
    assert!(asked.len() == 1 && asked[0].starts_with(keys), "{asked:?}");
    let kept = String::from_utf8(hub.only_request().await.payload.body.to_vec()).unwrap();
    let token = rich["validationTokens"][0].as_str().unwrap();
    assert!(!kept.contains(token) && kept.contains("fingerprint-"), "{kept}");

    let others = notification(&hub, "the state", "another app");
    let mut mixed = rich.clone();
    mixed["validationTokens"][1] = others["validationTokens"][0].clone();
    assert_eq!(post(&mixed).await.problem(), refused("claim_mismatch"));
    let mut without = rich.clone();
    without["validationTokens"] = serde_json::json!([]);
    assert_eq!(post(&without).await.problem(), refused("signature_missing"));
    let mut many = rich.clone();
    many["validationTokens"] = serde_json::json!(vec![token; 33]);
    assert_eq!(post(&many).await.problem(), refused("too_many_signatures"));
    assert_eq!((server.asked().len(), hub.stored().await.len()), (1, 1));
}

#[tokio::test]
async fn unverified_requests_cause_few_key_fetches() {
    let sns = vector("sns/notification-v1");
    let server =
        KeyServer::start("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into()).await;
    let (config, body) = (fetching("https://sns.us-east-1.amazonaws.com/", &server), body(&sns));
    let topic: Value = serde_json::from_str(&body).unwrap();
    let source = format!(
        "[sources.sns]\nprovider = \"sns\"\nparams = {{ topic_arn = {} }}\n",
        topic["TopicArn"]
    );
    let hub = IngressHub::of(&format!("{config}{source}")).await;
    for n in 0..50 {
        let other = body.replace("0000.pem", &format!("{n:04}.pem"));
        assert!(n == 0 || other != body);
        let reply = hub.post("/webhook/sns", &[("content-type", "text/plain")], &other).await;
        assert_eq!(reply.problem(), (503, "key_unavailable".into()));
    }
    assert_eq!(server.asked().len(), 10);
}

#[tokio::test]
async fn a_proven_sender_gets_a_new_key_despite_a_flood_of_key_names() {
    const SENDER: [u8; 4] = [127, 0, 0, 8];
    const STRANGER: [u8; 4] = [127, 0, 0, 9];
    let paypal = vector("paypal/own-cert");
    let pem = paypal["extra"]["certificate_pem"].as_str().unwrap();
    let certificate = ok(pem);
    let nothing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let server = KeyServer::start(certificate.clone()).await;
    let (_file, config) = trusting(pem, "https://api.sandbox.paypal.com/", &server);
    let source = "[server.per_address]\nrefusals = 1000\nloopback = true\n\
                  [sources.paypal]\nprovider = \"paypal\"\n\
                  params = { webhook_id = \"6HY79521VR978045E\" }\n";
    let hub = IngressHub::of(&format!("{config}{source}")).await;
    assert_eq!(post_from(&hub, SENDER, &paypal, "CERT-old").await.status, 200);
    assert_eq!(server.asked().len(), 1);

    *server.answer.lock() = nothing.into();
    let unavailable = (503, "key_unavailable".to_owned());
    for n in 0..500 {
        let reply = post_from(&hub, STRANGER, &paypal, &format!("CERT-{n}")).await;
        assert_eq!(reply.problem(), unavailable);
    }
    assert_eq!(server.asked().len(), 4, "one address has only its share");
    for n in 0..500_u16 {
        let [high, low] = n.to_be_bytes();
        let crowd = [127, 1, high, low];
        // Among them is the key that the sender will use, before it is published.
        let key = if n % 100 == 0 { "CERT-new".to_owned() } else { format!("CERT-{}", 500 + n) };
        assert_eq!(post_from(&hub, crowd, &paypal, &key).await.problem(), unavailable);
    }
    let before = server.asked().len();
    assert!(before <= 12, "{before} fetches in all");

    *server.answer.lock() = certificate;
    assert_eq!(post_from(&hub, SENDER, &paypal, "CERT-new").await.status, 200);
    assert_eq!(server.asked().len(), before + 1);
    assert!(server.asked()[before].starts_with("GET /v1/notifications/certs/CERT-new "));
}

#[tokio::test]
async fn a_sender_is_called_back_after_the_answer_at_allowed_hosts() {
    let server = KeyServer::start(ok("")).await;
    let config = fetching("https://eu.sender.example/", &server);
    let hub = IngressHub::of(&format!(
        "{config}[sources.quiet]\nprovider = \"cloudevents\"\n\
         secrets = [\"a token of some length\"]\n\
         [sources.called]\nprovider = \"cloudevents\"\nsecrets = [\"a token of some length\"]\n\
         params = {{ callback_hosts = \"*.sender.example\" }}\n\
         [sources.fence]\nprovider = \"cloudevents\"\nsecrets = [\"a token of some length\"]\n\
         params = {{ callback_hosts = \"eu.sender.example\" }}\n"
    ))
    .await;
    let ask = async |source: &str, callback: &str| {
        let head = format!("OPTIONS /webhook/{source} HTTP/1.1\r\nHost: hub\r\n");
        let asks = format!(
            "WebHook-Request-Origin: sender.example\r\nWebHook-Request-Callback: {callback}\r\n\r\n"
        );
        hub.raw(format!("{head}{asks}")).await
    };
    let url = "https://eu.sender.example/confirm?id=7";
    // Of the three, the first and the second would be called before the third is.
    assert_eq!(ask("quiet", url).await.status, 200);
    let refused = ask("called", "https://evil.example/?x").await;
    assert_eq!(refused.problem(), (403, "handshake_challenge_unusable".into()));
    let reply = ask("called", url).await;
    assert!(reply.head.contains("webhook-allowed-origin: sender.example"), "{}", reply.head);
    assert!(server.asked().is_empty(), "the answer comes first");
    while server.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /confirm?id=7 HTTP/1.1\r\n"), "{asked:?}");
    // Few of many are called back: all calls are done once a later one of another source is.
    for _ in 0..50 {
        assert_eq!(ask("called", url).await.status, 200);
    }
    assert_eq!(ask("fence", "https://eu.sender.example/fence").await.status, 200);
    while !server.asked().iter().any(|asked| asked.starts_with("GET /fence ")) {
        tokio::task::yield_now().await;
    }
    let called = server.asked().iter().filter(|asked| asked.starts_with("GET /confirm")).count();
    assert!((10..=12).contains(&called), "{called}");
}
