//! Files that are deleted, replaced or truncated while the store uses them: nothing is acknowledged
//! after that.

use std::path::{Path, PathBuf};

use weir_store::StoreError;

use crate::common::*;
use crate::test_store::TestStore;

fn log_of(path: &Path) -> PathBuf {
    path.with_file_name("weir.db-wal")
}

/// Changes the files of an open store, and asserts that the next request is not acknowledged and
/// gets the reason.
async fn assert_noticed(what: &str, befalls: impl FnOnce(&Path)) {
    let test = TestStore::new().await;
    test.post("before", &[handler("orders")]).await;
    befalls(&test.path());
    let answer = test.store().ingest(vec![request("after", &[])]).await.remove(0);
    let Err(StoreError::Poisoned { reason }) = answer else { panic!("{what}: {answer:?}") };
    assert!(reason.contains(what), "{reason}");
    assert_eq!(test.store().health().poisoned, Some(reason));
    let later = test.store().ingest(vec![request("later", &[])]).await.remove(0);
    assert!(matches!(later, Err(StoreError::Poisoned { .. })), "{later:?}");
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_file_was_deleted() {
    for suffix in ["", "-wal", "-shm"] {
        assert_noticed("was deleted or moved away", |path| {
            std::fs::remove_file(path.with_file_name(format!("weir.db{suffix}"))).unwrap();
        })
        .await;
    }
    assert_noticed("was deleted or moved away", |path| {
        std::fs::rename(path, path.with_file_name("moved.db")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_file_was_replaced() {
    for suffix in ["", "-wal"] {
        assert_noticed("was replaced by another file", |path| {
            let file = path.with_file_name(format!("weir.db{suffix}"));
            let copy = path.with_file_name("copy");
            std::fs::copy(&file, &copy).unwrap();
            std::fs::rename(copy, file).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_after_a_file_was_truncated() {
    let cut = |path: &Path| {
        std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
    };
    assert_noticed("was changed by another program", cut).await;
    assert_noticed("was cut off by another program", |path| cut(&log_of(path))).await;
}

#[tokio::test]
async fn checkpoints_and_retention_do_not_look_like_another_program() {
    let test = TestStore::with(|options| options.checkpoint_pages = 10).await;
    for n in 0..200 {
        test.post(&n.to_string(), &[handler("orders")]).await;
    }
    test.clock.forward(std::time::Duration::from_secs(1));
    test.store().prune(&weir_store::upkeep::Retention::default()).await.unwrap();
    assert_eq!(test.store().health().poisoned, None);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_store_whose_lock_file_was_removed_is_still_in_use() {
    let test = TestStore::new().await;
    std::fs::remove_file(test.path().with_file_name("weir.db.lock")).unwrap();
    let second = weir_store::sqlite::open(&test.path(), test.options.clone());
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    let link = test.path().with_file_name("another-name.db");
    std::fs::hard_link(test.path(), &link).unwrap();
    let second = weir_store::sqlite::open(&link, test.options.clone());
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
}

#[tokio::test]
async fn a_store_behind_a_link_is_opened_and_watched() {
    let test = TestStore::new().await;
    let real = test.dir.path().join("real.db");
    let link = test.dir.path().join("link.db");
    std::fs::write(&real, b"").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let store = weir_store::sqlite::open(&link, test.options.clone()).unwrap();
    let store: &dyn weir_store::Store = &store;
    store.keep_table(&table()).await.unwrap();
    store.ingest(vec![request("one", &[])]).await.remove(0).unwrap();
    std::fs::remove_file(&real).unwrap();
    let answer = store.ingest(vec![request("two", &[])]).await.remove(0);
    assert!(matches!(answer, Err(StoreError::Poisoned { .. })), "{answer:?}");
}
