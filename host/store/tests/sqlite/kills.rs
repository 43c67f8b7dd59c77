//! Acknowledged events survive a killed process and a failed write.

#![expect(clippy::print_stdout, reason = "a child process tells its parent what was acknowledged")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use weir_core::delivery::{DeliveryState, NextState};
use weir_core::effect::StateWrite;
use weir_core::id::{DeliveryId, EventId};
use weir_core::name::HandlerName;
use weir_store::sqlite::Options;
use weir_store::{ClaimRequest, EventIngested, Lane, RoutedEffects, Settled};
use weir_store::{Dispatch, Ingest, Maintenance, Queries, Store, StoreError};

use crate::common::*;
use crate::test_store::TestStore;

/// Environment variable with the store of a child process.
const CHILD: &str = "WEIR_STORE_CRASH_CHILD";

fn child(test_name: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test_name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, path);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn options() -> Options {
    let mut options = Options::new(ManualClock::new());
    (options.keys_per_run, options.dictionary_after, options.checkpoint_pages) = (500, 100, 200);
    options.settle_hold = std::time::Duration::from_millis(1);
    options
}

/// Stores events, runs each with effects and state, and prints what was acknowledged. Never ends by
/// itself.
async fn work(path: &Path) {
    let store = Arc::new(weir_store::sqlite::open(path, options()).unwrap());
    store.keep_table(&table()).await.unwrap();
    let orders = handler("orders");
    let count = store.state(&HandlerName::new("orders").unwrap());
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (store, orders) = (store.clone(), orders.clone());
        tasks.push(tokio::spawn(async move {
            for n in 0.. {
                let id = format!("{}-{task}-{n}", std::process::id());
                let answer = store.ingest(vec![request(&id, std::slice::from_ref(&orders))]).await;
                if let EventIngested::Stored { id: event, .. } =
                    answer[0].as_ref().unwrap().events[0]
                {
                    println!("stored {id} {event}");
                }
            }
        }));
    }
    loop {
        let wish = ClaimRequest { target: orders.clone(), lane: Lane::Fresh, limit: 16 };
        for claimed in store.claim(&[wish]).await.unwrap() {
            let seen = count.get("count").await.unwrap();
            let n: u64 = seen.as_ref().map_or(0, |e| e.value.parse().unwrap());
            let write = StateWrite {
                key: "count".into(),
                value: Some((n + 1).to_string().into()),
                expires_at: None,
            };
            let effects = RoutedEffects {
                messages: vec![message(1, None, 0), message(2, None, 0)],
                emits: vec![emit(3, None, 0, &[])],
                state: vec![write],
                ..RoutedEffects::default()
            };
            let mut settlement = with_effects(&claimed, effects);
            settlement.reads.keys.push(("count".into(), seen.map(|e| e.version)));
            let settled = store.settle(&shared(vec![settlement])).await.remove(0).unwrap();
            assert!(matches!(settled, Settled::Applied { .. }), "{settled:?}");
            println!("settled {}", claimed.delivery);
        }
    }
}

/// Complete lines that the child wrote before it was killed.
fn acknowledged(child: &mut Child, kill_after: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("stored ") || line.starts_with("settled ") {
            lines.push(line);
        }
        if lines.len() == kill_after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    // The last line may be incomplete.
    lines.pop();
    lines
}

/// Acknowledgements that all child processes of a store got.
#[derive(Default)]
struct Acknowledged {
    stored: Vec<(String, EventId)>,
    settled: Vec<DeliveryId>,
}

