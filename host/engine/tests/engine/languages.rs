//! The example handlers in other languages, as `.ci/guests languages` builds them.
//!
//! The module in C is committed. The others have megabytes, so that their tests need a build first:
//! `cargo test -p weir-engine -- --ignored`.

use std::path::PathBuf;

use serde_json::{Value, json};
use weir_core::delivery::Outcome;
use weir_engine::{Module, RunReport};

use crate::support::{Stored, Try, body, engine, lines, module};

fn built(name: &str) -> Module {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/wasm");
    engine().load(&std::fs::read(dir.join(format!("{name}.wasm"))).unwrap()).unwrap()
}

/// The pattern of the first subscription of a module.
async fn subscription(module: &Module) -> String {
    let manifest = engine().describe(module).await.unwrap();
    manifest.subscriptions.first().unwrap().as_str().to_owned()
}

/// Runs an example on an event with this body and with these keys in its state.
async fn example(module: Module, event: &Value, stored: &[(&str, &str, u64)]) -> RunReport {
    let mut run = Try::of(module, event.to_string()).stored(Stored::with(stored));
    run.config.insert("destination".into(), "sink".into());
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    report
}

/// The messages of a run, as JSON.
fn messages(report: &RunReport) -> Vec<Value> {
    let messages = report.effects.messages.iter();
    messages.map(|message| serde_json::from_slice(body(message)).unwrap()).collect()
}

