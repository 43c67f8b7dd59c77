//! An endpoint that records its requests, and fails when the test wants it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::wait::until;

/// A recorded request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The path with its query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Received {
    /// A header as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Planned = (u16, Vec<(&'static str, String)>);

#[derive(Default)]
struct Inner {
    received: Mutex<Vec<Received>>,
    planned: Mutex<VecDeque<Planned>>,
    /// Status of every answer that is not planned. 0 means 200.
    otherwise: AtomicU16,
    /// The body of every answer, if not `recorded`.
    says: Mutex<Option<String>>,
}

/// An endpoint on its own port.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    inner: Arc<Inner>,
}

impl Sink {
    /// Starts an endpoint that answers 200.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::<Inner>::default();
        let shared = inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = shared.clone();
                let service = service_fn(move |request| answer(inner.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, inner }
    }

    /// Starts an endpoint that gives these answers first, in order: status and headers.
    pub async fn answering(planned: impl IntoIterator<Item = Planned>) -> Self {
        let sink = Self::start().await;
        sink.inner.planned.lock().unwrap().extend(planned);
        sink
    }

    /// Starts an endpoint that answers with this body.
    pub async fn saying(words: &str) -> Self {
        let sink = Self::start().await;
        *sink.inner.says.lock().unwrap() = Some(words.to_owned());
        sink
    }

    /// Sets the status of every answer that is not planned.
    pub fn answers(&self, status: u16) {
        self.inner.otherwise.store(status, Ordering::Release);
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The requests received so far.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// Waits until at least `count` requests were received. Returns all of them.
    pub async fn until_received(&self, count: usize) -> Vec<Received> {
        until(&format!("{count} requests at the sink"), async || {
            let received = self.received();
            let seen = received.len();
            if seen >= count { Ok(received) } else { Err(format!("{seen}")) }
        })
        .await
    }
}

async fn answer(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).unwrap());
    };
    let path = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let (headers, body, at) = (parts.headers, body.to_bytes(), Instant::now());
    let received = Received { path, headers, body, at };
    inner.received.lock().unwrap().push(received);
    let planned = inner.planned.lock().unwrap().pop_front();
    let otherwise = || match inner.otherwise.load(Ordering::Acquire) {
        0 => 200,
        status => status,
    };
    let (status, headers) = planned.unwrap_or_else(|| (otherwise(), Vec::new()));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let says = inner.says.lock().unwrap().clone().unwrap_or_else(|| "recorded".into());
    Ok(response.body(Full::from(says)).unwrap())
}
