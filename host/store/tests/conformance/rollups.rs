//! Roll-ups: merging into minutes, hours and steps, repeats, and their limits.

use std::time::Duration;

use weir_core::time::{Clock, Timestamp};
use weir_store::StoreError;
use weir_store::rollup::{HOUR, MINUTE, Rollup, RollupBatch, RollupQuery, Rollups, step_start};
use weir_store::upkeep::Retention;

use crate::common::*;
use crate::engine::TestStore;

const SOURCE: &str = "source:github";

fn rollup(count: u64, peak: u64) -> Rollup {
    Rollup { sums: vec![count, 1], peaks: vec![peak], latency: vec![0, count] }
}

async fn put(test: &TestStore, id: u64, count: u64) {
    let rows = vec![(SOURCE.into(), rollup(count, count))];
    let at = test.clock.now();
    test.store().rollups_put(RollupBatch { id, at, rows }).await.unwrap();
}

async fn read(test: &TestStore, back: Duration, step: Duration) -> Rollups {
    let to = test.clock.now().after(MINUTE);
    let query = RollupQuery { from: to.before(back), to, step, series: None };
    test.store().rollups(query).await.unwrap()
}

fn counts(rollups: &Rollups) -> Vec<u64> {
    rollups.rows.iter().map(|(_, _, rollup)| rollup.sums[0]).collect()
}

#[tokio::test]
async fn roll_ups_of_one_minute_are_added_up() {
    let mut test = TestStore::new().await;
    put(&test, 1, 5).await;
    test.reopen().await;
    put(&test, 2, 3).await;
    let minutes = read(&test, HOUR, MINUTE).await;
    let minute = step_start(test.clock.now(), MINUTE);
    let sum = Rollup { sums: vec![8, 2], peaks: vec![5], latency: vec![0, 8] };
    assert_eq!(minutes.rows, [(minute, SOURCE.into(), sum)]);
}

#[tokio::test]
async fn a_repeated_batch_of_roll_ups_counts_once() {
    let mut test = TestStore::new().await;
    put(&test, 1, 5).await;
    put(&test, 1, 5).await;
    test.reopen().await;
    put(&test, 1, 5).await;
    assert_eq!(counts(&read(&test, HOUR, MINUTE).await), [5]);
    put(&test, 2, 5).await;
    assert_eq!(counts(&read(&test, HOUR, MINUTE).await), [10]);
}

#[tokio::test]
async fn minutes_are_merged_into_steps_and_hours() {
    let test = TestStore::new().await;
    let to_the_hour = test.clock.now().since(step_start(test.clock.now(), HOUR));
    test.clock.forward(HOUR - to_the_hour);
    for n in 0..120 {
        put(&test, n + 1, 1).await;
        test.clock.forward(MINUTE);
    }
    assert_eq!(counts(&read(&test, 3 * HOUR, MINUTE).await).len(), 120);
    let steps = read(&test, 3 * HOUR, 15 * MINUTE).await;
    assert_eq!(counts(&steps), [15; 8]);
    let times: Vec<Timestamp> = steps.rows.iter().map(|(at, ..)| *at).collect();
    assert!(times.iter().all(|at| step_start(*at, 15 * MINUTE) == *at), "{times:?}");
    assert_eq!(counts(&read(&test, 3 * HOUR, HOUR).await), [60, 60]);
    assert_eq!(counts(&read(&test, 24 * HOUR, 24 * HOUR).await).iter().sum::<u64>(), 120);
}

#[tokio::test]
async fn one_series_of_roll_ups_can_be_read() {
    let test = TestStore::new().await;
    let at = test.clock.now();
    let rows = vec![("hub".into(), rollup(1, 9)), (SOURCE.into(), rollup(2, 1))];
    test.store().rollups_put(RollupBatch { id: 1, at, rows }).await.unwrap();
    let query = |series: &str| RollupQuery {
        from: at.before(HOUR),
        to: at.after(MINUTE),
        step: MINUTE,
        series: Some(series.into()),
    };
    assert_eq!(counts(&test.store().rollups(query("hub")).await.unwrap()), [1]);
    assert_eq!(test.store().rollups(query("source:none")).await.unwrap().rows, []);
}

#[tokio::test]
async fn minutes_are_kept_for_a_day_and_hours_for_a_week() {
    let test = TestStore::new().await;
    put(&test, 1, 7).await;
    test.clock.forward(27 * HOUR);
    test.store().prune(&Retention::default()).await.unwrap();
    assert_eq!(test.rows("rollup").unwrap_or(1), 1, "only the hour is left");
    let days = read(&test, 48 * HOUR, MINUTE).await;
    assert_eq!((days.step, counts(&days)), (HOUR, vec![7]), "hours in place of minutes");
    test.clock.forward(9 * 24 * HOUR);
    test.store().prune(&Retention::default()).await.unwrap();
    assert_eq!(test.rows("rollup").unwrap_or(0), 0);
}

#[tokio::test]
async fn too_many_steps_series_or_numbers_are_refused() {
    let test = TestStore::new().await;
    let at = test.clock.now();
    let query = |back: Duration, step: Duration| RollupQuery {
        from: at.before(back),
        to: at,
        step,
        series: None,
    };
    for (back, step) in
        [(HOUR * 24 * 365, HOUR), (HOUR, Duration::from_secs(7)), (HOUR, MINUTE * 90)]
    {
        let refused = test.store().rollups(query(back, step)).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{back:?} {step:?}");
    }
    let many = (0..600).map(|n| (format!("source:s{n}").into(), rollup(1, 1))).collect();
    let long = vec![("hub".into(), Rollup { sums: vec![1; 100], ..Rollup::default() })];
    for rows in [many, long] {
        let refused = test.store().rollups_put(RollupBatch { id: 1, at, rows }).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
    }
}
