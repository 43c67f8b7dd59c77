//! `kind = "poll"`: a JSON document of a real HTTP server, asked for again and again.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use super::{checked, events, ids, reason, until_connection, until_stored};

/// A server with one document, and the requests that it got.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<FeedState>>);

#[derive(Default)]
struct FeedState {
    document: String,
    status: Option<StatusCode>,
    requests: Vec<HeaderMap>,
    not_modified: usize,
}

impl Feed {
    async fn start(document: &Value) -> (Self, std::net::SocketAddr) {
        let feed = Self::default();
        feed.set(document);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serving = feed.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let feed = serving.clone();
                let answer = move |request: Request<Incoming>| {
                    let answer = feed.answer(request.headers());
                    std::future::ready(Ok::<_, std::convert::Infallible>(answer))
                };
                let service = hyper::service::service_fn(answer);
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        (feed, at)
    }

    fn set(&self, document: &Value) {
        self.0.lock().unwrap().document = document.to_string();
    }

    fn fail(&self, status: Option<StatusCode>) {
        self.0.lock().unwrap().status = status;
    }

    fn answer(&self, asked: &HeaderMap) -> Response<Full<Bytes>> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(asked.clone());
        if let Some(status) = state.status {
            return Response::builder().status(status).body(Full::default()).unwrap();
        }
        let tag = format!("\"{:x}\"", crc(&state.document));
        if asked.get("if-none-match").is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
            state.not_modified += 1;
            return Response::builder().status(304).body(Full::default()).unwrap();
        }
        let body = Full::new(state.document.clone().into());
        Response::builder().header("etag", tag).body(body).unwrap()
    }

    fn requests(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.requests.len(), state.not_modified)
    }
}

/// A number that differs for documents that differ.
fn crc(text: &str) -> u64 {
    text.bytes().fold(7, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(byte.into()))
}

fn config(at: std::net::SocketAddr, more: &str) -> String {
    format!(
        "[sources.orders]\nkind = \"poll\"\nurl = \"http://{at}/list?key=hunter2\"\n\
         allow = [\"@private\"]\ninterval = \"1s\"\nitems = \"/data\"\nitem_id = \"/id\"\n{more}\n"
    )
}

async fn hub(at: std::net::SocketAddr, more: &str) -> RunningHub {
    TestHub::new().config(&config(at, more)).start().await
}

/// A document with these items, newest first.
fn list(ids: std::ops::Range<usize>) -> Value {
    let item = |id: usize| json!({ "id": id, "type": "order.created" });
    json!({ "data": ids.rev().map(item).collect::<Vec<_>>() })
}

async fn until_unchanged(feed: &Feed) {
    let before = feed.requests().1;
    until("a document that has not changed", async || match feed.requests() {
        (_, unchanged) if unchanged > before => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_taken_once_in_order_over_a_kill() {
    let (feed, at) = Feed::start(&list(0..300)).await;
    let more =
        "newest_first = true\nprefetch = 7\nheaders = { authorization = { file = \"key\" } }";
    let text = config(at, more);
    let hub = TestHub::new().file("key", "Bearer hunter2").config(&text).start().await;
    until_stored(&hub, 300).await;
    until_unchanged(&feed).await;
    feed.set(&list(100..310));
    until_stored(&hub, 310).await;
    until_unchanged(&feed).await;
    let hub = hub.kill_and_restart().await;
    let asked = feed.requests().0;
    until_unchanged(&feed).await;
    let first = feed.0.lock().unwrap().requests[asked].clone();
    assert!(first.contains_key("if-none-match"), "what was asked for is known: {first:?}");
    assert_eq!(first["authorization"], "Bearer hunter2");
    feed.set(&list(200..320));
    until_stored(&hub, 320).await;
    let wanted: Vec<_> = (0..320).map(|n| n.to_string()).collect();
    assert_eq!(ids(&hub).await, wanted);
    assert_eq!(hub.metric("weir_events_duplicate_total").await, 0.0, "known items are left out");
    assert!(!hub.log.all().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_wrong_or_missing_is_told() {
    let (feed, at) = Feed::start(&json!({ "data": 3 })).await;
    let (ok, said) = checked(&config(at, ""));
    assert!(!ok && said.contains("is not a list") && !said.contains("hunter2"), "{said}");
    let hub = hub(at, "max_bytes = \"2KiB\"").await;
    assert!(reason(&hub).await.contains("is not a list"));
    feed.set(&list(0..3));
    until_stored(&hub, 3).await;
    until_connection(&hub, "connected").await;
    assert!(checked(&config(at, "")).0);
    let until_told = async |what: &str| {
        until(what, async || {
            let said = reason(&hub).await;
            if said.contains(what) { Ok(()) } else { Err(said) }
        })
        .await;
    };
    feed.fail(Some(StatusCode::UNAUTHORIZED));
    until_told("answered 401").await;
    feed.fail(None);
    feed.set(&list(0..1_000));
    until_told("raise max_bytes").await;
    feed.set(&json!({ "data": [{ "id": 3 }, { "no": "id" }, { "no": "id" }] }));
    until_stored(&hub, 5).await;
    assert!(events(&hub).await[4]["delivery_id"].is_null());
    let text = config(at, "").replace("allow = [\"@private\"]", "");
    let (ok, said) = checked(&text);
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
