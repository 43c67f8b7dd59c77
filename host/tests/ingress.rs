//! Ingress over real TCP, with a real store: what is taken in, what is refused, and what a connection may cost.

#![expect(clippy::unwrap_used, reason = "a test ends where something it builds on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ring::rand::SystemRandom;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weir::config::{self, Config};
use weir::ingress::{Ingress, IngressParts};
use weir::observe::health::Health;
use weir::observe::metrics::Metrics;
use weir::routes::Routes;
use weir::shutdown::Drain;
use weir_core::sign::RequestDraft;
use weir_core::time::{Clock, Timestamp};
use weir_store::Store;
use weir_store::query::{EventFilter, Page, StoredRequest};
use weir_store::sqlite::{self, Options};

const NOW_MS: u64 = 1_760_000_000_000;

const SOURCES: &str = r#"
[sources.github]
provider = "github"
secrets = [{ file = "secret", name = "current" }]
[sources.slack]
provider = "slack"
secrets = [{ file = "secret" }]
[sources.stripe]
provider = "stripe"
secrets = [{ file = "secret" }]
[sources.small]
provider = "custom"
secrets = [{ file = "secret" }]
body_limit = "100B"
failure_status = 406
acknowledge = { status = 202, content_type = "text/plain", body = "[accepted]" }
[sources.batch]
provider = "custom"
secrets = [{ file = "secret" }]
fan_out = "/items"
id = "/id"
type = "/type"
secret_fields = ["/token"]
"#;

/// A clock that stands still unless it is moved.
#[derive(Debug)]
struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

struct Hub {
    addr: SocketAddr,
    config: Arc<Config>,
    store: Arc<dyn Store>,
    health: Arc<Health>,
    metrics: Metrics,
    drain: Drain,
    running: JoinHandle<()>,
    _dir: TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a problem document.
    fn problem(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert!(problem["request_id"].as_str().unwrap().starts_with("refused_"));
        assert_eq!(problem["status"], self.status);
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

impl Hub {
    async fn start() -> Self {
        Self::with("", |_| {}).await
    }

    async fn with(server: &str, change: impl FnOnce(&mut Options)) -> Self {
        let hub = Self::closed(server, change).await;
        hub.health.set_routing_ready();
        hub
    }

    /// A hub that does not know yet who gets events.
    async fn closed(server: &str, change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "a secret of some length").unwrap();
        let text = format!("[server]\n{server}\n{SOURCES}");
        let config = config::load_text("weir.toml", &text, dir.path(), false);
        let config = Arc::new(config.unwrap_or_else(|e| panic!("{e}")).config);
        let clock = Arc::new(HandClock(AtomicU64::new(NOW_MS)));
        let mut options = Options::new(clock.clone());
        change(&mut options);
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(&dir.path().join("weir.db"), options).unwrap());
        let routes = Routes::build(store.clone(), &config.routes, [].into()).await.unwrap();
        let (metrics, drain) = (Metrics::new(), Drain::new());
        let health = Health::new(store.clone(), drain.clone());
        let ingress = Arc::new(Ingress::new(IngressParts {
            config: config.clone(),
            store: store.clone(),
            routes: Arc::new(routes),
            clock,
            metrics: metrics.clone(),
            health: health.clone(),
            drain: drain.clone(),
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let running = tokio::spawn(ingress.run(listener));
        Self { addr, config, store, health, metrics, drain, running, _dir: dir }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// Sends bytes on a connection of their own.
    async fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect().await;
        // The answer may come, and the connection end, before all is sent.
        let _ = stream.write_all(request.as_ref()).await;
        reply(&mut stream).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.raw(request(path, headers, body)).await
    }

    /// A request with the headers that make it genuine, `skew_s` seconds old.
    fn signed(&self, source: &str, headers: &[(&str, &str)], body: &str, skew_s: u64) -> String {
        let path = format!("/webhook/{source}");
        let source = &self.config.sources[source];
        let draft = RequestDraft {
            method: "POST".into(),
            url: format!("http://hub{path}"),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.into(),
        };
        let now = Timestamp::from_millis(NOW_MS - 1000 * skew_s);
        let secret = &source.secrets[0].value;
        let signed = source.provider.sign(secret, &draft, now, &SystemRandom::new()).unwrap();
        let all: Vec<_> = headers
            .iter()
            .copied()
            .chain(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())))
            .collect();
        request(&path, &all, body)
    }

    fn push(&self, id: &str, body: &str) -> String {
        self.signed("github", &[("x-github-event", "push"), ("x-github-delivery", id)], body, 0)
    }

    async fn stored(&self) -> Vec<weir_store::query::EventDetail> {
        let page = Page { limit: 100, after: None };
        self.store.events(EventFilter::default(), page).await.unwrap().items
    }

    async fn only_request(&self) -> StoredRequest {
        let [event] = &*self.stored().await else { panic!("not one event") };
        let detail = self.store.event(event.id).await.unwrap().unwrap();
        self.store.request(detail.request.unwrap()).await.unwrap().unwrap()
    }
}

fn request(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: hub\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// Reads one answer, or what there is of it if the connection ends before.
async fn reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |l| l.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Reply { status, head, body: bytes[end + 4..][..length].to_vec() };
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "connection ended: {bytes:?}");
    }
}

