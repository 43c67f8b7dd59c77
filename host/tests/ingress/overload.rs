//! The limits of connections, addresses and bodies, and the answers of an overloaded hub.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;

use crate::hub::{IngressHub, Reply, closed, junk, reply, request, until};

#[tokio::test]
async fn a_slow_sender_gets_408_and_is_disconnected() {
    let hub = IngressHub::with(
        "header_timeout = \"50ms\"\nbody_timeout = \"50ms\"\nidle_timeout = \"50ms\"",
        |_| {},
    )
    .await;
    let mut slow_head = hub.connect().await;
    slow_head.write_all(b"POST /webhook/github HTTP/1.1\r\nHost:").await.unwrap();
    assert_eq!(reply(&mut slow_head).await.status, 408);
    assert_eq!(closed(&mut slow_head).await, 0);
    let mut slow_body = hub.connect().await;
    let head = b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx";
    slow_body.write_all(head).await.unwrap();
    assert_eq!(reply(&mut slow_body).await.problem(), (408, "request_timeout".into()));
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    assert_eq!(closed(&mut idle).await, 0);
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_connection_is_closed() {
    let hub = IngressHub::with("max_connections = 2", |_| {}).await;
    let mut idlest = hub.connect().await;
    idlest.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idlest).await.status, 200);
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    assert_eq!(hub.raw(hub.push("d-3", "{}")).await.status, 200);
    assert_eq!(closed(&mut idlest).await, 0);
    idle.write_all(hub.push("d-4", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200, "the other one stays open");
}

#[tokio::test]
async fn while_all_connections_are_busy_the_next_one_waits() {
    let hub = IngressHub::with("max_connections = 1", |_| {}).await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (begun, rest) = push.as_bytes().split_at(push.len() - 3);
    let mut first = hub.connect().await;
    first.write_all(begun).await.unwrap();
    until(|| hub.metrics.body_bytes().get() > 0).await;
    let mut second = hub.connect().await;
    second.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(250), second.readable()).await;
    assert!(early.is_err(), "served above the limit");
    assert_eq!(hub.metrics.connections().get(), 1);
    first.write_all(rest).await.unwrap();
    assert_eq!(reply(&mut first).await.status, 200, "a busy connection is not closed");
    assert_eq!(reply(&mut second).await.status, 200, "the first one is idle then and is closed");
}

#[tokio::test]
async fn silent_connections_do_not_keep_senders_out() {
    let hub = IngressHub::with("max_connections = 50", |_| {}).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(hub.connect().await);
    }
    until(|| hub.metrics.connections().get() == 50).await;
    for n in 0..20 {
        assert_eq!(hub.raw(hub.push(&format!("d-{n}"), "{}")).await.status, 200);
    }
}

/// Ten refusals in a burst and few after it, also for loopback addresses.
const TEN_REFUSALS: &str =
    "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1\nloopback = true";

const FLOODER: [u8; 4] = [127, 0, 0, 9];

async fn flood(hub: &IngressHub, source: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..30 {
        replies.push(hub.raw_from(FLOODER, &junk(source)).await);
    }
    replies
}

#[tokio::test]
async fn an_address_with_too_many_refusals_gets_429() {
    let hub = IngressHub::with(TEN_REFUSALS, |_| {}).await;
    let replies = flood(&hub, "github").await;
    assert!(replies[..10].iter().all(|reply| reply.status == 401));
    let last = replies.last().unwrap();
    assert_eq!(last.problem(), (429, "too_many_refusals".into()));
    assert!(last.head.contains("\nretry-after: 1"), "{}", last.head);
    // The body is not waited for: the answer comes after a head that announces more.
    let mut unsent = hub.connect_from(FLOODER).await;
    let head = b"POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n";
    unsent.write_all(head).await.unwrap();
    assert_eq!(reply(&mut unsent).await.status, 429);
    let paths = async |n: usize| {
        let path = request(&format!("/nothing/{n}"), &[], "");
        hub.raw_from(FLOODER, &path).await.status
    };
    for n in 0..10 {
        assert_eq!(paths(n).await, 404);
    }
    assert_eq!(paths(10).await, 429, "unknown paths count too");
}

#[tokio::test]
async fn a_flood_affects_no_other_address_and_no_other_source() {
    let hub = IngressHub::with(TEN_REFUSALS, |_| {}).await;
    flood(&hub, "github").await;
    let elsewhere = hub.raw_from([127, 0, 0, 10], &hub.push("d-1", "{}")).await;
    assert_eq!(elsewhere.status, 200);
    let other_source = hub.signed("small", &[("x-webhook-event", "a")], "{}", 0);
    assert_eq!(hub.raw_from(FLOODER, &other_source).await.status, 202);
}

#[tokio::test]
async fn a_proven_connection_is_served_during_a_flood_of_its_address() {
    let hub = IngressHub::with(TEN_REFUSALS, |_| {}).await;
    let mut proven = hub.connect_from(FLOODER).await;
    for n in 0..30 {
        proven.write_all(hub.push(&format!("early-{n}"), "{}").as_bytes()).await.unwrap();
        assert_eq!(reply(&mut proven).await.status, 200, "verified requests cost nothing");
    }
    flood(&hub, "github").await;
    assert_eq!(hub.raw_from(FLOODER, &hub.push("d-1", "{}")).await.status, 429);
    for n in 0..30 {
        proven.write_all(hub.push(&format!("late-{n}"), "{}").as_bytes()).await.unwrap();
        assert_eq!(reply(&mut proven).await.status, 200);
    }
    // Its credit does not cover a flood of its own.
    let mut answers = Vec::new();
    for _ in 0..40 {
        proven.write_all(junk("github").as_bytes()).await.unwrap();
        answers.push(reply(&mut proven).await.status);
    }
    assert_eq!((answers[0], answers[39]), (401, 429));
}

