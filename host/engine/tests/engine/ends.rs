//! The ends of a run: outcome, reason, log and effects.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::delivery::{Outcome, Verdict};
use weir_engine::LogLevel;

use crate::support::{Try, lines, text};

async fn ends(step: Value) -> weir_engine::RunReport {
    Try::steps(&json!([
        { "op": "send", "destination": "ops", "body": "half way" },
        { "op": "emit", "type": "x", "json": 1 },
        { "op": "add", "key": "n", "delta": 1 },
        { "op": "cancel", "key": "k" },
        { "op": "reply", "json": 1 },
        step,
    ]))
    .run()
    .await
}

#[tokio::test]
async fn failed_run_has_no_effects() {
    let failures = [
        (json!({ "op": "retry" }), Outcome::Retry),
        (json!({ "op": "reject" }), Outcome::Reject),
        (json!({ "op": "refuse" }), Outcome::Refused),
        (json!({ "op": "panic" }), Outcome::Crashed),
        (json!({ "op": "abort" }), Outcome::Crashed),
        (json!({ "op": "recurse" }), Outcome::StackOverflow),
        (json!({ "op": "grow" }), Outcome::OutOfMemory),
    ];
    for (step, outcome) in failures {
        let report = ends(step.clone()).await;
        assert_eq!(report.outcome(), outcome, "{step}: {:?}", report.end);
        assert!(report.effects.is_empty(), "{step}");
        assert_eq!(report.reads.keys, [("n".into(), None)], "{step}");
    }
    assert!(!ends(json!({ "op": "get", "key": "n" })).await.effects.is_empty());
}

#[tokio::test]
async fn retry_and_reject_keep_reason_and_wait() {
    let report = Try::steps(&json!([
        { "op": "retry-after", "seconds": 5 },
        { "op": "retry-after", "seconds": 100_000 },
        { "op": "retry", "reason": "ledger is down" },
    ]))
    .run()
    .await;
    assert_eq!(report.reason(), Some("ledger is down"));
    let day = Some(Duration::from_secs(86_400));
    assert_eq!(report.verdict(), Verdict::TryAgain { at_least: day });

    let report = ends(json!({ "op": "reject", "reason": "bad event" })).await;
    assert_eq!((report.reason(), report.verdict()), (Some("bad event"), Verdict::GiveUp));
}

#[tokio::test]
async fn unhandled_refusal_is_retried_if_an_operator_can_help() {
    for (code, again) in [
        ("not-granted", true),
        ("not-found", true),
        ("quota", true),
        ("unavailable", true),
        ("other", true),
        ("invalid", false),
        ("too-large", false),
        ("too-many", false),
    ] {
        let report = ends(json!({ "op": "refuse", "code": code, "message": "why" })).await;
        let wanted = if again { Verdict::TryAgain { at_least: None } } else { Verdict::GiveUp };
        assert_eq!((report.outcome(), report.verdict()), (Outcome::Refused, wanted), "{code}");
        assert_eq!(report.reason(), Some("why"));
    }
    let passed_on = json!({ "op": "send", "destination": "ledger", "body": "x", "must": true });
    assert!(ends(passed_on).await.reason().unwrap().contains("may not send to \"ledger\""));
}

#[tokio::test]
async fn reason_of_a_panic_is_its_message_and_of_an_abort_its_place() {
    let report = ends(json!({ "op": "panic", "message": "guest says boom" })).await;
    let reason = report.reason().unwrap();
    assert!(reason.starts_with("panicked at ") && reason.ends_with("guest says boom"), "{reason}");
    assert_eq!(report.log.lines.last().unwrap().level, LogLevel::Error);

    let report = ends(json!({ "op": "abort" })).await;
    assert!(report.reason().unwrap().starts_with("crashed: "), "{:?}", report.reason());
}

#[tokio::test]
async fn reasons_are_cut_and_the_log_is_kept() {
    let report = Try::steps(&json!([
        { "op": "log", "level": "warn", "message": "odd" },
        { "op": "reject", "reason": "é".repeat(5_000) },
    ]))
    .run()
    .await;
    assert_eq!(report.reason().unwrap().len(), 4_096);
    assert_eq!(lines(&report), ["warn odd"]);
}

/// A component whose `handle` is this core code, without imports.
fn core(body: &str, memory: &str) -> weir_engine::Module {
    text(&format!(
        r#"(component
            (core module $m
                {memory}
                (func (export "describe"))
                (func (export "handle") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32)
                    (result i32) {body})
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
            (core instance $i (instantiate $m))
            (type $event' (record (field "id" string) (field "source" string) (field "type" string)
                (field "category" (option string)) (field "delivery-id" (option string))
                (field "received-at" u64) (field "content-type" string)))
            (import "weir:handler/types@0.1.0" (instance $types
                (type $e (record (field "id" string) (field "source" string) (field "type" string)
                    (field "category" (option string)) (field "delivery-id" (option string))
                    (field "received-at" u64) (field "content-type" string)))
                (export "event" (type $event (eq $e)))
                (type $c (enum "not-granted" "not-found" "invalid" "too-large" "too-many" "quota" "unavailable" "other"))
                (export "refusal-code" (type $code (eq $c)))
                (type $r (record (field "code" $code) (field "message" string)))
                (export "refusal" (type $refusal (eq $r)))
                (type $f (variant (case "retry" string) (case "reject" string) (case "refused" $refusal)))
                (export "failure" (type $failure (eq $f)))))
            (alias export $types "event" (type $event))
            (alias export $types "failure" (type $failure))
            (func (export "describe") (canon lift (core func $i "describe")))
            (type $handle (func (param "event" $event) (result (result (error $failure)))))
            (func (export "handle") (type $handle)
                (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))"#
    ))
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

#[tokio::test]
async fn invalid_access_is_a_crash_and_endless_recursion_is_not() {
    let out_of_bounds = core("(i32.load (i32.const -4))", MEMORY);
    let report = Try::of(out_of_bounds, "").run().await;
    assert_eq!(report.outcome(), Outcome::Crashed);
    assert!(report.reason().unwrap().contains("out of bounds"), "{:?}", report.reason());

    let recursion =
        core("(call $walk)", &format!("{MEMORY} (func $walk (result i32) (call $walk))"));
    let report = Try::of(recursion, "").run().await;
    assert_eq!(report.outcome(), Outcome::StackOverflow);
    assert!(report.reason().unwrap().contains("walk"), "{:?}", report.reason());
}

#[tokio::test]
async fn module_that_exceeds_its_memory_limit_does_not_start() {
    let big = core("(i32.const 0)", r#"(memory (export "memory") 100)"#);
    let mut small = Try::of(big.clone(), "");
    small.limits.memory = 2 << 20;
    let report = small.run().await;
    assert_eq!(report.outcome(), Outcome::OutOfMemory);
    assert!(report.reason().unwrap().contains("raise `memory` under [limits]"));
    let report = Try::of(big, "").run().await;
    assert_eq!((report.outcome(), report.memory_peak), (Outcome::Ok, 100 << 16));
}
