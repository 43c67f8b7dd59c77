//! Strangers, on a thread of their own that steps back for the hub: they are meant to be elsewhere. Each of their
//! addresses stays within the connections that one address may have.

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
/// Requests that all of these together send in a second.
const FLOODED_PER_SECOND: usize = 1_000;
/// Files of this process besides the connections of strangers.
const FILES_BESIDES: usize = 200;
/// Connections that idle and slow strangers together open in a second, at first and when they come back.
const OPENED_PER_SECOND: usize = 2_000;
const REOPENED_PER_SECOND: usize = 400;
/// Between two drops.
const DROP: Duration = Duration::from_millis(500);
const JUNK_BYTES: usize = 256 * 1024;
/// How far strangers step back, as `nice` counts.
const NICENESS: i32 = 10;

/// How many of each kind.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    idle: usize,
    slow: usize,
}

impl Crowd {
    /// All of them, or as many as this process has files for.
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

/// What all strangers together have seen so far.
#[derive(Default)]
struct Tally {
    idle: AtomicUsize,
    let_go: AtomicU64,
    late_bodies: AtomicU64,
    longest_body_ms: AtomicU64,
    unverified: AtomicU64,
    told_to_wait: AtomicU64,
}

/// The same, at the end.
pub(crate) struct Seen {
    /// Connections that had to make place or took too long.
    pub(crate) let_go: u64,
    /// The longest time that a body took which was not sent as fast as it must.
    pub(crate) longest_body: Duration,
    /// Junk that was looked at.
    pub(crate) unverified: u64,
    /// Junk that was not.
    pub(crate) told_to_wait: u64,
    late_bodies: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { let_go, longest_body, unverified, told_to_wait, late_bodies } = self;
        write!(
            f,
            "{let_go} connections let go, {late_bodies} slow bodies after {longest_body:.1?} at most, \
             {unverified} junk signatures checked and {told_to_wait} turned away unread"
        )
    }
}

/// All of them, until they leave.
pub(crate) struct Strangers {
    crowd: Crowd,
    tally: Arc<Tally>,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Strangers {
    /// They come, as fast as they are allowed to.
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

    /// Resolves when every kind has been there long enough to be noticed.
    pub(crate) async fn until_all_are_at_it(&self) {
        let Self { crowd, tally, .. } = self;
        let (mut look, started) = (interval(Duration::from_millis(50)), Instant::now());
        loop {
            look.tick().await;
            let idle = tally.idle.load(Ordering::Relaxed);
            // Some are always on their way: there is no place for all.
            let at_it = idle >= crowd.idle * 8 / 10
                && tally.late_bodies.load(Ordering::Relaxed) > 0
                && tally.unverified.load(Ordering::Relaxed) > 0;
            if at_it {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{idle} idle, {}", tally.seen());
        }
    }

    /// They go; what they saw.
    pub(crate) async fn leave(self) -> Seen {
        self.leave.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(|| self.thread.join().unwrap()).await.unwrap();
        self.tally.seen()
    }
}

impl Tally {
    fn seen(&self) -> Seen {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Seen {
            let_go: of(&self.let_go),
            longest_body: Duration::from_millis(of(&self.longest_body_ms)),
            unverified: of(&self.unverified),
            told_to_wait: of(&self.told_to_wait),
            late_bodies: of(&self.late_bodies),
        }
    }
}

/// So many connections that say nothing, as long as the caller keeps them.
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

/// The nth of a kind has its address together with some others of its kind.
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

/// What a hundredth of a second gives, if there is not yet enough for one.
fn refill(permits: &Semaphore, per_second: usize) {
    if permits.available_permits() < per_second {
        permits.add_permits(per_second / 100);
    }
}

/// A new connection, when it is this one's turn.
async fn open(to: SocketAddr, kind: Kind, n: usize, doors: &Semaphore) -> TcpStream {
    doors.acquire().await.unwrap().forget();
    connect(to, address(kind, n)).await
}

/// Asks something harmless once, or, one in ten, says nothing; holds the connection as long as it is let, and comes
/// back.
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

/// Sends a drop now and then until the other side answers or closes, which ends either of them.
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

/// Sends what nobody signed, one after the other.
async fn flooding(to: SocketAddr, n: usize, tally: Arc<Tally>, ammunition: Arc<Semaphore>) {
    let junk = format!(
        "POST /webhook/github HTTP/1.1\r\nhost: hub\r\nx-github-event: push\r\nx-github-delivery: j\r\n\
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

/// The status of the answer; none if the connection has ended.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<[u8; 3]> {
    // The answer may come, and the connection end, before all is sent.
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
