//! Handlers are run, loaded, replaced and retired, with real modules.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_core::delivery::{DeliveryState, Outcome};
use weir_core::id::EventId;
use weir_core::name::HandlerName;
use weir_engine::Version;
use weir_store::registry::EntryKind;

use super::hub::{DispatchHub, HubFolder, guest, until};
use crate::invoker::HandlerState;

const INBOX: &str = "[destinations.sink]\nkind = \"inbox\"\n[destinations.ops]\nkind = \"inbox\"\n";
const GRANT: &[u8] = b"[grant]\ndestinations = [\"sink\"]\nemit = true\n";

async fn with(name: &str, guest_name: &str) -> (HubFolder, DispatchHub) {
    let folder = HubFolder::new(INBOX);
    folder.put(&format!("{name}.toml"), GRANT);
    folder.put(&format!("{name}.wasm"), &guest(guest_name));
    let hub = folder.start().await;
    hub.ready(name).await;
    (folder, hub)
}

/// The version that handled each event, by the messages of `version-a` and `version-b`.
fn versions_by_event(hub: &DispatchHub) -> Vec<(String, String)> {
    let told = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        (body["event"].as_str().unwrap().to_owned(), body["version"].as_str().unwrap().to_owned())
    };
    hub.inbox.messages().iter().map(|m| told(&m.body)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_effects_of_a_run_are_carried_out() {
    let (_place, hub) = with("probe", "probe").await;
    let event = hub
        .steps(json!([
            { "op": "add", "key": "n", "delta": 1 },
            { "op": "log", "message": "hello" },
            { "op": "send", "destination": "sink", "json": { "n": 1 } },
        ]))
        .await;
    let delivery = hub.settled(event).await;
    assert_eq!(delivery.state, DeliveryState::Processed);
    let attempt = &delivery.history[0];
    assert_eq!(attempt.outcome, Outcome::Ok);
    assert_eq!(attempt.version, Some(Version::of(&guest("probe")).to_hex()));
    assert_eq!(attempt.log.as_deref(), Some("info\thello"));
    assert_eq!(attempt.messages[0].state, DeliveryState::Processed);
    let messages = hub.inbox.messages();
    assert_eq!((messages.len(), &*messages[0].body), (1, r#"{"n":1}"#));
    let state = hub.store.state(&HandlerName::new("probe").unwrap());
    assert_eq!(&*state.get("n").await.unwrap().unwrap().value, "1");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_attempt_has_no_effects_and_is_retried() {
    let (_place, hub) = with("probe", "probe").await;
    let event = hub
        .steps(json!([
            { "op": "add", "key": "n", "delta": 1 },
            { "op": "send", "destination": "sink", "json": {} },
            { "op": "panic", "message": "half way", "on_attempt": 1 },
            { "op": "retry", "reason": "not yet", "on_attempt": 2 },
        ]))
        .await;
    let delivery = hub.settled(event).await;
    let outcomes: Vec<_> = delivery.history.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [Outcome::Crashed, Outcome::Retry, Outcome::Ok]);
    assert!(delivery.history[0].reason.as_deref().unwrap().contains("half way"));
    assert_eq!(hub.inbox.messages().len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_become_dead_letters_at_once_or_after_the_last_attempt() {
    let (_place, hub) = with("probe", "probe").await;
    let rejected = hub.steps(json!([{ "op": "reject" }])).await;
    let failing = hub.steps(json!([{ "op": "abort" }])).await;
    let rejected = hub.settled(rejected).await;
    assert_eq!((rejected.state, rejected.attempts), (DeliveryState::DeadLetter, 1));
    let failing = hub.settled(failing).await;
    assert_eq!((failing.state, failing.history.len()), (DeliveryState::DeadLetter, 4));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn emitted_events_are_handled_by_their_subscribers() {
    let (folder, hub) = with("probe", "probe").await;
    folder.put("listener.toml", b"on = [\"@probe:late\"]\n[grant]\ndestinations = [\"sink\"]\n");
    folder.put("listener.wasm", &guest("version-a"));
    hub.ready("listener").await;
    let event = hub.steps(json!([{ "op": "emit", "type": "late", "json": {} }])).await;
    let delivery = hub.settled(event).await;
    let emitted = delivery.history[0].emitted[0];
    assert_eq!(hub.settled(emitted).await.state, DeliveryState::Processed);
    assert_eq!(hub.inbox.messages().len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_runs_lose_no_update_of_state() {
    let (_place, hub) = with("probe", "probe").await;
    let mut events = Vec::new();
    for _ in 0..60 {
        events.push(hub.steps(json!([{ "op": "add", "key": "n", "delta": 1 }])).await);
    }
    for event in events {
        let delivery = hub.settled(event).await;
        assert_eq!((delivery.state, delivery.history.len()), (DeliveryState::Processed, 1));
    }
    let state = hub.store.state(&HandlerName::new("probe").unwrap());
    assert_eq!(&*state.get("n").await.unwrap().unwrap().value, "60");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_handled_by_one_version_during_a_reload() {
    let (folder, hub) = with("ver", "version-a").await;
    let mut events = BTreeSet::new();
    for n in 0..400 {
        if n == 150 {
            folder.put("ver.wasm", &guest("version-b"));
        }
        if n == 300 {
            let b = Version::of(&guest("version-b")).to_hex();
            hub.handler_is("ver", |h| h.version.as_deref() == Some(&b)).await;
        }
        events.insert(hub.post("github", "push", &json!({})).await);
    }
    for event in &events {
        assert_eq!(hub.settled(*event).await.state, DeliveryState::Processed);
    }
    let told = versions_by_event(&hub);
    let handled: BTreeSet<EventId> = told.iter().map(|(e, _)| e.parse().unwrap()).collect();
    assert_eq!((told.len(), handled), (400, events));
    for version in ["a", "b"] {
        assert!(told.iter().filter(|(_, v)| v == version).count() >= 100, "{version}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_module_leaves_the_old_one_serving() {
    let (folder, hub) = with("ver", "version-a").await;
    let good = hub.handler("ver").unwrap().version;
    for (bad, reason) in [
        (&b"garbage"[..], "not a WebAssembly"),
        (&b""[..], "empty"),
        (&guest("contract-0-2-0"), "contract"),
    ] {
        folder.put("ver.wasm", bad);
        let refused = |error: &str| error.contains(reason);
        let status = hub.handler_is("ver", |h| h.last_error.as_deref().is_some_and(refused)).await;
        assert_eq!((status.state, &status.version), (HandlerState::Ready, &good));
    }
    let event = hub.post("github", "push", &json!({})).await;
    assert_eq!(hub.settled(event).await.state, DeliveryState::Processed);
    hub.stop().await;

    let hub = folder.start().await;
    let event = hub.post("github", "push", &json!({})).await;
    assert_eq!(hub.settled(event).await.state, DeliveryState::Processed);
    let status = hub.handler_is("ver", |h| h.last_error.is_some()).await;
    assert_eq!((status.state, status.version), (HandlerState::Ready, good));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_in_describe_never_serves() {
    let folder = HubFolder::new(INBOX);
    folder.put("trap.wasm", &guest("describe-traps"));
    folder.put("loop.wasm", &guest("describe-loops"));
    let hub = folder.start().await;
    hub.handle.folder_read().await;
    for name in ["trap", "loop"] {
        let status = hub.handler(name).unwrap();
        assert_eq!((status.state, status.version), (HandlerState::Failed, None), "{name}");
        assert!(status.last_error.unwrap().contains("describe failed"));
    }
    assert!(hub.routes.current().rules().is_empty());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_retired_handler_wait_until_it_is_back() {
    let (folder, hub) = with("ver", "version-a").await;
    folder.remove("ver.wasm");
    hub.handler_is("ver", |h| h.state == HandlerState::Missing && h.version.is_some()).await;
    let caught = hub.post("github", "push", &json!({})).await;
    assert_eq!(hub.settled(caught).await.state, DeliveryState::Processed, "within its grace");
    let table = hub.routes.current();
    hub.handler_is("ver", |h| h.version.is_none()).await;
    assert!(hub.routes.current().rules().is_empty());

    // Routed by the earlier table, as if it had arrived before the handler was removed.
    let holds = hub.store.holds().await.unwrap();
    assert_eq!((holds.len(), &*holds[0].hold.reason), (1, "missing"));
    hub.routes
        .set_handler(
            &HandlerName::new("ver").unwrap(),
            Some(table.rules()[0].patterns.clone().into()),
        )
        .await
        .unwrap();
    let waiting = hub.post("github", "push", &json!({})).await;
    let delivery = hub.event(waiting).await.deliveries.remove(0);
    assert_eq!((delivery.state, delivery.held), (DeliveryState::Pending, true));
    hub.stop().await;

    // It stays retired across a restart.
    let hub = folder.start().await;
    hub.handler_is("ver", |h| h.state == HandlerState::Missing).await;
    assert!(hub.routes.current().rules().is_empty());
    folder.put("ver.wasm", &guest("version-a"));
    hub.ready("ver").await;
    assert_eq!(hub.settled(waiting).await.state, DeliveryState::Processed);
    assert!(hub.store.holds().await.unwrap().is_empty());
    hub.stop().await;
}

/// Waits until the plugins folder is away for a reason that contains this.
async fn away(hub: &DispatchHub, because: &str) {
    let away = async || hub.folder.away().filter(|reason| reason.contains(because));
    until(&format!("the folder is away: {because}"), away).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_serve_on_while_the_plugins_folder_is_away() {
    let (folder, hub) = with("ver", "version-a").await;
    let handled = async |hub: &DispatchHub| {
        let event = hub.post("github", "push", &json!({})).await;
        assert_eq!(hub.settled(event).await.state, DeliveryState::Processed);
        assert_eq!(hub.handler("ver").unwrap().state, HandlerState::Ready);
    };
    hub.stop().await;
    // The folder of the handlers is remembered across restarts.
    let hub = folder.start().await;
    hub.handle.folder_read().await;
    handled(&hub).await;
    let elsewhere = folder.plugins().with_extension("elsewhere");
    std::fs::rename(folder.plugins(), &elsewhere).unwrap();
    away(&hub, "no such folder").await;
    let told = hub.notices.take().0.into_iter().map(|(_, notice)| notice.kind());
    assert_eq!(told.filter(|kind| *kind == "plugins.away").count(), 1);
    handled(&hub).await;
    // As when a volume is not mounted: the mount point exists and is empty.
    std::fs::create_dir(folder.plugins()).unwrap();
    away(&hub, "another folder").await;
    handled(&hub).await;
    hub.stop().await;

    let hub = folder.start().await;
    away(&hub, "another folder").await;
    handled(&hub).await;
    assert!(hub.store.holds().await.unwrap().is_empty());
    std::fs::remove_dir(folder.plugins()).unwrap();
    std::fs::rename(&elsewhere, folder.plugins()).unwrap();
    until("the folder is back", async || hub.folder.away().is_none().then_some(())).await;
    handled(&hub).await;
    // A file that is removed from the present folder removes its handler.
    folder.remove("ver.wasm");
    hub.handler_is("ver", |h| h.version.is_none()).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_folder_marked_as_empty_retires_its_handlers() {
    let (folder, hub) = with("ver", "version-a").await;
    std::fs::remove_dir_all(folder.plugins()).unwrap();
    std::fs::create_dir(folder.plugins()).unwrap();
    away(&hub, "another folder").await;
    folder.put(".empty", b"");
    hub.handler_is("ver", |h| h.version.is_none()).await;
    assert_eq!(hub.folder.away(), None);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_created_again_is_watched() {
    let (folder, hub) = with("ver", "version-a").await;
    std::fs::remove_dir_all(folder.plugins()).unwrap();
    away(&hub, "no such folder").await;
    std::fs::create_dir(folder.plugins()).unwrap();
    folder.put("ver.toml", GRANT);
    folder.put("ver.wasm", &guest("version-b"));
    let b = Version::of(&guest("version-b")).to_hex();
    hub.handler_is("ver", |h| h.state == HandlerState::Ready && h.version.as_deref() == Some(&b))
        .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_of_the_same_length_and_time_is_loaded() {
    let (folder, hub) = with("ver", "version-a").await;
    let path = folder.plugins().join("ver.wasm");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    // The same module with another byte in a custom section, written like `cp -p` writes.
    let padded = |n: u8| {
        let mut bytes = guest("version-a");
        bytes.extend([0, 3, 1, b'x', n]);
        bytes
    };
    for n in [1, 2] {
        std::fs::write(&path, padded(n)).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let version = Version::of(&padded(n)).to_hex();
        hub.handler_is("ver", |h| h.version.as_deref() == Some(&version)).await;
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_written_with_long_pauses_raises_no_alert() {
    let folder = HubFolder::new(INBOX).settling("100ms");
    folder.put("ver.wasm", &guest("version-a"));
    let hub = folder.start().await;
    hub.ready("ver").await;
    let (path, whole) = (folder.plugins().join("ver.wasm"), guest("version-b"));
    for parts in 1..=8 {
        std::fs::write(&path, &whole[..whole.len() * parts / 8]).unwrap();
        // Longer than the settle time, and shorter than the time until the final load.
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    let b = Version::of(&whole).to_hex();
    let status = hub.handler_is("ver", |h| h.version.as_deref() == Some(&b)).await;
    assert_eq!(status.last_error, None);
    let told = hub.notices.take().0.into_iter().map(|(_, notice)| notice.kind());
    assert_eq!(told.filter(|kind| *kind == "handler.load_failed").count(), 0);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_sidecar_changes_nothing() {
    let (folder, hub) = with("ver", "version-a").await;
    folder.put("ver.toml", b"on = [\"stripe:*\"]\n[grant]\ndestinations = [\"sink\"]\n");
    hub.handler_is("ver", |h| h.subscriptions == ["stripe:*"]).await;
    folder.put("ver.toml", b"onn = [\"stripe:*\"]\n");
    let status = hub.handler_is("ver", |h| h.last_error.is_some()).await;
    assert_eq!(status.subscriptions, ["stripe:*"]);
    assert!(status.last_error.unwrap().contains("onn"));
    hub.stop().await;

    let hub = folder.start().await;
    let rules = hub.routes.current().rules().to_vec();
    assert_eq!(rules[0].patterns[0].as_str(), "stripe:*");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_subscribes_to_the_source_it_is_named_after() {
    let folder = HubFolder::new(INBOX);
    folder.put("github.wasm", &guest("command"));
    let hub = folder.start().await;
    assert_eq!(hub.ready("github").await.subscriptions, ["github:*"]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_above_the_code_limit_is_refused() {
    let folder = HubFolder::new(INBOX).with_code_max("1MiB");
    let names: Vec<String> = (0..30).map(|n| format!("probe-{n}")).collect();
    for name in &names {
        folder.put(&format!("{name}.wasm"), &guest("probe"));
    }
    let hub = folder.start().await;
    hub.handle.folder_read().await;
    let (ready, refused): (Vec<_>, Vec<_>) =
        hub.handle.handlers().into_iter().partition(|h| h.state == HandlerState::Ready);
    assert_eq!(ready.len() + refused.len(), names.len());
    assert!(!ready.is_empty() && !refused.is_empty(), "{} are ready", ready.len());
    for handler in refused {
        let error = handler.last_error.unwrap();
        assert!(error.contains("raise plugins.code_max") && handler.version.is_none(), "{error}");
    }
    // A handler that serves may be replaced by another version of the same size.
    let name = ready[0].name.to_string();
    let mut other = guest("probe");
    other.extend([0, 3, 1, b'x', 1]);
    folder.put(&format!("{name}.wasm"), &other);
    let version = Version::of(&other).to_hex();
    hub.handler_is(&name, |h| h.version.as_deref() == Some(&version)).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_last_versions_are_kept() {
    let (folder, hub) = with("ver", "version-a").await;
    let padded = |n: u8| {
        // The same module with a custom section.
        let mut bytes = guest("version-a");
        bytes.extend([0, 3, 1, b'x', n]);
        bytes
    };
    // The one that serves, the one that stands in for it on probation, and ten others.
    for n in 0..14 {
        folder.put("ver.wasm", &padded(n));
        let version = Version::of(&padded(n)).to_hex();
        hub.handler_is("ver", |h| h.version.as_deref() == Some(&version)).await;
    }
    let kept = async || {
        let modules = hub.store.list(EntryKind::Module).await.unwrap();
        (modules.len() == 12).then_some(modules)
    };
    let kept = until("twelve versions are kept", kept).await;
    assert!(kept.iter().any(|(key, _)| *key == Version::of(&padded(13)).to_hex()));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_cut_off_by_shutdown_are_given_back_unspent() {
    let folder = HubFolder::new(INBOX);
    folder.put("probe.toml", b"[limits]\ntime = \"4s\"\n");
    folder.put("probe.wasm", &guest("probe"));
    let hub = folder.start().await;
    hub.ready("probe").await;
    let event = hub.steps(json!([{ "op": "loop" }])).await;
    hub.handler_is("probe", |h| h.running > 0).await;
    hub.drain.stop_claiming();
    hub.drain.stop_waiting();
    let claimed = hub.claimed("handler:probe").await;
    assert_eq!((claimed.event.id, claimed.fence.attempt), (event, 1));
    drop(claimed);
    hub.stop().await;
}
