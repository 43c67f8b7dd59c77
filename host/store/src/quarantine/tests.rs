//! Tests of the quarantine: kept requests, and their count against the budgets.

use tempfile::TempDir;

use super::*;

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}

fn open(folder: &TempDir) -> Quarantine {
    let budgets = Budgets {
        address_items: 10,
        address_bytes: 100,
        source_items: 10,
        source_bytes: 100,
        bytes: 100,
    };
    let file = folder.path().join("quarantine.db");
    Quarantine::open(&file, budgets, Duration::from_secs(60), Arc::new(Still)).unwrap()
}

fn id(n: u128) -> QuarantineId {
    QuarantineId::from_bits(n)
}

/// Keeps a request of that many bytes, and waits until it is there.
async fn keep(quarantine: &Quarantine, n: u128, size: usize) {
    let request = QuarantinedRequest {
        id: id(n),
        source: "github".into(),
        address: "192.0.2.1".into(),
        at: Still.now(),
        code: "signature_mismatch".into(),
        size,
        released: None,
    };
    assert!(quarantine.put(request, vec![7; size]));
    while quarantine.get(id(n)).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

async fn kept(quarantine: &Quarantine) -> Vec<QuarantineId> {
    let wanted = QuarantineFilter {
        include_released: true,
        oldest_first: true,
        limit: 100,
        ..QuarantineFilter::default()
    };
    quarantine.list(wanted).await.unwrap().into_iter().map(|request| request.id).collect()
}

#[tokio::test]
async fn a_released_request_counts_no_bytes_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let quarantine = open(&folder);
    keep(&quarantine, 1, 90).await;
    let released = || RecheckResult::Released(vec!["evt_1".into()]);
    quarantine.settle(id(1), released()).await.unwrap();
    // A second release changes nothing.
    quarantine.settle(id(1), released()).await.unwrap();
    keep(&quarantine, 2, 90).await;
    assert_eq!(kept(&quarantine).await, [id(1), id(2)]);
    drop(quarantine);
    let quarantine = open(&folder);
    keep(&quarantine, 3, 10).await;
    assert_eq!(kept(&quarantine).await, [id(1), id(2), id(3)]);
    // Past the budget the oldest are removed. The first one frees no bytes.
    keep(&quarantine, 4, 90).await;
    assert_eq!(kept(&quarantine).await, [id(3), id(4)]);
    keep(&quarantine, 5, 1).await;
    assert_eq!(kept(&quarantine).await, [id(4), id(5)], "and no byte too much was given back");
}
