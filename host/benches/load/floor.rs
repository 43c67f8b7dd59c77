//! The floor: the smallest server that verifies and stores a webhook before it answers.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::generator::SECRET;

type Item = (Bytes, oneshot::Sender<()>);

/// Space that is written before the load, so that a sync writes no metadata.
const SPACE: u64 = 256 << 20;
const GROUP: usize = 1_024;

/// Serves until it is killed. Prints its address.
pub(crate) fn serve(folder: &Path) {
    let (queue, items) = mpsc::channel::<Item>();
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(folder.join("log"))
        .unwrap();
    for _ in 0..SPACE >> 20 {
        file.write_all(&vec![0; 1 << 20]).unwrap();
    }
    file.sync_all().unwrap();
    file.rewind().unwrap();
    std::thread::spawn(move || write(&mut file, &items));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let queue = queue.clone();
                let service = service_fn(move |request| answer(queue.clone(), request));
                tokio::spawn(
                    http1::Builder::new()
                        .pipeline_flush(true)
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
}

async fn answer(
    queue: mpsc::Sender<Item>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = |code| Ok(Response::builder().status(code).body(Full::default()).unwrap());
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let signature = parts.headers.get("x-hub-signature-256").and_then(|v| v.to_str().ok());
    let Some(signature) = signature.and_then(|s| hex::decode(s.strip_prefix("sha256=")?).ok())
    else {
        return status(401);
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    if mac.verify_slice(&signature).is_err() {
        return status(401);
    }
    let (done, durable) = oneshot::channel();
    queue.send((body, done)).unwrap();
    durable.await.unwrap();
    status(202)
}

fn write(file: &mut std::fs::File, items: &mpsc::Receiver<Item>) {
    let (mut group, mut waiting, mut written) = (Vec::new(), Vec::new(), 0);
    while let Ok(first) = items.recv() {
        let mut next = Some(first);
        while let Some((body, done)) = next {
            group.extend_from_slice(&(body.len() as u32).to_le_bytes());
            group.extend_from_slice(&body);
            waiting.push(done);
            next = if waiting.len() < GROUP { items.try_recv().ok() } else { None };
        }
        if written + group.len() as u64 > SPACE {
            file.seek(SeekFrom::Start(0)).unwrap();
            written = 0;
        }
        file.write_all(&group).unwrap();
        file.sync_data().unwrap();
        written += group.len() as u64;
        group.clear();
        for done in waiting.drain(..) {
            done.send(()).ok();
        }
    }
}
