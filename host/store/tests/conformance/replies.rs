//! Responders: a delivery that is claimed with the commit that stores it, and the reply that is kept.

use std::time::Duration;

use weir_core::delivery::{DeliveryState, NextState, Outcome};
use weir_core::id::EventId;
use weir_core::name::Target;
use weir_store::StoreError;
use weir_store::hold::{HoldScope, NewHold};
use weir_store::upkeep::{ReplayRequest, ReplaySelection, Retention};
use weir_store::{Claim, EventIngested, Lane, NewReply, RoutedEffects};

use crate::common::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Stores an event for `orders` and `audit`, claiming the former's delivery.
async fn ingest_claiming(bed: &Bed, id: &str) -> (EventId, Option<Claim>) {
    let orders = handler("orders");
    let request = request(id, &[orders.clone(), handler("audit")]);
    let (ingested, claimed) = bed.store().ingest_claiming(request, &orders).await.unwrap();
    let (EventIngested::Stored { id, .. } | EventIngested::Duplicate { first: id, .. }) =
        ingested.events[0];
    (id, claimed)
}

fn reply(status: u16, body: &str) -> RoutedEffects {
    let reply = NewReply { status, payload: payload(body), keep: HOUR };
    RoutedEffects { reply: Some(reply), ..RoutedEffects::default() }
}

async fn replied(bed: &Bed, event: EventId) -> Option<(u16, Vec<u8>)> {
    let reply = bed.store().reply(event).await.unwrap()?;
    Some((reply.status, reply.payload.body.to_vec()))
}

