//! What a connection and an address may cost, and what holds when too many want too much.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncWriteExt;

use crate::bed::{Hub, Reply, closed, junk, reply, request, until};

#[tokio::test]
async fn who_sends_too_slowly_is_told_and_let_go() {
    let hub = Hub::with(
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
async fn past_the_cap_the_idlest_connection_makes_place() {
    let hub = Hub::with("max_connections = 2", |_| {}).await;
    let mut idlest = hub.connect().await;
    idlest.write_all(hub.push("d-1", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idlest).await.status, 200);
    let mut idle = hub.connect().await;
    idle.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200);
    assert_eq!(hub.raw(hub.push("d-3", "{}")).await.status, 200);
    assert_eq!(closed(&mut idlest).await, 0);
    idle.write_all(hub.push("d-4", "{}").as_bytes()).await.unwrap();
    assert_eq!(reply(&mut idle).await.status, 200, "the other one was left alone");
}

#[tokio::test]
async fn past_the_cap_of_connections_that_are_at_work_the_next_waits() {
    let hub = Hub::with("max_connections = 1", |_| {}).await;
    let push = hub.push("d-1", "{\"a\":1}");
    let (begun, rest) = push.as_bytes().split_at(push.len() - 3);
    let mut first = hub.connect().await;
    first.write_all(begun).await.unwrap();
    until(|| hub.metrics.body_bytes().get() > 0).await;
    let mut second = hub.connect().await;
    second.write_all(hub.push("d-2", "{}").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(250), second.readable()).await;
    assert!(early.is_err(), "served beyond the cap");
    assert_eq!(hub.metrics.connections().get(), 1);
    first.write_all(rest).await.unwrap();
    assert_eq!(reply(&mut first).await.status, 200, "what is at work is not broken off");
    assert_eq!(reply(&mut second).await.status, 200, "and then it is idle and makes place");
}

#[tokio::test]
async fn whoever_opens_connections_and_says_nothing_keeps_nobody_out() {
    let hub = Hub::with("max_connections = 50", |_| {}).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(hub.connect().await);
    }
    until(|| hub.metrics.connections().get() == 50).await;
    for n in 0..20 {
        assert_eq!(hub.raw(hub.push(&format!("d-{n}"), "{}")).await.status, 200);
    }
}

/// Ten refusals at once, and hardly any after that, also for addresses of this machine.
const TEN_REFUSALS: &str =
    "[server.per_address]\nrefusals = 10\nrefusals_per_second = 1\nloopback = true";

const FLOODER: [u8; 4] = [127, 0, 0, 9];

async fn flood(hub: &Hub, source: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for _ in 0..30 {
        replies.push(hub.raw_from(FLOODER, &junk(source)).await);
    }
    replies
}

#[tokio::test]
async fn an_address_that_was_refused_too_often_is_told_to_wait() {
    let hub = Hub::with(TEN_REFUSALS, |_| {}).await;
    let replies = flood(&hub, "github").await;
    assert!(replies[..10].iter().all(|reply| reply.status == 401));
    let last = replies.last().unwrap();
    assert_eq!(last.problem(), (429, "too_many_refusals".into()));
    assert!(last.head.contains("\nretry-after: 1"), "{}", last.head);
    // Neither the body nor the rest of the head is waited for: the answer comes after a head that promises more.
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
    assert_eq!(paths(10).await, 429, "unknown paths are counted too");
}

#[tokio::test]
async fn a_flood_costs_nobody_at_another_address_and_no_other_source_at_its_own() {
    let hub = Hub::with(TEN_REFUSALS, |_| {}).await;
    flood(&hub, "github").await;
    let elsewhere = hub.raw_from([127, 0, 0, 10], &hub.push("d-1", "{}")).await;
    assert_eq!(elsewhere.status, 200);
    let other_source = hub.signed("small", &[("x-webhook-event", "a")], "{}", 0);
    assert_eq!(hub.raw_from(FLOODER, &other_source).await.status, 202);
}

#[tokio::test]
async fn a_sender_that_has_proven_itself_is_heard_through_a_flood_from_its_own_address() {
    let hub = Hub::with(TEN_REFUSALS, |_| {}).await;
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
    // What it earned does not pay for a flood of its own.
    let mut answers = Vec::new();
    for _ in 0..40 {
        proven.write_all(junk("github").as_bytes()).await.unwrap();
        answers.push(reply(&mut proven).await.status);
    }
    assert_eq!((answers[0], answers[39]), (401, 429));
}

#[tokio::test]
async fn this_machine_is_not_held_to_what_strangers_may_cost() {
    let hub = Hub::with("[server.per_address]\nrefusals = 10\nconnections = 2", |_| {}).await;
    let replies = flood(&hub, "github").await;
    assert!(replies.iter().all(|reply| reply.status == 401), "a proxy stands for everybody");
    let _held = [hub.connect_from(FLOODER).await, hub.connect_from(FLOODER).await];
    until(|| hub.metrics.connections().get() == 2).await;
    assert_eq!(hub.raw_from(FLOODER, &hub.push("d-1", "{}")).await.status, 200);
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let hub = Hub::with("[server.per_address]\nconnections = 3\nloopback = true", |_| {}).await;
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
async fn a_full_queue_of_writes_is_answered_with_come_again() {
    let hub = Hub::with("", |options| options.queue_items = 1).await;
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
async fn what_is_stored_is_counted_even_if_its_sender_has_gone() {
    let hub = Hub::start().await;
    let sent: u64 = 200;
    for n in 0..sent {
        let mut stream = hub.connect().await;
        stream.write_all(hub.push(&format!("d-{n}"), "{}").as_bytes()).await.unwrap();
        // Closed before there can be an answer.
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
    // Everything is on disk or has been dropped once another request is answered.
    assert_eq!(hub.raw(hub.push("last", "{}")).await.status, 200);
    let stored = stored().await;
    assert!(stored > 1, "some were taken in");
    until(|| counted() >= stored).await;
    assert_eq!(counted(), stored);
}

#[tokio::test]
async fn past_the_budget_bodies_are_turned_away_until_there_is_room() {
    let hub = Hub::with("body_limit = \"100KiB\"\nbody_budget = \"100KiB\"", |_| {}).await;
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
async fn a_full_disk_is_answered_with_come_again() {
    let hub = Hub::with("", |options| options.max_pages = Some(120)).await;
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
