//! Hostile handlers at work do not slow down another handler.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_testing::hostile;
use weir_testing::hub::RunningHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// Events measured in each half of a round: the 99th percentile is the second slowest.
const EVENTS: usize = 150;
/// Hostile events per second, each for every hostile handler: more than can be handled, so that all
/// are always busy.
const HOSTILE_EVENTS_PER_SECOND: u32 = 10;
/// A p99 below this depends more on the machine than on the hub.
pub(crate) const NOISE: Duration = Duration::from_millis(100);
/// Approximate number of thread wake-ups between an event and its effect. On a machine with slow
/// wake-ups the bound is wider.
pub(crate) const WAKE_UPS: u32 = 10;
/// Other load on the machine only makes the figures worse, so one good round of these is enough.
pub(crate) const ROUNDS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_handlers_do_not_double_the_p99_of_another_handler() {
    let _alone = crate::ALONE.lock().await;
    crate::in_memory();
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let sink = Sink::start().await;
        let hub = Arc::new(hostile::hub_of_all(&sink, "hostile").await);
        p99(&hub, &sink, "to warm up").await;
        let quiet = p99(&hub, &sink, "quiet").await;

        let over = Arc::new(AtomicBool::new(false));
        let posting = tokio::spawn(post_hostile_events(hub.clone(), over.clone()));
        until("every hostile handler to have run", async || {
            let dead_letters = hub.series("weir_dead_letters_total").await;
            let failed = dead_letters.iter().filter(|count| **count > 0.0).count();
            if failed == hostile::runs().len() { Ok(()) } else { Err(failed.to_string()) }
        })
        .await;
        let late = tokio::spawn(lateness(over.clone()));
        let beside = p99(&hub, &sink, "beside").await;
        over.store(true, Ordering::Relaxed);
        let (posted, late) = (posting.await.unwrap(), late.await.unwrap());

        eprintln!(
            "round {round}: p99 from event to effect {quiet:?}, beside {posted} hostile events {beside:?}; \
             timers are {late:?} late"
        );
        if beside <= (2 * quiet).max(NOISE).max(WAKE_UPS * late) {
            return;
        }
        seen.push((quiet, beside, late));
    }
    panic!("quiet, beside hostile handlers, and how late the machine is: {seen:?}");
}

/// The 99th percentile of the time from posting an event to its effect at the sink. Stops early if
/// it is over a second.
pub(crate) async fn p99(hub: &RunningHub, sink: &Sink, run: &str) -> Duration {
    let mut posted = HashMap::new();
    let mut slow = 0;
    for n in 0..EVENTS {
        let before = sink.received().len();
        let at = Instant::now();
        let event = hub.push("push", &format!("{run}-{n}"), b"{}").await.accepted();
        posted.insert(event, at);
        sink.until_received(before + 1).await;
        if at.elapsed() > Duration::from_secs(1) {
            slow += 1;
        }
        if slow > EVENTS / 100 {
            return at.elapsed();
        }
    }
    let received = sink.received();
    let took = received.iter().filter_map(|message| {
        let event = message.json()["event"].as_str()?.to_owned();
        Some(message.at - posted.remove(&event)?)
    });
    let mut took: Vec<Duration> = took.collect();
    assert_eq!(took.len(), EVENTS, "one effect an event");
    took.sort_unstable();
    took[EVENTS * 99 / 100 - 1]
}

/// The 99th percentile of the delay with which a timer wakes a task, measured until `over` is set.
pub(crate) async fn lateness(over: Arc<AtomicBool>) -> Duration {
    let mut late = Vec::new();
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    while !over.load(Ordering::Relaxed) {
        let planned = beat.tick().await;
        late.push(planned.elapsed());
    }
    late.sort_unstable();
    late[late.len() * 99 / 100]
}

/// Posts events for the hostile handlers until `over` is set. Returns their number.
async fn post_hostile_events(hub: Arc<RunningHub>, over: Arc<AtomicBool>) -> usize {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / HOSTILE_EVENTS_PER_SECOND);
    let mut posted = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        hub.push("hostile", &format!("hostile-{posted}"), b"{}").await.accepted();
        posted += 1;
    }
    posted
}
