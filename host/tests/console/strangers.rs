//! Strangers' bytes: whatever a payload holds, it is text on the page.

use serde_json::json;

use crate::hub::Console;

/// Bodies that would do something if anything on the way to the page took them for more than text.
const HOSTILE: [&[u8]; 9] = [
    br#"{"name":"<script>document.title='owned'</script>"}"#,
    br#"{"name":"<img src=x onerror=\"document.title='owned'\">"}"#,
    br#"{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}"#,
    "{\"file\":\"invoice\u{202e}fdp.exe\",\"zero\":\"a\u{200b}b\"}".as_bytes(),
    br#"{"note":"\u001b[2J\u001b]0;owned\u0007"}"#,
    b"</script></style></title><script>document.title='owned'</script>",
    b"\xff\xfe\x00<script>document.title='owned'</script>\x9c",
    br#"{"url":"javascript:document.title='owned'","n":9007199254740993123}"#,
    b"' onmouseover='document.title=1' x='",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_payloads_stay_text_on_every_view() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    for (number, body) in HOSTILE.iter().enumerate() {
        let id = format!("<b>{number}</b>\" onclick=\"document.title='owned'");
        let event = console.hub.push("push", &id, body).await.accepted();
        for view in ["", "?view=raw", "?view=hex", "?view=headers", "?show=why"] {
            console.go(&format!("/events/{event}{view}")).await;
            let owned = browser.run(
                "return document.title.includes('owned') || ({}).polluted === true \
                 || document.querySelectorAll('main script, main img, main b b, [onclick]').length > 0",
                json!([]),
            );
            assert_eq!(owned.await, false, "body {number} on {view}");
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
    let event = console.hub.push("push", "hidden", HOSTILE[3]).await.accepted();
    console.go(&format!("/events/{event}")).await;
    let said = console.browser.text("#body").await;
    assert!(said.contains("U+202E") && said.contains("U+200B"), "{said}");
    console.go(&format!("/events/{}", console.dead)).await;
    let said = console.browser.text("#body").await;
    assert!(said.contains("9007199254740993123"), "{said}");
}
