//! Dedup keys that are written to the table in runs.

use std::collections::HashSet;

use weir_store::EventIngested;

use crate::common::*;
use crate::test_store::TestStore;

#[tokio::test]
async fn a_duplicate_is_recognised_across_many_key_runs() {
    let mut test = TestStore::with(|o| o.keys_per_run = 300).await;
    let mut ids = Vec::new();
    for batch in 0..40 {
        let requests = (0..100).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for answer in test.store().ingest(requests).await {
            ids.push(stored(&answer.unwrap()));
        }
        if batch % 13 == 7 {
            test.reopen().await;
        }
    }
    assert!(test.sqlite.stats().key_runs >= 5, "{:?}", test.sqlite.stats());
    test.reopen().await;
    for batch in 0..40 {
        let requests = (0..100).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for (n, answer) in test.store().ingest(requests).await.into_iter().enumerate() {
            assert_eq!(duplicate_of(&answer.unwrap()), ids[batch * 100 + n]);
        }
    }
    let distinct: HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    test.assert_sound().await;
}

#[tokio::test]
async fn an_id_is_recognised_after_a_million_others() {
    const OTHERS: usize = 1_000_000;
    const BATCH: usize = 5_000;
    let mut test = TestStore::new().await;
    let first = test.post("the first", &[]).await;
    for batch in 0..OTHERS / BATCH {
        let mut others = request("others", &[]);
        others.events = (0..BATCH).map(|n| event(&format!("{batch}/{n}"), &[])).collect();
        let stored = test.ingest(others).await;
        let new = |e: &EventIngested| matches!(e, EventIngested::Stored { .. });
        assert!(stored.events.len() == BATCH && stored.events.iter().all(new));
    }
    assert!(test.sqlite.stats().key_runs > 0, "the first key is only in memory");
    test.reopen().await;
    assert_eq!(duplicate_of(&test.ingest(request("the first", &[])).await), first);
    assert_ne!(duplicate_of(&test.ingest(request("7/7", &[])).await), first);
}
