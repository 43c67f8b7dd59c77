//! Handlers that misbehave: their own attempt fails with the right reason, and other handlers are
//! not affected.

use serde_json::Value;

use weir_testing::hostile;
use weir_testing::hub::TestHub;
use weir_testing::sink::Sink;
use weir_testing::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_run_fails_its_own_attempt_with_its_outcome() {
    let sink = Sink::start().await;
    let hub = hostile::hub_of_all(&sink, "push").await;
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
    for fixture in hostile::runs() {
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
async fn every_run_has_fresh_memory() {
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

#[test]
fn security_md_lists_every_hostile_handler_with_its_outcome() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, section) = document.split_once("## Hostile handlers").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<Vec<&str>> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim()).collect())
        .collect();
    let of_runs = hostile::runs().iter().map(|f| (f.name, f.outcome)).collect::<Vec<_>>();
    let of_refused = hostile::refused().iter().map(|f| (f.name, "refused")).collect::<Vec<_>>();
    let fixtures: Vec<_> = of_runs.into_iter().chain(of_refused).collect();
    for (name, outcome) in &fixtures {
        let row = rows.iter().find(|row| row[0] == format!("`{name}`"));
        let row = row.unwrap_or_else(|| panic!("host/docs/security.md has no row for `{name}`"));
        assert_eq!(row[2], format!("`{outcome}`"), "the row of `{name}`");
    }
    assert_eq!(
        rows.len(),
        fixtures.len(),
        "host/docs/security.md has rows for fixtures that are gone"
    );
}
