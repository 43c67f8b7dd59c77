//! The state of a handler during a run, and the reads that settling validates.

use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::bounds::{STATE_BYTES_PER_HANDLER_MAX, STATE_VALUE_BYTES_MAX};
use weir_core::delivery::Outcome;
use weir_core::effect::StateWrite;
use weir_core::state::RangeRead;
use weir_core::time::Timestamp;

use crate::support::{NOW, Stored, Try, and_report, reported};

fn write(key: &str, value: Option<&str>, expires_at: Option<Timestamp>) -> StateWrite {
    StateWrite { key: key.into(), value: value.map(Into::into), expires_at }
}

fn later(seconds: u64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(NOW.as_millis() + seconds * 1_000))
}

#[tokio::test]
async fn run_sees_its_own_writes_and_records_only_reads() {
    let steps = and_report(json!([
        { "op": "get", "key": "a" },
        { "op": "get", "key": "a" },
        { "op": "get", "key": "absent" },
        { "op": "set", "key": "blind", "value": "1" },
        { "op": "get", "key": "blind" },
        { "op": "remove", "key": "a" },
        { "op": "get", "key": "a" },
        { "op": "add", "key": "n", "delta": -3 },
        { "op": "add", "key": "n", "delta": 5 },
    ]));
    let stored = Stored::with(&[("a", "x", 7), ("n", "40", 9)]);
    let report = Try::steps(&steps).stored(stored).run().await;
    let null = Value::Null;
    let seen = reported(&report);
    assert_eq!(seen[..3], [json!("x"), json!("x"), null.clone()]);
    assert_eq!(seen[4], json!("1"));
    assert_eq!(seen[6..], [null, json!(37), json!(42)]);
    assert_eq!(report.reads.at, NOW);
    let keys: Vec<_> = report.reads.keys.iter().map(|(k, v)| (&**k, *v)).collect();
    assert_eq!(keys, [("a", Some(7)), ("absent", None), ("n", Some(9))]);
    assert_eq!(
        report.effects.state,
        [write("a", None, None), write("blind", Some("1"), None), write("n", Some("42"), None)]
    );
}

#[tokio::test]
async fn expiry_is_decided_at_the_frozen_time() {
    let steps = and_report(json!([
        { "op": "get", "key": "gone" },
        { "op": "add", "key": "gone", "delta": 1 },
        { "op": "add", "key": "counter", "delta": 1 },
        { "op": "expire", "key": "new", "seconds": 5 },
        { "op": "set", "key": "new", "value": "v" },
        { "op": "expire", "key": "new", "seconds": 5 },
        { "op": "expire", "key": "counter2", "seconds": 0 },
        { "op": "expire", "key": "for-long", "seconds": 4_000_000_000_u32 },
    ]));
    let mut stored = Stored::with(&[
        ("gone", "1", 1),
        ("counter", "1", 2),
        ("counter2", "1", 3),
        ("for-long", "1", 4),
    ]);
    stored.entries.get_mut("gone").unwrap().expires_at = Some(NOW);
    stored.entries.get_mut("counter").unwrap().expires_at = later(60);
    stored.entries.get_mut("counter2").unwrap().expires_at = later(60);
    let report = Try::steps(&steps).stored(stored).run().await;
    let seen = reported(&report);
    assert_eq!((&seen[0], &seen[1]), (&Value::Null, &json!(1)));
    let keys: Vec<_> = report.reads.keys.iter().map(|(k, v)| (&**k, *v)).collect();
    assert_eq!(
        keys,
        [
            ("counter", Some(2)),
            ("counter2", Some(3)),
            ("for-long", Some(4)),
            ("gone", None),
            ("new", None)
        ]
    );
    assert_eq!(
        report.effects.state,
        [
            write("counter", Some("2"), later(60)),
            write("counter2", Some("1"), None),
            write("for-long", Some("1"), later(31_536_000)),
            write("gone", Some("1"), None),
            write("new", Some("v"), later(5)),
        ]
    );
}

#[tokio::test]
async fn listing_shows_own_writes_and_records_the_stored_keys() {
    let steps = and_report(json!([
        { "op": "set", "key": "p:2", "value": "" },
        { "op": "remove", "key": "p:1" },
        { "op": "keys", "prefix": "p:", "limit": 2 },
        { "op": "keys", "prefix": "p:", "after": "p:3" },
        { "op": "keys", "prefix": "q", "limit": 0 },
    ]));
    let stored = Stored::with(&[("o", "", 1), ("p:1", "", 1), ("p:3", "", 1), ("p:4", "", 1)]);
    let report = Try::steps(&steps).stored(stored).run().await;
    let seen = reported(&report);
    assert_eq!(seen[2..], [json!(["p:2", "p:3"]), json!(["p:4"]), json!([])]);
    let range = |after: &str, limit, keys: &[&str]| RangeRead {
        prefix: "p:".into(),
        after: after.into(),
        limit,
        keys: keys.iter().map(|k| (*k).into()).collect(),
    };
    assert_eq!(
        report.reads.ranges,
        [range("", 3, &["p:1", "p:3", "p:4"]), range("p:3", 1_000, &["p:4"])]
    );
}

