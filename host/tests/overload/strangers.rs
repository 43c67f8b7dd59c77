//! Attackers, on a thread of low priority, as real ones would be on other machines. Each of their
//! addresses stays within the connection limit of one address.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use crate::sender::connect;

const IDLE: usize = 10_000;
const SLOW: usize = 1_000;
const FLOODING: usize = 32;
/// Requests of all flooders together in a second.
const FLOODED_PER_SECOND: usize = 1_000;
/// Files of this process besides their connections.
const FILES_BESIDES: usize = 200;
/// Connections that idle and slow strangers open in a second, at first and when they come back.
const OPENED_PER_SECOND: usize = 2_000;
const REOPENED_PER_SECOND: usize = 400;
/// The time between two pieces of a slow sender.
const DROP: Duration = Duration::from_millis(500);
const JUNK_BYTES: usize = 256 * 1024;
/// Their `nice` value.
const NICENESS: i32 = 10;

/// The number of each kind.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    idle: usize,
    slow: usize,
}

impl Crowd {
    /// All strangers, or as many as this process has files for.
    pub(crate) fn within(files: Option<u64>) -> Self {
        let besides = SLOW + FLOODING + FILES_BESIDES;
        let left = files.map_or(IDLE, |files| (files as usize).saturating_sub(besides));
        let idle = IDLE.min(left);
        if idle < IDLE {
            println!(
                "this machine allows a process too few files: {idle} idle connections, not {IDLE}"
            );
        }
        Self { idle, slow: SLOW }
    }
}

/// The counts of all strangers so far.
#[derive(Default)]
struct Tally {
    idle: AtomicUsize,
    let_go: AtomicU64,
    late_bodies: AtomicU64,
    longest_body_ms: AtomicU64,
    unverified: AtomicU64,
    told_to_wait: AtomicU64,
}

/// The counts at the end.
pub(crate) struct StrangerReport {
    /// Connections that were evicted or timed out.
    pub(crate) let_go: u64,
    /// The longest time that a slow body was accepted.
    pub(crate) longest_body: Duration,
    /// Unsigned requests whose signature was checked.
    pub(crate) unverified: u64,
    /// Unsigned requests that were refused by a penalty.
    pub(crate) told_to_wait: u64,
    late_bodies: u64,
}

impl fmt::Display for StrangerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { let_go, longest_body, unverified, told_to_wait, late_bodies } = self;
        write!(
            f,
            "{let_go} connections let go, \
             {late_bodies} slow bodies after {longest_body:.1?} at most, \
             {unverified} junk signatures checked and {told_to_wait} turned away unread"
        )
    }
}

