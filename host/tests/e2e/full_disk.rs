//! A full disk: what is refused, what goes on, what is reported, and how the state ends.

use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::faults::Faults;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const MIB: u64 = 1024 * 1024;

/// Total size of the store's files in bytes.
fn size(hub: &RunningHub) -> u64 {
    let files = std::fs::read_dir(hub.folder.path().join("data")).unwrap().map(Result::unwrap);
    let of_store = files.filter(|file| file.file_name().to_string_lossy().starts_with("weir.db"));
    of_store.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// Posts a body of 20 KB. Returns the status of the answer.
async fn post(hub: &RunningHub, id: &str) -> u16 {
    let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(20_000));
    hub.exchange(hub.push_request("push", id, body.as_bytes())).await.status().as_u16()
}

/// Fills the disk and posts until the hub refuses. Returns how many requests were accepted before.
async fn fill(hub: &RunningHub, disk: &Faults) -> usize {
    disk.leaves_room(size(hub));
    for n in 0..4_000 {
        match post(hub, &format!("filling {n}")).await {
            200 => {}
            503 => return n,
            other => panic!("{other}"),
        }
    }
    panic!("the disk was never full");
}

async fn health(hub: &RunningHub, path: &str) -> (u16, Value) {
    let uri = format!("http://{}{path}", hub.admin);
    let (status, body) = hub.send(Request::get(uri).body(Full::default()).unwrap()).await;
    (status.as_u16(), serde_json::from_slice(&body).unwrap())
}

async fn assert_says_full(hub: &RunningHub) {
    let (status, said) = health(hub, "/health").await;
    assert_eq!((status, &said["status"]), (503, &"unavailable".into()), "{said}");
    assert_eq!((&said["reason"], &said["store"]["status"]), (&"store_full".into(), &"full".into()));
    let (status, said) = health(hub, "/health/ready").await;
    assert_eq!((status, &said["code"]), (503, &"store_full".into()), "{said}");
    assert_eq!(health(hub, "/health/live").await.0, 200, "a restart does not help");
    assert_eq!((hub.metric("weir_store_full").await, hub.metric("weir_ready").await), (1.0, 0.0));
}

async fn until_well(hub: &RunningHub) {
    until("room", async || {
        let (status, said) = health(hub, "/health").await;
        if status == 200 && said["store"]["status"] == "ok" {
            Ok(())
        } else {
            Err(said.to_string())
        }
    })
    .await;
    assert_eq!((hub.metric("weir_store_full").await, hub.metric("weir_ready").await), (0.0, 1.0));
}

fn alerting(alarm: &Sink) -> TestHub {
    let to_alarm = "[[route]]\non = [\"weir:*\"]\nto = \"alarm\"";
    TestHub::new().github().destination("alarm", alarm, "").config(to_alarm)
}

fn alerts_of(alarm: &Sink, kind: &str) -> usize {
    alarm.received().iter().filter(|alert| alert.json()["type"] == kind).count()
}

async fn until_told(alarm: &Sink, kind: &str) {
    let alerted = async || match alerts_of(alarm, kind) {
        0 => Err(format!("{} alerts", alarm.received().len())),
        _ => Ok(()),
    };
    until(kind, alerted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_webhooks_and_is_reported_everywhere() {
    let alarm = Sink::start().await;
    let (hub, disk) = Faults::of(alerting(&alarm));
    let hub = hub.start().await;
    fill(&hub, &disk).await;
    for n in 0..50 {
        assert_eq!(post(&hub, &format!("full {n}")).await, 503, "{n}");
    }
    assert_says_full(&hub).await;
    // The alert is still stored and sent, in the space that the reserve gave up.
    until_told(&alarm, "store.full").await;

    // The log does not use up the freed space: once requests are accepted, they stay accepted.
    disk.leaves_room(size(&hub) + 25 * MIB);
    until_well(&hub).await;
    for n in 0..100 {
        assert_eq!(post(&hub, &format!("room {n}")).await, 200, "{n}");
    }
    until_told(&alarm, "store.has_room").await;
    assert_eq!((alerts_of(&alarm, "store.full"), alerts_of(&alarm, "store.has_room")), (1, 1));
    disk.is_well();
    assert_eq!(hub.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_is_not_used_for_more_webhooks() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let hub = hub.start().await;
    fill(&hub, &disk).await;
    // Space for the log and a little more, but not for the reserve.
    disk.leaves_room(size(&hub) + 8 * MIB);
    for n in 0..20 {
        assert_eq!(post(&hub, &format!("full {n}")).await, 503, "{n}");
    }
    assert_says_full(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_accepted_before_are_delivered_on_a_full_disk() {
    let sink = Sink::start().await;
    let to_sink = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
    let hub = TestHub::new().github().destination("sink", &sink, "").config(to_sink);
    let (hub, disk) = Faults::of(hub);
    let hub = hub.start().await;
    let held = hub.cli(&["hold", "destination:sink"]);
    assert!(held.status.success(), "{held:?}");
    let mut events = Vec::new();
    for n in 0..20 {
        events.push(hub.push("push", &format!("before {n}"), b"{}").await.accepted());
    }
    fill(&hub, &disk).await;
    let released = hub.cli(&["release", "destination:sink"]);
    assert!(released.status.success(), "{released:?}");
    for event in &events {
        hub.until_status(event, "processed").await;
    }
    assert_says_full(&hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_starts_on_a_full_disk_and_reports_it() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let mut hub = hub.start().await;
    let before = hub.push("push", "before", b"{}").await.accepted();
    fill(&hub, &disk).await;
    // Each time, another program uses the space that the reserve gave up.
    for round in 0..4 {
        disk.leaves_room(size(&hub));
        hub = match round % 2 {
            0 => hub.kill_and_restart().await,
            _ => hub.stop_and_restart().await,
        };
        assert_eq!(post(&hub, "full").await, 503, "round {round}");
        assert_says_full(&hub).await;
        assert_eq!(hub.event(&before).await["delivery_id"], "before");
        let said = hub.log.having(&["the disk is full: the hub starts"]);
        assert_eq!(said.len(), 1, "round {round}: {}", hub.log.all());
    }
    disk.is_well();
    until_well(&hub).await;
    assert_eq!(post(&hub, "after").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_while_the_hub_was_off_is_noticed_at_start() {
    let (hub, disk) = Faults::of(TestHub::new().github());
    let hub = hub.start().await;
    hub.push("push", "before", b"{}").await.accepted();
    disk.leaves_room(size(&hub));
    let hub = hub.stop_and_restart().await;
    assert_says_full(&hub).await;
    assert_eq!(post(&hub, "full").await, 503);
    disk.is_well();
    until_well(&hub).await;
    assert_eq!(post(&hub, "after").await, 200);
}
