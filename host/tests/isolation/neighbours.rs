//! Beside every hostile handler at once, a decent one is as quick as it was.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_testing::hostile;
use weir_testing::hub::RunningHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// Events timed in each half of a round: the 99th percentile is the second slowest.
const EVENTS: usize = 150;
/// Hostile events a second, each for every hostile handler: more than can be handled, so that all are always at work.
const CRIMES_PER_SECOND: u32 = 20;
/// Below this a difference says more about the machine that runs the tests than about the hub.
const NOISE: Duration = Duration::from_millis(100);
/// Times that an event on its way to its effect waits for a thread to wake up, about. A machine on which that takes long
/// is not the hub's fault.
const WAKE_UPS: u32 = 10;
/// What else runs on the machine can only make it look worse, so that one good round of these is enough.
const ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_handlers_do_not_double_the_p99_of_another_handler() {
    let _alone = crate::ALONE.lock().await;
    crate::in_memory();
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let sink = Sink::start().await;
        let hub = Arc::new(hostile::hub_of_all(&sink, "crime").await);
        p99(&hub, &sink, "to warm up").await;
        let quiet = p99(&hub, &sink, "quiet").await;

        let over = Arc::new(AtomicBool::new(false));
        let crimes = tokio::spawn(commit_crimes(hub.clone(), over.clone()));
        until("every hostile handler to have run", async || {
            let given_up = hub.series("weir_dead_letters_total").await;
            let guilty = given_up.iter().filter(|count| **count > 0.0).count();
            if guilty == hostile::runs().len() { Ok(()) } else { Err(guilty.to_string()) }
        })
        .await;
        let late = tokio::spawn(lateness(over.clone()));
        let beside = p99(&hub, &sink, "beside").await;
        over.store(true, Ordering::Relaxed);
        let (committed, late) = (crimes.await.unwrap(), late.await.unwrap());

        eprintln!(
            "round {round}: p99 from event to effect {quiet:?}, beside {committed} crimes {beside:?}; the machine wakes \
             who sleeps {late:?} late"
        );
        if beside <= (2 * quiet).max(NOISE).max(WAKE_UPS * late) {
            return;
        }
        seen.push((quiet, beside, late));
    }
    panic!("quiet, beside hostile handlers, and how late the machine is: {seen:?}");
}

/// The 99th percentile of the times from posting an event to its effect at the sink; about that, if it is over a second.
async fn p99(hub: &RunningHub, sink: &Sink, run: &str) -> Duration {
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

/// The 99th percentile of how late somebody is woken who only waits, until it is over.
async fn lateness(over: Arc<AtomicBool>) -> Duration {
    let mut late = Vec::new();
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    while !over.load(Ordering::Relaxed) {
        let planned = beat.tick().await;
        late.push(planned.elapsed());
    }
    late.sort_unstable();
    late[late.len() * 99 / 100]
}

/// Posts events for the hostile handlers until it is over; how many.
async fn commit_crimes(hub: Arc<RunningHub>, over: Arc<AtomicBool>) -> usize {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / CRIMES_PER_SECOND);
    let mut committed = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        hub.push("crime", &format!("crime-{committed}"), b"{}").await.accepted();
        committed += 1;
    }
    committed
}
