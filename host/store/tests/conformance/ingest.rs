//! Storing: duplicates, restarts, batches, limits.

use crate::common::*;
use crate::engine::TestStore;
use bytes::Bytes;
use weir_core::id::EventId;
use weir_core::route::TableHash;
use weir_store::{DedupKey, EventIngested, Lane, NewRequest, RoutedEffects};
use weir_store::{StoreError, StoreOptions};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_64_simultaneous_duplicates_is_stored() {
    let test = TestStore::new().await;
    let duplicates: Vec<_> = (0..64)
        .map(|_| {
            let store = test.shared();
            tokio::spawn(async move {
                store.ingest(vec![request("same", &[handler("orders")])]).await.remove(0).unwrap()
            })
        })
        .collect();
    let (mut first, mut told) = (Vec::new(), Vec::new());
    for duplicate in duplicates {
        match duplicate.await.unwrap().events[0] {
            EventIngested::Stored { id, .. } => first.push(id),
            EventIngested::Duplicate { first, .. } => told.push(first),
        }
    }
    assert_eq!((first.len(), told.len()), (1, 63));
    assert!(told.iter().all(|id| *id == first[0]));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_duplicate_is_recognised_after_a_restart() {
    let mut test = TestStore::new().await;
    let first = test.post("a", &[]).await;
    test.reopen().await;
    let again = test.ingest(request("a", &[])).await;
    assert_eq!(duplicate_of(&again), first);
    assert_eq!(again.request, None);
}

#[tokio::test]
async fn the_same_id_from_another_source_is_another_event() {
    let test = TestStore::new().await;
    let one = stored(&test.ingest(request_from("github", "a", &[])).await);
    let two = stored(&test.ingest(request_from("gitlab", "a", &[])).await);
    assert_ne!(one, two);
}

fn tagged(id: &str, body_tag: u32) -> NewRequest {
    let mut request = request(id, &[]);
    let material = Bytes::copy_from_slice(id.as_bytes());
    request.events[0].dedup = Some(DedupKey { material, body_tag });
    request
}

#[tokio::test]
async fn an_id_reused_for_another_body_is_stored_and_marked() {
    let mut test = TestStore::new().await;
    let first = stored(&test.ingest(tagged("a", 1)).await);
    let second = test.ingest(tagged("a", 2)).await;
    let EventIngested::Stored { id: second, id_reused: true, .. } = second.events[0] else {
        panic!("{second:?}");
    };
    assert!(test.store().event(second).await.unwrap().unwrap().id_reused);
    for _ in 0..2 {
        assert_eq!(duplicate_of(&test.ingest(tagged("a", 1)).await), first);
        assert_eq!(duplicate_of(&test.ingest(tagged("a", 2)).await), second);
        test.reopen().await;
    }
}

#[tokio::test]
async fn a_batch_answers_for_each_event_in_its_place() {
    let test = TestStore::new().await;
    let known = test.post("known", &[]).await;
    let mut batch = request("x", &[]);
    batch.events = ["one", "known", "one", "two"].map(|id| event(id, &[handler("orders")])).into();
    for (n, event) in batch.events.iter_mut().enumerate() {
        event.part = Some(payload(&format!("part {n}")));
    }
    let answer = test.ingest(batch).await;
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
    let found = test.store().event(two).await.unwrap().unwrap();
    assert_eq!(&*found.payload.unwrap().body, b"part 3");
    assert_eq!(found.request, answer.request);
    let request = test.store().request(answer.request.unwrap()).await.unwrap().unwrap();
    assert_eq!(&*request.payload.body, br#"{"id":"x"}"#);
    assert_eq!((&*request.scheme, &*request.secret), ("hmac", "main"));
    test.assert_sound().await;
}

#[tokio::test]
async fn a_request_without_events_is_kept() {
    let test = TestStore::new().await;
    let mut handshake = request("x", &[]);
    handshake.events.clear();
    let id = test.ingest(handshake).await.request.unwrap();
    assert!(test.store().request(id).await.unwrap().is_some());
}

#[tokio::test]
async fn only_the_event_with_an_unknown_routing_table_is_refused() {
    let test = TestStore::new().await;
    let mut strange = request("strange", &[]);
    strange.events[0].routed.table = TableHash([9; 16]);
    let answers = test.store().ingest(vec![request("a", &[]), strange, request("b", &[])]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(answers[1], Err(StoreError::Invalid(_))), "{:?}", answers[1]);
}

#[tokio::test]
async fn the_error_for_an_unknown_engine_does_not_repeat_the_url() {
    let options = StoreOptions { clock: ManualClock::new(), run_slots: 4 };
    for url in ["postgres://weir:hunter2@db/weir", "mysql://weir:hunter2@db/weir", "sqlite:"] {
        let Err(StoreError::Invalid(why)) = weir_store::open(url, options.clone()) else {
            panic!("{url} was opened");
        };
        assert!(!why.contains("hunter2"));
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let test = TestStore::new().await;
    test.store().close().await.unwrap();
    let answer = test.store().ingest(vec![request("a", &[])]).await.remove(0);
    assert!(matches!(answer, Err(StoreError::Closed)), "{answer:?}");
}

#[tokio::test]
async fn decisions_are_kept_with_the_event() {
    let mut test = TestStore::new().await;
    let mut asked = request("a", &[handler("orders")]);
    asked.events[0].routed.decisions = r#"{"rule":"orders"}"#.into();
    let event = stored(&test.ingest(asked).await);
    let without = test.post("b", &[handler("billing")]).await;
    test.reopen().await;
    let decisions =
        async |test: &TestStore, id| test.store().event(id).await.unwrap().unwrap().decisions;
    assert_eq!(&*decisions(&test, event).await, r#"{"rule":"orders"}"#);
    assert_eq!(&*decisions(&test, without).await, "");
    let claimed = test.claim_one(&handler("orders"), Lane::Fresh).await;
    let mut emitted = emit(7, None, 0, &[handler("orders")]);
    emitted.routed.decisions = "later".into();
    let effects = RoutedEffects { emits: vec![emitted], ..RoutedEffects::default() };
    test.settle(with_effects(&claimed, effects)).await;
    assert_eq!(&*decisions(&test, EventId::from_bits(7)).await, "later");
}
