//! Handlers change while events flow; only the log shows it.

use std::collections::HashMap;

use serde_json::Value;

use crate::load::Load;
use weir_testing::guests::committed;
use weir_testing::guests::{slow, write};
use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_loses_nothing_and_mixes_no_versions() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    let first = hub.until_ready("teller").await;

    let load = Load::start(hub.ingress, "reload", 8);
    until("a first thousand answers", async || enough(&load, 1_000)).await;
    hub.put_handler("teller", committed("version-b"));
    let second = hub.until_handler("teller", |h| h["version"] != first["version"]).await;
    until("a second thousand answers", async || enough(&load, 2_000)).await;
    let sent = load.finish().await;

    assert!(sent.refused.is_empty() && sent.in_flight.is_empty(), "{:?}", sent.refused);
    let messages = sink.until_received(sent.acked.len()).await;
    let mut versions: HashMap<String, Vec<String>> = HashMap::new();
    for message in &messages {
        let said = message.json();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        versions.entry(text("event")).or_default().push(text("version"));
    }
    for event in sent.acked.values() {
        let by = versions.get(event).map_or(0, Vec::len);
        assert_eq!(by, 1, "{event} was handled by {:?}", versions.get(event));
    }
    let by = |v: &str| versions.values().filter(|x| x[0] == v).count();
    assert!(by("a") > 0 && by("b") > 0, "{} by a, {} by b", by("a"), by("b"));
    let short = &second["version"].as_str().unwrap()[..12];
    assert!(!hub.log.having(&["handler changed", short]).is_empty(), "{}", hub.log.all());
}

fn enough(load: &Load, count: u64) -> Result<(), String> {
    let answered = load.answered();
    if answered >= count { Ok(()) } else { Err(format!("{answered} answers")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_becomes_a_handler() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .config("[handlers.late]\ngrant = { destinations = [\"sink\"] }")
        .start()
        .await;
    hub.put_handler("late", committed("version-a"));
    hub.until_ready("late").await;
    hub.push("push", "one", b"{}").await.accepted();
    sink.until_received(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_version_serves_after_a_restart_with_a_bad_file() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    let good = hub.until_ready("teller").await;
    let plugins = hub.folder.path().join("plugins");
    std::fs::write(plugins.join("teller.wasm"), b"half a fi").unwrap();
    std::fs::remove_dir_all(hub.folder.path().join("data/compiled")).unwrap();
    let hub = hub.kill_and_restart().await;
    hub.push("push", "one", b"{}").await.accepted();
    let said = sink.until_received(1).await.remove(0).json();
    assert_eq!(said["version"], "a");
    let status = hub.until_ready("teller").await;
    assert_eq!(status["version"], good["version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_handler_retires_and_its_deliveries_are_held() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "probe")
        .sidecar("teller", &format!("{TO_SINK}[retry]\nfirst = \"2s\"\nmax = \"2s\"\n"))
        .start()
        .await;
    hub.until_ready("teller").await;
    let event =
        hub.push("push", "one", br#"{"steps":[{"op":"retry","on_attempt":1},{"op":"send","destination":"sink","json":1}]}"#).await.accepted();
    hub.until_status(&event, "retrying").await;
    let file = hub.folder.path().join("plugins/teller.wasm");
    std::fs::remove_file(&file).unwrap();
    hub.until_handler("teller", |h| h["state"] == "missing").await;
    until("a hold on what waits for it", async || {
        let holds = hub.api("/api/v1/holds").await;
        if holds["items"][0]["reason"] == "missing" { Ok(()) } else { Err(holds.to_string()) }
    })
    .await;
    hub.put_handler("teller", committed("probe"));
    hub.until_status(&event, "processed").await;
    sink.until_received(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_plugins_folder_is_watched_again() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .config("[handlers.teller]\ngrant = { destinations = [\"sink\"] }")
        .start()
        .await;
    let first = hub.until_ready("teller").await;
    let plugins = hub.folder.path().join("plugins");
    std::fs::remove_dir_all(&plugins).unwrap();
    let health = async |status: &str| {
        until(&format!("the folder to be {status}"), async || {
            let plugins = hub.api("/health").await["plugins"].take();
            if plugins["status"] == status { Ok(()) } else { Err(plugins.to_string()) }
        })
        .await;
    };
    health("away").await;
    assert_eq!(hub.metric("weir_plugins_away").await, 1.0);
    let alert = hub.until_alert("plugins.away", "plugins").await;
    assert_eq!(alert["reason"], "there is no such folder", "{alert}");
    let meanwhile = hub.push("push", "meanwhile", b"{}").await.accepted();
    hub.until_status(&meanwhile, "processed").await;
    std::fs::create_dir(&plugins).unwrap();
    hub.put_handler("teller", committed("version-b"));
    health("ok").await;
    hub.until_handler("teller", |h| h["state"] == "ready" && h["version"] != first["version"])
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    let told = sink.until_received(2).await;
    assert_eq!(
        (&told[0].json()["version"], &told[1].json()["version"]),
        (&"a".into(), &"b".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_handler_that_compiles_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let hub = TestHub::new().github().handler("quick", "noop").start().await;
    // A command named after a source receives the events of that source.
    hub.put_handler("github", write(folder.path(), "slow", &slow()));
    hub.until_ready("quick").await;
    hub.until_ready("github").await;
    std::fs::remove_dir_all(hub.folder.path().join("data/compiled")).unwrap();
    let hub = hub.kill_and_restart().await;

    let event = hub.push("push", "early", b"{}").await.accepted();
    let target = |event: &Value, name: &str| {
        let deliveries = event["deliveries"].as_array().unwrap().clone();
        let target = format!("handler:{name}");
        deliveries.into_iter().find(|d| d["target"] == *target).unwrap()
    };
    let seen = until("the quick one to be done", async || {
        let seen = hub.event(&event).await;
        let done = target(&seen, "quick")["state"] == "processed";
        if done { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!(target(&seen, "github")["state"], "pending", "it is not slow: {seen}");
    hub.until_status(&event, "processed").await;
}
