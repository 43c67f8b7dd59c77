//! Finding and reading: without scripts, by keys, in the zone of the reader.

use serde_json::json;
use weir_testing::wait::until;

use crate::hub::Console;

#[tokio::test(flavor = "multi_thread")]
async fn any_id_and_any_type_is_found_from_the_field_at_the_top() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    for id in [&console.dead, "8a4f3f0e-cc78-11e3-81ab-4c9367dc0958"] {
        console.go("/").await;
        browser.press("/").await;
        browser.type_into("#find", &format!("{id}\u{e007}")).await;
        browser.until_text("h1", "push").await;
        assert_eq!(console.path().await, format!("/events/{}", console.dead));
    }
    browser.type_into("#find", "github:issues\u{e007}").await;
    browser.until_text("h1", "Events").await;
    assert_eq!(browser.count("tbody tr").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_read_without_scripts() {
    let Some(console) = Console::start_without_scripts().await else { return };
    console.go("/events?source=github").await;
    assert_eq!(console.browser.count("[data-copy]:not([hidden])").await, 0, "no script ran");
    assert_eq!(console.browser.count("tbody tr").await, 4);
    console.browser.click("tbody tr:first-child .k-sub a").await;
    let said = console.browser.text("main").await;
    assert!(said.contains("Stored and routed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_through_the_list_and_to_other_pages() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/events?source=github").await;
    browser.press("jj").await;
    assert_eq!(browser.count("tbody tr:nth-child(2).cur").await, 1);
    browser.press("o").await;
    browser.until_text(".crumb", "github").await;
    browser.press("ge").await;
    browser.until_text("h1", "Events").await;
    browser.press("?").await;
    assert_eq!(browser.count("dialog[open]").await, 1);
    browser.press("?").await;
    browser.press("gd").await;
    browser.until_text("h1", "ead letter").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_in_the_zone_of_the_browser_or_in_utc() {
    let Some(console) = Console::start().await else { return };
    console.go("/events").await;
    let zone = ".top .end form:first-child button";
    console.browser.until_text(zone, "UTC+").await;
    console.browser.click(zone).await;
    until("times in UTC", async || {
        let shown = console.browser.text(zone).await;
        if shown == "UTC" { Ok(()) } else { Err(shown) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_not_understood_shows_its_reason_and_no_rows() {
    let Some(console) = Console::start().await else { return };
    console.go("/events?status=dead").await;
    let said = console.browser.text("main").await;
    assert!(said.contains("dead_letter") && said.contains("not understood"), "{said}");
    assert_eq!(console.browser.count("tbody tr").await, 0);
    console.go("/events?source=partner").await;
    assert!(console.browser.text("main").await.contains("No events match these filters."));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_events_come_live_and_hold_while_a_row_is_selected() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/events?source=github").await;
    browser.point_away().await;
    browser.until_text("[data-live-said]", "waiting for events").await;
    let newest = console.hub.push("issues", "live-1", b"{\"issue\":{}}").await.accepted();
    until(&format!("{newest} at the top of the list"), async || {
        let top = browser.run("return document.querySelector('tbody tr').id", json!([])).await;
        if top == newest.as_str() { Ok(()) } else { Err(top.to_string()) }
    })
    .await;
    browser.click("tbody tr:nth-child(2) input").await;
    console.hub.push("issues", "live-2", b"{\"issue\":{}}").await.accepted();
    browser.until_text("[data-live-said]", "1 new. The list holds still").await;
    assert_eq!(browser.count("tbody tr").await, 5);
    browser.click("[data-live-show]").await;
    assert_eq!(browser.count("tbody tr").await, 6);
}
