//! The ingress of a hub in this process, over real TCP with a real store, and requests for it:
//! signed, unsigned or broken.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::SystemRandom;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use weir::config::{self, Config};
use weir::context::HubContext;
use weir::egress::fetch::Fetcher;
use weir::ingress::{self, Ingress};
use weir::keys::Seal;
use weir::observe::health::Health;
use weir::observe::metrics::Metrics;
use weir::routing::Routes;
use weir::runtime::shutdown::Drain;
use weir::tls::{HTTP_2_OR_1, ServerTls};
use weir_core::hops::HopKey;
use weir_core::sign::{RequestDraft, SigningInput};
use weir_core::time::Timestamp;
use weir_store::Store;
use weir_store::quarantine::{Quarantine, QuarantineFilter, QuarantinedRequest};
use weir_store::query::{EventFilter, PageRequest, StoredRequest};
use weir_store::sqlite::{self, Options};
use weir_testing::clock::ManualClock;

pub(crate) const NOW_MS: u64 = 1_760_000_000_000;

/// Files that a source may refer to.
const SECRETS: [(&str, &str); 3] = [
    ("secret", "a secret of some length"),
    ("token", "user:t0ken-of-today"),
    ("old-token", "user:t0ken-of-old"),
];

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

/// The key that signs the hop count of requests.
pub(crate) fn hop_key() -> HopKey {
    HopKey::new(&[7; 32])
}

pub(crate) struct IngressHub {
    pub(crate) addr: SocketAddr,
    pub(crate) config: Arc<Config>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Metrics,
    pub(crate) drain: Drain,
    pub(crate) running: JoinHandle<()>,
    pub(crate) ingress: Arc<Ingress>,
    /// The time by which signatures are judged. The store has its own clock.
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and code of a problem document.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert!(problem["request_id"].as_str().unwrap().starts_with("refused_"));
        assert_eq!(problem["status"], self.status);
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

impl IngressHub {
    pub(crate) async fn start() -> Self {
        Self::with("", |_| {}).await
    }

    pub(crate) async fn with(server: &str, change: impl FnOnce(&mut Options)) -> Self {
        let hub = Self::closed(server, change).await;
        hub.health.set_routing_ready();
        hub
    }

    /// A hub whose routing table is not loaded.
    pub(crate) async fn closed(server: &str, change: impl FnOnce(&mut Options)) -> Self {
        Self::closed_in(tempfile::tempdir().unwrap(), server, change).await
    }

    /// A hub whose configuration refers to files in `dir`.
    pub(crate) async fn with_folder(dir: TempDir, server: &str) -> Self {
        let hub = Self::closed_in(dir, server, |_| {}).await;
        hub.health.set_routing_ready();
        hub
    }

    async fn closed_in(dir: TempDir, server: &str, change: impl FnOnce(&mut Options)) -> Self {
        for (name, secret) in SECRETS {
            std::fs::write(dir.path().join(name), secret).unwrap();
        }
        let text = format!("[server]\n{server}\n{SOURCES}");
        let config =
            config::load_text("weir.toml", &text, dir.path(), weir::config::Mode::Production);
        Self::build(dir, config.unwrap_or_else(|e| panic!("{e}")).config, change).await
    }

    /// A hub with this configuration, in development mode.
    pub(crate) async fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config =
            config::load_text("weir.toml", text, dir.path(), weir::config::Mode::Development);
        let config = config.unwrap_or_else(|e| panic!("{e}")).config;
        let hub = Self::build(dir, config, |_| {}).await;
        hub.health.set_routing_ready();
        hub
    }

    async fn build(dir: TempDir, config: Config, change: impl FnOnce(&mut Options)) -> Self {
        Self::again_in(dir, Arc::new(config), change).await
    }

    async fn again_in(
        dir: TempDir,
        config: Arc<Config>,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let clock = ManualClock::at(NOW_MS);
        let mut options = Options::new(ManualClock::at(NOW_MS));
        change(&mut options);
        let store: Arc<dyn Store> =
            Arc::new(sqlite::open(&dir.path().join("weir.db"), options).unwrap());
        let routes = Routes::build(store.clone(), &config, [].into()).await.unwrap();
        let ctx = HubContext::new(store.clone(), clock.clone());
        let (metrics, drain) = (ctx.metrics.clone(), ctx.drain.clone());
        let health = Health::new(store.clone(), drain.clone());
        let tls = config.server.tls.as_ref().map(|files| ServerTls::load(files, HTTP_2_OR_1));
        let tls = tls.map(|tls| Arc::new(tls.unwrap()));
        if let Some(tls) = tls.clone() {
            tokio::spawn(tls.watch(drain.clone()));
        }
        let deps = ingress::Deps {
            tls,
            routes: Arc::new(routes),
            health: health.clone(),
            responders: None,
            hops: Arc::new(hop_key()),
            fetcher: Arc::new(Fetcher::new(&config.fetch).unwrap()),
            seal: Arc::new(Seal::new(&[7; 32])),
            quarantine: Some(quarantine(dir.path(), &config)),
        };
        let ingress = Arc::new(Ingress::new(&config, ctx, deps));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let running = tokio::spawn(ingress.clone().run(listener));
        Self { addr, config, store, health, metrics, drain, running, ingress, clock, dir }
    }

