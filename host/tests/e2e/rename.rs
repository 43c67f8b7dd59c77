//! A handler gets another name and keeps its state, its past and what waits for it.

use serde_json::json;
use weir_testing::hub::TestHub;

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_handler_keeps_its_state_its_past_and_its_events() {
    let sidecar = "on = [\"github:*\"]\n[retry]\nfirst = \"500ms\"\nmax = \"500ms\"\n";
    let hub = TestHub::new().github().handler("old", "probe").sidecar("old", sidecar).start().await;
    hub.until_ready("old").await;
    let push = async |name: &str, steps: serde_json::Value| {
        let body = json!({ "steps": steps }).to_string();
        hub.push("push", name, body.as_bytes()).await.accepted()
    };
    let done = push("one", json!([{ "op": "add", "key": "n", "delta": 1 }])).await;
    hub.until_status(&done, "processed").await;
    let again =
        json!([{ "op": "retry", "on_attempt": 1 }, { "op": "add", "key": "n", "delta": 1 }]);
    let waits = push("two", again).await;
    hub.until_status(&waits, "retrying").await;

    let said = hub.cli_ok(&["handlers", "rename", "old", "new"]);
    assert!(said.contains("old is new now"), "{said}");
    let plugins = hub.folder.path().join("plugins");
    assert!(plugins.join("new.wasm").exists() && plugins.join("new.toml").exists());
    assert!(!plugins.join("old.wasm").exists());
    hub.until_status(&waits, "processed").await;
    let value = || hub.cli_ok(&["handlers", "state", "new", "get", "n"]);
    assert_eq!(value().trim(), "2");
    assert_eq!(hub.event(&done).await["deliveries"][0]["target"], "handler:new");
    let next = push("three", json!([{ "op": "add", "key": "n", "delta": 1 }])).await;
    hub.until_status(&next, "processed").await;
    assert_eq!(value().trim(), "3");
    assert_eq!(hub.event(&next).await["deliveries"].as_array().unwrap().len(), 1);
    let history = hub.cli_ok(&["handlers", "history", "new"]);
    assert!(history.contains("renamed") && history.contains("was old"), "{history}");

    let hub = hub.kill_and_restart().await;
    hub.until_ready("new").await;
    let handlers = hub.api("/api/v1/handlers").await;
    assert_eq!(handlers["items"].as_array().unwrap().len(), 1, "{handlers}");
    let read = hub.cli_ok(&["handlers", "state", "new", "get", "n"]);
    assert_eq!(read.trim(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_or_referred_to_is_refused() {
    let hub = TestHub::new()
        .github()
        .handler("one", "noop")
        .handler("two", "noop")
        .config("[handlers.two]\non = [\"github:push\"]")
        .start()
        .await;
    hub.until_ready("one").await;
    hub.until_ready("two").await;
    for (from, to, code) in [
        ("one", "two", "name_taken"),
        ("two", "three", "name_in_use"),
        ("one", "Bad Name", "invalid_name"),
        ("ghost", "three", "handler_not_found"),
    ] {
        let (_, error) = hub.cli_err(&["handlers", "rename", from, to]);
        assert!(error.contains(code), "{from} {to}: {error}");
    }
    let event = hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(
        hub.until_status(&event, "processed").await["deliveries"].as_array().unwrap().len(),
        2
    );
}