/// Resolves when the other side has closed.
async fn closed(stream: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap_or(0)
}

#[tokio::test]
async fn a_signed_request_is_stored_before_it_is_answered_with_its_id() {
    let hub = Hub::start().await;
    let body = r#"{"ref":"refs/heads/main"}"#;
    let headers = [
        ("x-github-event", "push"),
        ("x-github-delivery", "d-1"),
        ("authorization", "Basic c2VjcmV0"),
        ("connection", "keep-alive"),
    ];
    let reply = hub.raw(hub.signed("github", &headers, body, 0)).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &"accepted".into()));
    let [event] = &*hub.stored().await else { panic!("not one event") };
    assert_eq!(reply.json()["event_id"], event.id.to_string());
    assert_eq!((event.source.as_str(), event.kind.as_str()), ("github", "push"));
    let request = hub.only_request().await;
    assert_eq!((&*request.scheme, &*request.secret), ("sha256", "current"));
    assert_eq!(&request.payload.body[..], body.as_bytes());
    let kept: Vec<&str> = request.payload.headers.iter().map(|(n, _)| &**n).collect();
    assert_eq!(
        kept,
        ["host", "x-github-event", "x-github-delivery", "authorization", "x-hub-signature-256"]
    );
    assert!(request.payload.header("authorization").unwrap().starts_with(b"fingerprint-"));
}