fn payloads(bed: &Bed) -> u32 {
    let conn = rusqlite::Connection::open(bed.path()).unwrap();
    conn.query_row("SELECT count(*) FROM payload", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_is_claimed_with_its_commit_is_nobody_elses() {
    let bed = Bed::new().await;
    let (event, claimed) = ingest_claiming(&bed, "a").await;
    let claimed = claimed.unwrap();
    assert_eq!((claimed.event.id, claimed.fence, claimed.suspect), (event, fence(0, 1), false));
    assert_eq!(&claimed.event.payload.body[..], br#"{"id":"a"}"#);
    assert!(bed.claim(&handler("orders"), Lane::Fresh, 10).await.is_empty());
    assert_eq!(bed.claim(&handler("audit"), Lane::Fresh, 10).await.len(), 1, "others go their way");
    bed.settle(settlement(&claimed, NextState::Processed)).await;
    assert_eq!(bed.state_of(claimed.delivery).await, DeliveryState::Processed);
    drop(claimed);
    assert!(bed.claim(&handler("orders"), Lane::Fresh, 10).await.is_empty());
    bed.assert_sound().await;
}

#[tokio::test]
async fn a_claim_made_with_the_commit_is_due_like_any_other_once_it_is_dropped() {
    let bed = Bed::new().await;
    let (_, claimed) = ingest_claiming(&bed, "a").await;
    drop(claimed);
    let again = bed.claim_one(&handler("orders"), Lane::Fresh).await;
    assert_eq!(again.fence, fence(0, 1), "no attempt was spent");
    bed.settle(retry_in(&again, 1)).await;
    bed.clock.forward(Duration::from_secs(1));
    assert_eq!(bed.claim_one(&handler("orders"), Lane::Late).await.fence, fence(0, 2));
}

#[tokio::test]
async fn a_duplicate_or_what_is_on_hold_is_not_claimed_with_its_commit() {
    let bed = Bed::new().await;
    let (event, claimed) = ingest_claiming(&bed, "a").await;
    let (first, second) = ingest_claiming(&bed, "a").await;
    assert_eq!((first, second.is_none(), claimed.is_some()), (event, true, true));
    let Target::Handler(name) = handler("orders") else { unreachable!() };
    let hold = NewHold {
        scope: HoldScope::Handler(name),
        reason: "operator".into(),
        by: "test".into(),
        until: None,
    };
    let hold = bed.store().hold(hold).await.unwrap();
    assert!(ingest_claiming(&bed, "b").await.1.is_none());
    bed.store().release(hold).await.unwrap();
    assert_eq!(bed.claim(&handler("orders"), Lane::Fresh, 10).await.len(), 1);
}

#[tokio::test]
async fn what_was_claimed_with_its_commit_is_charged_if_it_ran_when_the_host_died() {
    let mut bed = Bed::new().await;
    let (_, claimed) = ingest_claiming(&bed, "ran").await;
    let claimed = claimed.unwrap();
    let _running = bed.store().begin(&claimed).unwrap();
    let (_, waited) = ingest_claiming(&bed, "did not run").await;
    assert!(waited.is_some());
    bed.crash().await;
    let found = bed.store().delivery(claimed.delivery).await.unwrap().unwrap();
    assert_eq!(found.history[0].outcome, Outcome::HostLost);
    let waited = bed.store().delivery(waited.unwrap().delivery).await.unwrap().unwrap();
    assert_eq!((waited.state, waited.attempts), (DeliveryState::Pending, 0));
    assert!(ingest_claiming(&bed, "after").await.1.is_none(), "the suspect goes first");
}

#[tokio::test]
async fn a_request_of_several_events_cannot_be_claimed() {
    let bed = Bed::new().await;
    let mut batch = request("a", &[handler("orders")]);
    batch.events.push(event("b", &[handler("orders")]));
    let refused = bed.store().ingest_claiming(batch, &handler("orders")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
}

#[tokio::test]
async fn a_reply_is_kept_for_its_time_across_a_crash_and_then_let_go() {
    let mut bed = Bed::new().await;
    let (event, claimed) = ingest_claiming(&bed, "a").await;
    assert_eq!(replied(&bed, event).await, None);
    let before = payloads(&bed);
    bed.settle(with_effects(&claimed.unwrap(), reply(201, "well done"))).await;
    bed.crash().await;
    assert_eq!(replied(&bed, event).await, Some((201, b"well done".to_vec())));
    bed.assert_sound().await;
    bed.clock.forward(HOUR - Duration::from_secs(1));
    assert!(replied(&bed, event).await.is_some());
    bed.clock.forward(Duration::from_secs(1));
    assert_eq!(replied(&bed, event).await, None);
    assert_eq!(payloads(&bed), before + 1);
    bed.store().prune(&Retention::default()).await.unwrap();
    assert_eq!(payloads(&bed), before, "its bytes are gone too");
}

#[tokio::test]
async fn a_later_run_of_the_same_event_has_the_last_word() {
    let bed = Bed::new().await;
    let (event, claimed) = ingest_claiming(&bed, "a").await;
    let claimed = claimed.unwrap();
    bed.settle(with_effects(&claimed, reply(200, "first"))).await;
    let before = payloads(&bed);
    let replay = ReplayRequest {
        what: ReplaySelection::Delivery(claimed.delivery),
        limit: 1,
        request: "again".into(),
        new_ids: false,
    };
    bed.store().replay(replay).await.unwrap();
    let again = bed.claim_one(&handler("orders"), Lane::Late).await;
    bed.settle(with_effects(&again, reply(503, "second"))).await;
    assert_eq!(replied(&bed, event).await, Some((503, b"second".to_vec())));
    assert_eq!(payloads(&bed), before, "one reply an event");
}

#[tokio::test]
async fn a_run_that_failed_has_no_reply() {
    let bed = Bed::new().await;
    let (event, claimed) = ingest_claiming(&bed, "a").await;
    let mut failed = retry_in(&claimed.unwrap(), 60);
    failed.effects = reply(200, "never");
    let refused = bed.store().settle(vec![failed]).await.remove(0).unwrap_err();
    assert!(matches!(refused, StoreError::Invalid(_)), "{refused}");
    assert_eq!(replied(&bed, event).await, None);
}
