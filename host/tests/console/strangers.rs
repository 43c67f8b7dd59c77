//! Strangers' bytes: whatever a payload holds, it is text on the page.

use serde_json::json;

use weir_testing::strangers::{bodies, long_bodies};

use crate::hub::Console;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_payloads_stay_text_on_every_view() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    for (number, (name, body)) in bodies().into_iter().chain(long_bodies()).enumerate() {
        let id = format!("<b>{number}</b>\" onclick=\"document.title='owned'");
        let event = console.hub.push("push", &id, &body).await.accepted();
        for view in ["", "?view=raw", "?view=hex", "?view=headers", "?show=why"] {
            console.go(&format!("/events/{event}{view}")).await;
            let owned = browser.run(
                "return document.title.includes('owned') || ({}).polluted === true \
                 || document.querySelectorAll('main script, main img, main b b, [onclick]').length > 0",
                json!([]),
            );
            assert_eq!(owned.await, false, "{name} on {view}");
        }
    }
    console.go("/events").await;
    let script = "return document.querySelectorAll('main [onclick], main script').length";
    assert_eq!(browser.run(script, json!([])).await, 0);
    console.assert_quiet("pages of hostile payloads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_characters_are_named_and_large_numbers_are_exact() {
    let Some(console) = Console::start().await else { return };
    let event = console.hub.push("push", "hidden", &bodies()[3].1).await.accepted();
    console.go(&format!("/events/{event}")).await;
    let said = console.browser.text("#body").await;
    assert!(said.contains("U+202E") && said.contains("U+200B"), "{said}");
    console.go(&format!("/events/{}", console.dead)).await;
    let said = console.browser.text("#body").await;
    assert!(said.contains("9007199254740993123"), "{said}");
}
