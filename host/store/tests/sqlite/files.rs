//! The files of a store: who may open and read them, and a disk that is full.

use std::sync::Arc;

use weir_store::{Maintenance, StoreError};

use crate::common::*;
use crate::test_store::TestStore;

#[tokio::test]
async fn a_full_disk_loses_nothing_acknowledged_and_is_transient() {
    let test = TestStore::with(|o| o.max_pages = Some(120)).await;
    let big = |n: usize| {
        let mut request = request(&n.to_string(), &[]);
        // Bytes that cannot be packed.
        let mut word = n as u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (word >> 56) as u8
        })
        .take(20_000)
        .collect();
        request.payload.body = noise.into();
        request
    };
    let (mut acked, mut refused) = (Vec::new(), Vec::new());
    for n in 0..60 {
        match test.store().ingest(vec![big(n)]).await.remove(0) {
            Ok(answer) => acked.push(stored(&answer)),
            Err(StoreError::DiskFull) => refused.push(n),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(!acked.is_empty() && !refused.is_empty(), "{} {}", acked.len(), refused.len());
    assert_eq!(test.store().health().poisoned, None);
    // A refused request is not a duplicate when it comes again.
    assert!(matches!(
        test.store().ingest(vec![big(refused[0])]).await.remove(0),
        Err(StoreError::DiskFull)
    ));
    // Small writes still fit.
    test.post("small", &[]).await;
    for id in acked {
        assert!(test.store().event(id).await.unwrap().unwrap().payload.is_some());
    }
    test.assert_sound().await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let test = TestStore::new().await;
    let second = weir_store::sqlite::open(&test.path(), test.options.clone());
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let mut test = TestStore::new().await;
    test.sqlite.close().await.unwrap();
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    let opened = weir_store::sqlite::open(&test.path(), test.options.clone());
    assert!(matches!(opened, Err(StoreError::TooNew { found: 99, known: 1 })), "{opened:?}");
    let conn = rusqlite::Connection::open(test.path()).unwrap();
    conn.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(conn);
    test.sqlite = Arc::new(weir_store::sqlite::open(&test.path(), test.options.clone()).unwrap());
    test.assert_sound().await;
}

#[tokio::test]
async fn the_database_of_another_program_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let options = weir_store::sqlite::Options::new(ManualClock::new());
    let opened = weir_store::sqlite::open(&path, options);
    assert!(matches!(opened, Err(StoreError::Invalid(_))), "{opened:?}");
}

fn options() -> weir_store::StoreOptions {
    weir_store::StoreOptions { clock: ManualClock::new(), run_slots: 4 }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let url = format!("sqlite:{}", folder.join("weir.db").display());
    let store = weir_store::open(&url, options()).unwrap();
    store.keep_table(&table()).await.unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
