//! The good sender: signed pushes at a steady pace, three of four over connections that it keeps,
//! the fourth over a new one.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) const SECRET: &str = "a secret that the good sender knows";

const ADDRESS: [u8; 4] = [127, 0, 1, 1];
const WORKERS: usize = 4;
/// The time between two requests of one worker.
const PACE: Duration = Duration::from_millis(10);
/// The median of several stretches of time counts: other processes may take the processors in one.
const STRETCHES: usize = 5;
const STRETCH: Duration = Duration::from_secs(2);
/// After this many events the store has trained its compression.
const WARM: usize = 1_500;

pub(crate) struct Sender {
    to: SocketAddr,
    sent: usize,
}

/// The measurements of the sender.
pub(crate) struct SenderReport {
    /// The median of the stretches' p99.
    pub(crate) p99: Duration,
    /// Requests that were not answered with 200.
    pub(crate) refused: usize,
    all: Vec<Duration>,
    requests: usize,
}

impl fmt::Display for SenderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p99, refused, all, requests } = self;
        write!(f, "p99 {p99:.1?} of {all:.1?}, {requests} requests, {refused} refused")
    }
}

impl SenderReport {
    /// The better p99 of two reports, and the refused requests of both.
    pub(crate) fn or(self, other: Self) -> Self {
        let refused = self.refused + other.refused;
        let better = if other.p99 < self.p99 { other } else { self };
        Self { refused, ..better }
    }
}

impl Sender {
    pub(crate) fn new(to: SocketAddr) -> Self {
        Self { to, sent: 0 }
    }

    pub(crate) async fn warm_up(&mut self) {
        let mut stream = None;
        for _ in 0..WARM {
            assert!(push(self.to, self.next(), &mut stream).await);
        }
    }

    /// Sends one request over a new connection. True if it was accepted.
    pub(crate) async fn one_on_its_own(&mut self) -> bool {
        push(self.to, self.next(), &mut None).await
    }

    fn next(&mut self) -> String {
        self.sent += 1;
        format!("{}", self.sent)
    }

    /// Sends at its pace for some seconds.
    pub(crate) async fn measure(&mut self) -> SenderReport {
        let mut seen =
            SenderReport { p99: Duration::ZERO, refused: 0, all: Vec::new(), requests: 0 };
        for _ in 0..STRETCHES {
            let run = self.next();
            let workers = (0..WORKERS).map(|n| worker(self.to, format!("{run}-{n}")));
            let mut took = Vec::new();
            for worker in workers.collect::<JoinSet<_>>().join_all().await {
                seen.refused += worker.refused;
                took.extend(worker.took);
            }
            took.sort_unstable();
            seen.requests += took.len();
            seen.all.push(took[took.len() * 99 / 100]);
        }
        let mut sorted = seen.all.clone();
        sorted.sort_unstable();
        seen.p99 = sorted[STRETCHES / 2];
        seen
    }
}

#[derive(Default)]
struct SenderTask {
    took: Vec<Duration>,
    refused: usize,
}

async fn worker(to: SocketAddr, name: String) -> SenderTask {
    let mut worker = SenderTask::default();
    let mut kept = None;
    let (mut pace, until) = (interval(PACE), Instant::now() + STRETCH);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0.. {
        let due = pace.tick().await.into_std();
        if due >= until {
            break;
        }
        let id = format!("{name}-{n}");
        let started = Instant::now();
        let taken = match n % 4 {
            0 => push(to, id, &mut None).await,
            _ => push(to, id, &mut kept).await,
        };
        worker.took.push(started.elapsed());
        worker.refused += usize::from(!taken);
    }
    worker
}

/// Sends one request over `kept`, or over a new connection if there is none or it has ended. True
/// if it was answered with 200.
async fn push(to: SocketAddr, id: String, kept: &mut Option<TcpStream>) -> bool {
    let request = signed(&id);
    if let Some(stream) = kept
        && let Some(taken) = ask(stream, &request).await
    {
        return taken;
    }
    let mut stream = connect(to, ADDRESS).await;
    let taken = ask(&mut stream, &request).await == Some(true);
    *kept = Some(stream);
    taken
}

/// A connection from this address.
pub(crate) async fn connect(to: SocketAddr, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// None if the connection has ended.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> Option<bool> {
    stream.write_all(request).await.ok()?;
    let mut answer = [0; 1024];
    let mut have = 0;
    loop {
        match stream.read(&mut answer[have..]).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => have += read,
        }
        // Answers to pushes are small and end with the brace of their JSON.
        if answer[..have].ends_with(b"}") {
            return Some(answer.starts_with(b"HTTP/1.1 200"));
        }
    }
}

fn signed(id: &str) -> Vec<u8> {
    let body = format!(r#"{{"id":"{id}","ref":"refs/heads/main","pad":"{}"}}"#, "x".repeat(900));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let length = body.len();
    format!(
        "POST /webhook/github HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-github-delivery: {id}\r\n\
         x-hub-signature-256: sha256={signature}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
