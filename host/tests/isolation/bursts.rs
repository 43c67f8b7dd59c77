//! Bursts to a quick handler do not wait for a handler with slow runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use weir_testing::guests;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// Events per second for the slow handler: more than the machine can compute.
const SLOW_PER_SECOND: u32 = 3;
/// Events in one burst for the quick handler.
const BURST: usize = 8;
/// Bursts measured in a round.
const BURSTS: usize = 10;
/// Other load on the machine only makes the figures worse, so one good round of these is enough.
const ROUNDS: usize = 3;
/// The slow handler counts down from here: about two seconds.
const COUNT: u64 = 6_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_does_not_wait_for_slow_runs() {
    let _alone = crate::ALONE.lock().await;
    crate::in_memory();
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let sink = Sink::start().await;
        let hub = Arc::new(hub(&sink).await);
        burst(&hub, &sink, "to warm up").await;

        let over = Arc::new(AtomicBool::new(false));
        let posting = tokio::spawn(post_slow_ones(hub.clone(), over.clone()));
        until("slow runs to have ended well", async || {
            let ended = hub.metric_lines(&["weir_attempts_total", "slow", "ok"]).await;
            let ended = ended.first().and_then(|line| line.rsplit(' ').next()?.parse().ok());
            if ended.unwrap_or(0.0) >= 2.0 { Ok(()) } else { Err(format!("{ended:?}")) }
        })
        .await;
        let mut took = Vec::new();
        let mut pace = tokio::time::interval(Duration::from_millis(400));
        for n in 0..BURSTS {
            pace.tick().await;
            took.extend(burst(&hub, &sink, &format!("{round}-{n}")).await);
        }
        over.store(true, Ordering::Relaxed);
        let slow = shortest(&hub, &posting.await.unwrap()).await;

        took.sort_unstable();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!(
            "round {round}: half within {median:?}, all within {longest:?}; a slow run takes {slow:?}"
        );
        if median < slow / 8 && longest < slow / 2 {
            return;
        }
        seen.push((median, longest, slow));
    }
    panic!("median and longest of the bursts, and the shortest of the slow runs: {seen:?}");
}

async fn hub(sink: &Sink) -> RunningHub {
    let folder = tempfile::tempdir().unwrap();
    let body = format!(
        "(local $n i64) (local.set $n (i64.const {COUNT}))
        (loop (br_if 0 (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))"
    );
    let slow = guests::write(folder.path(), "slow", &guests::command(&body));
    let hub = TestHub::new()
        .github()
        .destination("sink", sink, "")
        .handler("quick", "version-a")
        .sidecar("quick", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n")
        .module("slow", &slow)
        .sidecar("slow", "on = [\"github:slow\"]\n[limits]\ntime = \"60s\"\n")
        .start()
        .await;
    hub.until_ready("quick").await;
    hub.until_ready("slow").await;
    hub
}

/// Posts a burst of events. Returns the time from the first post to each of their effects.
async fn burst(hub: &RunningHub, sink: &Sink, name: &str) -> Vec<Duration> {
    let before = sink.received().len();
    let began = Instant::now();
    let posts = (0..BURST).map(|n| {
        let request = hub.push_request("push", &format!("{name}-{n}"), b"{}");
        hub.exchanging(request)
    });
    for answer in join_all(posts).await {
        assert_eq!(answer.status(), 200);
    }
    sink.until_received(before + BURST).await;
    sink.received()[before..].iter().map(|message| message.at - began).collect()
}

/// Posts events for the slow handler until `over` is set. Returns their ids.
async fn post_slow_ones(hub: Arc<RunningHub>, over: Arc<AtomicBool>) -> Vec<String> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / SLOW_PER_SECOND);
    let mut posted = Vec::new();
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let delivery = format!("slow-{}", posted.len());
        posted.push(hub.push("slow", &delivery, b"{}").await.accepted());
    }
    posted
}

/// The shortest duration of the runs that have ended.
async fn shortest(hub: &RunningHub, events: &[String]) -> Duration {
    let mut shortest = Duration::MAX;
    for event in events {
        let event = hub.event(event).await;
        let took = event["deliveries"][0]["history"][0]["duration_us"].as_u64();
        shortest = took.map_or(shortest, |us| shortest.min(Duration::from_micros(us)));
    }
    shortest
}
