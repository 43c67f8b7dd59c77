//! Each kind of source whose messages the hub takes from a server, with the kind's real server: the
//! job that each has to pass, and what operators see of the connection.

mod nats;
mod poll;
mod rabbitmq;
mod redis;
mod sqs;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub, weir};
use weir_testing::wait::until;

/// Messages that a job publishes in each of its steps.
pub(crate) const STEP: usize = 1_000;
/// The steps of a job.
const STEPS: usize = 5;

/// Messages are published while all is well, around two restarts of the server, and while the hub
/// is killed. Each has to become an event once. `publish` returns the ids of its messages.
pub(crate) async fn run(
    mut hub: RunningHub,
    publish: impl AsyncFn(usize) -> Vec<String>,
    restart: impl AsyncFn(),
) -> (RunningHub, Vec<String>) {
    let mut published = Vec::with_capacity(STEPS * STEP);
    for step in 0..STEPS {
        match step {
            1 | 3 => restart().await,
            // The messages of the step before are on their way.
            2 => hub = hub.kill_and_restart().await,
            _ => {}
        }
        published.extend(publish(step).await);
    }
    until_stored(&hub, published.len()).await;
    (hub, published)
}

/// Waits until the source has this number of events.
pub(crate) async fn until_stored(hub: &RunningHub, wanted: usize) {
    let mut last = 0;
    loop {
        // As long as there is progress, there is no limit.
        let now = until("more messages to be stored", async || {
            let now = events(hub).await.len();
            let seen = || format!("{now} of {wanted}");
            if now > last || now >= wanted { Ok(now) } else { Err(seen()) }
        })
        .await;
        last = now;
        if now >= wanted {
            return;
        }
    }
}

/// The events of the source, oldest first.
pub(crate) async fn events(hub: &RunningHub) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut page = hub.api(&format!("/api/v1/events?source=orders&limit=500{cursor}")).await;
        found.append(page["items"].as_array_mut().unwrap());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    found.reverse();
    found
}

/// The ids of the messages that became events, oldest first.
pub(crate) async fn ids(hub: &RunningHub) -> Vec<String> {
    let id = |event: &Value| event["delivery_id"].as_str().unwrap().to_owned();
    events(hub).await.iter().map(id).collect()
}

/// Checks that each message became an event once. Returns their ids, oldest first.
pub(crate) async fn judge(hub: &RunningHub, kind: &str, published: &[String]) -> Vec<String> {
    let stored = ids(hub).await;
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    stored.iter().for_each(|id| *count.entry(id).or_default() += 1);
    let twice = count.values().filter(|count| **count > 1).count();
    let lost: BTreeSet<_> =
        published.iter().filter(|id| !count.contains_key(id.as_str())).collect();
    let again = hub.metric("weir_events_duplicate_total").await;
    eprintln!(
        "{kind}: {} published, {} events, {} lost, {twice} stored twice; {again} came again since \
         the hub was started",
        published.len(),
        stored.len(),
        lost.len(),
    );
    assert!(lost.is_empty() && twice == 0, "lost: {lost:?}");
    assert_eq!(stored.len(), published.len());
    stored
}

/// An event with its payload, as text.
pub(crate) async fn whole(hub: &RunningHub, event: &Value) -> String {
    hub.api(&format!("/api/v1/events/{}", event["id"].as_str().unwrap())).await.to_string()
}

/// The source as operators see it.
pub(crate) async fn source(hub: &RunningHub) -> Value {
    hub.api("/api/v1/sources/orders").await
}

/// Waits until the connection of the source is in this state. Returns the source.
pub(crate) async fn until_connection(hub: &RunningHub, state: &str) -> Value {
    until(&format!("the connection to be {state}"), async || {
        let found = source(hub).await;
        if found["connection"]["state"] == state { Ok(found) } else { Err(found.to_string()) }
    })
    .await
}

/// The reason for which the connection of the source is lost.
pub(crate) async fn reason(hub: &RunningHub) -> String {
    let source = until_connection(hub, "disconnected").await;
    source["connection"]["last_error"]["reason"].as_str().unwrap().to_owned()
}

/// Runs `weir check --connect`. Returns true if it found nothing, and what it said.
pub(crate) fn checked(config: &str) -> (bool, String) {
    checked_in(TestHub::new().config(config))
}

/// The same, with the other files of a hub.
pub(crate) fn checked_in(hub: TestHub) -> (bool, String) {
    let (folder, _) = hub.written();
    let file = folder.path().join("weir.toml");
    let out = weir().args(["check", "--connect", "--config"]).arg(file).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}
