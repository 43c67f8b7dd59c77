//! Storing: duplicates, restarts, batches, limits.

use std::collections::HashSet;
use std::sync::Arc;

use crate::common::*;
use bytes::Bytes;
use weir_core::id::EventId;
use weir_core::route::TableHash;
use weir_store::{DedupKey, EventIngested, Lane, NewRequest, RoutedEffects};
use weir_store::{Store, StoreError};

#[tokio::test(flavor = "multi_thread")]
async fn of_64_twins_at_once_one_is_stored_and_63_are_told_its_id() {
    let bed = Bed::new().await;
    let twins: Vec<_> = (0..64)
        .map(|_| {
            let store = bed.sqlite.clone();
            tokio::spawn(async move {
                store.ingest(vec![request("same", &[handler("orders")])]).await.remove(0).unwrap()
            })
        })
        .collect();
    let (mut first, mut told) = (Vec::new(), Vec::new());
    for twin in twins {
        match twin.await.unwrap().events[0] {
            EventIngested::Stored { id, .. } => first.push(id),
            EventIngested::Duplicate { first, .. } => told.push(first),
        }
    }
    assert_eq!((first.len(), told.len()), (1, 63));
    assert!(told.iter().all(|id| *id == first[0]));
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_duplicate_is_recognised_after_a_restart() {
    let mut bed = Bed::new().await;
    let first = bed.post("a", &[]).await;
    bed.reopen().await;
    let again = bed.ingest(request("a", &[])).await;
    assert_eq!(duplicate_of(&again), first);
    assert_eq!(again.request, None);
}

#[tokio::test]
async fn a_duplicate_is_recognised_across_many_runs_of_keys_and_restarts() {
    let mut bed = Bed::with(|o| o.keys_per_run = 300).await;
    let mut ids = Vec::new();
    for batch in 0..40 {
        let requests = (0..100).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for answer in bed.store().ingest(requests).await {
            ids.push(stored(&answer.unwrap()));
        }
        if batch % 13 == 7 {
            bed.reopen().await;
        }
    }
    assert!(bed.sqlite.stats().key_runs >= 5, "{:?}", bed.sqlite.stats());
    bed.reopen().await;
    for batch in 0..40 {
        let requests = (0..100).map(|n| request(&format!("{batch}/{n}"), &[])).collect();
        for (n, answer) in bed.store().ingest(requests).await.into_iter().enumerate() {
            assert_eq!(duplicate_of(&answer.unwrap()), ids[batch * 100 + n]);
        }
    }
    let distinct: HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
    bed.assert_sound().await;
}

#[tokio::test]
async fn an_id_is_known_after_a_million_others_and_a_restart() {
    const OTHERS: usize = 1_000_000;
    const BATCH: usize = 5_000;
    let mut bed = Bed::new().await;
    let first = bed.post("the first", &[]).await;
    for batch in 0..OTHERS / BATCH {
        let mut others = request("others", &[]);
        others.events = (0..BATCH).map(|n| event(&format!("{batch}/{n}"), &[])).collect();
        let stored = bed.ingest(others).await;
        let new = |e: &EventIngested| matches!(e, EventIngested::Stored { .. });
        assert!(stored.events.len() == BATCH && stored.events.iter().all(new));
    }
    assert!(bed.sqlite.stats().key_runs > 0, "the first key is only in memory");
    bed.reopen().await;
    assert_eq!(duplicate_of(&bed.ingest(request("the first", &[])).await), first);
    assert_ne!(duplicate_of(&bed.ingest(request("7/7", &[])).await), first);
}

#[tokio::test]
async fn the_same_id_from_another_source_is_another_event() {
    let bed = Bed::new().await;
    let one = stored(&bed.ingest(request_from("github", "a", &[])).await);
    let two = stored(&bed.ingest(request_from("gitlab", "a", &[])).await);
    assert_ne!(one, two);
}

fn tagged(id: &str, body_tag: u32) -> NewRequest {
    let mut request = request(id, &[]);
    let material = Bytes::copy_from_slice(id.as_bytes());
    request.events[0].dedup = Some(DedupKey { material, body_tag });
    request
}

#[tokio::test]
async fn an_id_used_again_for_another_body_is_stored_and_marked() {
    let mut bed = Bed::new().await;
    let first = stored(&bed.ingest(tagged("a", 1)).await);
    let second = bed.ingest(tagged("a", 2)).await;
    let EventIngested::Stored { id: second, id_reused: true, .. } = second.events[0] else {
        panic!("{second:?}");
    };
    assert!(bed.store().event(second).await.unwrap().unwrap().id_reused);
    for _ in 0..2 {
        assert_eq!(duplicate_of(&bed.ingest(tagged("a", 1)).await), first);
        assert_eq!(duplicate_of(&bed.ingest(tagged("a", 2)).await), second);
        bed.reopen().await;
    }
}

#[tokio::test]
async fn a_batch_answers_for_each_event_in_its_place() {
    let bed = Bed::new().await;
    let known = bed.post("known", &[]).await;
    let mut batch = request("x", &[]);
    batch.events = ["one", "known", "one", "two"].map(|id| event(id, &[handler("orders")])).into();
    for (n, event) in batch.events.iter_mut().enumerate() {
        event.part = Some(payload(&format!("part {n}")));
    }
    let answer = bed.ingest(batch).await;
    let [
        EventIngested::Stored { id: one, .. },
        EventIngested::Duplicate { first: second, .. },
        EventIngested::Duplicate { first: third, .. },
        EventIngested::Stored { id: two, .. },
    ] = answer.events[..]
    else {
        panic!("{answer:?}");
    };
    assert_eq!((second, third), (known, one));
    let found = bed.store().event(two).await.unwrap().unwrap();
    assert_eq!(&*found.payload.unwrap().body, b"part 3");
    assert_eq!(found.request, answer.request);
    let request = bed.store().request(answer.request.unwrap()).await.unwrap().unwrap();
    assert_eq!(&*request.payload.body, br#"{"id":"x"}"#);
    assert_eq!((&*request.scheme, &*request.secret), ("hmac", "main"));
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_request_without_events_is_kept() {
    let bed = Bed::new().await;
    let mut handshake = request("x", &[]);
    handshake.events.clear();
    let id = bed.ingest(handshake).await.request.unwrap();
    assert!(bed.store().request(id).await.unwrap().is_some());
}

#[tokio::test]
async fn an_event_of_an_unknown_routing_table_is_refused_and_its_neighbours_are_not() {
    let bed = Bed::new().await;
    let mut strange = request("strange", &[]);
    strange.events[0].routed.table = TableHash([9; 16]);
    let answers = bed.store().ingest(vec![request("a", &[]), strange, request("b", &[])]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(answers[1], Err(StoreError::Invalid(_))), "{:?}", answers[1]);
}

#[tokio::test]
async fn what_was_stored_is_read_back_as_it_came_before_and_after_a_dictionary() {
    let bed = Bed::with(|o| o.dictionary_after = 50).await;
    let text =
        |n: usize| format!(r#"{{"action":"opened","number":{n},"repository":"octo/hello-world"}}"#);
    let mut ids = Vec::new();
    let mut trained = false;
    for n in 0..20_000 {
        let mut request = request(&n.to_string(), &[]);
        request.payload = payload(&text(n));
        ids.push(stored(&bed.ingest(request).await));
        trained = n > 50 && dictionaries(&bed) > 0;
        if trained && n % 50 == 0 {
            break;
        }
    }
    assert!(trained, "no dictionary after {} events", ids.len());
    for (n, id) in ids.iter().enumerate() {
        let found = bed.store().event(*id).await.unwrap().unwrap();
        assert_eq!(&*found.payload.unwrap().body, text(n).as_bytes());
    }
    bed.assert_sound().await;
}

fn dictionaries(bed: &Bed) -> i64 {
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.query_row("SELECT count(*) FROM payload WHERE codec = 2", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_acknowledged_and_passes() {
    let bed = Bed::with(|o| o.max_pages = Some(120)).await;
    let big = |n: usize| {
        let mut request = request(&n.to_string(), &[]);
        // Bytes that no packing makes smaller.
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
        match bed.store().ingest(vec![big(n)]).await.remove(0) {
            Ok(answer) => acked.push(stored(&answer)),
            Err(StoreError::DiskFull) => refused.push(n),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(!acked.is_empty() && !refused.is_empty(), "{} {}", acked.len(), refused.len());
    assert_eq!(bed.store().poisoned(), None);
    // What did not fit is not taken for a duplicate of something that is not there.
    assert!(matches!(
        bed.store().ingest(vec![big(refused[0])]).await.remove(0),
        Err(StoreError::DiskFull)
    ));
    // Small things still fit.
    bed.post("small", &[]).await;
    for id in acked {
        assert!(bed.store().event(id).await.unwrap().unwrap().payload.is_some());
    }
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let bed = Bed::new().await;
    let second = weir_store::sqlite::open(&bed.path(), bed.options.clone());
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let mut bed = Bed::new().await;
    bed.sqlite.close().await.unwrap();
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(conn);
    let opened = weir_store::sqlite::open(&bed.path(), bed.options.clone());
    assert!(matches!(opened, Err(StoreError::TooNew { found: 99, known: 1 })), "{opened:?}");
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(conn);
    bed.sqlite = Arc::new(weir_store::sqlite::open(&bed.path(), bed.options.clone()).unwrap());
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_strangers_database_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let options = weir_store::sqlite::Options::new(ManualClock::new());
    let opened = weir_store::sqlite::open(&path, options);
    assert!(matches!(opened, Err(StoreError::Invalid(_))), "{opened:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let url = format!("sqlite:{}", folder.join("weir.db").display());
    let store =
        weir_store::open(&url, weir_store::sqlite::Options::new(ManualClock::new())).unwrap();
    store.keep_table(&table()).await.unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_named_without_its_url() {
    let options = weir_store::sqlite::Options::new(ManualClock::new());
    for url in ["postgres://weir:hunter2@db/weir", "mysql://weir:hunter2@db/weir", "sqlite:"] {
        let Err(StoreError::Invalid(why)) = weir_store::open(url, options.clone()) else {
            panic!("{url} was opened");
        };
        assert!(!why.contains("hunter2"));
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let bed = Bed::new().await;
    bed.store().close().await.unwrap();
    let answer = bed.store().ingest(vec![request("a", &[])]).await.remove(0);
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
}

#[tokio::test]
async fn decisions_are_kept_with_the_event() {
    let mut bed = Bed::new().await;
    let mut asked = request("a", &[handler("orders")]);
    asked.events[0].routed.decisions = r#"{"rule":"orders"}"#.into();
    let event = stored(&bed.ingest(asked).await);
    let without = bed.post("b", &[handler("orders")]).await;
    bed.reopen().await;
    let decisions = async |bed: &Bed, id| bed.store().event(id).await.unwrap().unwrap().decisions;
    assert_eq!(&*decisions(&bed, event).await, r#"{"rule":"orders"}"#);
    assert_eq!(&*decisions(&bed, without).await, "");
    let claimed = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    let mut emitted = emit(7, None, 0, &[handler("orders")]);
    emitted.routed.decisions = "later".into();
    let effects = RoutedEffects { emits: vec![emitted], ..RoutedEffects::default() };
    bed.settle(with_effects(&claimed, effects)).await;
    assert_eq!(&*decisions(&bed, EventId::from_bits(7)).await, "later");
}
