//! Repeated runs: the same input gives the same run, and no run leaves data for the next.

use serde_json::{Value, json};
use weir_core::delivery::Outcome;

use crate::support::{NOW, Try, and_report, body, lines, module, reported};

#[tokio::test]
async fn memory_is_fresh_in_ten_thousand_runs() {
    let steps = and_report(json!([{ "op": "residue" }]));
    let fresh = json!({ "static": 7, "far": 0 });
    for n in 0..10_000 {
        if n % 2 == 0 {
            let report = Try::of(module("fresh"), "").run().await;
            assert_eq!(report.reason(), None, "run {n}");
        } else {
            assert_eq!(reported(&Try::steps(&steps).run().await)[0], fresh, "run {n}");
        }
    }
}

#[tokio::test]
async fn memory_is_fresh_after_a_trap() {
    for _ in 0..200 {
        let broken = json!([{ "op": "residue" }, { "op": "grow", "mib": 8 }, { "op": "abort" }]);
        assert_eq!(Try::steps(&broken).run().await.outcome(), Outcome::Crashed);
        let steps = and_report(json!([{ "op": "residue" }]));
        let seen = &reported(&Try::steps(&steps).run().await)[0];
        assert_eq!(*seen, json!({ "static": 7, "far": 0 }));
    }
}

#[tokio::test]
async fn randomness_repeats_with_its_seed() {
    let random = |seed: u8| async move {
        let steps =
            [json!({ "op": "random", "length": 16 }), json!({ "op": "random", "length": 16 })];
        let mut run = Try::steps(&and_report(json!(steps)));
        run.seed = [seed; 32];
        reported(&run.run().await)
    };
    let first = random(1).await;
    assert_eq!(first, random(1).await);
    assert_ne!(first[0], first[1]);
    assert_ne!(first, random(2).await);
}

async fn wasi(seed: u8, sleep: Option<&str>) -> (Value, weir_engine::RunReport) {
    let mut run = Try::of(module("wasi"), "");
    run.seed = [seed; 32];
    run.config.insert("destination".into(), "from the config".into());
    if let Some(seconds) = sleep {
        run.config.insert("sleep".into(), seconds.into());
    }
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    let output = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    (output, report)
}

#[tokio::test]
async fn wasi_grants_nothing() {
    let (output, report) = wasi(1, None).await;
    assert_eq!((&output["file"], &output["folder"]), (&json!(false), &json!(false)));
    assert_eq!(output["environment"], "from the config");
    assert_eq!(lines(&report)[..2], ["stdout said on stdout", "stderr said on stderr"]);
}

#[tokio::test]
async fn wasi_time_stands_still_and_a_sleep_takes_none() {
    let (output, report) = wasi(1, Some("86400")).await;
    assert_eq!(output["now"], NOW.as_millis());
    assert_eq!(output["slept_wall"], 0);
    assert!(output["slept_monotonic"].as_u64().unwrap() >= 86_400_000, "{output}");
    assert!(report.duration < std::time::Duration::from_secs(4));
}

#[tokio::test]
async fn wasi_randomness_repeats_with_its_seed() {
    let (first, _) = wasi(1, None).await;
    assert_eq!(first["random"], wasi(1, None).await.0["random"]);
    assert_ne!(first["random"], wasi(2, None).await.0["random"]);
    assert_eq!(first["entropy"], json!(true));
}
