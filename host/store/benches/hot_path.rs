//! The hot path, in ratios that mean the same on every machine: storing, and storing with every
//! event claimed and settled, against appending the same bytes to a file and syncing it.
//!
//! `cargo bench -p weir-store` ; `WEIR_BENCH_EVENTS` and `WEIR_BENCH_SUBMITTERS` change the load.
//! Bytes are those that the kernel counts for this process; divide ratios, not absolutes, when the
//! machine is shared.

#![expect(clippy::disallowed_methods, reason = "a benchmark may spawn tasks directly")]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and stops when something is wrong"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use weir_core::delivery::{NextState, Outcome};
use weir_core::event::EventType;
use weir_core::name::{HandlerName, SourceName, Target};
use weir_core::payload::Payload;
use weir_core::provider::OnRedelivery;
use weir_core::route::{RouteTable, Rule, TableHash};
use weir_core::state::{ReadSet, StateQuota};
use weir_core::time::{Clock, Timestamp};
use weir_store::sqlite::{Options, SqliteStore};
use weir_store::{
    AttemptRecord, Claim, ClaimRequest, DedupKey, Lane, NewDelivery, NewEvent, NewRequest, Routed,
    RoutedEffects, Settlement,
};
use weir_store::{Dispatch, Ingest, Maintenance};

/// Events stored before anything is measured: enough for a dictionary.
const WARM_UP: usize = 3_000;
const BODY_BYTES: usize = 2_048;

#[derive(Debug)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_760_000_000_000).after(self.0.elapsed())
    }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn hex(random: &mut StdRng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(random.random_range(0..16), 16).unwrap()).collect()
}

fn words(random: &mut StdRng, bytes: usize) -> String {
    const WORDS: [&str; 24] = [
        "fix", "the", "build", "on", "older", "machines", "add", "a", "test", "for", "parser",
        "remove", "dead", "code", "retry", "when", "peer", "resets", "update", "docs", "rename",
        "field", "speed", "up",
    ];
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
        text.push(' ');
    }
    text
}

/// A push as GitHub words it: the same shape, other hashes, names, numbers and text each time.
fn push(random: &mut StdRng) -> Payload {
    let (before, after, tree) = (hex(random, 40), hex(random, 40), hex(random, 40));
    let repository = ["hello-world", "weir", "site", "infra", "api"][random.random_range(0..5)];
    let author = ["mona", "hubot", "ada", "grace", "linus"][random.random_range(0..5)];
    let (id, owner): (u32, u32) = (random.random(), random.random());
    let mut body = String::new();
    write!(
        body,
        r#"{{"ref":"refs/heads/main","before":"{before}","after":"{after}","repository":{{"id":{id},"node_id":"R_{}","name":"{repository}","full_name":"octo-org/{repository}","private":false,"owner":{{"name":"octo-org","login":"octo-org","id":{owner},"type":"Organization"}},"html_url":"https://example.invalid/octo-org/{repository}","fork":false,"created_at":{id},"pushed_at":{owner},"default_branch":"main","stargazers":0}},"pusher":{{"name":"{author}","email":"{author}@example.invalid"}},"sender":{{"login":"{author}","id":{owner},"type":"User","site_admin":false}},"created":false,"deleted":false,"forced":false,"base_ref":null,"compare":"https://example.invalid/octo-org/{repository}/compare/{}...{}","commits":[{{"id":"{after}","tree_id":"{tree}","distinct":true,"timestamp":"2026-05-15T15:20:41Z","author":{{"name":"{author}","email":"{author}@example.invalid","username":"{author}"}},"committer":{{"name":"{author}","email":"{author}@example.invalid","username":"{author}"}},"added":["src/{}.rs"],"removed":[],"modified":["README.md","Cargo.toml"],"message":""#,
        hex(random, 10),
        &before[..12],
        &after[..12],
        hex(random, 6)
    )
    .unwrap();
    let filler = BODY_BYTES.saturating_sub(body.len() + 5);
    body.push_str(&words(random, filler));
    body.push_str(r#""}]}"#);
    let headers = [
        ("host", "hooks.example.com".to_owned()),
        ("user-agent", format!("GitHub-Hookshot/{}", hex(random, 7))),
        ("content-type", "application/json".to_owned()),
        ("accept", "*/*".to_owned()),
        ("x-github-delivery", uuid(random)),
        ("x-github-event", "push".to_owned()),
        ("x-github-hook-id", owner.to_string()),
        ("x-github-hook-installation-target-id", id.to_string()),
        ("x-github-hook-installation-target-type", "repository".to_owned()),
        ("x-hub-signature-256", format!("sha256={}", hex(random, 64))),
        ("content-length", body.len().to_string()),
        ("x-forwarded-for", "192.0.2.7".to_owned()),
        ("x-request-id", hex(random, 32)),
    ];
    let headers = headers.into_iter().map(|(n, v)| (n.into(), Bytes::from(v))).collect();
    Payload { headers, body: body.into() }
}

fn uuid(random: &mut StdRng) -> String {
    [8, 4, 4, 4, 12].map(|digits| hex(random, digits)).join("-")
}

/// Resources that the process has used so far.
struct Used {
    at: Instant,
    cpu: Duration,
    written: u64,
}

impl Used {
    fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // User and system time, in hundredths of a second.
        let cpu = Duration::from_millis(10 * (fields[11] + fields[12]));
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
        Self { at: Instant::now(), cpu, written: written.parse().unwrap() }
    }
}

