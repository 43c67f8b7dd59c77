//! Handlers change while events flow; only the log shows it.

use std::collections::HashMap;

use serde_json::Value;

use crate::load::Load;
use weir_testing::guests::committed;
use weir_testing::guests::{slow, write};
use weir_testing::hub::{RunningHub, TestHub};
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
async fn changed_routes_are_used_without_a_restart() {
    const ROUTE: &str = "[[route]]\non = [\"github:push\"]\nto = \"sink\"\n";
    let sink = Sink::start().await;
    let hub = TestHub::new().github().destination("sink", &sink, "").config(ROUTE).start().await;
    let id = hub.push("push", "before", b"{\"n\": 1}").await.accepted();
    hub.until_status(&id, "processed").await;
    let shaped = ROUTE.replace("push", "issues") + "body = '{\"number\": event.body.n}'\n";
    hub.write("weir.toml", &hub.configured().replace(ROUTE, &shaped));
    until("the new route", async || {
        let rules = hub.api("/api/v1/routes").await;
        let patterns = &rules["items"][0]["patterns"];
        if patterns[0] == "github:issues" { Ok(()) } else { Err(rules.to_string()) }
    })
    .await;
    let id = hub.push("push", "unwanted", b"{\"n\": 2}").await.accepted();
    hub.until_status(&id, "unrouted").await;
    let id = hub.push("issues", "wanted", b"{\"n\": 3}").await.accepted();
    hub.until_status(&id, "processed").await;
    let bodies: Vec<Value> = sink.received().iter().map(|message| message.json()).collect();
    assert_eq!(bodies, [serde_json::json!({ "n": 1 }), serde_json::json!({ "number": 3 })]);
}

/// Waits for a line of the log with all of these words.
async fn until_logged(hub: &RunningHub, words: &[&str]) {
    until("a line of the log", async || {
        let lines = hub.log.having(words);
        lines.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_destination_gets_messages_without_a_restart() {
    let (sink, later) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new().github().destination("sink", &sink, "").start().await;
    let other = format!(
        "[destinations.later]\nkind = \"webhook\"\nurl = \"{}\"\nallow = [\"@private\"]\n\
         [[route]]\non = [\"github:push\"]\nto = \"later\"\n",
        later.url()
    );
    hub.write("weir.toml", &format!("{}\n{other}", hub.configured()));
    until_logged(&hub, &["destination added", "later"]).await;
    until_logged(&hub, &["configuration reloaded"]).await;
    let id = hub.push("push", "one", b"{\"n\": 1}").await.accepted();
    hub.until_status(&id, "processed").await;
    assert_eq!(later.received().len(), 1);
    assert!(hub.cli_ok(&["destinations"]).contains("later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_destination_goes_to_its_new_address() {
    const RARELY: &str = "retry = { schedule = [\"1h\"], jitter = 0.0 }";
    let (old, new) = (Sink::start().await, Sink::start().await);
    old.answers(500);
    let hub = TestHub::new()
        .github()
        .destination("sink", &old, RARELY)
        .config("[[route]]\non = [\"github:push\"]\nto = \"sink\"")
        .start()
        .await;
    let mut events = Vec::new();
    for n in 0..30 {
        let body = format!("{{\"n\": {n}}}");
        events.push(hub.push("push", &format!("d{n}"), body.as_bytes()).await.accepted());
    }
    until("the breaker", async || {
        let all = hub.api("/api/v1/destinations").await;
        let state = &all["items"][0]["state"];
        if state == "failing" { Ok(()) } else { Err(all.to_string()) }
    })
    .await;
    hub.write("weir.toml", &hub.configured().replace(&old.url(), &new.url()));
    until_logged(&hub, &["destination changed", "sink"]).await;
    for event in &events {
        hub.until_status(event, "processed").await;
    }
    assert_eq!(new.received().len(), events.len());
    let all = hub.api("/api/v1/destinations").await;
    assert_eq!(all["items"][0]["state"], "ok", "{all}");
    let holds = hub.api("/api/v1/holds").await;
    until("the end of the breaker's hold", async || {
        let now = hub.api("/api/v1/holds").await;
        if now["items"] == serde_json::json!([]) { Ok(()) } else { Err(format!("{holds} {now}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_a_removed_destination_wait_for_its_return() {
    const ROUTE: &str = "[[route]]\non = [\"github:push\"]\nto = \"sink\"\n";
    let sink = Sink::start().await;
    sink.answers(503);
    let hub = TestHub::new().github().destination("sink", &sink, "").config(ROUTE).start().await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "retrying").await;
    let whole = hub.configured();
    let start = whole.find("[destinations.sink]").unwrap();
    let end = whole.find(ROUTE).unwrap();
    hub.write("weir.toml", &format!("{}{}", &whole[..start], &whole[end + ROUTE.len()..]));
    until_logged(&hub, &["destination removed", "sink"]).await;
    until("the hold", async || {
        let shown = hub.event(&event).await;
        if shown["deliveries"][0]["held"] == true { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    sink.answers(200);
    hub.write("weir.toml", &whole);
    hub.until_status(&event, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_change_of_a_destination_changes_nothing() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .config("[[route]]\non = [\"github:push\"]\nto = \"sink\"")
        .start()
        .await;
    hub.write("weir.toml", &hub.configured().replace(&sink.url(), "not a url"));
    until_logged(&hub, &["invalid configuration", "destinations.sink.url"]).await;
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "processed").await;
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_settings_of_a_handler_are_used_without_a_restart() {
    const SETTINGS: &str = "[handlers.probe]\non = [\"github:push\"]\nconfig = { word = \"old\" }\n\
        grant = { destinations = [\"sink\"] }\n";
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("probe", "probe")
        .config(SETTINGS)
        .start()
        .await;
    let before = hub.until_ready("probe").await;
    let steps = serde_json::json!({ "steps": [
        { "op": "config", "key": "word" }, { "op": "report", "destination": "sink" },
    ] });
    let body = steps.to_string();
    let id = hub.push("push", "before", body.as_bytes()).await.accepted();
    hub.until_status(&id, "processed").await;
    let changed = SETTINGS.replace("old", "new").replace("github:push", "github:issues");
    hub.write("weir.toml", &hub.configured().replace(SETTINGS, &changed));
    until("the changed settings", async || {
        let lines = hub.log.having(&["handler settings changed", "probe"]);
        lines.first().map(|_| ()).ok_or_else(|| hub.log.all())
    })
    .await;
    let unwanted = hub.push("push", "unwanted", body.as_bytes()).await.accepted();
    hub.until_status(&unwanted, "unrouted").await;
    let wanted = hub.push("issues", "wanted", body.as_bytes()).await.accepted();
    hub.until_status(&wanted, "processed").await;
    let words: Vec<Value> =
        sink.received().iter().map(|message| message.json()["results"][0].clone()).collect();
    assert_eq!(words, ["old", "new"]);
    let after = hub.until_ready("probe").await;
    assert_eq!(after["version"], before["version"], "the module is not loaded again");
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
