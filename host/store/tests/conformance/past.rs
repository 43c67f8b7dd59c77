//! Events in order, and what past runs were told of their state.

use std::time::Duration;

use weir_core::delivery::{NextState, Outcome};
use weir_core::name::SourceName;
use weir_store::Lane;
use weir_store::query::{InOrderFilter, PageRequest, RecordedReads};
use weir_store::settle::{NewReads, Settled};

use crate::common::*;
use crate::engine::TestStore;

/// The sender's ids of all events that a filter selects, read a page at a time.
async fn in_order(
    test: &TestStore,
    filter: InOrderFilter,
    limit: usize,
    bytes: usize,
) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest { limit, after };
        let page = test.store().events_in_order(filter.clone(), page, bytes).await.unwrap();
        assert!(page.events.len() <= limit);
        found.extend(
            page.events.iter().map(|e| String::from_utf8_lossy(&e.payload.body).into_owned()),
        );
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

#[tokio::test]
async fn events_are_read_whole_and_in_order() {
    let test = TestStore::new().await;
    let mut wanted = Vec::new();
    for n in 0..10 {
        let id = format!("e{n}");
        let source = if n % 3 == 0 { "stripe" } else { "github" };
        test.ingest(request_from(source, &id, &[handler("orders")])).await;
        wanted.push((
            source,
            format!(r#"{{"id":"{id}"}}"#),
            test.store()
                .events(Default::default(), PageRequest { limit: 1, after: None })
                .await
                .unwrap()
                .items[0]
                .received_at,
        ));
        test.clock.forward(Duration::from_secs(60));
    }
    let bodies = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
        wanted.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, w)| w.1.clone()).collect()
    };
    let all = InOrderFilter::default();
    assert_eq!(in_order(&test, all.clone(), 3, usize::MAX).await, bodies(&|_| true));
    assert_eq!(in_order(&test, all.clone(), 100, 1).await, bodies(&|_| true), "one at a time");
    let of = |source: &str| InOrderFilter {
        sources: vec![SourceName::stored(source)],
        ..InOrderFilter::default()
    };
    assert_eq!(in_order(&test, of("stripe"), 2, usize::MAX).await, bodies(&|n| n % 3 == 0));
    assert!(in_order(&test, of("unknown"), 2, usize::MAX).await.is_empty());
    let period =
        InOrderFilter { since: Some(wanted[4].2), until: Some(wanted[7].2), ..all.clone() };
    assert_eq!(in_order(&test, period, 2, usize::MAX).await, bodies(&|n| (4..7).contains(&n)));
    let half = in_order(&test, InOrderFilter { every: 2, ..all }, 2, usize::MAX).await;
    assert_eq!(half.len(), 5);
    test.assert_sound().await;
}

#[tokio::test]
async fn a_reader_that_follows_misses_nothing_and_sees_nothing_twice() {
    let test = TestStore::new().await;
    let of_stripe =
        InOrderFilter { sources: vec![SourceName::stored("stripe")], ..InOrderFilter::default() };
    let page = async |after: Option<String>, limit| {
        let page = PageRequest { limit, after };
        test.store().events_in_order(of_stripe.clone(), page, usize::MAX).await.unwrap()
    };
    // The source has no event yet, and others have.
    test.ingest(request_from("github", "g0", &[handler("orders")])).await;
    let empty = page(None, 10).await;
    assert!(empty.events.is_empty() && empty.next.is_none());
    let mut reached = empty.reached;
    let mut seen = Vec::new();
    for n in 0..7 {
        test.ingest(request_from("github", &format!("g{}", n + 1), &[handler("orders")])).await;
        test.ingest(request_from("stripe", &format!("s{n}"), &[handler("orders")])).await;
        if n % 3 == 0 {
            let found = page(Some(reached), 2).await;
            assert_eq!(found.events.len(), found.cursors.len());
            seen.extend(found.events.into_iter().map(|e| e.payload.body.clone()));
            reached = found.reached;
        }
    }
    let rest = page(Some(reached), 10).await;
    // From the cursor of an event on comes what follows it.
    let after_first = page(rest.cursors.first().cloned(), 10).await;
    assert_eq!(after_first.events.len() + 1, rest.events.len());
    seen.extend(rest.events.into_iter().map(|e| e.payload.body.clone()));
    let wanted: Vec<String> = (0..7).map(|n| format!(r#"{{"id":"s{n}"}}"#)).collect();
    let seen: Vec<String> =
        seen.iter().map(|body| String::from_utf8_lossy(body).into_owned()).collect();
    assert_eq!(seen, wanted);
    assert!(page(Some(rest.reached), 10).await.events.is_empty());
}

#[tokio::test]
async fn what_a_run_read_stays_with_its_attempt() {
    let test = TestStore::new().await;
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(5_000));
    for (n, reads) in [
        None,
        Some(NewReads::Kept("{}".into())),
        Some(NewReads::Kept(long.clone().into())),
        Some(NewReads::TooLarge(70_000)),
    ]
    .into_iter()
    .enumerate()
    {
        test.ingest(request(&format!("e{n}"), &[handler("orders")])).await;
        let claim = test.claim_one(&handler("orders"), Lane::Fresh).await;
        let mut end = settlement(&claim, NextState::Processed);
        end.attempt = record(&claim, Outcome::Ok);
        end.attempt.reads = reads.clone();
        let Settled::Applied { attempt, .. } = test.settle(end).await else { panic!() };
        let input = test.store().attempt_input(attempt).await.unwrap().unwrap();
        assert_eq!((input.event.id, input.delivery), (claim.event.id, claim.delivery));
        assert_eq!(
            input.reads,
            match reads {
                None => RecordedReads::None,
                Some(NewReads::Kept(text)) => RecordedReads::Kept(text),
                Some(NewReads::TooLarge(bytes)) => RecordedReads::TooLarge(bytes as u64),
            }
        );
    }
    assert_eq!(test.rows("attempt_reads"), Some(3), "a run that reads nothing adds no row");
    test.assert_sound().await;
}
