//! The job that every kind passes: messages are sent while the destination is away twice. None may
//! be lost, a duplicate has the same id, and the order of each key holds where it is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use weir_testing::hub::RunningHub;
use weir_testing::wait::until;

/// Messages of one job.
pub(crate) const MESSAGES: usize = 10_000;
/// Keys whose messages have an order.
const KEYS: usize = 50;
/// Events that are posted at the same time.
const AT_ONCE: usize = 32;
/// Short pauses of the breaker, so that a test does not wait for them.
pub(crate) const BREAKER: &str = "breaker = { pause = \"200ms\", max_pause = \"400ms\" }";
/// Brings everything to the destination `out`, in the order of each key.
pub(crate) const ROUTE: &str =
    "[[route]]\non = [\"github:*\"]\nto = \"out\"\norder_by = \"string(event.body.key)\"";

/// A message that arrived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrived {
    pub(crate) id: String,
    pub(crate) n: usize,
}

impl Arrived {
    /// From the id and the body of a message.
    pub(crate) fn new(id: &str, body: &Value) -> Self {
        Self { id: id.to_owned(), n: usize::try_from(body["n"].as_u64().unwrap()).unwrap() }
    }
}

/// Posts some of the job's events: one post for each key is under way at a time, so that each key
/// has an order.
pub(crate) async fn post(hub: &RunningHub, numbers: std::ops::Range<usize>) {
    let hub = Arc::new(hub);
    let lanes = (0..AT_ONCE).map(|lane| {
        let (hub, numbers) = (hub.clone(), numbers.clone());
        async move {
            for n in numbers.filter(|n| (n % KEYS) % AT_ONCE == lane) {
                let body = json!({ "n": n, "key": n % KEYS, "text": "a \"body\"\n" }).to_string();
                hub.push("push", &format!("delivery-{n}"), body.as_bytes()).await.accepted();
            }
        }
    });
    join_all(lanes).await;
}

/// Waits until the destination is failing, which happens while it is away.
pub(crate) async fn until_state(hub: &RunningHub, state: &str) -> Value {
    until(&format!("the destination to be {state}"), async || {
        let out = hub.api("/api/v1/destinations").await["items"][0].take();
        if out["state"] == state { Ok(out) } else { Err(out.to_string()) }
    })
    .await
}

/// Runs the job: a quarter of the events, then twice an outage in which more come.
pub(crate) async fn run(hub: &RunningHub, away: impl AsyncFn(), back: impl AsyncFn()) {
    run_with(hub, MESSAGES, away, back).await;
}

/// Runs the job with fewer messages, for a server that is slow.
pub(crate) async fn run_with(
    hub: &RunningHub,
    messages: usize,
    away: impl AsyncFn(),
    back: impl AsyncFn(),
) {
    let quarter = messages / 4;
    post(hub, 0..quarter).await;
    for outage in 1..=2 {
        away().await;
        post(hub, quarter * outage..quarter * (outage + 1)).await;
        until_state(hub, "failing").await;
        back().await;
    }
    post(hub, quarter * 3..messages).await;
    until_all_sent(hub, messages).await;
}

/// Waits until every message counts as sent.
async fn until_all_sent(hub: &RunningHub, messages: usize) {
    let mut last = -1.0;
    loop {
        // As long as there is progress, there is no limit.
        let sent = until("more messages to be sent", async || {
            let sent = hub.metric("weir_attempts_total").await;
            if sent > last {
                Ok(sent)
            } else {
                Err(hub.api("/api/v1/destinations").await.to_string())
            }
        })
        .await;
        last = sent;
        let ok = ok_attempts(hub).await;
        if ok >= messages as f64 {
            return;
        }
    }
}

async fn ok_attempts(hub: &RunningHub) -> f64 {
    let lines = hub.metric_lines(&["weir_attempts_total{", "destination:out", "\"ok\""]).await;
    lines.first().and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Checks the messages that arrived, in the order of their arrival, and prints the counts.
pub(crate) async fn judge(hub: &RunningHub, kind: &str, arrived: &[Arrived]) {
    judge_unordered(hub, kind, MESSAGES, arrived).await;
    ordered(arrived);
}

/// Checks the messages that arrived without their order.
pub(crate) async fn judge_unordered(
    hub: &RunningHub,
    kind: &str,
    messages: usize,
    arrived: &[Arrived],
) {
    let mut ids: BTreeMap<usize, &str> = BTreeMap::new();
    for one in arrived {
        let id = ids.entry(one.n).or_insert(&one.id);
        assert_eq!(*id, one.id, "the duplicate of {} has another id", one.n);
    }
    let all: BTreeSet<&str> = ids.values().copied().collect();
    let tries = hub.metric("weir_attempts_unavailable_total").await;
    eprintln!(
        "{kind}: {messages} sent, {} arrived, {} of them duplicates, {} lost; {tries} tries that did \
         not count",
        arrived.len(),
        arrived.len() - ids.len(),
        messages - ids.len(),
    );
    assert_eq!((ids.len(), all.len()), (messages, messages), "each message has an id of its own");
    let failed = hub.metric_lines(&["weir_attempts_total{", "destination:out"]).await;
    let failed: Vec<_> = failed.iter().filter(|line| !line.contains("\"ok\"")).collect();
    assert!(failed.iter().all(|line| line.ends_with(" 0")), "attempts were spent: {failed:?}");
    assert_eq!(hub.metric("weir_dead_letters_total").await, 0.0);
}

/// Checks that the messages of each key arrived in their order. A duplicate repeats the newest one.
pub(crate) fn ordered(arrived: &[Arrived]) {
    let mut last: BTreeMap<usize, usize> = BTreeMap::new();
    for one in arrived {
        let newest = last.entry(one.n % KEYS).or_insert(one.n);
        assert!(one.n >= *newest, "{} arrived after {newest}", one.n);
        *newest = one.n;
    }
}
