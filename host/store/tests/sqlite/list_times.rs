//! The time of lists on a store with many events. `cargo bench -p weir-store --bench lists` does
//! the same with a million.

#[path = "../../benches/lists/load.rs"]
mod load;

use std::time::Duration;

use weir_core::delivery::EventStatus;
use weir_store::Queries;
use weir_store::query::{BoundedCount, EventFilter};

/// Events of this test.
const EVENTS: usize = 50_000;

/// Limit for one list: far more than it takes, and far less than reading every event.
const LIMIT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn no_filter_reads_every_event() {
    let folder = tempfile::tempdir().unwrap();
    let load = load::Load::fill(&folder.path().join("weir.db"), EVENTS).await;
    let mut times = load.measure(9).await;
    times.sort_by_key(|(_, _, took)| std::cmp::Reverse(*took));
    let (name, _, took) = &times[0];
    assert!(*took < LIMIT, "{name} took {took:?}");
    let count = async |status| {
        let filter = EventFilter { statuses: vec![status], ..EventFilter::default() };
        load.store.count_events(filter, 10_000).await.unwrap()
    };
    let few = |count| BoundedCount { count, more: false };
    assert_eq!(count(EventStatus::DeadLetter).await, few(1));
    assert_eq!(count(EventStatus::Retrying).await, few(1));
    assert_eq!(count(EventStatus::Unrouted).await, few(10));
    assert_eq!(count(EventStatus::Held).await, few(0));
    assert_eq!(count(EventStatus::Pending).await, BoundedCount { count: 10_000, more: true });
    let conn = rusqlite::Connection::open(folder.path().join("weir.db")).unwrap();
    let blocks = "SELECT count(*) FROM event_block";
    let blocks: i64 = conn.query_row(blocks, [], |row| row.get(0)).unwrap();
    assert_eq!(
        blocks,
        i64::try_from(EVENTS / 4_096).unwrap(),
        "complete blocks are written while events are stored"
    );
}
