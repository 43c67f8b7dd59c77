//! Half-sent requests while all slots are taken: they lose their slots, and their sender is
//! charged.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hub::{IngressHub, closed, junk, reply, request, until};

const STRANGER: [u8; 4] = [127, 0, 0, 9];
/// Shorter than the grace period of a body and the deadline of a head.
const SOON: Duration = Duration::from_secs(4);
const HALF_A_BODY: &str =
    "POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx";
const HALF_A_HEAD: &str = "POST /webhook/github HTTP/1.1\r\nHost: h\r\nX-Slow: ";

/// A hub with this many slots and a low limit for refusals.
async fn small(slots: usize) -> IngressHub {
    let server = format!(
        "max_connections = {slots}\n[server.per_address]\nrefusals = 3\nrefusals_per_second = 1\n\
         loopback = true"
    );
    IngressHub::with(&server, |_| {}).await
}

async fn begin(hub: &IngressHub, count: usize, text: &str) -> Vec<TcpStream> {
    let mut begun = Vec::new();
    for _ in 0..count {
        let mut stream = hub.connect_from(STRANGER).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        begun.push(stream);
    }
    until(|| hub.metrics.connections().get() == count as u64).await;
    begun
}

/// `count` good senders, each at its own address, which keep their connections.
async fn served_soon(hub: &IngressHub, count: u8) -> Vec<TcpStream> {
    let mut kept = Vec::new();
    for n in 0..count {
        let serving = async {
            let mut stream = hub.connect_from([127, 0, 7, n]).await;
            stream.write_all(hub.push(&format!("good-{n}"), "{}").as_bytes()).await.unwrap();
            assert_eq!(reply(&mut stream).await.status, 200);
            stream
        };
        kept.push(timeout(SOON, serving).await.unwrap());
    }
    kept
}

#[tokio::test]
async fn half_sent_bodies_lose_their_slots_and_are_charged() {
    let hub = small(10).await;
    let mut half = begin(&hub, 10, HALF_A_BODY).await;
    let _kept = served_soon(&hub, 6).await;
    let told = reply(&mut half[0]).await;
    assert_eq!(told.status, 503);
    assert!(told.head.contains("\nretry-after: 1") && told.head.contains("\nconnection: close"));
    assert_eq!(hub.raw_from(STRANGER, &junk("github")).await.status, 429, "it was charged");
    assert!(hub.metrics.encode().contains("source=\"github\",code=\"body_incomplete\""));
}

#[tokio::test]
async fn half_sent_heads_lose_their_slots_and_are_charged() {
    let hub = small(10).await;
    let mut half = begin(&hub, 10, HALF_A_HEAD).await;
    let kept = served_soon(&hub, 6).await;
    assert_eq!(reply(&mut half[0]).await.status, 408);
    drop((half, kept));
    until(|| hub.metrics.connections().get() == 0).await;
    let unknown = request("/nothing", &[], "");
    assert_eq!(hub.raw_from(STRANGER, &unknown).await.status, 429, "it was charged");
}

#[tokio::test]
async fn a_body_just_above_the_pace_gains_no_time() {
    let hub = small(1).await;
    let mut stream = begin(&hub, 1, HALF_A_BODY).await.remove(0);
    let dripping = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            if stream.write_all(&[b'x'; 64]).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(dripping, served_soon(&hub, 1));
}

#[tokio::test]
async fn a_sender_that_leaves_during_its_body_is_charged() {
    let hub = small(10).await;
    for _ in 0..5 {
        drop(begin(&hub, 1, HALF_A_BODY).await);
        until(|| hub.metrics.connections().get() == 0).await;
    }
    assert_eq!(hub.raw_from(STRANGER, &junk("github")).await.status, 429);
}

#[tokio::test]
async fn while_no_slot_can_be_freed_a_crowd_gets_no_further_one() {
    let hub = small(16).await;
    let _half = begin(&hub, 16, HALF_A_BODY).await;
    let mut further = hub.connect_from(STRANGER).await;
    assert_eq!(timeout(SOON, reply(&mut further)).await.unwrap().status, 429);
    served_soon(&hub, 1).await;
}

#[tokio::test]
async fn a_proven_connection_keeps_its_slot_while_its_body_arrives() {
    let hub = small(2).await;
    let mut proven = hub.connect_from([127, 0, 0, 10]).await;
    proven.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut proven).await.status, 200);
    let push = hub.push("d-2", "{\"a\":1}");
    let (begun, rest) = push.as_bytes().split_at(push.len() - 3);
    proven.write_all(begun).await.unwrap();
    until(|| hub.metrics.body_bytes().get() > 0).await;
    let mut half = hub.connect_from(STRANGER).await;
    half.write_all(HALF_A_BODY.as_bytes()).await.unwrap();
    served_soon(&hub, 1).await;
    assert_eq!(reply(&mut half).await.status, 503, "the other was older, and stayed");
    proven.write_all(rest).await.unwrap();
    assert_eq!(reply(&mut proven).await.status, 200);
}

#[tokio::test]
async fn draining_a_refused_body_holds_no_slot() {
    let hub = small(1).await;
    let refused = "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx";
    let mut stream = hub.connect_from(STRANGER).await;
    stream.write_all(refused.as_bytes()).await.unwrap();
    assert_eq!(reply(&mut stream).await.status, 404);
    let serving = served_soon(&hub, 1);
    assert!(timeout(Duration::from_millis(1_500), serving).await.is_ok());
}

#[tokio::test]
async fn a_sender_that_closes_its_side_after_its_request_gets_the_answer() {
    let hub = IngressHub::start().await;
    for n in 0..20 {
        let mut stream = hub.connect().await;
        stream.write_all(hub.push(&format!("d-{n}"), "{}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(reply(&mut stream).await.status, 200);
        assert_eq!(closed(&mut stream).await, 0);
    }
    assert_eq!(hub.stored().await.len(), 20);
    assert!(hub.metrics.encode().contains("source=\"github\",code=\"accepted\"} 20"));
    let mut half = hub.connect().await;
    half.write_all(HALF_A_BODY.as_bytes()).await.unwrap();
    half.shutdown().await.unwrap();
    assert_eq!(reply(&mut half).await.problem(), (400, "body_incomplete".into()));
    let mut unsigned = hub.connect().await;
    unsigned.write_all(junk("github").as_bytes()).await.unwrap();
    unsigned.shutdown().await.unwrap();
    assert_eq!(reply(&mut unsigned).await.status, 401);
}

#[tokio::test]
async fn a_refusal_that_ends_the_connection_says_so() {
    let hub = IngressHub::start().await;
    let unsent = |path: &str, more: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n{more}\r\n{{}}")
    };
    let many = "x: y\r\n".repeat(200);
    for (text, status) in [
        (unsent("/webhook/github", ""), 413),
        (unsent("/webhook/none", ""), 404),
        (unsent("/nothing", ""), 404),
        (unsent("/webhook/github", "Expect: 100-continue\r\n"), 413),
        (unsent("/webhook/github", "").replacen("POST", "PUT", 1), 405),
        ("no HTTP\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let mut stream = hub.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        let reply = reply(&mut stream).await;
        assert_eq!(reply.status, status, "{text}");
        assert!(reply.head.contains("\nconnection: close"), "{status}: {}", reply.head);
    }
    // A connection whose body was complete stays open.
    let mut stream = hub.connect().await;
    stream.write_all(request("/webhook/none", &[], "{}").as_bytes()).await.unwrap();
    let refused = reply(&mut stream).await;
    assert!(refused.status == 404 && !refused.head.contains("\nconnection: close"));
    stream.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut stream).await.status, 200);
}
