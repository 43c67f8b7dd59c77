//! Loops through the network end after a fixed number of hops, with a clear reason.

use serde_json::Value;

use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HOPS: usize = 8;

/// A hub whose destination `back` posts to its own source `again`.
fn hub_in_a_circle() -> TestHub {
    let (hub, address) = TestHub::new().at_a_known_port();
    hub.github().source("again", "standard-webhooks", SECRET).config(&format!(
        "[destinations.back]\nkind = \"webhook\"\nurl = \"http://{address}/webhook/again\"\n\
         secrets = [{{ file = \"again.secret\" }}]\nallow = [\"@private\"]"
    ))
}

/// Waits until the loop has made all the events it may, and the last message is a dead letter.
/// Returns that message.
async fn until_it_ends(hub: &RunningHub) -> Value {
    until("the circle to end", async || {
        let dead = hub.api("/api/v1/dead-letters").await;
        dead["items"].get(0).cloned().ok_or_else(|| hub.log.all())
    })
    .await
}

async fn assert_it_ended_after_8(hub: &RunningHub, dead: &Value) {
    let again = hub.api("/api/v1/events?source=again").await;
    assert_eq!(again["items"].as_array().unwrap().len(), HOPS - 1, "{again}");
    assert_eq!(dead["target"], "destination:back", "{dead}");
    assert_eq!(dead["attempts"], 1, "{dead}");
    let refused = hub.log.having(&["loop_detected", "\"source\":\"again\""]);
    assert_eq!(refused.len(), 1, "{}", hub.log.all());
    let back = hub.api("/api/v1/destinations").await["items"][0].take();
    assert_eq!(back["state"], "ok", "the endpoint is not to blame: {back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_through_a_destination_ends_after_8_hops() {
    let hub = hub_in_a_circle()
        .config("[[route]]\non = [\"github:*\", \"again:*\"]\nto = \"back\"")
        .start()
        .await;
    hub.push("push", "one", br#"{"type":"push"}"#).await.accepted();
    let dead = until_it_ends(&hub).await;
    assert_it_ended_after_8(&hub, &dead).await;
    let id = dead["id"].as_str().unwrap();
    let dead = hub.api(&format!("/api/v1/dead-letters/{id}")).await;
    let attempt = &dead["history"][0];
    assert_eq!(attempt["response_status"], 508, "{dead}");
    assert!(attempt["reason"].as_str().unwrap().contains("came back to this hub"), "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_through_a_handler_ends() {
    let hub = hub_in_a_circle()
        .handler("teller", "probe")
        .sidecar("teller", "on = [\"github:*\", \"again:*\"]\n[grant]\ndestinations = [\"back\"]\n")
        .start()
        .await;
    hub.until_ready("teller").await;
    let forward = br#"{"type":"push","steps":[{"op":"forward","destination":"back"}]}"#;
    hub.push("push", "one", forward).await.accepted();
    let dead = until_it_ends(&hub).await;
    assert_it_ended_after_8(&hub, &dead).await;
}
