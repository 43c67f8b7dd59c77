//! Accessibility, as axe-core judges it. `.ci/console` puts its one file into `target/console`.

use std::path::Path;

use serde_json::json;

use crate::hub::{Console, pages};

/// The script; none, and a line that says so, where it was not fetched.
fn axe() -> Option<String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../console/axe.min.js");
    let script = std::fs::read_to_string(&file).ok();
    if script.is_none() {
        eprintln!("SKIPPED: axe-core is not there; .ci/console fetches it");
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_a_serious_violation() {
    let (Some(axe), Some(console)) = (axe(), Console::start().await) else { return };
    let browser = &console.browser;
    let mut found = Vec::new();
    for theme in ["light", "dark"] {
        browser.run("document.cookie = `weir_theme=${arguments[0]};path=/`", json!([theme])).await;
        for (name, path) in pages(&console) {
            console.go(&path).await;
            browser.run(&axe, json!([])).await;
            let result = browser
                .run_async(
                    "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] })\
                     .then((result) => done(result.violations.map((one) => \
                     `${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160) + ' ' + \
                     (node.any[0]?.message ?? '')).join(' | ')}`)))",
                    json!([]),
                )
                .await;
            for violation in result.as_array().unwrap() {
                found.push(format!("{name} {theme}: {}", violation.as_str().unwrap_or_default()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