#[tokio::test]
async fn c_counts_events_by_type() {
    assert_eq!(subscription(&module("c")).await, "*:*");
    let report = example(module("c"), &json!({}), &[("github:push", "41", 1)]).await;
    assert_eq!(messages(&report), [json!({ "type": "github:push", "count": 42 })]);
    assert_eq!(report.effects.state[0].value.as_deref(), Some("42"));
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn javascript_tells_why_an_order_is_looked_at() {
    assert_eq!(subscription(&built("js")).await, "shopify:orders/create");
    let order = |price: &str, to: &str| {
        json!({
            "name": "#1001", "total_price": price, "currency": "EUR", "email": "A@example.com",
            "billing_address": { "country_code": "DE" },
            "shipping_address": { "country_code": to },
        })
    };
    let report = example(built("js"), &order("99.00", "DE"), &[]).await;
    assert_eq!(messages(&report), [Value::Null; 0]);
    let report =
        example(built("js"), &order("1200.00", "FR"), &[("orders/a@example.com", "3", 1)]).await;
    let reasons = [
        "the total is 1200.00 EUR",
        "it is paid in DE and goes to FR",
        "it is the fourth within a day from A@example.com",
    ];
    assert_eq!(messages(&report), [json!({ "order": "#1001", "reasons": reasons })]);
}

/// A run of the JavaScript fixture, which follows its event, with this seed.
async fn javascript(way: &str, seed: u8) -> RunReport {
    let mut run = Try::of(built("javascript"), way);
    run.seed = [seed; 32];
    run.run().await
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn deferred_javascript_runs_to_its_end() {
    let number = ["info number 1", "info number 2", "info number 3"];
    let awaits = [&["info before", "info after", "info a day later"][..], &number].concat();
    let leaves = ["then 1", "microtask", "finally", "left alone", "first", "second"];
    let leaves = leaves.map(|line| format!("info {line}"));
    let together = ["a,b,c", "quick", "any", "rejected,fulfilled", "Error: caught"];
    let together = together.map(|line| format!("info {line}"));
    for (way, wanted) in [
        ("awaits", awaits.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("leaves", leaves.to_vec()),
        ("together", together.to_vec()),
    ] {
        let report = javascript(way, 1).await;
        assert_eq!((report.reason(), lines(&report)), (None, wanted), "{way}");
    }
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn javascript_that_cannot_end_fails_with_a_reason() {
    for (way, outcome, reason) in [
        ("throws", Outcome::Crashed, "thrown"),
        ("rejects", Outcome::Reject, "not ours"),
        ("forgets", Outcome::Crashed, "forgotten"),
        (
            "waits",
            Outcome::Crashed,
            "handle returned a promise that nothing settles: what it waits for can never happen \
             in a handler",
        ),
    ] {
        let report = javascript(way, 1).await;
        assert_eq!(report.outcome(), outcome, "{way}");
        let said = report.reason().unwrap();
        assert!(said.starts_with(reason), "{way}: {said}");
        let names_its_line = said.contains("(javascript.ts:");
        assert_eq!(names_its_line, ["throws", "forgets"].contains(&way), "{way}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn javascript_randomness_comes_from_the_run() {
    let output = async |seed| lines(&javascript("random", seed).await);
    let first = output(1).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first, output(1).await, "an attempt repeated is the same");
    let other = output(2).await;
    for (one, two) in first[0].split(' ').zip(other[0].split(' ')).skip(1) {
        assert_ne!(one, two);
    }
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn javascript_console_writes_the_log() {
    let report = javascript("speaks", 1).await;
    let wanted = [
        "info text 1 {\"a\":[1,null]} [\"Error: inside\"] undefined 7n",
        "debug debug",
        "warn warn",
        "error error",
    ];
    assert_eq!((report.reason(), lines(&report)), (None, wanted.map(str::to_owned).to_vec()));
}

#[test]
#[ignore = "needs what `.ci/guests languages` builds"]
fn javascript_without_the_prelude_has_a_warning() {
    assert!(built("javascript-bare").build_warning().unwrap().contains("does not run"));
    assert_eq!((built("js").build_warning(), built("javascript").build_warning()), (None, None));
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn a_coroutine_that_python_never_awaits_fails_the_run() {
    let report = Try::of(built("python-coroutine"), "").run().await;
    assert_eq!(report.outcome(), Outcome::Crashed);
    assert!(report.reason().unwrap().contains("was never awaited"), "{:?}", report.reason());
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn python_randomness_comes_from_the_run() {
    let output = async |seed: u8| {
        let mut run = Try::of(built("python-random"), "");
        run.seed = [seed; 32];
        let report = run.run().await;
        assert_eq!((report.reason(), report.log.lines.len()), (None, 3), "{:?}", report.log);
        lines(&report)
    };
    let first = output(1).await;
    assert_eq!(first, output(1).await, "an attempt repeated is the same");
    for (one, two) in first.iter().zip(output(2).await) {
        assert_ne!(*one, two);
    }
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn python_tells_of_unusual_amounts() {
    assert_eq!(subscription(&built("python")).await, "stripe:charge.succeeded");
    let charge = |amount: u32| json!({ "data": { "object": { "id": "ch_1", "currency": "eur", "amount": amount } } });
    // The mean of 25 charges is 1,000, and their deviation is 100.
    let known = [("amounts/eur", "[25, 1000.0, 250000.0]", 1)];
    let report = example(built("python"), &charge(1_100), &known).await;
    assert_eq!(messages(&report), [Value::Null; 0]);
    let stored: Value =
        serde_json::from_str(report.effects.state[0].value.as_deref().unwrap()).unwrap();
    assert_eq!(stored[0], 26);
    let report = example(built("python"), &charge(5_000), &known).await;
    let wanted = json!({ "charge": "ch_1", "amount": 5_000, "currency": "eur", "mean": 1_000 });
    assert_eq!(messages(&report), [wanted]);
    let report = example(built("python"), &charge(5_000), &[]).await;
    assert_eq!(messages(&report), [Value::Null; 0], "too few charges are known");
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn go_command_sends_and_rejects() {
    let module = built("go");
    let push = json!({ "ref": "main", "commits": [1, 2] }).to_string();
    let mut run = Try::of(module.clone(), push);
    run.config.insert("Destination".into(), "sink".into());
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let output: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(output, json!({ "ref": "main", "commits": 2 }));

    let report = Try::of(module, "no JSON").run().await;
    assert_eq!(report.outcome(), Outcome::Reject);
    assert!(report.reason().unwrap().starts_with("the body is not JSON"), "{:?}", report.reason());
}
