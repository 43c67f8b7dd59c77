//! `kill -9` under load: each accepted event is processed with one effect. A run that ends the
//! process again and again becomes a dead letter; other deliveries are not affected.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::load::Load;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// Rounds of kill and restart. `WEIR_CRASH_ROUNDS=100` runs more.
fn rounds() -> u64 {
    std::env::var("WEIR_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_request_has_exactly_one_effect_after_a_kill() {
    let sink = Sink::start().await;
    let mut hub = TestHub::new()
        .github()
        .destination("sink", &sink, "retry = { schedule = [\"50ms\"], max_attempts = 20 }")
        .handler("teller", "version-a")
        .sidecar("teller", "[grant]\ndestinations = [\"sink\"]\n")
        .start()
        .await;
    hub.until_ready("teller").await;

    let (mut acked, mut in_flight) = (BTreeSet::new(), 0);
    for round in 0..rounds() {
        let load = Load::start(hub.ingress, &format!("round-{round}"), 16);
        // Kills at a different amount of finished work in each round, not at a time.
        let enough = 200 + (round * 137) % 400;
        until("answers before the kill", async || {
            let answered = load.answered();
            if answered >= enough { Ok(()) } else { Err(answered.to_string()) }
        })
        .await;
        hub.kill();
        let sent = load.finish().await;
        assert!(sent.refused.is_empty(), "{:?}", sent.refused);
        in_flight += sent.in_flight.len();
        acked.extend(sent.acked.into_values());
        hub = hub.kill_and_restart().await;
    }

    let mut given_up = requeue_what_died_twice(&hub).await;
    let effects = until("the effect of every answered request", async || {
        let effects = effects(&sink);
        let missing: Vec<&String> = acked.iter().filter(|e| !effects.contains_key(*e)).collect();
        match missing.first() {
            None => Ok(effects),
            Some(first) => {
                given_up += requeue_what_died_twice(&hub).await;
                let first = hub.event(first).await;
                Err(format!("{} of {} missing, such as {first}", missing.len(), acked.len()))
            }
        }
    })
    .await;
    assert!(given_up <= rounds(), "{given_up} deliveries died twice in {} kills", rounds());
    for (event, messages) in &effects {
        assert_eq!(messages.len(), 1, "{event} had several effects: {messages:?}");
    }
    let unasked = effects.keys().filter(|e| !acked.contains(*e)).count();
    assert!(
        unasked <= in_flight,
        "{unasked} effects of unanswered requests, {in_flight} in flight"
    );
}

/// Replays dead letters with outcome `host_lost`, as an operator would. Two kills during one run
/// make such a dead letter, because the run may have been the cause. Here it was not. Each kill
/// makes at most one, because a run that was interrupted once is repeated alone.
async fn requeue_what_died_twice(hub: &RunningHub) -> u64 {
    let dead = hub.api("/api/v1/dead-letters").await;
    let dead = dead["items"].as_array().unwrap();
    for letter in dead {
        assert_eq!(letter["reason"], "the hub died while it ran", "{letter}");
        let requeued = hub.cli(&["dead-letters", "requeue", letter["id"].as_str().unwrap()]);
        assert!(requeued.status.success(), "{requeued:?}");
    }
    dead.len() as u64
}

/// Distinct outward message ids by event. A message that is sent twice with one id is one effect.
fn effects(sink: &Sink) -> BTreeMap<String, BTreeSet<String>> {
    let mut effects: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for message in sink.received() {
        let event = message.json()["event"].as_str().unwrap().to_owned();
        effects.entry(event).or_default().insert(message.header("webhook-id").to_owned());
    }
    effects
}

/// Kills the process as soon as the run has begun, because no module can end the process by itself.
/// The effect on the hub is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_the_process_twice_becomes_a_dead_letter() {
    let hub = TestHub::new()
        .github()
        .config("[runs]\nslots = 1")
        .handler("poison", "probe")
        .sidecar("poison", "on = [\"github:poison\"]\n[limits]\ntime = \"5m\"\n")
        .handler("neighbour", "noop")
        .sidecar("neighbour", "on = [\"github:push\"]\n")
        .start()
        .await;
    hub.until_ready("poison").await;
    hub.until_ready("neighbour").await;
    let poison = hub.push("poison", "the-poison", br#"{"steps":[{"op":"loop"}]}"#).await.accepted();
    until_it_runs(&hub).await;
    // The only run slot is taken, so this delivery waits.
    let neighbour = hub.push("push", "the-neighbour", b"{}").await.accepted();

    let hub = hub.kill_and_restart().await;
    until_it_runs(&hub).await;
    assert_eq!(outcomes(&hub.event(&poison).await), ["host_lost"]);

    let hub = hub.kill_and_restart().await;
    let given_up = hub.until_status(&poison, "dead_letter").await;
    assert_eq!(outcomes(&given_up), ["host_lost", "host_lost"]);
    until("an alert about it", async || {
        let alerts = hub.api("/api/v1/events?source=weir&type=dead_letter").await;
        if alerts["items"][0].is_null() { Err(alerts.to_string()) } else { Ok(()) }
    })
    .await;
    assert_eq!(outcomes(&hub.until_status(&neighbour, "processed").await), ["ok"]);

    let hub = hub.kill_and_restart().await;
    hub.until_ready("poison").await;
    let later = hub.push("push", "a-later-one", b"{}").await.accepted();
    hub.until_status(&later, "processed").await;
    assert_eq!(hub.event(&poison).await, given_up, "it was tried again");
}

/// Waits until the run has begun in which the process will be killed.
async fn until_it_runs(hub: &RunningHub) {
    hub.until_handler("poison", |handler| handler["running"] == 1).await;
}

/// The outcomes of the attempts at an event's only delivery, oldest first.
fn outcomes(event: &Value) -> Vec<String> {
    let history = event["deliveries"][0]["history"].as_array().unwrap();
    history.iter().map(|attempt| attempt["outcome"].as_str().unwrap().to_owned()).collect()
}