    /// The hub after a restart.
    pub(crate) async fn restarted(self) -> Self {
        self.restarted_after(|_| {}).await
    }

    /// The hub after a restart. `meanwhile` may change its folder.
    pub(crate) async fn restarted_after(self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        self.drain.stop_accepting();
        self.drain.stop_waiting();
        self.running.await.unwrap();
        self.store.close().await.unwrap();
        drop(self.ingress);
        meanwhile(self.dir.path());
        let hub = Self::again_in(self.dir, self.config, |_| {}).await;
        hub.health.set_routing_ready();
        hub
    }

    /// The bytes of all files on the disk.
    pub(crate) fn on_disk(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.is_file());
        files.flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A connection from this address of the loopback network.
    pub(crate) async fn connect_from(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(self.addr).await.unwrap()
    }

    pub(crate) async fn raw_from(&self, address: [u8; 4], bytes: &str) -> Reply {
        let mut stream = self.connect_from(address).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        reply(&mut stream).await
    }

    /// Sends bytes on a new connection.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Reply {
        let mut stream = self.connect().await;
        // The answer may come, and the connection end, before everything is sent.
        let _ = stream.write_all(request.as_ref()).await;
        reply(&mut stream).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.raw(request(path, headers, body)).await
    }

    /// A signed request that is `skew_s` seconds old.
    pub(crate) fn signed(
        &self,
        source: &str,
        headers: &[(&str, &str)],
        body: &str,
        skew_s: u64,
    ) -> String {
        self.signed_at(&format!("http://hub/webhook/{source}"), source, headers, body, skew_s)
    }

    /// A signed request of a sender that was given this URL.
    pub(crate) fn signed_for(
        &self,
        url: &str,
        source: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> String {
        self.signed_at(url, source, headers, body, 0)
    }

    fn signed_at(
        &self,
        url: &str,
        source: &str,
        headers: &[(&str, &str)],
        body: &str,
        skew_s: u64,
    ) -> String {
        let path = format!("/webhook/{source}");
        let source = &self.config.sources[source];
        let draft = RequestDraft {
            method: "POST".into(),
            url: url.into(),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: body.into(),
        };
        let now = Timestamp::from_millis(NOW_MS - 1000 * skew_s);
        let (secret, params) = (&source.secrets[0].value, &source.params);
        let signing = SigningInput { secret, params, scheme: None };
        let signed = source.provider.sign_request(signing, &draft, now, &SystemRandom::new());
        let signed = signed.unwrap();
        let all: Vec<_> = signed.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        request(&path, &all, std::str::from_utf8(&signed.body).unwrap())
    }

    pub(crate) fn push(&self, id: &str, body: &str) -> String {
        self.signed("github", &[("x-github-event", "push"), ("x-github-delivery", id)], body, 0)
    }

    pub(crate) async fn stored(&self) -> Vec<weir_store::query::EventDetail> {
        let page = PageRequest { limit: 100, after: None };
        self.store.events(EventFilter::default(), page).await.unwrap().items
    }

    pub(crate) async fn only_request(&self) -> StoredRequest {
        let [event] = &*self.stored().await else { panic!("there is not exactly one event") };
        let detail = self.store.event(event.id).await.unwrap().unwrap();
        self.store.request(detail.request.unwrap()).await.unwrap().unwrap()
    }
}

/// Resolves once `condition` holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !condition() {
            tick.tick().await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(),
        "the condition never held"
    );
}

/// The quarantined requests, oldest first, once there are `count`.
pub(crate) async fn kept(hub: &IngressHub, count: usize) -> Vec<QuarantinedRequest> {
    loop {
        let wanted =
            QuarantineFilter { limit: 1_000, oldest_first: true, ..QuarantineFilter::default() };
        let found = hub.ingress.quarantined(wanted).await.unwrap();
        if found.len() >= count {
            assert_eq!(found.len(), count);
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// A request with an invalid signature.
pub(crate) fn junk(source: &str) -> String {
    let signature = format!("sha256={}", "00".repeat(32));
    request(&format!("/webhook/{source}"), &[("x-hub-signature-256", &signature)], "{}")
}

fn quarantine(dir: &std::path::Path, config: &Config) -> Quarantine {
    let settings = &config.quarantine;
    let file = dir.join("quarantine.db");
    Quarantine::open(&file, settings.budgets, settings.life, ManualClock::at(NOW_MS)).unwrap()
}

pub(crate) fn request(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    request_by("POST", path, headers, body)
}

/// A request of any method. One without a body has no length header, unless its method expects one.
pub(crate) fn request_by(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = match body.len() {
        0 if matches!(method, "GET" | "DELETE" | "HEAD") => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: hub\r\n{headers}{length}\r\n{body}")
}

/// Reads one answer.
pub(crate) async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> Reply {
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

/// Reads until the hub closes the connection.
pub(crate) async fn closed(stream: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap_or(0)
}
