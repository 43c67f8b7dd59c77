//! Retention by source, and by the size of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::delivery::{EventStatus, NextState};
use weir_core::id::EventId;
use weir_core::name::{SourceName, Target};
use weir_store::query::{EventFilter, PageRequest};
use weir_store::upkeep::{Pruned, Retention};
use weir_store::{EventIngested, Lane, NewRequest};

use crate::common::*;
use crate::engine::TestStore;

const DAY: Duration = Duration::from_secs(86_400);

/// Stores an event with a body that does not compress, and with a dedup key.
async fn store(test: &TestStore, source: &str, id: &str, targets: &[Target]) -> EventId {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(id.len() as u64 | 1);
        char::from(b'a' + (seed >> 59) as u8 % 26)
    };
    let body: String = id.chars().chain((0..8_000).map(|_| noise())).collect();
    let request = NewRequest { payload: payload(&body), ..request_from(source, id, targets) };
    stored(test.store().ingest(vec![request]).await[0].as_ref().unwrap())
}

async fn settle(test: &TestStore, target: &Target, next: NextState) {
    let claimed = test.claim_one(target, Lane::Fresh).await;
    test.settle(settlement(&claimed, next)).await;
}

async fn prune(test: &TestStore, retention: &Retention) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let pruned = test.store().prune(retention).await.unwrap();
        all.events += pruned.events;
        all.early += pruned.early;
        all.too_large = pruned.too_large;
        if !pruned.more {
            return all;
        }
    }
}

async fn left(test: &TestStore) -> BTreeMap<EventId, EventStatus> {
    let (mut all, mut after) = (BTreeMap::new(), None);
    loop {
        let page = PageRequest { limit: 500, after };
        let page = test.store().events(EventFilter::default(), page).await.unwrap();
        all.extend(page.items.into_iter().map(|event| (event.id, event.status)));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn a_source_has_a_life_of_its_own() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let mut ids = Vec::new();
    for (n, source) in ["github", "stripe", "github", "shopify"].into_iter().enumerate() {
        ids.push(store(&test, source, &format!("a{n}"), std::slice::from_ref(&orders)).await);
        settle(&test, &orders, NextState::Processed).await;
    }
    test.clock.forward(DAY * 3);
    test.store().confirm_time().await.unwrap();
    let lives = [("github", 2), ("shopify", 90)];
    let lives = lives.map(|(name, days)| (SourceName::stored(name), DAY * days));
    let retention = Retention { source_lives: lives.into(), ..Retention::default() };
    assert_eq!(prune(&test, &retention).await.events, 2);
    assert_eq!(left(&test).await.into_keys().collect::<BTreeSet<_>>(), [ids[1], ids[3]].into());

    // The key of an event that is gone is known.
    let again = request_from("github", "a0", std::slice::from_ref(&orders));
    let again = test.store().ingest(vec![again]).await.remove(0).unwrap();
    assert!(matches!(again.events[0], EventIngested::Duplicate { first, .. } if first == ids[0]));

    test.clock.forward(DAY * 40);
    test.store().confirm_time().await.unwrap();
    let pruned = prune(&test, &retention).await;
    assert_eq!((pruned.events, pruned.early), (1, 0));
    assert_eq!(left(&test).await.into_keys().collect::<BTreeSet<_>>(), [ids[3]].into());
    test.assert_sound().await;
}

#[tokio::test]
async fn a_store_above_its_limit_loses_the_oldest_processed_events() {
    let test = TestStore::new().await;
    let orders = handler("orders");
    let one = std::slice::from_ref(&orders);
    let dead = store(&test, "github", "dead", one).await;
    settle(&test, &orders, NextState::DeadLetter).await;
    let unrouted = store(&test, "github", "unrouted", &[]).await;
    let mut done = Vec::new();
    for n in 0..1_200 {
        done.push(store(&test, "github", &format!("done {n}"), one).await);
        settle(&test, &orders, NextState::Processed).await;
    }
    let waiting = store(&test, "github", "waiting", one).await;
    test.clock.forward(Duration::from_secs(60));

    let roomy = Retention { max_bytes: Some(1 << 30), ..Retention::default() };
    assert_eq!(prune(&test, &roomy).await, Pruned::default());

    let limit = 5_000_000;
    let tight = Retention { max_bytes: Some(limit), ..Retention::default() };
    let pruned = prune(&test, &tight).await;
    assert_eq!((pruned.events, pruned.too_large), (pruned.early, None));
    assert!(pruned.events > 0, "{pruned:?}");
    let kept = left(&test).await;
    let bodies = u64::try_from(kept.len()).unwrap() * 8_000;
    assert!(bodies > limit / 2, "it removes little more than it has to: {}", kept.len());
    let gone = usize::try_from(pruned.events).unwrap();
    let wanted: BTreeSet<EventId> =
        done[gone..].iter().copied().chain([dead, unrouted, waiting]).collect();
    assert_eq!(kept.keys().copied().collect::<BTreeSet<_>>(), wanted);

    // Nothing but finished work may go, however little is allowed.
    let none = Retention { max_bytes: Some(1), ..Retention::default() };
    let pruned = prune(&test, &none).await;
    assert!(pruned.too_large.is_some(), "{pruned:?}");
    let kept = left(&test).await;
    assert_eq!(kept.len(), 3);
    assert_eq!(
        [dead, unrouted, waiting].map(|id| kept[&id]),
        [EventStatus::DeadLetter, EventStatus::Unrouted, EventStatus::Pending]
    );
    test.assert_sound().await;
}
