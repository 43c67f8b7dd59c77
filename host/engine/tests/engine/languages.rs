//! The example handlers in other languages, as `.ci/guests languages` builds them.
//!
//! C is small enough to be committed; the others are megabytes, so their tests run where they were built:
//! `cargo test -p weir-engine -- --ignored`.

use std::path::PathBuf;

use serde_json::{Value, json};
use weir_engine::Module;

use crate::support::{Stored, Try, body, engine, module};

fn built(name: &str) -> Module {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/wasm");
    engine().load(&std::fs::read(dir.join(format!("{name}.wasm"))).unwrap()).unwrap()
}

/// Each counts events by type in its state, and tells the destination that its configuration names.
async fn tallies(module: Module) {
    let manifest = engine().describe(&module).await.unwrap();
    assert_eq!(manifest.subscriptions.first().map(|p| p.as_str()), Some("*:*"));
    let mut run = Try::of(module, "{}").stored(Stored::with(&[("github:push", "41", 1)]));
    run.config.insert("destination".into(), "sink".into());
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let told: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(told, json!({ "type": "github:push", "count": 42 }));
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

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn python_tallies() {
    tallies(built("python")).await;
}

#[tokio::test]
#[ignore = "needs what `.ci/guests languages` builds"]
async fn a_command_in_go_tells_and_rejects() {
    let module = built("go");
    let push = json!({ "ref": "main", "commits": [1, 2] }).to_string();
    let mut run = Try::of(module.clone(), push);
    run.config.insert("Destination".into(), "sink".into());
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let told: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(told, json!({ "ref": "main", "commits": 2 }));

    let report = Try::of(module, "no JSON").run().await;
    assert_eq!(report.outcome(), weir_core::delivery::Outcome::Reject);
    assert!(report.reason().unwrap().starts_with("the body is not JSON"), "{:?}", report.reason());
}