#[tokio::test]
async fn listing_continues_past_keys_that_the_run_removed() {
    let keys: Vec<String> = (0..1_500).map(|n| format!("k{n:04}")).collect();
    let entries: Vec<_> = keys.iter().map(|k| (k.as_str(), "", 1)).collect();
    let mut steps: Vec<Value> =
        keys[..900].iter().map(|k| json!({ "op": "remove", "key": k })).collect();
    steps.push(json!({ "op": "keys", "limit": 1_000 }));
    let report = Try::steps(&and_report(json!(steps))).stored(Stored::with(&entries)).run().await;
    assert_eq!(reported(&report)[900].as_array().unwrap().len(), 600);
}

#[tokio::test]
async fn each_state_refusal_has_its_code() {
    let steps = and_report(json!([
        { "op": "set", "key": "", "value": "x" },
        { "op": "set", "key": "k".repeat(257), "value": "x" },
        { "op": "set", "key": "k", "size": STATE_VALUE_BYTES_MAX + 1 },
        { "op": "add", "key": "word", "delta": 1 },
        { "op": "add", "key": "most", "delta": 1 },
        { "op": "get", "key": "" },
    ]));
    let max = i64::MAX.to_string();
    let stored = Stored::with(&[("word", "seven", 1), ("most", &max, 1)]);
    let results = reported(&Try::steps(&steps).stored(stored).run().await);
    let codes: Vec<_> = results.iter().map(|r| r["refused"].as_str()).collect();
    let invalid = Some("invalid");
    assert_eq!(codes, [invalid, invalid, Some("too-large"), invalid, invalid, None]);
}

#[tokio::test]
async fn full_state_refuses_new_values_and_accepts_replacements() {
    let steps = and_report(json!([
        { "op": "set", "key": "more", "value": "12345" },
        { "op": "set", "key": "here", "value": "54321" },
        { "op": "remove", "key": "here" },
        { "op": "set", "key": "more", "value": "12345" },
    ]));
    let mut stored = Stored::with(&[("here", "12345", 1)]);
    stored.padding = STATE_BYTES_PER_HANDLER_MAX as u64 - 9;
    let report = Try::steps(&steps).stored(stored).run().await;
    let results = reported(&report);
    assert_eq!(results[0]["refused"], "quota");
    assert_eq!(results[1..], [json!(true), json!(true), json!(true)]);
    assert!(report.reads.keys.is_empty(), "looking up sizes is not a read of the guest");
}

#[tokio::test]
async fn state_calls_have_a_limit() {
    let set = json!({ "op": "set", "key": "k", "value": "v" });
    let mut steps = vec![set.clone(); 1_001];
    let results = reported(&Try::steps(&and_report(json!(steps))).run().await);
    assert_eq!(results[999], json!(true));
    assert_eq!(results[1_000]["refused"], "too-many");

    steps.push(json!({ "op": "get", "key": "k" }));
    let report = Try::steps(&json!(steps)).run().await;
    assert_eq!(report.outcome(), Outcome::TooMuchData, "a call that cannot refuse ends the run");
}

#[tokio::test]
async fn failed_run_still_reports_its_reads() {
    let steps = json!([{ "op": "get", "key": "a" }, { "op": "set", "key": "a", "value": "2" }, { "op": "abort" }]);
    let report = Try::steps(&steps).stored(Stored::with(&[("a", "1", 4)])).run().await;
    assert_eq!(report.reads.keys, [("a".into(), Some(4))]);
    assert!(report.effects.is_empty());
}

#[tokio::test]
async fn unavailable_store_is_the_hubs_fault() {
    let broken = Arc::new(Stored { broken: true, ..Stored::default() });
    for step in [
        json!({ "op": "get", "key": "a" }),
        json!({ "op": "add", "key": "a", "delta": 1 }),
        json!({ "op": "keys" }),
        json!({ "op": "cancel", "key": "a" }),
    ] {
        let mut run = Try::steps(&json!([step]));
        run.state = broken.clone() as _;
        let report = run.run().await;
        assert_eq!(report.outcome(), Outcome::Internal, "{step}");
        assert!(report.reason().unwrap().contains("the disk is gone"));
    }
}