impl Acknowledged {
    /// Runs a child, and kills it after this many acknowledgements.
    fn round(&mut self, test_name: &str, path: &Path, kill_after: usize) {
        let mut child = child(test_name, path).spawn().unwrap();
        for line in acknowledged(&mut child, kill_after) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["stored", id, event] => self.stored.push((id.to_owned(), event.parse().unwrap())),
                ["settled", delivery] => self.settled.push(delivery.parse().unwrap()),
                _ => panic!("{line}"),
            }
        }
    }

    /// Asserts that everything acknowledged is stored once and the store is sound.
    async fn assert_kept(&self, path: &Path) {
        let store = weir_store::sqlite::open(path, options()).unwrap();
        assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
        for (id, event) in &self.stored {
            let found =
                store.event(*event).await.unwrap().unwrap_or_else(|| panic!("{event} is gone"));
            let body = found.payload.unwrap().body.clone();
            assert_eq!(body, format!(r#"{{"id":"{id}"}}"#).as_bytes());
            let again = store.ingest(vec![request(id, &[])]).await.remove(0).unwrap();
            assert_eq!(duplicate_of(&again), *event);
        }
        for delivery in &self.settled {
            let found = store
                .delivery(*delivery)
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("{delivery} is gone"));
            assert_eq!(found.state, DeliveryState::Processed);
        }
        assert_effects_agree(&store, path, self.settled.len()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_events_survive_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work(Path::new(&path)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.db");
    let mut acknowledged = Acknowledged::default();
    for round in 0..6 {
        acknowledged.round("kills::acknowledged_events_survive_a_kill", &path, 150 + 97 * round);
    }
    let Acknowledged { stored, settled } = &acknowledged;
    assert!(stored.len() > 500 && settled.len() > 20, "{} {}", stored.len(), settled.len());
    acknowledged.assert_kept(&path).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_500_times_state_messages_and_emitted_events_agree() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work(Path::new(&path)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.db");
    let mut acknowledged = Acknowledged::default();
    let test_name = "kills::killed_500_times_state_messages_and_emitted_events_agree";
    // Spread over the first few hundred acknowledgements by a step that shares no factor with the
    // range.
    for round in 0..500 {
        acknowledged.round(test_name, &path, 2 + (round * 37) % 101);
        if round % 100 == 99 {
            acknowledged.assert_kept(&path).await;
        }
    }
}

/// Each settled run counted one, sent two and emitted one: all of it or none of it (INV-3).
async fn assert_effects_agree(store: &impl Store, path: &Path, at_least: usize) {
    let count = store.state(&HandlerName::new("orders").unwrap()).get("count").await.unwrap();
    let counted: usize = count.unwrap().value.parse().unwrap();
    let conn = rusqlite::Connection::open(path).unwrap();
    let rows = |sql: &str| -> usize {
        let count: u32 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        count as usize
    };
    let processed = rows("SELECT count(*) FROM delivery WHERE state = 3");
    assert!(processed >= at_least);
    assert_eq!(counted, processed);
    assert_eq!(rows("SELECT count(*) FROM delivery WHERE message IS NOT NULL"), 2 * processed);
    assert_eq!(rows("SELECT count(*) FROM event WHERE outward IS NOT NULL"), processed);
    assert_eq!(rows("SELECT count(*) FROM attempt"), processed);
}

/// Works until a write fails, and checks that no write is answered with success after it.
async fn work_until_a_write_fails(path: &Path) {
    let store = weir_store::sqlite::open(path, options()).unwrap();
    store.keep_table(&table()).await.unwrap();
    let orders = handler("orders");
    store.ingest(vec![request("claimed", std::slice::from_ref(&orders))]).await.remove(0).unwrap();
    let wish = ClaimRequest { target: orders.clone(), lane: Lane::Fresh, limit: 1 };
    let claimed = store.claim(std::slice::from_ref(&wish)).await.unwrap().remove(0);
    let mut n = 0;
    let failed = loop {
        n += 1;
        let answer = store.ingest(vec![request(&n.to_string(), &[])]).await.remove(0);
        if let Err(e) = answer {
            break e;
        }
        assert!(n < 100_000, "no write failed");
    };
    assert!(matches!(failed, StoreError::Poisoned { .. }), "{failed}");
    assert!(store.health().poisoned.is_some());
    assert!(store.ingest(vec![request("1", &[])]).await.remove(0).is_err(), "not even a duplicate");
    assert!(
        store
            .settle(&shared(vec![settlement(&claimed, NextState::Processed)]))
            .await
            .remove(0)
            .is_err()
    );
    assert!(store.claim(&[wish]).await.is_err());
    assert!(store.close().await.is_err());
    println!("poisoned after {n}");
}

#[cfg(unix)]
#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged_until_the_next_start() {
    if let Some(path) = std::env::var_os(CHILD) {
        return work_until_a_write_fails(Path::new(&path)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.db");
    let command =
        child("kills::after_a_failed_write_nothing_is_acknowledged_until_the_next_start", &path);
    // No file may grow past 800 KiB, and the signal for it is ignored: write(2) fails with EFBIG,
    // which is not a full disk.
    let mut limited = Command::new("sh");
    limited.args(["-c", r#"trap "" XFSZ; ulimit -f 1600; exec "$@""#, "sh"]);
    limited.arg(command.get_program()).args(command.get_args()).env(CHILD, &path);
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("poisoned after"), "{output:?}");
    let store = weir_store::sqlite::open(&path, options()).unwrap();
    assert_eq!(store.check().await.unwrap().problems, Vec::<String>::new());
    let n: usize = said
        .split("poisoned after ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for n in 1..n {
        duplicate_of(&store.ingest(vec![request(&n.to_string(), &[])]).await.remove(0).unwrap());
    }
}

#[tokio::test]
async fn a_file_damaged_in_a_crash_is_refused_with_the_problem() {
    let damage = |path: &Path| {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.execute_batch("DELETE FROM payload; UPDATE delivery SET state = 2").unwrap();
    };
    let mut test = TestStore::new().await;
    test.post("a", &[handler("orders")]).await;
    let refused = test.crash_after(damage).await.unwrap_err();
    let StoreError::Damaged(why) = refused else { panic!("{refused}") };
    assert!(
        why.contains("event 1 has a payload that is missing") && why.contains("1 more"),
        "{why}"
    );
    assert!(why.contains("backup"), "says what to do: {why}");
    test.crash().await;
    test.assert_sound().await;
}

#[tokio::test]
async fn a_file_with_pages_damaged_in_a_crash_is_refused() {
    let mut test = TestStore::new().await;
    for n in 0..50 {
        test.post(&n.to_string(), &[handler("orders")]).await;
    }
    let refused = test.crash_after(|path| {
        let moved = rusqlite::Connection::open(path).unwrap();
        moved.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(moved);
        let mut bytes = std::fs::read(path).unwrap();
        let (from, to) = (bytes.len() / 2, bytes.len() - 4096);
        bytes[from..to].fill(0x5a);
        std::fs::write(path, bytes).unwrap();
    });
    assert!(matches!(refused.await, Err(StoreError::Damaged(_))));
}
