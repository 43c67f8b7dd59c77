//! From what is wrong to what is right again: the way of an operator at night.

use serde_json::json;

use crate::hub::Console;
use weir_testing::guests::committed;

#[tokio::test(flavor = "multi_thread")]
async fn from_the_overview_to_a_fixed_and_requeued_event_in_few_clicks() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/").await;
    let said = browser.text("main").await;
    assert!(said.contains("1 dead letter"), "{said}");

    // Why was it not delivered?
    browser.click_text("Review 1").await;
    let to_event = format!("a[href*=\"{}\"]", console.dead);
    if browser.count(&to_event).await == 0 {
        console.go("/events?status=dead_letter").await;
    }
    browser.click(&format!("main {to_event}")).await;
    browser.until_text("h1", "push").await;
    let said = browser.text("main").await;
    for part in ["2 of 3 targets are done.", "ledger was given up", "HTTP 422", "no such account"] {
        assert!(said.contains(part), "{part} in {said}");
    }

    // It is fixed at the other end, and sent again from here.
    console.ledger.answers(200);
    browser.click_text("Requeue for ledger").await;
    browser.until_text("main", "Requeued 1 delivery.").await;
    console.hub.until_status(&console.dead, "processed").await;
    console.go(&format!("/events/{}", console.dead)).await;
    browser.until_text("main", "All 3 targets are done.").await;
    console.assert_quiet("the way to a fixed event").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_counted_before_it_is_done_and_done_once() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    let sent = console.chat.received().len();
    console.go(&format!("/events/{}", console.dead)).await;
    browser.click_text("Replay…").await;
    browser.until_text("h1", "Replay 1 event").await;
    assert_eq!(console.chat.received().len(), sent, "nothing is sent by a preview");
    console.ledger.answers(200);
    browser.click_text("Replay 1").await;
    browser.until_text("main", "Replayed: 3 deliveries due now.").await;
    console.hub.until_status(&console.dead, "processed").await;
    assert_eq!(console.chat.until_received(sent + 1).await.len(), sent + 1);

    // The same form again finds another set, and asks again.
    console.go(&format!("/events/replay?event={}", console.dead)).await;
    let set = "document.querySelector('input[name=set]').value = 'another'";
    browser.run(set, json!([])).await;
    browser.click_text("Replay 1").await;
    browser.until_text("main", "what would happen has changed").await;
    assert_eq!(console.chat.received().len(), sent + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_rows_are_replayed_together() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    console.go("/events?type=issues").await;
    browser.press("jxjx").await;
    browser.until_text(".chosen", "2").await;
    browser.click_text("Replay selected…").await;
    browser.until_text("h1", "Replay 2 events").await;
    let sent = console.chat.received().len();
    browser.click_text("Replay 2").await;
    browser.until_text("main", "due now").await;
    console.chat.until_received(sent + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_what_an_operator_could_do_and_cannot_do_it() {
    let Some(console) = Console::start().await else { return };
    let made = console.hub.cli_ok(&["tokens", "create", "reader", "--role", "read", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let browser = &console.browser;
    browser.devtools("Network.clearBrowserCookies", json!({})).await;
    console.go(&format!("/events/{}", console.dead)).await;
    browser.until_text("h1", "Sign in").await;
    browser.type_into("#token", made["token"].as_str().unwrap()).await;
    browser.click_text("Sign in").await;
    browser.until_text("h1", "push").await;
    let disabled = "main .acts button:disabled";
    let said = browser.text(disabled).await;
    assert!(said.contains("Requeue for ledger") && said.contains("operate"), "{said}");
    assert_eq!(browser.count("main .acts form").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_on_the_page() {
    let Some(console) = Console::start().await else { return };
    console.browser.devtools("Network.clearBrowserCookies", json!({})).await;
    console.go("/events").await;
    console.browser.type_into("#token", "0123456789abcdef").await;
    console.browser.click_text("Sign in").await;
    console.browser.until_text("main", "The token is wrong").await;
    assert!(console.path().await.starts_with("/login"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_rolled_back_from_its_page() {
    let Some(console) = Console::start().await else { return };
    let (browser, hub) = (&console.browser, &console.hub);
    let first = hub.until_ready("orders").await["version"].as_str().unwrap().to_owned();
    hub.put_handler("orders", committed("probe"));
    hub.until_handler("orders", |h| h["version"] != *first).await;
    console.go("/handlers/orders").await;
    browser.until_text("main", "On probation.").await;
    browser.click_text("Roll back").await;
    browser.until_text("main", "Rolled back.").await;
    hub.until_handler("orders", |h| h["version"] == *first).await;
    browser.click_text("Pin this version").await;
    browser.until_text("main", "Pinned").await;

    console.go("/handlers/orders/state").await;
    browser.type_into("#key", "order:1").await;
    browser.type_into("#value", "open").await;
    browser.click_text("Set").await;
    browser.until_text("main", "The key is set.").await;
    let value = hub.cli_ok(&["handlers", "state", "orders", "get", "order:1"]);
    assert_eq!(value.trim(), "open");
    browser.click_text("Remove").await;
    browser.until_text("main", "No keys.").await;
    console.assert_quiet("the pages of a handler").await;
}
