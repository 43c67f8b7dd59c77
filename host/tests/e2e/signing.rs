//! Signed handlers: what is not signed as it is does not run.

use std::path::Path;

use serde_json::Value;
use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub, weir};
use weir_testing::sink::Sink;

const TO_SINK: &str = "[grant]\ndestinations = [\"sink\"]\n";

/// Runs a command of signing. Returns what it printed as JSON.
fn signing(args: &[&str], folder: &Path) -> Value {
    let done = weir().args(["--json", "sign"]).args(args).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The configuration's section of plugins with a key that must have signed.
fn required(key: &Value) -> String {
    format!("[plugins]\nrequire_signature = true\nkeys = [{}]\n", key["key"])
}

/// Waits until a handler's files are refused. Returns the reason.
async fn refusal(hub: &RunningHub, handler: &str, words: &str) -> String {
    let said = hub.until_handler(handler, |h| h.to_string().contains(words)).await;
    said.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_signed_handlers_serve_and_the_last_good_stays() {
    let sink = Sink::start().await;
    let keys = tempfile::tempdir().unwrap();
    let made = signing(&["--new-key", "ours"], keys.path());
    let stranger = signing(&["--new-key", "theirs"], keys.path());
    assert_ne!(made["key"], stranger["key"]);
    let again = weir().args(["sign", "--new-key", "ours"]).current_dir(keys.path()).output();
    assert!(!again.unwrap().status.success(), "a key is never replaced");

    let hub = TestHub::new()
        .replace("[plugins]\n", &required(&made))
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    refusal(&hub, "teller", "there is no teller.sig").await;
    let sign = |key: &str| {
        let (plugins, key) = (hub.folder.path().join("plugins"), keys.path().join(key));
        signing(&["teller.wasm", "--key", key.to_str().unwrap()], &plugins)
    };

    sign("theirs");
    refusal(&hub, "teller", "by one of plugins.keys").await;
    let signed = sign("ours");
    assert_eq!(signed["sidecar"], true);
    let good = hub.until_ready("teller").await;
    hub.push("push", "one", b"{}").await.accepted();
    sink.until_received(1).await;

    // A grant that the signer did not see.
    hub.write("plugins/teller.toml", &format!("{TO_SINK}emit = true\n"));
    refusal(&hub, "teller", "was changed after signing").await;
    // A module that the signer did not see.
    hub.write("plugins/teller.toml", TO_SINK);
    hub.until_ready("teller").await;
    hub.put_handler("teller", committed("version-b"));
    let kept = hub.until_handler("teller", |h| h.to_string().contains("was changed")).await;
    assert_eq!(kept["version"], good["version"]);
    hub.push("push", "two", b"{}").await.accepted();
    assert_eq!(sink.until_received(2).await[1].json()["version"], "a", "the last good one serves");

    sign("ours");
    hub.until_handler("teller", |h| h["version"] != good["version"]).await;
    hub.push("push", "three", b"{}").await.accepted();
    assert_eq!(sink.until_received(3).await[2].json()["version"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_loaded_unsigned_is_not_restored_once_signatures_count() {
    let sink = Sink::start().await;
    let keys = tempfile::tempdir().unwrap();
    let made = signing(&["--new-key", "ours"], keys.path());
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("teller", "version-a")
        .sidecar("teller", TO_SINK)
        .start()
        .await;
    hub.until_ready("teller").await;
    let config = hub.folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let hub = hub
        .stop_and_restart_after(|| {
            std::fs::write(&config, text.replacen("[plugins]\n", &required(&made), 1)).unwrap();
        })
        .await;
    hub.push("push", "one", b"{}").await.accepted();
    refusal(&hub, "teller", "there is no teller.sig").await;
    assert!(sink.received().is_empty(), "its event waits");
    let (plugins, key) = (hub.folder.path().join("plugins"), keys.path().join("ours"));
    signing(&["teller.wasm", "--key", key.to_str().unwrap()], &plugins);
    hub.until_ready("teller").await;
    sink.until_received(1).await;
}