#[tokio::test]
async fn loopback_gets_no_penalty_by_default() {
    let hub =
        IngressHub::with("[server.per_address]\nrefusals = 10\nconnections = 2", |_| {}).await;
    let replies = flood(&hub, "github").await;
    assert!(replies.iter().all(|reply| reply.status == 401), "a proxy carries all senders");
    let _held = [hub.connect_from(FLOODER).await, hub.connect_from(FLOODER).await];
    until(|| hub.metrics.connections().get() == 2).await;
    assert_eq!(hub.raw_from(FLOODER, &hub.push("d-1", "{}")).await.status, 200);
}

#[tokio::test]
async fn one_address_has_a_limited_number_of_connections() {
    let hub =
        IngressHub::with("[server.per_address]\nconnections = 3\nloopback = true", |_| {}).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(hub.connect_from(FLOODER).await);
    }
    until(|| hub.metrics.connections().get() == 3).await;
    let mut fourth = hub.connect_from(FLOODER).await;
    let refused = reply(&mut fourth).await;
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("\nretry-after: "), "{}", refused.head);
    assert_eq!(hub.raw_from([127, 0, 0, 10], &hub.push("d-1", "{}")).await.status, 200);
    held.pop();
    until(|| hub.metrics.connections().get() == 2).await;
    assert_eq!(hub.raw_from(FLOODER, &hub.push("d-2", "{}")).await.status, 200);
}

#[tokio::test]
async fn a_full_write_queue_is_503_with_retry_after() {
    let hub = IngressHub::with("", |options| options.queue_items = 1).await;
    let push = |n: usize| hub.push(&format!("d-{n}"), "{}");
    let mut sent = Vec::new();
    for n in 0..64 {
        let mut stream = hub.connect().await;
        stream.write_all(push(n).as_bytes()).await.unwrap();
        sent.push(stream);
    }
    let (mut taken, mut turned_away) = (0, 0);
    for mut stream in sent {
        let reply = reply(&mut stream).await;
        if reply.status == 200 {
            taken += 1;
            continue;
        }
        assert_eq!(reply.problem(), (503, "overloaded".into()));
        assert!(reply.head.contains("\nretry-after: 1"), "{}", reply.head);
        turned_away += 1;
    }
    assert!(taken > 0 && turned_away > 0, "{taken} taken, {turned_away} turned away");
    assert_eq!(hub.raw(push(100)).await.status, 200);
}

#[tokio::test]
async fn a_stored_event_is_counted_even_if_its_sender_has_gone() {
    let hub = IngressHub::start().await;
    let sent: u64 = 200;
    for n in 0..sent {
        let mut stream = hub.connect().await;
        stream.write_all(hub.push(&format!("d-{n}"), "{}").as_bytes()).await.unwrap();
        // Closed before an answer.
    }
    until(|| hub.metrics.connections().get() == 0).await;
    let counted = || {
        let text = hub.metrics.encode();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("weir_events_stored_total{source=\"github\"} "));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    let stored = async || {
        let page = weir_store::query::PageRequest { limit: 1_000, after: None };
        let filter = weir_store::query::EventFilter::default();
        hub.store.events(filter, page).await.unwrap().items.len() as u64
    };
    // All requests are stored or dropped once another one is answered.
    assert_eq!(hub.raw(hub.push("last", "{}")).await.status, 200);
    let stored = stored().await;
    assert!(stored > 1, "some were stored");
    until(|| counted() >= stored).await;
    assert_eq!(counted(), stored);
}

#[tokio::test]
async fn bodies_over_the_budget_are_refused_until_bytes_are_free() {
    let hub = IngressHub::with("body_limit = \"100KiB\"\nbody_budget = \"100KiB\"", |_| {}).await;
    let mut holding = hub.connect().await;
    let head = "POST /webhook/github HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    holding.write_all(format!("{head}{}", "x".repeat(99_999)).as_bytes()).await.unwrap();
    while hub.metrics.body_bytes().get() < 99_999 {
        tokio::task::yield_now().await;
    }
    let body = format!("\"{}\"", "y".repeat(10_000));
    let turned_away = hub.raw(hub.push("d-1", &body)).await;
    assert_eq!(turned_away.problem(), (503, "overloaded".into()));
    assert!(turned_away.head.contains("\nretry-after: 1"));
    holding.write_all(b"x").await.unwrap();
    assert_eq!(reply(&mut holding).await.status, 401);
    assert_eq!(hub.raw(hub.push("d-1", &body)).await.status, 200);
    assert_eq!(hub.metrics.body_bytes().get(), 0);
}

#[tokio::test]
async fn a_full_disk_is_503_with_retry_after() {
    let hub = IngressHub::with("", |options| options.max_pages = Some(120)).await;
    let mut random = StdRng::seed_from_u64(1);
    let refused = loop {
        let noise: [u8; 16] = random.random();
        let id = noise.map(|byte| format!("{byte:02x}")).concat();
        let body: String = (0..50_000).map(|_| random.random_range('0'..='z')).collect();
        let reply = hub.raw(hub.push(&id, &format!("\"{body}\""))).await;
        if reply.status != 200 {
            break reply;
        }
    };
    assert_eq!(refused.problem(), (503, "store_unavailable".into()));
    assert!(refused.head.contains("\nretry-after: "));
    assert!(!refused.json()["detail"].as_str().unwrap().contains("disk"));
}