/// All strangers, until they leave.
pub(crate) struct Strangers {
    crowd: Crowd,
    tally: Arc<Tally>,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Strangers {
    /// Starts them, as fast as they may connect.
    pub(crate) fn come(to: SocketAddr, crowd: Crowd) -> Self {
        let (tally, leave) = (Arc::<Tally>::default(), Arc::<AtomicBool>::default());
        let (seen, left) = (tally.clone(), leave.clone());
        let thread = std::thread::spawn(move || {
            rustix::process::nice(NICENESS).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(all(to, crowd, seen, left));
        });
        Self { crowd, tally, leave, thread }
    }

    /// Resolves when every kind is active.
    pub(crate) async fn until_all_are_at_it(&self) {
        let Self { crowd, tally, .. } = self;
        let (mut look, started) = (interval(Duration::from_millis(50)), Instant::now());
        loop {
            look.tick().await;
            let idle = tally.idle.load(Ordering::Relaxed);
            // Some are always reconnecting: there are not enough slots for all.
            let at_it = idle >= crowd.idle * 8 / 10
                && tally.late_bodies.load(Ordering::Relaxed) > 0
                && tally.unverified.load(Ordering::Relaxed) > 0;
            if at_it {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{idle} idle, {}", tally.seen());
        }
    }

    /// Stops them.
    pub(crate) async fn leave(self) -> StrangerReport {
        self.leave.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
        self.tally.seen()
    }
}

impl Tally {
    fn seen(&self) -> StrangerReport {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StrangerReport {
            let_go: of(&self.let_go),
            longest_body: Duration::from_millis(of(&self.longest_body_ms)),
            unverified: of(&self.unverified),
            told_to_wait: of(&self.told_to_wait),
            late_bodies: of(&self.late_bodies),
        }
    }
}

/// Opens silent connections, which stay open as long as the caller keeps them.
pub(crate) async fn hold(to: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut held = Vec::with_capacity(connections);
    for n in 0..connections {
        held.push(connect(to, address(Kind::Idle, n)).await);
    }
    held
}

#[derive(Clone, Copy)]
enum Kind {
    Idle = 2,
    Slow = 3,
    Flooding = 4,
}

/// The address of the nth stranger of a kind, shared with some others.
const fn address(kind: Kind, n: usize) -> [u8; 4] {
    let which = match kind {
        Kind::Idle => n / 500,
        Kind::Slow => n / 50,
        Kind::Flooding => n / 8,
    };
    [127, 0, kind as u8, 1 + which as u8]
}

async fn all(to: SocketAddr, crowd: Crowd, tally: Arc<Tally>, leave: Arc<AtomicBool>) {
    let (doors, ammunition) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    for n in 0..FLOODING {
        tokio::spawn(flooding(to, n, tally.clone(), ammunition.clone()));
    }
    for n in 0..crowd.slow {
        let (tally, doors) = (tally.clone(), doors.clone());
        match n % 2 {
            0 => drop(tokio::spawn(slow_head(to, n, tally, doors))),
            _ => drop(tokio::spawn(slow_body(to, n, tally, doors))),
        }
    }
    for n in 0..crowd.idle {
        tokio::spawn(idle(to, n, tally.clone(), doors.clone()));
    }
    let mut tick = interval(Duration::from_millis(10));
    for n in 0.. {
        tick.tick().await;
        if leave.load(Ordering::Relaxed) {
            break;
        }
        let arriving = n < 100 * (crowd.idle + crowd.slow) / OPENED_PER_SECOND;
        let opened = if arriving { OPENED_PER_SECOND } else { REOPENED_PER_SECOND };
        refill(&doors, opened);
        refill(&ammunition, FLOODED_PER_SECOND);
    }
}

/// Adds the permits of a hundredth of a second, up to those of one second.
fn refill(permits: &Semaphore, per_second: usize) {
    if permits.available_permits() < per_second {
        permits.add_permits(per_second / 100);
    }
}

/// A new connection, once there is a permit.
async fn open(to: SocketAddr, kind: Kind, n: usize, doors: &Semaphore) -> TcpStream {
    doors.acquire().await.unwrap().forget();
    connect(to, address(kind, n)).await
}

/// Sends one harmless request, or in one of ten cases nothing; holds the connection as long as it
/// can, and comes back.
async fn idle(to: SocketAddr, n: usize, tally: Arc<Tally>, doors: Arc<Semaphore>) {
    loop {
        let mut stream = open(to, Kind::Idle, n, &doors).await;
        if !n.is_multiple_of(10) {
            let _ = stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: hub\r\n\r\n").await;
        }
        tally.idle.fetch_add(1, Ordering::Relaxed);
        until_closed(&mut stream).await;
        tally.idle.fetch_sub(1, Ordering::Relaxed);
        tally.let_go.fetch_add(1, Ordering::Relaxed);
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut answer = [0; 1024];
    while stream.read(&mut answer).await.is_ok_and(|read| read > 0) {}
}

async fn slow_head(to: SocketAddr, n: usize, tally: Arc<Tally>, doors: Arc<Semaphore>) {
    let line = format!("x-{n}: {}\r\n", "y".repeat(250));
    loop {
        let mut stream = open(to, Kind::Slow, n, &doors).await;
        let _ = stream.write_all(b"POST /webhook/github HTTP/1.1\r\nhost: hub\r\n").await;
        drip(&mut stream, line.as_bytes()).await;
        tally.let_go.fetch_add(1, Ordering::Relaxed);
    }
}

async fn slow_body(to: SocketAddr, n: usize, tally: Arc<Tally>, doors: Arc<Semaphore>) {
    loop {
        let mut stream = open(to, Kind::Slow, n, &doors).await;
        let started = Instant::now();
        let head = "POST /webhook/github HTTP/1.1\r\nhost: hub\r\ncontent-length: 100000\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        drip(&mut stream, &[b'y'; 100]).await;
        tally.let_go.fetch_add(1, Ordering::Relaxed);
        tally.late_bodies.fetch_add(1, Ordering::Relaxed);
        tally.longest_body_ms.fetch_max(started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// Sends a piece now and then until the other side answers or closes.
async fn drip(stream: &mut TcpStream, piece: &[u8]) {
    let mut pace = interval(DROP);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answer = [0; 1024];
    loop {
        tokio::select! {
            _ = stream.read(&mut answer) => return,
            _ = pace.tick() => {}
        }
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
}

/// Sends unsigned requests one after another.
async fn flooding(to: SocketAddr, n: usize, tally: Arc<Tally>, ammunition: Arc<Semaphore>) {
    let junk = format!(
        "POST /webhook/github HTTP/1.1\r\nhost: hub\r\nx-github-event: push\r\n\
         x-github-delivery: j\r\n\
         x-hub-signature-256: sha256={}\r\ncontent-length: {JUNK_BYTES}\r\n\r\n{}",
        "00".repeat(32),
        "j".repeat(JUNK_BYTES)
    );
    loop {
        ammunition.acquire().await.unwrap().forget();
        let mut stream = connect(to, address(Kind::Flooding, n)).await;
        while let Some(status) = ask(&mut stream, junk.as_bytes()).await {
            match &status {
                b"401" => tally.unverified.fetch_add(1, Ordering::Relaxed),
                b"429" => tally.told_to_wait.fetch_add(1, Ordering::Relaxed),
                other => panic!("junk was answered {}", String::from_utf8_lossy(other)),
            };
            ammunition.acquire().await.unwrap().forget();
        }
    }
}

/// The status of the answer. `None` if the connection has ended.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<[u8; 3]> {
    // The answer may come, and the connection end, before everything is sent.
    let _ = stream.write_all(request).await;
    let mut answer = [0; 1024];
    let mut have = 0;
    loop {
        match stream.read(&mut answer[have..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => have += read,
        }
        let Some(status) = answer.get(9..12) else { continue };
        let whole = answer[..have].ends_with(b"}");
        if whole || have == answer.len() {
            return status.try_into().ok();
        }
    }
}
