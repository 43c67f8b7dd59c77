//! The acts of people on versions: roll back, pin, unpin, compare.

use serde_json::Value;

use crate::probation::{first_version, put, until_other, version};
use weir_testing::guests::{committed, write};
use weir_testing::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_survives_scans_and_restarts_until_the_file_changes() {
    let sink = Sink::start().await;
    let (hub, first) = first_version(&sink, "enabled = false").await;
    let (code, error) = hub.cli_err(&["handlers", "rollback", "teller"]);
    assert!(code == 1 && error.contains("no_previous_version"), "{error}");
    put(&hub, 2, "", 0);
    let second = until_other(&hub, &first).await["version"].as_str().unwrap().to_owned();
    let back = hub.cli_ok(&["handlers", "rollback", "teller", "--reason", "wrong sums"]);
    assert!(back.contains(&first[..12]), "{back}");
    hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(sink.until_received(1).await[0].json()["version"], 1);

    let hub = hub.stop_and_restart().await;
    assert_eq!(hub.until_ready("teller").await["version"], *first);
    let shown = hub.cli_ok(&["handlers", "show", "teller"]);
    assert!(shown.contains(&second[..12]) && shown.contains("serves"), "{shown}");
    let history = hub.cli_ok(&["handlers", "history", "teller", "--json"]);
    let newest: Value = serde_json::from_str(history.lines().next().unwrap()).unwrap();
    assert_eq!((&newest["act"], &newest["reason"]), (&"rolled_back".into(), &"wrong sums".into()));
    assert_eq!(newest["by"], "operator");
    let audit = hub.cli_ok(&["audit"]);
    assert!(audit.contains("handler_rollback"), "{audit}");

    put(&hub, 3, "", 0);
    let third = until_other(&hub, &first).await["version"].as_str().unwrap().to_owned();
    assert_ne!(third, second);
    for (version, code) in [(&third[..9], "version_serves"), ("ffff", "version_not_found")] {
        let (_, error) = hub.cli_err(&["handlers", "rollback", "teller", version]);
        assert!(error.contains(code), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_keeps_a_new_file_from_running_until_it_is_removed() {
    let sink = Sink::start().await;
    let (hub, first) = first_version(&sink, "strikes = 1").await;
    hub.cli_ok(&["handlers", "pin", "teller"]);
    put(&hub, 2, "", 0);
    let waits = hub.until_handler("teller", |h| h["candidate"].is_string()).await;
    assert_eq!((&waits["version"], &waits["pinned"]), (&first.clone().into(), &true.into()));
    hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(sink.until_received(1).await[0].json()["version"], 1);
    let candidate = waits["candidate"].as_str().unwrap();
    let (_, error) = hub.cli_err(&["handlers", "rollback", "teller", candidate]);
    assert!(error.contains("version_never_served"), "{error}");

    let hub = hub.kill_and_restart().await;
    let waits = hub.until_ready("teller").await;
    assert_eq!(
        (&waits["version"], &waits["candidate"]),
        (&first.clone().into(), &candidate.into())
    );
    let listed = hub.cli_ok(&["handlers", "list"]);
    assert!(listed.contains("pinned; candidate"), "{listed}");
    hub.cli_ok(&["handlers", "unpin", "teller"]);
    let serves = until_other(&hub, &first).await;
    assert_eq!(serves["version"], candidate, "{serves}");
    assert_eq!(serves["probation"]["old"], *first, "a new version as any other: {serves}");
    let (_, error) = hub.cli_err(&["handlers", "unpin", "teller"]);
    assert!(error.contains("not_pinned"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_are_compared_by_facts_and_sidecars() {
    let sink = Sink::start().await;
    let (hub, first) = first_version(&sink, "enabled = false").await;
    let plugins = hub.folder.path().join("plugins");
    let hub = hub
        .stop_and_restart_after(|| {
            let sidecar = "on = [\"github:push\"]\n[limits]\ntime = \"1s\"\n";
            std::fs::write(plugins.join("teller.toml"), sidecar).unwrap();
            write(&plugins, "teller", &version(2, "", 0));
        })
        .await;
    until_other(&hub, &first).await;
    let compared = hub.cli_ok(&["handlers", "diff", "teller"]);
    for part in [
        "subscriptions  github:* -> github:push",
        "destinations   sink -> -",
        "time           5s -> 1s",
        "+on = [\"github:push\"]",
        "-[probation]",
    ] {
        assert!(compared.contains(part), "{part} in {compared}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_handler_keeps_its_events_until_it_is_resumed() {
    let sink = Sink::start().await;
    let (hub, _) = first_version(&sink, "").await;
    hub.cli_ok(&["handlers", "pause", "teller", "--reason", "a bad release"]);
    let event = hub.push("push", "one", b"{}").await.accepted();
    hub.until_status(&event, "held").await;
    hub.cli_ok(&["handlers", "resume", "teller"]);
    hub.until_status(&event, "processed").await;
    assert_eq!(hub.cli_err(&["handlers", "resume", "teller"]).0, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_read_the_state_is_not_put_back() {
    let sink = Sink::start().await;
    let (hub, first) = first_version(&sink, "strikes = 1").await;
    // This module has another state version.
    hub.put_handler("teller", committed("facts"));
    let second = until_other(&hub, &first).await;
    assert!(second["probation"].is_null(), "no version stands in for it: {second}");
    hub.cli_ok(&["handlers", "state", "teller", "set", "n", "5"]);
    let (code, error) = hub.cli_err(&["handlers", "rollback", "teller"]);
    assert!(code == 1 && error.contains("state_version_differs"), "{error}");
    assert!(error.contains("reads state version 0") && error.contains("clear it"), "{error}");
    let compared = hub.cli_ok(&["handlers", "diff", "teller"]);
    assert!(compared.contains("state_version  0 -> 3"), "{compared}");
    assert_eq!(hub.until_ready("teller").await["version"], second["version"]);
    hub.cli_ok(&["handlers", "state", "teller", "clear", "--yes"]);
    hub.cli_ok(&["handlers", "rollback", "teller"]);
    assert_eq!(hub.until_ready("teller").await["version"], *first);
}
