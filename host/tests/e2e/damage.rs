//! Damage to the store's files: what health, metrics, alerts and commands report, and what goes on
//! working.

use http::Request;
use http_body_util::Full;
use serde_json::Value;

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

fn store_of(hub: &RunningHub) -> std::path::PathBuf {
    hub.folder.path().join("data/weir.db")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_payload_is_reported_and_the_rest_is_sent() {
    let (sink, alarm) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .destination("alarm", &alarm, "")
        .config("[[route]]\non = [\"github:*\"]\nto = \"sink\"")
        .config("[[route]]\non = [\"weir:*\"]\nto = \"alarm\"")
        .start()
        .await;
    assert!(hub.cli(&["hold", "destination:sink"]).status.success());
    let mut events = Vec::new();
    for n in 0..20 {
        let body = format!("{{\"n\":\"marked {n}\"}}");
        events.push(hub.push("push", &n.to_string(), body.as_bytes()).await.accepted());
    }
    let said = hub.cli(&["unreadable"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "no unreadable rows");
    let store = store_of(&hub);
    let hub = hub
        .stop_and_restart_after(|| {
            let mut file = std::fs::read(&store).unwrap();
            let marker = b"marked 7";
            // Unused pages may hold an older copy; those are damaged too.
            while let Some(at) = file.windows(marker.len()).position(|part| part == marker) {
                file[at] ^= 1;
            }
            std::fs::write(&store, file).unwrap();
        })
        .await;
    assert!(hub.cli(&["release", "destination:sink"]).status.success());
    until("the rest to be sent", async || {
        let sent = sink.received().len();
        if sent == events.len() - 1 { Ok(()) } else { Err(sent.to_string()) }
    })
    .await;
    let listed = hub.api("/api/v1/unreadable").await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{listed}");
    assert_eq!(
        (&items[0]["what"], &items[0]["target"]),
        (&"delivery".into(), &"destination:sink".into())
    );
    let said = String::from_utf8(hub.cli(&["unreadable"]).stdout).unwrap();
    assert!(said.contains(items[0]["id"].as_str().unwrap()), "{said}");
    let health = hub.api("/health").await;
    assert_eq!(
        (&health["status"], &health["store"]["status"]),
        (&"degraded".into(), &"degraded".into())
    );
    assert_eq!(health["store"]["unreadable"], 1, "{health}");
    assert_eq!(hub.metric("weir_store_unreadable_rows").await, 1.0);
    hub.until_alert("store.unreadable", "store").await;
    let checked = hub.cli(&["check", "--store"]);
    assert!(!checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("payload"), "{checked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_database_is_deleted_accepts_nothing_and_ends() {
    let mut hub = TestHub::new().github().start().await;
    hub.push("push", "before", b"{}").await.accepted();
    std::fs::remove_file(store_of(&hub)).unwrap();
    for n in 0..3 {
        let answer = hub.push_request("push", &n.to_string(), b"{}");
        if let Some(answer) = hub.try_exchange(answer).await {
            assert_eq!(answer.status(), 503, "{answer:?}");
        }
    }
    assert_eq!(hub.until_stopped().await, 74);
    assert!(
        !hub.log.having(&["weir.db was deleted or moved away"]).is_empty(),
        "{}",
        hub.log.all()
    );
    // The next start finds an empty store and reports what is missing.
    let hub = hub.kill_and_restart().await;
    let health = hub.api("/health").await;
    assert_eq!(health["status"], "degraded", "{health}");
    let lost = health["store"]["lost"].as_array().unwrap();
    assert!(lost.iter().any(|lost| lost["what"] == "event" && lost["count"] == 1), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_lost_in_a_damaged_log_are_reported_everywhere() {
    let mut hub = TestHub::new().github().start().await;
    for n in 0..10 {
        hub.push("push", &n.to_string(), b"{}").await.accepted();
    }
    hub.kill();
    let log = store_of(&hub).with_file_name("weir.db-wal");
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.len() - 8 * (4_096 + 24);
    bytes[at + 100] ^= 1;
    std::fs::write(log, bytes).unwrap();
    let hub = hub.kill_and_restart().await;
    let uri = format!("http://{}/health", hub.admin);
    let (_, health) = hub.send(Request::get(uri).body(Full::default()).unwrap()).await;
    let health: Value = serde_json::from_slice(&health).unwrap();
    let lost = &health["store"]["lost"];
    let events = lost.as_array().unwrap().iter().find(|lost| lost["what"] == "event").unwrap();
    assert_eq!((&health["status"], &events["last"]), (&"degraded".into(), &10.into()), "{health}");
    let count = events["count"].as_f64().unwrap();
    assert!(count >= 1.0);
    let lines = hub.metric_lines(&["weir_store_lost_rows", "\"event\""]).await;
    assert_eq!(lines, [format!("weir_store_lost_rows{{what=\"event\"}} {count}")]);
    let alert = hub.until_alert("store.lost", "store").await;
    assert_eq!(alert["lost"], *lost);
    assert!(!hub.log.having(&["had been acknowledged and are missing"]).is_empty());
    let checked = hub.cli(&["check", "--store"]);
    assert!(!checked.status.success(), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("acknowledged"), "{checked:?}");
}
