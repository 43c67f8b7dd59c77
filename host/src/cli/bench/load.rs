//! The load: signed pushes over kept connections, written and read with little work, so that the
//! server is what is measured.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::BenchError;

/// Different bodies, which are sent in turn.
const BODIES: usize = 256;
/// Bytes of a body: about those of a push of two commits.
const BODY_BYTES: usize = 2_048;
/// Largest head and body of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The address that requests go to.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// Host and port.
    pub(super) authority: String,
    pub(super) path: String,
}

/// The requests of one round.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    pub(super) accepted: u64,
    /// Answers without a 2xx status, with the first of them.
    pub(super) refused: u64,
    pub(super) first_refusal: Option<u16>,
    /// Time from the first byte sent to the whole answer, of each request, in microseconds.
    pub(super) times_us: Vec<u32>,
    /// Bytes of headers and bodies that were accepted.
    pub(super) payload_bytes: u64,
}

/// A body with its signature.
struct SignedBody {
    bytes: Vec<u8>,
    signature: String,
}

/// Sends requests for this time over this number of connections.
pub(super) async fn run(
    to: &Endpoint,
    secret: &[u8],
    (time, connections): (Duration, usize),
    round: &str,
) -> Result<Load, BenchError> {
    let bodies = bodies(secret)?;
    let until = Instant::now() + time;
    let each = (0..connections).map(|n| {
        let name = format!("{round}-{n}");
        let bodies = &bodies;
        async move { connection(to, &name, until, bodies).await }
    });
    let mut all = Load::default();
    for load in join_all(each).await {
        let load = load.map_err(|cause| BenchError::Load { at: to.authority.clone(), cause })?;
        all.accepted += load.accepted;
        all.refused += load.refused;
        all.first_refusal = all.first_refusal.or(load.first_refusal);
        all.payload_bytes += load.payload_bytes;
        all.times_us.extend(load.times_us);
    }
    Ok(all)
}

/// Bodies that look like pushes, and differ as pushes do.
fn bodies(secret: &[u8]) -> Result<Vec<SignedBody>, BenchError> {
    (0..BODIES)
        .map(|n| {
            let bytes = push(n as u64).into_bytes();
            let mac = Hmac::<Sha256>::new_from_slice(secret);
            let mut mac = mac.map_err(|_| BenchError::Secret)?;
            mac.update(&bytes);
            Ok(SignedBody { signature: hex::encode(mac.finalize().into_bytes()), bytes })
        })
        .collect()
}

/// The body of a push.
fn push(n: u64) -> String {
    let mut seed = n + 1;
    let mut word = || {
        // Xorshift: any cheap sequence that differs for each body.
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
        let commit = format!(
            r#"{{"id":"{}{}","message":"Fix the thing in module {} so that it works again","added":[],"removed":[],"modified":["src/{}.rs"]}},"#,
            word(),
            word(),
            word(),
            word()
        );
        text.push_str(&commit);
    }
    text.push_str(r#"{}],"pad":""#);
    let pad = (BODY_BYTES - 2).saturating_sub(text.len());
    text.extend(std::iter::repeat_n('x', pad));
    text.push_str("\"}");
    text
}

async fn connection(
    to: &Endpoint,
    name: &str,
    until: Instant,
    bodies: &[SignedBody],
) -> io::Result<Load> {
    let mut load = Load::default();
    let mut stream = TcpStream::connect(&to.authority).await?;
    stream.set_nodelay(true)?;
    let (mut request, mut answer) = (Vec::with_capacity(4_096), vec![0; ANSWER_BYTES_MAX]);
    for (n, body) in bodies.iter().cycle().enumerate() {
        if Instant::now() >= until {
            break;
        }
        request.clear();
        head(&mut request, to, name, n, body)?;
        let payload = (request.len() + body.bytes.len()) as u64;
        request.extend_from_slice(&body.bytes);
        let sent = Instant::now();
        stream.write_all(&request).await?;
        let status = read_answer(&mut stream, &mut answer).await?;
        let took = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX);
        load.times_us.push(took);
        if (200..300).contains(&status) {
            load.accepted += 1;
            load.payload_bytes += payload;
        } else {
            load.refused += 1;
            load.first_refusal = load.first_refusal.or(Some(status));
        }
    }
    Ok(load)
}

fn head(
    out: &mut Vec<u8>,
    to: &Endpoint,
    name: &str,
    n: usize,
    body: &SignedBody,
) -> io::Result<()> {
    let Endpoint { authority, path } = to;
    let (signature, length) = (&body.signature, body.bytes.len());
    write!(
        out,
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\naccept: */*\r\ncontent-type: \
         application/json\r\nuser-agent: GitHub-Hookshot/044aadd\r\nx-github-event: \
         push\r\nx-github-hook-id: 292430182\r\nx-github-hook-installation-target-id: \
         79929171\r\nx-github-hook-installation-target-type: repository\r\nx-github-delivery: \
         {name}-4000-8000-{n:012}\r\nx-hub-signature-256: sha256={signature}\r\ncontent-length: \
         {length}\r\n\r\n"
    )
}

/// Reads an answer. Returns its status.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
    let mut have = 0;
    loop {
        let read = stream.read(&mut buffer[have..]).await?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        have += read;
        let text = &buffer[..have];
        let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&text[..end]).map_err(io::Error::other)?;
        if have >= end + 4 + content_length(head) {
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            return status.ok_or_else(|| io::Error::other("the answer has no status"));
        }
    }
}

fn content_length(head: &str) -> usize {
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_the_stated_size() {
        for n in 0..BODIES as u64 {
            let body = push(n);
            assert_eq!(body.len(), BODY_BYTES);
            assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok());
        }
        assert_ne!(push(1), push(2));
    }

    #[test]
    fn the_length_of_an_answer_is_found() {
        assert_eq!(content_length("HTTP/1.1 202 Accepted\r\nContent-Length: 17"), 17);
        assert_eq!(content_length("HTTP/1.1 204 No Content"), 0);
    }
}