#[tokio::test]
async fn the_same_delivery_again_is_told_the_first_ones_id() {
    let hub = Hub::start().await;
    let push = hub.push("d-1", "{}");
    let mut stream = hub.connect().await;
    stream.write_all(push.as_bytes()).await.unwrap();
    let first = reply(&mut stream).await.json();
    stream.write_all(push.as_bytes()).await.unwrap();
    let second = reply(&mut stream).await.json();
    assert_eq!((&first["status"], &second["status"]), (&"accepted".into(), &"duplicate".into()));
    assert_eq!(first["event_id"], second["event_id"]);
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_rightly_is_refused_and_not_stored() {
    let hub = Hub::start().await;
    let flipped = hub.push("d-1", "{}").replace("\r\n\r\n{}", "\r\n\r\n[]");
    assert_eq!(hub.raw(flipped).await.problem(), (401, "signature_mismatch".into()));
    let unsigned = hub.post("/webhook/github", &[("x-github-event", "push")], "{}").await;
    assert_eq!(unsigned.problem(), (401, "signature_missing".into()));
    let stale = hub.raw(hub.signed("stripe", &[], r#"{"id":"evt_1","type":"a"}"#, 4000)).await;
    assert_eq!(stale.problem(), (401, "timestamp_stale".into()));
    let elsewhere = hub.post("/webhook/small", &[("x-webhook-signature", "sha256=00")], "{}").await;
    assert_eq!(elsewhere.status, 406, "as the provider wants it");
    assert!(hub.stored().await.is_empty());
    assert_eq!(hub.metrics.source(&hub.config.sources["github"].name).answers(), (0, 2));
}

#[tokio::test]
async fn what_nobody_configured_is_not_found() {
    let hub = Hub::start().await;
    let unknown = hub.post("/webhook/nobody", &[], "{}").await;
    assert_eq!(unknown.problem(), (404, "unknown_source".into()));
    assert_eq!(hub.post("/admin", &[], "").await.problem(), (404, "not_found".into()));
    let get = hub.raw("GET /webhook/github HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(get.problem(), (405, "method_not_allowed".into()));
    assert!(get.head.contains("\nallow: post"), "{}", get.head);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_is_announced() {
    let hub = Hub::start().await;
    let long = hub.post("/webhook/small", &[], &"x".repeat(101)).await;
    assert_eq!(long.problem(), (413, "body_too_large".into()));
    let mut unsent = hub.connect().await;
    unsent
        .write_all(b"POST /webhook/small HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(reply(&mut unsent).await.status, 413, "before any of it is read");
    let chunk = format!("65\r\n{}\r\n0\r\n\r\n", "x".repeat(101));
    let head = "POST /webhook/small HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(hub.raw(format!("{head}{chunk}")).await.status, 413);
    let huge = hub.post("/webhook/small", &[], &"x".repeat(3_000_000)).await;
    assert_eq!(huge.status, 413, "the answer is not lost to a reset");
}

#[tokio::test]
async fn a_chunked_body_is_taken_in_like_any_other() {
    let hub = Hub::start().await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (head, _) = push.split_once("Content-Length").unwrap();
    let chunked =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\n{{\"a\r\n4\r\n\":1}}\r\n0\r\n\r\n");
    assert_eq!(hub.raw(chunked).await.json()["status"], "accepted");
    assert_eq!(&hub.only_request().await.payload.body[..], b"{\"a\":1}");
}

#[tokio::test]
async fn ambiguous_requests_are_refused_as_malformed() {
    let hub = Hub::start().await;
    let malformed = (400, "malformed".to_owned());
    for heads in [
        "Host: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
        "Host: h\r\nTransfer-Encoding: chunked\r\ncontent-length: 2",
        "Host: h\r\nHost: h\r\nContent-Length: 0",
        "Content-Length: 0",
    ] {
        let text = format!("POST /webhook/github HTTP/1.1\r\n{heads}\r\n\r\n0\r\n\r\n");
        assert_eq!(hub.raw(text).await.problem(), malformed, "{heads}");
    }
    assert_eq!(hub.post("/webhook/github%2Fx", &[], "").await.problem(), malformed);
    let latin1 =
        b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nX: J\xf6rg\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(hub.raw(latin1).await.problem(), malformed);
    let gzip = hub.post("/webhook/github", &[("content-encoding", "gzip")], "x").await;
    assert_eq!(gzip.problem(), (415, "content_encoding_unsupported".into()));
    assert_eq!(hub.raw("nonsense\r\n\r\n").await.status, 400);
    let long = format!("GET /health/live HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(hub.raw(long).await.status, 431);
}

#[tokio::test]
async fn a_batch_is_stored_event_by_event_without_its_secrets() {
    let hub = Hub::start().await;
    let item = |id: &str| format!(r#"{{"id":"{id}","type":"t.{id}","token":"hunter2"}}"#);
    let body = |a: &str, b: &str| format!(r#"{{"items":[{},{}]}}"#, item(a), item(b));
    let first = hub.raw(hub.signed("batch", &[], &body("a", "b"), 0)).await.json();
    assert_eq!(first["event_ids"].as_array().unwrap().len(), 2);
    let second = hub.raw(hub.signed("batch", &[], &body("b", "c"), 0)).await.json();
    assert_eq!(second["status"], "accepted");
    assert_eq!(second["duplicates"][0], first["event_ids"][1]);
    let events = hub.stored().await;
    let mut kinds: Vec<_> = events.iter().map(|e| e.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["t.a", "t.b", "t.c"]);
    for event in &events {
        let detail = hub.store.event(event.id).await.unwrap().unwrap();
        let request = hub.store.request(detail.request.unwrap()).await.unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&request.payload.body).contains("hunter2"));
    }
}

#[tokio::test]
async fn a_handshake_is_answered_only_under_its_signature() {
    let hub = Hub::start().await;
    let body = r#"{"type":"url_verification","challenge":"c-1"}"#;
    let reply =
        hub.raw(hub.signed("slack", &[("content-type", "application/json")], body, 0)).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"c-1"[..]));
    assert!(reply.head.contains("x-content-type-options: nosniff"));
    assert_eq!(hub.post("/webhook/slack", &[], body).await.status, 401);
    assert!(hub.stored().await.is_empty());
}

#[tokio::test]
async fn a_provider_gets_the_acknowledgement_that_it_demands() {
    let hub = Hub::start().await;
    let reply = hub.raw(hub.signed("small", &[("x-webhook-event", "a")], "{}", 0)).await;
    assert_eq!((reply.status, &reply.body[..]), (202, &b"[accepted]"[..]));
    assert_eq!(hub.stored().await.len(), 1);
}

#[tokio::test]
async fn who_sends_too_slowly_is_told_and_let_go() {
    let hub = Hub::with(
        "header_timeout = \"50ms\"\nbody_timeout = \"50ms\"\nidle_timeout = \"50ms\"",
        |_| {},
    )
    .await;
    let mut slow_head = hub.connect().await;
    slow_head.write_all(b"POST /webhook/github HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(reply(&mut slow_head).await.status, 408);
    assert_eq!(closed(&mut slow_head).await, 0);
    let mut slow_body = hub.connect().await;
    let head = b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx";
    slow_body.write_all(head).await.unwrap();
    assert_eq!(reply(&mut slow_body).await.problem(), (408, "request_timeout".into()));
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    assert_eq!(closed(&mut idle).await, 0);
}

#[tokio::test]
async fn past_the_cap_connections_wait_for_a_place() {
    let hub = Hub::with("max_connections = 1", |_| {}).await;
    let mut first = hub.connect().await;
    first.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut first).await.status, 200);
    let mut second = hub.connect().await;
    second.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), second.readable()).await;
    assert!(early.is_err(), "served beyond the cap");
    assert_eq!(hub.metrics.connections().get(), 1);
    drop(first);
    assert_eq!(reply(&mut second).await.status, 200);
}

#[tokio::test]
async fn past_the_budget_bodies_are_turned_away_until_there_is_room() {
    let hub = Hub::with("body_limit = \"100KiB\"\nbody_budget = \"100KiB\"", |_| {}).await;
    let mut holding = hub.connect().await;
    let head = "POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    holding.write_all(format!("{head}{}", "x".repeat(99_999)).as_bytes()).await.unwrap();
    while hub.metrics.body_bytes().get() < 99_999 {
        tokio::task::yield_now().await;
    }
    let body = format!("\"{}\"", "y".repeat(10_000));
    let turned_away = hub.raw(hub.push("d-1", &body)).await;
    assert_eq!(turned_away.problem(), (503, "overloaded".into()));
    assert!(turned_away.head.contains("\nretry-after: 1"));
    holding.write_all(b"x").await.unwrap();
    assert_eq!(reply(&mut holding).await.status, 401);
    assert_eq!(hub.raw(hub.push("d-1", &body)).await.status, 200);
    assert_eq!(hub.metrics.body_bytes().get(), 0);
}

#[tokio::test]
async fn a_full_disk_is_answered_with_come_again() {
    let hub = Hub::with("", |options| options.max_pages = Some(120)).await;
    let mut random = StdRng::seed_from_u64(1);
    let refused = loop {
        let noise: [u8; 16] = random.random();
        let id = noise.map(|byte| format!("{byte:02x}")).concat();
        let body: String = (0..50_000).map(|_| random.random_range('0'..='z')).collect();
        let reply = hub.raw(hub.push(&id, &format!("\"{body}\""))).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!(refused.problem(), (503, "store_unavailable".into()));
    assert!(refused.head.contains("\nretry-after: "));
    assert!(!refused.json()["detail"].as_str().unwrap().contains("disk"));
}

#[tokio::test]
async fn nothing_is_taken_in_before_it_is_known_who_gets_it() {
    let hub = Hub::closed("", |_| {}).await;
    let early = hub.raw(hub.push("d-1", "{}")).await;
    assert_eq!(early.problem(), (503, "starting".into()));
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(hub.raw(get("/health/live")).await.status, 200);
    let ready = hub.raw(get("/health/ready")).await;
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &"routing_missing".into()));
    hub.health.set_routing_ready();
    assert_eq!(hub.raw(get("/health/ready")).await.status, 200);
    assert_eq!(hub.raw(hub.push("d-1", "{}")).await.status, 200);
}

#[tokio::test]
async fn draining_finishes_what_has_begun_and_takes_nothing_new() {
    let hub = Hub::start().await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (begun, rest) = push.as_bytes().split_at(push.len() - 3);
    let mut busy = hub.connect().await;
    busy.write_all(begun).await.unwrap();
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    while hub.metrics.body_bytes().get() == 0 {
        tokio::task::yield_now().await;
    }
    hub.drain.stop_accepting();
    assert_eq!(closed(&mut idle).await, 0, "an idle connection ends at once");
    busy.write_all(rest).await.unwrap();
    let reply = reply(&mut busy).await;
    assert_eq!(reply.json()["status"], "accepted");
    assert_eq!(closed(&mut busy).await, 0);
    hub.running.await.unwrap();
    assert!(TcpStream::connect(hub.addr).await.is_err(), "the listener is gone");
    assert_eq!(hub.metrics.connections().get(), 0);
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let hub = Hub::start().await;
    let mut stuck = hub.connect().await;
    let head = b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx";
    stuck.write_all(head).await.unwrap();
    while hub.metrics.body_bytes().get() == 0 {
        tokio::task::yield_now().await;
    }
    hub.drain.stop_accepting();
    hub.drain.stop_waiting();
    hub.running.await.unwrap();
}

#[tokio::test]
async fn an_answer_is_not_lost_to_junk_that_follows_its_request() {
    let hub = Hub::start().await;
    let reply = hub.raw(format!("{}junk\r\n\r\n", hub.push("d-1", "{}"))).await;
    assert_eq!(reply.json()["status"], "accepted");
}
