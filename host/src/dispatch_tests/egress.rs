//! Messages are sent, retried and given up, and their attempts are recorded.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::effect::routed_message_id;
use weir_core::name::DestinationName;
use weir_store::registry::EntryKind;

use super::hub::{HubFolder, until};
use crate::delivery::flow_control::TargetHealth;
use crate::observe::notice::Notice;

/// An endpoint that answers with these statuses in turn, and then always with the last one.
struct CountingEndpoint {
    url: String,
    ids: Arc<Mutex<Vec<String>>>,
}

async fn answering(statuses: &'static [u16]) -> CountingEndpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (ids, count): (Arc<Mutex<Vec<String>>>, _) =
        (Arc::default(), Arc::new(AtomicUsize::new(0)));
    let record = ids.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (record, count) = (record.clone(), count.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let (record, count) = (record.clone(), count.clone());
                async move {
                    let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
                    request.into_body().collect().await.unwrap();
                    record.lock().push(id);
                    let turn = count.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1);
                    let answer = Response::builder().status(statuses[turn]);
                    Ok::<_, Infallible>(
                        answer.body(Full::new(Bytes::from_static(b"told"))).unwrap(),
                    )
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    CountingEndpoint { url, ids }
}

fn routed_to(url: &str, more: &str) -> HubFolder {
    HubFolder::new(&format!(
        "[destinations.ops]\nkind = \"webhook\"\nurl = \"{url}\"\n{more}\n\
         [[route]]\non = [\"github:*\"]\nto = \"ops\"\n"
    ))
}

const PRIVATE: &str = "allow = [\"@private\"]";

#[tokio::test]
async fn a_message_is_retried_with_the_same_id_until_accepted() {
    let endpoint = answering(&[503, 500, 200]).await;
    let hub = routed_to(&endpoint.url, PRIVATE);
    let hub = hub.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let delivery = hub.settled(event).await;
    assert_eq!((delivery.state, delivery.history.len()), (DeliveryState::Processed, 3));
    let told: Vec<_> = delivery.history.iter().map(|a| (a.outcome, a.response_status)).collect();
    let status = |code| (Outcome::Status, Some(code));
    assert_eq!(told, [status(503), status(500), (Outcome::Ok, Some(200))]);
    assert_eq!(delivery.history[0].response_snippet.as_deref(), Some("told"));
    let id = routed_message_id(event, &DestinationName::new("ops").unwrap(), 0).to_string();
    assert_eq!(*endpoint.ids.lock(), [id.clone(), id.clone(), id]);
    hub.stop().await;
}

#[tokio::test]
async fn a_rejected_message_is_a_dead_letter_at_once() {
    let endpoint = answering(&[422]).await;
    let folder = routed_to(&endpoint.url, PRIVATE);
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let delivery = hub.settled(event).await;
    assert_eq!((delivery.state, delivery.history.len()), (DeliveryState::DeadLetter, 1));
    assert_eq!(delivery.history[0].reason.as_deref(), Some("HTTP 422 Unprocessable Entity"));
    hub.stop().await;
}

#[tokio::test]
async fn constant_failure_is_a_dead_letter_after_the_last_attempt() {
    let endpoint = answering(&[500]).await;
    let folder = routed_to(&endpoint.url, PRIVATE);
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let delivery = hub.settled(event).await;
    assert_eq!((delivery.state, delivery.history.len()), (DeliveryState::DeadLetter, 4));
    assert_eq!(endpoint.ids.lock().len(), 4);
    hub.stop().await;
}

#[tokio::test]
async fn a_blocked_address_is_recorded_with_its_remedy() {
    // Development mode, in which tests run, allows this machine.
    let folder = routed_to("http://10.255.255.1:9/", "");
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let delivery = hub.settled(event).await;
    assert_eq!(delivery.history[0].outcome, Outcome::Blocked);
    assert!(delivery.history[0].reason.as_deref().unwrap().contains("@private"));
    hub.stop().await;
}

#[tokio::test]
async fn failing_and_recovery_are_announced_once_each() {
    let endpoint = answering(&[410, 503, 410, 200]).await;
    let folder = routed_to(&endpoint.url, PRIVATE);
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let delivery = hub.settled(event).await;
    assert_eq!((delivery.state, delivery.history.len()), (DeliveryState::Processed, 4));
    let ops = DestinationName::new("ops").unwrap();
    let (mut told, _) = hub.notices.take();
    match told.pop().unwrap() {
        (1, Notice::DestinationOk { destination, .. }) => assert_eq!(destination, ops),
        other => panic!("{other:?}"),
    }
    match told.pop().unwrap().1 {
        Notice::DestinationFailing { destination, reason, at, next_try } => {
            assert_eq!((destination, &*reason), (ops.clone(), "HTTP 410 Gone"));
            assert!(next_try > at);
        }
        other => panic!("{other:?}"),
    }
    assert!(told.is_empty());
    let standing =
        hub.destinations.destinations().into_iter().find(|d| d.name.as_str() == "ops").unwrap();
    assert_eq!((standing.state, standing.times_failing), (TargetHealth::Ok, 1));
    until("nothing is kept of a breaker that is closed", async || {
        let kept = hub.store.list(EntryKind::Breaker).await.unwrap();
        let holds = hub.store.holds().await.unwrap();
        (kept.is_empty() && holds.is_empty()).then_some(())
    })
    .await;
    hub.stop().await;
}

#[tokio::test]
async fn an_inbox_keeps_its_messages() {
    let folder = HubFolder::new(
        "[destinations.sink]\nkind = \"inbox\"\n[[route]]\non = [\"github:*\"]\nto = \"sink\"\n",
    );
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({ "n": 1 })).await;
    assert_eq!(hub.settled(event).await.state, DeliveryState::Processed);
    let messages = hub.inbox.messages();
    assert_eq!((&*messages[0].body, messages[0].event), (r#"{"n":1}"#, event));
    assert_eq!((messages.len(), messages[0].number), (1, 1));
    hub.stop().await;
}

#[tokio::test]
async fn sends_cut_off_by_shutdown_are_given_back_unspent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = routed_to(&format!("http://{}/", listener.local_addr().unwrap()), PRIVATE);
    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    let _never_answered = listener.accept().await.unwrap();
    hub.drain.stop_claiming();
    hub.drain.stop_waiting();
    let claimed = hub.claimed("destination:ops").await;
    assert_eq!((claimed.event.id, claimed.fence.attempt), (event, 1));
    drop(claimed);
    hub.stop().await;
}
