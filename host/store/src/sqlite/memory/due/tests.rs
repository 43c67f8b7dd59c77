//! Tests of the due queues against a plain list of waiting deliveries, in every order that a disk
//! allows.

use proptest::prelude::*;
use weir_core::delivery::Fence;
use weir_core::time::Timestamp;

use super::*;

const QUEUE_KEY: QueueKey = QueueKey { target: 1, source: 2 };

fn entry(n: i64, due_at: Option<u64>) -> DueEntry {
    DueEntry {
        n,
        due_at: due_at.map(Timestamp::from_millis),
        fence: Fence { generation: 0, attempt: 1 },
        order_key: None,
        handoff: None,
    }
}

/// The answer of a table.
fn read(disk: &[DueEntry], refill: &Refill) -> Refilled {
    let mut found: Vec<DueEntry> = disk
        .iter()
        .filter(|e| match (refill.from, e.due_at) {
            (RefillFrom::Fresh(after), None) => e.n > after,
            (RefillFrom::Late(at, n), Some(due)) => (due, e.n) > (at, n),
            _ => false,
        })
        .cloned()
        .collect();
    found.sort_by_key(|e| (e.due_at, e.n));
    let full = found.len() >= refill.limit;
    found.truncate(refill.limit);
    let last = found.last().filter(|_| full);
    let stopped = last.map(|e| match e.due_at {
        None => RefillFrom::Fresh(e.n),
        Some(at) => RefillFrom::Late(at, e.n),
    });
    Refilled { entries: found, stopped }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each step commits a delivery, fresh or due at a time. Some claims read the disk while more
    /// is committed. At the end everything was claimed exactly once, at its time.
    #[test]
    fn every_waiting_delivery_is_claimed_once_at_its_time(
        steps in prop::collection::vec((any::<bool>(), 0u64..50, 0usize..4), 1..120),
    ) {
        let mut due = Due::new(4, 0);
        let (mut disk, mut seen) = (Vec::<DueEntry>::new(), Vec::new());
        let end = Timestamp::from_millis(1_000);
        let mut claim = |due: &mut Due, disk: &mut Vec<DueEntry>, more: Vec<DueEntry>, now: Timestamp| {
            let mut got = 0;
            let mut more = more.into_iter();
            for lane in [Lane::Fresh, Lane::Late] {
                let mut taken = due.take(QUEUE_KEY.target, lane, 3, now, ClaimMode::Due);
                for refill in due.refills(QUEUE_KEY.target, lane, ClaimMode::Due) {
                    let found = read(disk, &refill);
                    // Committed after the table was read, before memory changes.
                    for entry in more.by_ref().take(2) {
                        disk.push(entry.clone());
                        due.feed(QUEUE_KEY, entry);
                    }
                    due.refilled(refill, found);
                }
                taken.extend(due.take(QUEUE_KEY.target, lane, 3, now, ClaimMode::Due));
                for TakenDelivery { entry, token, .. } in taken {
                    got += 1;
                    assert!(entry.due_at.is_none_or(|at| at <= now), "claimed before its time");
                    assert!(due.holds_claim(entry.n, token));
                    seen.push(entry.n);
                    disk.retain(|e| e.n != entry.n);
                    due.end_claim(entry.n, None);
                }
            }
            for entry in more {
                disk.push(entry.clone());
                due.feed(QUEUE_KEY, entry);
            }
            got
        };
        let mut next = 1;
        for (fresh, at, claims) in &steps {
            let mut new = |shift: u64| {
                next += 1;
                entry(next, (!fresh).then_some(at + shift))
            };
            let (one, more) = (new(0), vec![new(7), new(3)]);
            disk.push(one.clone());
            due.feed(QUEUE_KEY, one);
            if *claims == 0 {
                claim(&mut due, &mut disk, more, Timestamp::from_millis(*at));
            } else {
                for entry in more {
                    disk.push(entry.clone());
                    due.feed(QUEUE_KEY, entry);
                }
            }
        }
        for _ in 0..400 {
            if claim(&mut due, &mut disk, Vec::new(), end) == 0 && disk.is_empty() {
                break;
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), count, "claimed twice");
        prop_assert_eq!(count, 3 * steps.len(), "left behind: {:?}", disk);
    }
}

#[test]
fn a_seized_delivery_is_neither_claimed_nor_refilled() {
    let mut due = Due::new(4, 0);
    for n in 1..=6 {
        due.feed(QUEUE_KEY, entry(n, None));
    }
    let disk: Vec<DueEntry> = (1..=6).map(|n| entry(n, None)).collect();
    let (in_memory, on_disk) = (due.seize(QUEUE_KEY, 2, None), due.seize(QUEUE_KEY, 6, None));
    assert!(in_memory.is_some() && on_disk.is_some());
    let now = Timestamp::from_millis(0);
    let mut taken = due.take(QUEUE_KEY.target, Lane::Fresh, 10, now, ClaimMode::Due);
    let refill = due.refills(QUEUE_KEY.target, Lane::Fresh, ClaimMode::Due).remove(0);
    due.refilled(refill, read(&disk, &refill));
    taken.extend(due.take(QUEUE_KEY.target, Lane::Fresh, 10, now, ClaimMode::Due));
    let claimed: Vec<i64> = taken.iter().map(|t| t.entry.n).collect();
    assert_eq!(claimed, [1, 3, 4, 5]);
    assert!(due.seize(QUEUE_KEY, 1, None).is_none(), "what is claimed cannot be seized");
    assert!(due.give_back(2, in_memory.unwrap()));
    assert_eq!(due.take(QUEUE_KEY.target, Lane::Fresh, 10, now, ClaimMode::Due)[0].entry.n, 2);
}
