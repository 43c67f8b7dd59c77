//! Holding, cancelling, replaying all that a filter matches, finding in a body, and the overview
//! that keeps up.

use serde_json::json;
use weir_testing::wait::until;

use crate::hub::Console;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_held_released_and_cancelled_from_its_page() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    let sent = console.ledger.received().len();
    console.go(&format!("/events/{}", console.dead)).await;
    browser.click_text("Hold…").await;
    browser.click_text("Hold ledger").await;
    browser.until_text("main", "A hold is placed.").await;
    let held = console.hub.push("push", "held-1", b"{\"ref\":\"main\"}").await.accepted();
    console.hub.until_status(&held, "held").await;
    console.go(&format!("/events/{held}")).await;
    browser.until_text("main", "is on hold").await;
    browser.click_text("Cancel…").await;
    browser.click_text("Cancel for ledger").await;
    browser.until_text("main", "Cancelled 1 delivery.").await;
    browser.until_text("main", "2 of 3 targets are done, and 1 was cancelled.").await;
    let other = console.hub.push("push", "held-2", b"{\"ref\":\"main\"}").await.accepted();
    console.hub.until_status(&other, "held").await;
    console.ledger.answers(200);
    console.go(&format!("/events/{other}")).await;
    browser.click_text("Release hold").await;
    console.hub.until_status(&other, "processed").await;
    assert_eq!(console.ledger.received().len(), sent + 1, "what was cancelled is never sent");
    console.assert_quiet("holding and cancelling").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_filter_matches_is_counted_and_then_replayed() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    for number in 0..60 {
        let id = format!("many-{number}");
        console.hub.push("push", &id, b"{\"ref\":\"main\"}").await.accepted();
    }
    until("61 dead letters", async || {
        let count = console.hub.api("/api/v1/events/count?status=dead_letter").await;
        if count["count"] == 61 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    console.go("/events?source=github").await;
    assert!(!browser.text("main").await.contains("Replay all"), "a mixed list has no such act");
    console.go("/events?status=dead_letter&destination=ledger").await;
    browser.click_text("Replay all that match…").await;
    browser.until_text("h1", "Replay 61 dead letters").await;
    let before = console.ledger.received().len();
    console.hub.push("push", "one-more", b"{\"ref\":\"main\"}").await.accepted();
    console.ledger.answers(200);
    browser.click_text("Replay 61").await;
    browser.until_text("main", "Replayed: 61 deliveries due now.").await;
    console.ledger.until_received(before + 61).await;
    console.hub.until_status(&console.dead, "processed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_in_a_body_also_where_it_is_folded() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    let deep =
        json!({ "a": { "b": { "c": { "d": { "e": { "needle": "Straße 7" } } } } }, "x": "needle" });
    let event = console.hub.push("push", "deep", deep.to_string().as_bytes()).await.accepted();
    console.go(&format!("/events/{event}")).await;
    browser.type_into("[data-find]", "NEEDLE").await;
    browser.until_text("[data-found]", "1 of 2").await;
    let is_open = "const hit = [...CSS.highlights.get('find')][0].startContainer.parentElement;\
        return hit.textContent.includes('needle') && !hit.closest('details:not([open])')";
    assert_eq!(browser.run(is_open, json!([])).await, true);
    browser.type_into("[data-find]", "\u{e007}").await;
    browser.until_text("[data-found]", "2 of 2").await;
    browser.type_into("[data-find]", "s").await;
    browser.until_text("[data-found]", "not found").await;
    console.assert_quiet("finding in a body").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_keeps_up_unless_something_on_it_is_used() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/").await;
    browser.point_away().await;
    browser.run("window.same = true; document.activeElement.blur()", json!([])).await;
    console.hub.push("push", "second", b"{}").await.accepted();
    browser.until_text("main", "2 dead letters").await;
    assert_eq!(browser.run("return window.same", json!([])).await, true, "the page is the same");
    console.assert_quiet("the overview").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_the_hub_is_not_called_unrouted() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.hub.until_alert("dead_letter", "destination:ledger").await;
    console.go("/events?source=weir").await;
    let said = browser.text("tbody").await;
    assert!(said.contains("Alert") && !said.contains("Unrouted"), "{said}");
    browser.click("tbody tr:first-child .k-sub a").await;
    browser.until_text("main", "An alert of the hub.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_with_several_values_are_chips_of_their_own() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/events?source=github&status=dead_letter,processed").await;
    assert_eq!(browser.count("tbody tr").await, 4);
    assert_eq!(browser.count(".chip:not(.add)").await, 3);
    browser.click("[aria-label='Remove the filter status']").await;
    browser.until_text(".chips", "processed").await;
    assert_eq!(browser.count("tbody tr").await, 3);
    browser.click_text("Add a filter").await;
    browser.click("input[name=status][value=dead_letter]").await;
    browser.click_text("Apply").await;
    until("both", async || match browser.count("tbody tr").await {
        4 => Ok(()),
        rows => Err(rows.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_hub_says_so_on_every_page_and_resumes_at_a_press() {
    let Some(console) = Console::start_without_scripts().await else { return };
    let browser = &console.browser;
    console.hub.cli_ok(&["hold", "hub"]);
    let held = console.hub.push("issues", "held", b"{}").await.accepted();
    console.hub.until_status(&held, "held").await;
    console.go("/settings").await;
    browser.until_text("main", "The hub is paused.").await;
    console.go("/events").await;
    browser.click_text("Resume").await;
    console.hub.until_status(&held, "processed").await;
    console.go("/events").await;
    assert!(!browser.text("main").await.contains("The hub is paused."));
}
