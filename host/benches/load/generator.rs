//! The load: signed pushes over kept connections, written and read with little work.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::Usage;

pub(crate) const SECRET: &str = "a secret for measuring";
const BODIES: usize = 256;
const BODY_BYTES: usize = 2_048;

/// The result of one load.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) latencies_us: Vec<u32>,
    pub(crate) payload_bytes: u64,
}

/// The figures of one server.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_us: f64,
    pub(crate) written: f64,
    drain: Duration,
}

impl Measured {
    pub(crate) fn new(load: &Load, used: &Usage, drain: Duration, seconds: u64) -> Self {
        let mut sorted = load.latencies_us.clone();
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = (sorted.len() as f64 * share) as usize;
            f64::from(sorted.get(index.min(sorted.len() - 1)).copied().unwrap_or(0)) / 1e3
        };
        Self {
            per_second: load.answered as f64 / seconds as f64,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            cpu_us: used.cpu.as_secs_f64() * 1e6 / load.answered as f64,
            written: used.written as f64 / load.payload_bytes as f64,
            drain,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bytes written are shown for the hub only: the kernel counts too many for the floor's
        // preallocated file.
        write!(
            f,
            "{:>7.0}/s  p50 {:.1} ms  p99 {:.1} ms  {:.1} us CPU each  settled {:.1} s after",
            self.per_second,
            self.p50_ms,
            self.p99_ms,
            self.cpu_us,
            self.drain.as_secs_f64()
        )
    }
}

/// Sends requests for this time over this number of connections.
pub(crate) async fn run(
    to: SocketAddr,
    name: &'static str,
    seconds: u64,
    connections: usize,
) -> Load {
    let bodies = std::sync::Arc::new(bodies());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = JoinSet::new();
    for n in 0..connections {
        tasks.spawn(connection(to, format!("{name}-{n}"), until, bodies.clone()));
    }
    let mut all = Load::default();
    while let Some(load) = tasks.join_next().await {
        let load = load.unwrap();
        all.answered += load.answered;
        all.refused += load.refused;
        all.payload_bytes += load.payload_bytes;
        all.latencies_us.extend(load.latencies_us);
    }
    all
}

struct Body {
    bytes: Vec<u8>,
    signature: String,
}

/// Bodies that look like pushes and differ as pushes do.
fn bodies() -> Vec<Body> {
    let body = |n: usize| {
        let mut seed = n as u64 + 1;
        let mut word = || {
            // xorshift: any cheap sequence that differs per body.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            format!("{seed:016x}")
        };
        let mut text = format!(
            r#"{{"ref":"refs/heads/{}","before":"{}{}","after":"{}{}","repository":{{"id":{n},"full_name":"octo-org/{}","private":false}},"pusher":{{"name":"octocat","email":"octocat@example.invalid"}},"commits":["#,
            word(),
            word(),
            word(),
            word(),
            word(),
            word()
        );
        while text.len() < BODY_BYTES - 260 {
            text.push_str(&format!(
                r#"{{"id":"{}{}","message":"Fix the thing in module {} so that it works again","added":[],"removed":[],"modified":["src/{}.rs"]}},"#,
                word(), word(), word(), word()
            ));
        }
        text.push_str(r#"{}],"pad":""#);
        while text.len() < BODY_BYTES - 2 {
            text.push('x');
        }
        text.push_str("\"}");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        Body { bytes: text.into_bytes(), signature }
    };
    (0..BODIES).map(body).collect()
}

async fn connection(
    to: SocketAddr,
    name: String,
    until: Instant,
    bodies: std::sync::Arc<Vec<Body>>,
) -> Load {
    let mut load = Load::default();
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut request, mut answer) = (Vec::with_capacity(4096), vec![0; 4096]);
    for n in 0.. {
        if Instant::now() >= until {
            break;
        }
        let body = &bodies[n % bodies.len()];
        request.clear();
        head(&mut request, to, &name, n, body);
        let headers = request.len() as u64 - 90;
        request.extend_from_slice(&body.bytes);
        let sent = Instant::now();
        stream.write_all(&request).await.unwrap();
        let ok = read_answer(&mut stream, &mut answer).await;
        load.latencies_us.push(sent.elapsed().as_micros() as u32);
        load.payload_bytes += headers + body.bytes.len() as u64;
        if ok { load.answered += 1 } else { load.refused += 1 }
    }
    load
}

fn head(out: &mut Vec<u8>, to: SocketAddr, name: &str, n: usize, body: &Body) {
    use std::io::Write;
    write!(
        out,
        "POST /webhook/github HTTP/1.1\r\nhost: {to}\r\naccept: */*\r\ncontent-type: application/json\r\n\
         user-agent: GitHub-Hookshot/044aadd\r\nx-github-event: push\r\nx-github-hook-id: 292430182\r\n\
         x-github-hook-installation-target-id: 79929171\r\nx-github-hook-installation-target-type: repository\r\n\
         x-github-delivery: {name}-4000-8000-{n:012}\r\nx-hub-signature-256: sha256={}\r\ncontent-length: {}\r\n\r\n",
        body.signature,
        body.bytes.len()
    )
    .unwrap();
}

/// Reads an answer. True if its status is 2xx.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut have = 0;
    loop {
        let read = stream.read(&mut buffer[have..]).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        have += read;
        let text = &buffer[..have];
        if let Some(end) = find(text, b"\r\n\r\n")
            && have >= end + 4 + content_length(&text[..end])
        {
            return text[9] == b'2';
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let line = head.lines().find_map(|l| {
        let (name, value) = l.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    line.unwrap_or(0)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}
