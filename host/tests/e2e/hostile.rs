//! Handlers that misbehave: their own attempt fails with the right reason, and nobody else notices.

use serde_json::Value;

use crate::fixtures;
use crate::hub::{TestHub, until};
use crate::sink::Sink;

#[tokio::test(flavor = "multi_thread")]
async fn each_crime_fails_its_own_attempt_with_the_right_outcome() {
    let sink = Sink::start().await;
    let hub = fixtures::hub_of_all(&sink, "push").await;
    let event = hub.push("push", "all-at-once", b"{}").await.accepted();
    let settled = until("every delivery to be settled", async || {
        let event = hub.event(&event).await;
        let open = |d: &Value| d["state"] != "dead_letter" && d["state"] != "processed";
        let waiting = event["deliveries"].as_array().unwrap().iter().any(open);
        if waiting { Err(event.to_string()) } else { Ok(event) }
    })
    .await;
    let deliveries = settled["deliveries"].as_array().unwrap();
    let of = |name: &str| {
        let target = format!("handler:{name}");
        deliveries.iter().find(|d| d["target"] == *target).unwrap().clone()
    };
    for fixture in fixtures::runs() {
        let attempt = &of(fixture.name)["history"][0];
        assert_eq!(attempt["outcome"], fixture.outcome, "{}: {attempt}", fixture.name);
        let said = attempt["reason"].as_str().unwrap_or("").replace(',', "");
        assert!(said.contains(fixture.reason), "{}: {said}", fixture.name);
    }
    assert_eq!(of("neighbour")["state"], "processed");
    let sent = sink.until_received(1).await;
    assert_eq!(sent.len(), 1, "only the neighbour's; nothing of a failed run may leave");
    assert_eq!(sent[0].json()["event"], event.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_has_memory_that_nobody_used_before() {
    let hub = TestHub::new().github().handler("fresh", "fresh").start().await;
    hub.until_ready("fresh").await;
    let load = crate::load::Load::start(hub.ingress, "fresh", 4);
    until("500 answers", async || {
        let answered = load.answered();
        if answered >= 500 { Ok(()) } else { Err(answered.to_string()) }
    })
    .await;
    let sent = load.finish().await;
    for event in sent.acked.values() {
        hub.until_status(event, "processed").await;
    }
}
