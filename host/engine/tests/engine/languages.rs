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

/// Each example counts events by type in its state, and sends the count to a configured
/// destination.
async fn tallies(module: Module) {
    let manifest = engine().describe(&module).await.unwrap();
    assert_eq!(manifest.subscriptions.first().map(|p| p.as_str()), Some("*:*"));
    let mut run = Try::of(module, "{}").stored(Stored::with(&[("github:push", "41", 1)]));
    run.config.insert("destination".into(), "sink".into());
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let output: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(output, json!({ "type": "github:push", "count": 42 }));
    assert_eq!(report.effects.state[0].value.as_deref(), Some("42"));
}

#[tokio::test]
async fn c_tallies() {
    tallies(module("c")).await;
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn javascript_tallies() {
    tallies(built("js")).await;
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
        assert_eq!((report.outcome(), report.reason()), (outcome, Some(reason)), "{way}");
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
async fn python_tallies() {
    tallies(built("python")).await;
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
