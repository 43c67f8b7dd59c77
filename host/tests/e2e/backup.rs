//! Backups while the hub works, the way back, and the look before an upgrade.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub, weir};

/// Runs a command in the folder of a configuration.
fn run(folder: &Path, args: &[&str]) -> Output {
    weir().args(args).current_dir(folder).output().unwrap()
}

fn ok(folder: &Path, args: &[&str]) -> String {
    let out = run(folder, args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn refused(folder: &Path, args: &[&str]) -> (i32, String) {
    let out = run(folder, args);
    assert!(!out.status.success(), "{args:?}");
    (out.status.code().unwrap_or(-1), String::from_utf8(out.stderr).unwrap())
}

/// Accepts events with a body of some size until it is told to stop. Returns their ids.
async fn accept(hub: &RunningHub, stop: &AtomicBool) -> Vec<String> {
    let mut ids = Vec::new();
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(2_000));
    while !stop.load(Ordering::Relaxed) {
        let delivery = format!("load-{}", ids.len());
        ids.push(hub.push("push", &delivery, body.as_bytes()).await.accepted());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_holds_all_that_was_accepted_before() {
    let hub = TestHub::new().github().handler("noop", "noop").start().await;
    hub.until_ready("noop").await;
    let mut before = Vec::new();
    for n in 0..200 {
        before.push(hub.push("push", &format!("before-{n}"), b"{\"n\":1}").await.accepted());
    }
    let folder = hub.folder.path().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let copying = tokio::task::spawn_blocking({
        let (folder, stop) = (folder.clone(), stop.clone());
        move || {
            let said = ok(&folder, &["--json", "backup", "copy.db"]);
            stop.store(true, Ordering::Relaxed);
            said
        }
    });
    let meanwhile = accept(&hub, &stop).await;
    let said: Value = serde_json::from_str(&copying.await.unwrap()).unwrap();
    assert_eq!(said["checked"], true);
    assert!(said["left_out"].to_string().contains("sealing.key"), "{said}");
    assert!(!meanwhile.is_empty(), "the hub works while it is copied");
    assert_eq!(folder.join("copy.db").metadata().unwrap().permissions().mode() & 0o777, 0o600);

    let config = hub.configured();
    let elsewhere = TestHub::new().written().0;
    std::fs::write(elsewhere.path().join("weir.toml"), config).unwrap();
    std::fs::copy(folder.join("github.secret"), elsewhere.path().join("github.secret")).unwrap();
    std::fs::copy(folder.join("copy.db"), elsewhere.path().join("copy.db")).unwrap();
    drop(hub);
    let said = ok(elsewhere.path(), &["restore", "copy.db"]);
    assert!(said.contains("restored and checked") && said.contains("sealing.key"), "{said}");
    let restored = TestHub::new().in_folder(elsewhere).github().start().await;
    for id in &before {
        assert_eq!(restored.event(id).await["id"], id.as_str());
    }
    assert!(!restored.push("push", "new", b"{}").await.accepted().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_backup_nor_restore_replaces_a_file() {
    let hub = TestHub::new().github().start().await;
    hub.push("push", "one", b"{}").await.accepted();
    let folder = hub.folder.path().to_owned();
    std::fs::write(folder.join("mine"), "mine").unwrap();
    let (code, said) = refused(&folder, &["backup", "mine"]);
    assert_eq!((code, said.contains("mine exists already")), (1, true), "{said}");
    assert_eq!(std::fs::read_to_string(folder.join("mine")).unwrap(), "mine");

    let said: Value = serde_json::from_str(&ok(&folder, &["--json", "backup", "."])).unwrap();
    let copy = said["file"].as_str().unwrap().to_owned();
    assert!(copy.starts_with("./weir-2") && copy.ends_with("Z.db"), "{copy}");
    let (code, said) = refused(&folder, &["restore", &copy]);
    assert_eq!((code, said.contains("a hub uses")), (1, true), "{said}");
    let stopped = hub.keep_folder().await;
    let (_, said) = refused(stopped.path(), &["restore", &copy]);
    assert!(said.contains("weir.db exists: move the files"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_foreign_file_is_not_restored() {
    let hub = TestHub::new().github().start().await;
    for n in 0..50 {
        hub.push("push", &n.to_string(), &[b'x'; 4_000]).await.accepted();
    }
    let folder = hub.keep_folder().await;
    ok(folder.path(), &["backup", "copy.db"]);
    let mut bytes = std::fs::read(folder.path().join("copy.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0xA5);
    let empty = TestHub::new().written().0;
    std::fs::write(empty.path().join("damaged.db"), bytes).unwrap();
    std::fs::write(empty.path().join("text.db"), "not a database").unwrap();
    for (file, reason) in [
        ("damaged.db", "damaged"),
        ("text.db", "nothing was restored"),
        ("none.db", "there is no file none.db"),
    ] {
        let (code, said) = refused(empty.path(), &["restore", file]);
        assert_eq!((code, said.contains(reason)), (1, true), "{file}: {said}");
        assert!(!empty.path().join("data/weir.db").exists(), "{file}");
    }
    let live = folder.path().join("data/weir.db");
    std::fs::write(folder.path().join("data/weir.db-wal"), "a log").unwrap();
    let (_, said) = refused(empty.path(), &["restore", live.to_str().unwrap()]);
    assert!(said.contains("is the store of a hub and not a backup"), "{said}");
}

/// The names and contents of all files below a folder.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else {
            all.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_check_names_the_changes_and_makes_none() {
    let hub = TestHub::new().github().start().await;
    hub.push("push", "one", b"{}").await.accepted();
    let running = ok(hub.folder.path(), &["upgrade", "--check"]);
    assert!(running.contains("nothing to change") && running.contains("configuration: OK"));
    let folder = hub.keep_folder().await;
    let folder = folder.path();

    // A store of an older version has fewer additions.
    let store = rusqlite::Connection::open(folder.join("data/weir.db")).unwrap();
    let older = "UPDATE meta SET value = value - 1 WHERE key = 'expansions'";
    assert_eq!(store.execute(older, []).unwrap(), 1);
    store.close().unwrap();
    let before = content(folder);
    let out = run(folder, &["--json", "upgrade", "--check"]);
    assert_eq!(out.status.code(), Some(5), "{}", String::from_utf8_lossy(&out.stderr));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(!said["pending"].as_array().unwrap().is_empty(), "{said}");
    assert_eq!(content(folder), before, "nothing was changed");

    std::fs::write(folder.join("weir.toml"), "[server]\nlisten = 1\n").unwrap();
    let (code, said) = refused(folder, &["upgrade", "--check"]);
    assert_eq!((code, said.contains("server.listen")), (2, true), "{said}");
}