/// Prints one line and returns events a second.
fn report(what: &str, events: usize, payload: usize, before: &Used, raw: Option<f64>) -> f64 {
    let after = Used::now();
    let rate = events as f64 / (after.at - before.at).as_secs_f64();
    let cpu = (after.cpu - before.cpu).as_secs_f64() * 1e6 / events as f64;
    let written = (after.written - before.written) as f64 / payload as f64;
    let ratio = raw.map_or(String::new(), |raw| format!(", {:.2} of raw", rate / raw));
    println!(
        "{what}: {rate:.0} events/s{ratio}, {cpu:.1} us CPU/event, {written:.2} bytes written/payload byte"
    );
    rate
}

/// Appends and syncs what the store is given, in groups of as many as there are submitters.
fn raw(dir: &std::path::Path, payloads: &[Payload], events: usize, group: usize) -> f64 {
    let mut file = std::fs::File::create(dir.join("raw")).unwrap();
    let encoded: Vec<Bytes> = payloads.iter().map(Payload::encode).collect();
    let (before, mut bytes, mut buffer) = (Used::now(), 0, Vec::new());
    for n in 0..events {
        buffer.extend_from_slice(&encoded[n % encoded.len()]);
        if (n + 1) % group == 0 || n + 1 == events {
            file.write_all(&buffer).unwrap();
            file.sync_data().unwrap();
            bytes += buffer.len();
            buffer.clear();
        }
    }
    report(&format!("raw append+fdatasync of {group}"), events, bytes, &before, None)
}

struct Load {
    store: Arc<SqliteStore>,
    payloads: Arc<Vec<Payload>>,
    table: TableHash,
    target: Target,
    sent: AtomicUsize,
}

impl Load {
    fn request(&self, n: usize) -> NewRequest {
        let payload = self.payloads[n % self.payloads.len()].clone();
        let id = format!("{n:08x}-0000-4000-8000-{n:012x}");
        NewRequest {
            source: SourceName::stored("github"),
            scheme: "hmac-sha256".into(),
            secret: "main".into(),
            remote: Some([192, 0, 2, 7].into()),
            payload,
            on_redelivery: OnRedelivery::Duplicate,
            events: vec![NewEvent {
                kind: EventType::new("push").unwrap(),
                category: None,
                delivery_id: Some(id.as_str().into()),
                dedup: Some(DedupKey {
                    material: Bytes::copy_from_slice(id.as_bytes()),
                    body_tag: 7,
                }),
                part: None,
                keys: Vec::new(),
                routed: Routed {
                    table: self.table,
                    decisions: "".into(),
                    deliveries: vec![NewDelivery {
                        target: self.target.clone(),
                        order_key: None,
                        error: None,
                    }],
                },
            }],
        }
    }

    /// Stores this many events from several tasks, each waiting for an answer before the next
    /// event.
    async fn ingest(self: &Arc<Self>, events: usize, submitters: usize) -> usize {
        let end = self.sent.load(Ordering::Relaxed) + events;
        let tasks: Vec<_> = (0..submitters)
            .map(|_| {
                let load = self.clone();
                tokio::spawn(async move {
                    let mut bytes = 0;
                    loop {
                        let n = load.sent.fetch_add(1, Ordering::Relaxed);
                        if n >= end {
                            return bytes;
                        }
                        let request = load.request(n);
                        bytes += request.payload.size();
                        load.store.ingest(vec![request]).await.remove(0).unwrap();
                    }
                })
            })
            .collect();
        let mut bytes = 0;
        for task in tasks {
            bytes += task.await.unwrap();
        }
        self.sent.store(end, Ordering::Relaxed);
        bytes
    }

