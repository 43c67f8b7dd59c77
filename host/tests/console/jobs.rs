//! The pages of jobs: their buttons without scripts, the job that a large replay becomes, and
//! progress that shows by itself.

use weir_testing::wait::until;

use crate::hub::Console;

/// Waits until this many dead letters are there.
async fn give_up(console: &Console, count: u64) {
    for number in 1..count {
        let id = format!("many-{number}");
        console.hub.push("push", &id, b"{\"ref\":\"main\"}").await.accepted();
    }
    until("the dead letters", async || {
        let counted = console.hub.api("/api/v1/events/count?status=dead_letter").await;
        if counted["count"] == count { Ok(()) } else { Err(counted.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_replay_becomes_a_job_with_buttons_without_scripts() {
    let Some(console) = Console::start_without_scripts().await else { return };
    let browser = &console.browser;
    give_up(&console, 1_100).await;
    console.go("/events?status=dead_letter&destination=ledger").await;
    browser.click_text("Replay all that match…").await;
    browser.until_text("h1", "Replay 1,100 dead letters").await;
    browser.type_into("input[name=rate]", "20/s").await;
    console.ledger.answers(200);
    browser.click_text("Replay 1,100 as a job").await;
    browser.until_text("main", "The job runs.").await;
    browser.until_text("main", "20/s").await;
    assert!(browser.text("main").await.contains("destination:ledger"));
    browser.click_text("Pause").await;
    browser.until_text("main", "Paused. It keeps its place").await;
    browser.click_text("Resume").await;
    browser.until_text("main", "Resumed. It goes on from its place.").await;
    browser.click_text("Cancel").await;
    browser.until_text("main", "Cancelled. What became due already stays due.").await;
    console.go("/jobs").await;
    let listed = browser.text("tbody").await;
    assert!(listed.contains("Cancelled") && listed.contains("of 1,100"), "{listed}");
    assert!(!listed.contains("Pause"), "a job that is over has no buttons: {listed}");
    let dead = console.hub.api("/api/v1/events/count?status=dead_letter").await;
    assert!(dead["count"].as_u64().unwrap() > 900, "most of it was not done: {dead}");
    console.assert_quiet("jobs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_shows_by_itself_until_the_job_has_finished() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    give_up(&console, 8).await;
    console.ledger.answers(200);
    let order = ["replay", "--dead-letters", "--source", "github", "--rate", "1/s"];
    console.hub.cli_ok(&[&order[..], &["--job", "slow", "--detach"]].concat());
    console.go("/jobs").await;
    browser.point_away().await;
    browser.run("window.same = true; document.activeElement.blur()", serde_json::json!([])).await;
    browser.until_text("tbody tr:first-child", "Running").await;
    browser.until_text("tbody tr:first-child", "Finished").await;
    browser.until_text("tbody tr:first-child", "8 of 8").await;
    let same = browser.run("return window.same", serde_json::json!([])).await;
    assert_eq!(same, true, "the page is the same");
    browser.click_text("slow").await;
    browser.until_text("main", "8 deliveries due again.").await;
    console.assert_quiet("a job").await;
}
