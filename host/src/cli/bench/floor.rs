//! The bare server that a hub is compared with: the least that verifies a webhook and stores it
//! before it answers. hyper, one HMAC, and one sync for all that wait, into space that is
//! written before.

#![expect(
    clippy::disallowed_methods,
    reason = "a server of its own, which is killed and not drained"
)]

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::SECRET;

/// The file in the folder that names the address of the server.
pub(super) const ADDRESS: &str = "address";

/// A body that waits to be stored.
type Item = (Bytes, oneshot::Sender<()>);

/// Space that is written before the load, so that a sync writes no metadata.
const SPACE: u64 = 256 << 20;
/// Most bodies of one sync.
const GROUP: usize = 1_024;

/// Run the bare server that `weir bench` compares a hub with
#[derive(Debug, Clone, clap::Args)]
#[command(hide = true)]
pub struct FloorArgs {
    /// Folder for its file
    folder: std::path::PathBuf,
}

/// Serves until it is killed. Writes its address into the folder.
pub(in crate::cli) fn run(args: &FloorArgs) -> io::Result<()> {
    let file = prepared(&args.folder)?;
    let (queue, items) = mpsc::channel::<Item>();
    std::thread::spawn(move || write(file, &items));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(&args.folder, queue))
}

fn prepared(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(folder.join("log"));
    let mut file = file?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..SPACE >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    file.rewind()?;
    Ok(file)
}

async fn serve(folder: &Path, queue: mpsc::Sender<Item>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    // Renamed, so that it is never read half written.
    let written = folder.join("address.new");
    std::fs::write(&written, listener.local_addr()?.to_string())?;
    std::fs::rename(written, folder.join(ADDRESS))?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let queue = queue.clone();
        let service = service_fn(move |request| answer(queue.clone(), request));
        tokio::spawn(
            http1::Builder::new()
                .pipeline_flush(true)
                .serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(
    queue: mpsc::Sender<Item>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if accept(&queue, request).await.is_some() { 202 } else { 401 };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(answer)
}

/// None if the request is not signed.
async fn accept(queue: &mpsc::Sender<Item>, request: Request<Incoming>) -> Option<()> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let signature = parts.headers.get("x-hub-signature-256")?.to_str().ok()?;
    let signature = hex::decode(signature.strip_prefix("sha256=")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).ok()?;
    mac.update(&body);
    mac.verify_slice(&signature).ok()?;
    let (done, durable) = oneshot::channel();
    queue.send((body, done)).ok()?;
    durable.await.ok()
}

/// Writes and syncs all that waits, again and again. A failure ends it, and every request then
/// fails.
fn write(mut file: File, items: &mpsc::Receiver<Item>) -> io::Result<()> {
    let (mut group, mut waiting, mut written) = (Vec::new(), Vec::new(), 0);
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        while let Some((body, done)) = next {
            let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
            group.extend_from_slice(&length.to_le_bytes());
            group.extend_from_slice(&body);
            waiting.push(done);
            next = if waiting.len() < GROUP { items.try_recv().ok() } else { None };
        }
        if written + group.len() as u64 > SPACE {
            file.seek(SeekFrom::Start(0))?;
            written = 0;
        }
        file.write_all(&group)?;
        file.sync_data()?;
        written += group.len() as u64;
        group.clear();
        // A client that has gone needs no answer.
        for done in waiting.drain(..) {
            let _gone = done.send(());
        }
    }
    Ok(())
}