    /// Claims and settles this many deliveries.
    async fn settle(self: Arc<Self>, deliveries: usize) {
        let mut left = deliveries;
        let wish = ClaimRequest { target: self.target.clone(), lane: Lane::Fresh, limit: 128 };
        let running = Arc::new(tokio::sync::Semaphore::new(512));
        while left > 0 {
            let claimed = self.store.claim(std::slice::from_ref(&wish)).await.unwrap();
            if claimed.is_empty() {
                self.store.wait_due(Duration::from_secs(1)).await;
                continue;
            }
            left = left.saturating_sub(claimed.len());
            let slots = u32::try_from(claimed.len()).unwrap();
            let slots = running.clone().acquire_many_owned(slots).await.unwrap();
            let store = self.store.clone();
            tokio::spawn(async move {
                let settlement = |claimed: &Claim| {
                    Arc::new(Settlement {
                        delivery: claimed.delivery,
                        fence: claimed.fence,
                        attempt: AttemptRecord {
                            started_at: claimed.now,
                            duration: Duration::from_micros(40),
                            outcome: Outcome::Ok,
                            reason: None,
                            version: Some([7; 32]),
                            other: None,
                            log: None,
                            response: None,
                            reads: None,
                        },
                        next: NextState::Processed,
                        effects: RoutedEffects::default(),
                        reads: ReadSet::default(),
                        quota: StateQuota::NONE,
                    })
                };
                let settlements: Vec<_> = claimed.iter().map(settlement).collect();
                for settled in store.settle(&settlements).await {
                    settled.unwrap();
                }
                drop((claimed, slots));
            });
        }
        let _all_settled = running.acquire_many(512).await.unwrap();
    }
}

async fn open(dir: &std::path::Path, payloads: Arc<Vec<Payload>>) -> Arc<Load> {
    let options = Options::new(Arc::new(Elapsed(Instant::now())));
    let store = Arc::new(weir_store::sqlite::open(&dir.join("weir.db"), options).unwrap());
    let target = Target::Handler(HandlerName::new("orders").unwrap());
    let table = RouteTable::new([Rule::new("handler:orders", target.clone(), Vec::new())]);
    store.keep_table(&table).await.unwrap();
    let sent = AtomicUsize::new(0);
    Arc::new(Load { store, payloads, table: table.hash(), target, sent })
}

async fn run(events: usize, submitters: usize) {
    let mut random = StdRng::seed_from_u64(7);
    let payloads: Vec<Payload> = (0..20_000).map(|_| push(&mut random)).collect();
    let mean = payloads.iter().map(Payload::size).sum::<usize>() / payloads.len();
    println!("{events} events of {mean} bytes from {submitters} submitters");
    let dir = tempfile::tempdir_in(".").unwrap();
    let raw = raw(dir.path(), &payloads, events, submitters);
    let load = open(dir.path(), Arc::new(payloads)).await;
    load.ingest(WARM_UP, submitters).await;
    load.clone().settle(WARM_UP).await;

    let before = Used::now();
    let commits = load.store.commits();
    let settling = tokio::spawn(load.clone().settle(events));
    let bytes = load.ingest(events, submitters).await;
    settling.await.unwrap();
    report("ingest, claim and settle", events, bytes, &before, Some(raw));
    let stats = load.store.stats();
    println!(
        "  {:.1} events a commit; log {} pages; longest commit {:.1} ms",
        events as f64 / (stats.commits - commits) as f64,
        stats.log_pages,
        stats.longest_commit.as_secs_f64() * 1e3
    );

    let before = Used::now();
    let commits = load.store.commits();
    let bytes = load.ingest(events, submitters).await;
    report("ingest only", events, bytes, &before, Some(raw));
    println!("  {:.1} events a commit", events as f64 / (load.store.commits() - commits) as f64);

    let before = Used::now();
    load.clone().settle(events).await;
    report("claim and settle of a backlog", events, bytes, &before, None);
    load.store.close().await.unwrap();
    let size = std::fs::metadata(dir.path().join("weir.db")).unwrap().len();
    println!("file: {:.0} bytes/event", size as f64 / (2 * events + WARM_UP) as f64);
    let opening = Instant::now();
    let options = Options::new(Arc::new(Elapsed(Instant::now())));
    let again = weir_store::sqlite::open(&dir.path().join("weir.db"), options).unwrap();
    println!("open again: {:.0} ms", opening.elapsed().as_secs_f64() * 1e3);
    drop(again);
}

fn main() {
    let (events, submitters) =
        (setting("WEIR_BENCH_EVENTS", 100_000), setting("WEIR_BENCH_SUBMITTERS", 64));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run(events, submitters));
}
