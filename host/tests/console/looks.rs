//! Every page in both themes and on a phone: a picture of each is kept, nothing scrolls sideways,
//! and the pages stay within their budgets.

use std::path::Path;

use serde_json::json;

use crate::hub::{Console, pages};

/// The widths of a desk and of a phone, with their heights.
const SIZES: [(&str, u32, u32); 2] = [("", 1440, 900), ("-phone", 390, 844)];

async fn keep(console: &Console, name: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../console-shots");
    std::fs::create_dir_all(&folder).unwrap();
    let picture = console.browser.screenshot().await;
    std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_in_both_themes_and_on_a_phone() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    let mut wrong = Vec::new();
    for theme in ["light", "dark"] {
        browser.run("document.cookie = `weir_theme=${arguments[0]};path=/`", json!([theme])).await;
        for (name, path) in pages(&console) {
            for (size, width, height) in SIZES {
                browser.size(width, height).await;
                console.go(&path).await;
                keep(&console, &format!("{name}-{theme}{size}")).await;
                let wide = browser.run(
                    "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
                    json!([]),
                );
                let wide = wide.await.as_i64().unwrap_or_default();
                if wide > 0 {
                    wrong.push(format!("{name} at {width} is {wide} pixels too wide"));
                }
                if browser.count("h1").await != 1 {
                    wrong.push(format!("{name} has not exactly one h1"));
                }
            }
            wrong.extend(browser.log().await.iter().map(|line| format!("{name}: {line}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_stay_within_their_budgets() {
    let Some(console) = Console::start().await else { return };
    let browser = &console.browser;
    for number in 0..50 {
        let body = json!({ "issue": { "number": number, "title": "A title of the usual length" } });
        let id = format!("72d3162e-cc78-11e3-81ab-5c9367dc{number:04}");
        console.hub.push("issues", &id, body.to_string().as_bytes()).await.accepted();
    }
    for (name, path, most) in [
        ("overview", "/".to_owned(), 60_000.0),
        ("events", "/events".to_owned(), 45_000.0),
        ("event", format!("/events/{}", console.dead), 60_000.0),
    ] {
        console.go(&path).await;
        let script = "const [page] = performance.getEntriesByType('navigation'); \
            const paint = performance.getEntriesByName('first-contentful-paint')[0]; \
            const all = performance.getEntriesByType('resource').length; \
            return [page.decodedBodySize, page.responseStart - page.requestStart, paint?.startTime ?? 0, all]";
        let measured = browser.run(script, json!([])).await;
        let number = |at: usize| measured[at].as_f64().unwrap_or_default();
        eprintln!(
            "{name}: {} bytes, first byte after {:.1} ms, first paint after {:.0} ms, {} requests more",
            number(0),
            number(1),
            number(2),
            number(3),
        );
        assert!(number(0) <= most, "{name} has {} bytes", number(0));
        assert!(number(3) <= 5.0, "{name} makes {} requests", number(3));
    }
}
