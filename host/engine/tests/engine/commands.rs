//! WASI commands: the input document, the lines of output, the exit codes.

use std::time::Duration;

use serde_json::{Value, json};
use weir_core::bounds::MIB;
use weir_core::delivery::{Outcome, Verdict};
use weir_core::effect::MessageContent;
use weir_engine::StateKeys;

use crate::support::{NOW, Stored, Try, body, lines, module, payload, text};

fn printing(stdout: &[Value], exit: u8) -> Try {
    let stdout: Vec<String> =
        stdout.iter().map(|l| l.as_str().map_or_else(|| l.to_string(), str::to_owned)).collect();
    let body = json!({ "stdout": stdout, "stderr": ["first", "said last"], "exit": exit });
    Try::of(module("command"), body.to_string())
}

async fn document(run: Try) -> Value {
    let report = run.run().await;
    assert_eq!(report.reason(), None, "{:?}", report.log);
    serde_json::from_slice(body(&report.effects.messages[0])).unwrap()
}

#[tokio::test]
async fn a_command_reads_one_document() {
    let mut run = Try::of(module("command"), "not JSON");
    run.config.insert("threshold".into(), "5".into());
    run.attempt = 2;
    assert_eq!(
        document(run.depth(1)).await,
        json!({
            "event": {
                "id": "evt_00000000000000000000000008", "source": "github", "type": "push",
                "category": "updated", "delivery_id": "d-1",
                "received_at": 1_759_999_999_000_u64, "content_type": "application/json",
                "method": "POST", "query": "", "path_rest": "", "attempt": 2, "parent": "evt_00000000000000000000000033",
            },
            "headers": [
                ["content-type", "application/json"], ["x-event", "push"], ["x-latin", "caf\u{fffd}"]
            ],
            "body": "not JSON",
            "config": { "threshold": "5" },
        })
    );
}

#[tokio::test]
async fn binary_body_is_base64() {
    let document = document(Try::of(module("command"), *b"\xff\x00")).await;
    assert_eq!((&document["body_base64"], &document["body"]), (&json!("/wA="), &Value::Null));
}

#[tokio::test]
async fn each_line_is_an_effect() {
    let run = printing(
        &[
            json!({ "effect": "send", "destination": "ops", "json": { "big": 12_345_678_901_234_567_890_u64 },
                "headers": { "X-A": "1" }, "delay": 9, "key": "k" }),
            json!({ "effect": "send", "destination": "ops", "body": "text" }),
            json!({ "effect": "send", "destination": "ops", "body_base64": "/wA=", "content_type": "image/x" }),
            json!(""),
            json!({ "effect": "forward", "destination": "ops" }),
            json!({ "effect": "emit", "type": "order.late", "json": [1] }),
            json!({ "effect": "cancel", "key": "c", "ahead": 60 }),
            json!({ "effect": "state.set", "key": "s", "value": "v", "expire": 5 }),
            json!({ "effect": "state.remove", "key": "r" }),
            json!({ "effect": "state.add", "key": "n", "delta": 2 }),
            json!({ "effect": "reply", "status": 201, "body": "ok" }),
            json!({ "effect": "retry-after", "seconds": 30 }),
        ],
        0,
    );
    let report = run.stored(Stored::with(&[("n", "40", 3)])).run().await;
    assert_eq!(report.reason(), None);
    let effects = &report.effects;
    let [json, text, image, forward] = &effects.messages[..] else { panic!("{effects:?}") };
    assert_eq!(
        body(json),
        b"{\"big\":12345678901234567890}",
        "a number is passed on as it was written"
    );
    assert_eq!((json.timing.delay_seconds, json.timing.key.as_deref()), (9, Some("k")));
    assert_eq!(&payload(json).header("x-a").unwrap()[..], b"1");
    assert_eq!(payload(text).content_type(), "text/plain; charset=utf-8");
    assert_eq!((payload(image).content_type(), body(image)), ("image/x", &b"\xff\x00"[..]));
    assert!(matches!(forward.content, MessageContent::Forward { .. }));
    assert_eq!(effects.emits[0].kind.as_str(), "order.late");
    assert_eq!((&*effects.cancels[0].key, effects.cancels[0].ahead_seconds), ("c", 60));
    let state: Vec<_> = effects.state.iter().map(|w| (&*w.key, w.value.as_deref())).collect();
    assert_eq!(state, [("n", Some("42")), ("r", None), ("s", Some("v"))]);
    assert_eq!(effects.reply.as_ref().unwrap().status, 201);
    assert_eq!(report.reads.keys, [("n".into(), Some(3))]);
    assert_eq!(report.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(lines(&report), ["stderr first", "stderr said last"]);
}

#[tokio::test]
async fn invalid_line_fails_the_run_with_its_number() {
    let send = json!({ "effect": "send", "destination": "ops", "body": "x" });
    for (line, outcome, says) in [
        (json!("hello"), Outcome::BadOutput, "line 2 of stdout: expected value"),
        (json!({ "effect": "fly" }), Outcome::BadOutput, "\"fly\" is not an effect"),
        (json!({ "effect": "send", "to": "ops" }), Outcome::BadOutput, "unknown field `to`"),
        (
            json!({ "effect": "send", "destination": "ops", "body": "a", "json": 1 }),
            Outcome::BadOutput,
            "one of body, json",
        ),
        (
            json!({ "effect": "send", "destination": "ops", "body_base64": "?" }),
            Outcome::BadOutput,
            "not base64",
        ),
        (
            json!({ "effect": "send", "destination": "ledger", "body": "x" }),
            Outcome::Refused,
            "line 2 of stdout: The handler `orders` may not send",
        ),
        (json!({ "effect": "reply", "status": 100, "body": "x" }), Outcome::Refused, "200 to 599"),
    ] {
        let report = printing(&[send.clone(), line.clone()], 0).run().await;
        let reason = report.reason().unwrap();
        assert_eq!(report.outcome(), outcome, "{line}: {reason}");
        assert!(reason.contains(says), "{reason}");
        assert!(report.effects.is_empty(), "{line}");
    }
}

#[tokio::test]
async fn invalid_line_is_shown_escaped_and_cut() {
    let reason = |line: String| async move {
        printing(&[json!(line)], 0).run().await.reason().unwrap().to_owned()
    };
    let debug = reason("got \"7\"\u{1b}[31m events".into()).await;
    let wanted = "line 1 of stdout: expected value at column 1; the line is \"got \\\"7\\\"\\u{1b}[31m events\";";
    assert!(debug.starts_with(wanted), "{debug}");
    let long = reason("x".repeat(5_000)).await;
    assert!(long.contains("xx…\"; only effects go to stdout") && long.len() < 300, "{long}");
}

#[tokio::test]
async fn reason_of_a_crashed_command_is_its_panic() {
    let stderr = [
        "starting",
        "panic: no title",
        "",
        "goroutine 1 [running]:",
        "main.main()",
        "\tmain.go:71 +0x19",
    ];
    let died = json!({ "stdout": [], "stderr": stderr, "exit": 2 });
    let report = Try::of(module("command"), died.to_string()).run().await;
    assert_eq!(report.reason(), Some("exited with code 2: panic: no title (main.go:71)"));
    let on_purpose = json!({ "stdout": [], "stderr": ["panic: caught", "not now"], "exit": 75 });
    let report = Try::of(module("command"), on_purpose.to_string()).run().await;
    assert_eq!(report.reason(), Some("not now"));
}

#[tokio::test]
async fn work_not_done_fails_the_run() {
    let send = json!({ "effect": "send", "destination": "ops", "body": "x" }).to_string();
    let warned = json!({
        "stdout": [send],
        "stderr": ["<sys>:0: RuntimeWarning: coroutine 'WitWorld.handle' was never awaited"],
        "exit": 0,
    });
    let report = Try::of(module("command"), warned.to_string()).run().await;
    assert_eq!(report.outcome(), Outcome::Crashed);
    assert!(report.reason().unwrap().contains("nothing in it has run"), "{:?}", report.reason());
    assert!(report.effects.is_empty());
}

#[tokio::test]
async fn exit_code_decides_the_outcome() {
    let again = json!({ "effect": "retry-after", "seconds": 30 });
    let half = json!({ "effect": "send", "destination": "ops", "body": "half" });
    let exits = |code| printing(&[half.clone(), again.clone()], code).run();
    let wait = Verdict::TryAgain { at_least: Some(Duration::from_secs(30)) };

    let report = exits(75).await;
    assert_eq!((report.outcome(), report.verdict()), (Outcome::Retry, wait));
    assert_eq!(report.reason(), Some("said last"));
    assert!(report.effects.is_empty());

    let report = exits(65).await;
    assert_eq!((report.outcome(), report.verdict()), (Outcome::Reject, Verdict::GiveUp));

    let report = exits(3).await;
    assert_eq!((report.outcome(), report.verdict()), (Outcome::Crashed, wait));
    assert_eq!(report.reason(), Some("exited with code 3: said last"));
}

#[tokio::test]
async fn a_command_that_loops_is_stopped() {
    let mut run =
        Try::of(module("command"), json!({ "stderr": ["begun"], "loop": true }).to_string());
    run.limits.time = Duration::from_millis(200);
    let report = run.run().await;
    assert_eq!(report.outcome(), Outcome::Timeout);
    assert_eq!(lines(&report), ["stderr begun"]);
}

#[tokio::test]
async fn endless_lines_are_not_read_to_the_end() {
    let endless = command(
        1,
        "(memory.fill (i32.const 64) (i32.const 10) (i32.const 20000)) (call $print (i32.const \
         20000))",
    );
    let report = Try::of(endless, "").run().await;
    assert_eq!(report.outcome(), Outcome::TooMuchData);
    assert!(report.reason().unwrap().contains("10000 lines"), "{:?}", report.reason());
}

/// A command as text. `$print` writes bytes from address 64 on to stdout.
fn command(memory: u32, start: &str) -> weir_engine::Module {
    text(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") {memory})
            (func $print (param $size i32)
                (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (local.get $size))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func (export "_start") {start}))"#
    ))
}

#[tokio::test]
async fn output_that_is_not_utf_8_is_named_by_its_line() {
    let bad =
        command(1, "(i32.store (i32.const 64) (i32.const 0x0aff0a0a)) (call $print (i32.const 4))");
    let report = Try::of(bad, "").run().await;
    assert_eq!(report.outcome(), Outcome::BadOutput);
    assert_eq!(
        report.reason(),
        Some(
            "line 3 of stdout: not UTF-8 from byte 0 on; the line is \"\u{fffd}\"; only effects \
             go to stdout, log on \
             stderr"
        )
    );
}

#[tokio::test]
async fn endless_output_is_stopped_at_the_limit() {
    let endless = command(2, "(loop (call $print (i32.const 65536)) (br 0))");
    let report = Try::of(endless, "").run().await;
    assert_eq!(report.outcome(), Outcome::TooMuchData, "{:?}", report.end);
    assert!(report.reason().unwrap().contains(&(48 * MIB).to_string()));
}

#[tokio::test]
async fn clocks_belong_to_the_run_and_a_sleep_takes_no_time() {
    // Traps unless the wall clock is `now` in nanoseconds, a poll on a sleep of 10^15 ns returns
    // one event, and the monotonic clock has moved by that much.
    let now = u128::from(NOW.as_millis()) * 1_000_000;
    let code = format!(
        r#"(local $before i64)
        (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 128)))
        (if (i64.ne (i64.load (i32.const 128)) (i64.const {now})) (then unreachable))
        (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 128)))
        (local.set $before (i64.load (i32.const 128)))
        (i64.store (i32.const 256) (i64.const 77))
        (i32.store8 (i32.const 264) (i32.const 0))
        (i32.store (i32.const 272) (i32.const 1))
        (i64.store (i32.const 280) (i64.const 1000000000000000))
        (if (call $poll (i32.const 256) (i32.const 512) (i32.const 1) (i32.const 1024)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 1024)) (i32.const 1)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 512)) (i64.const 77)) (then unreachable))
        (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 128)))
        (if (i64.lt_u (i64.sub (i64.load (i32.const 128)) (local.get $before)) (i64.const 1000000000000000))
            (then unreachable))"#
    );
    let report = Try::of(command(1, &code), "").run().await;
    assert_eq!(report.reason(), None);
}

#[tokio::test]
async fn randomness_repeats_with_its_seed() {
    // Prints eight random bytes as letters on stderr.
    let code = "(drop (call $random (i32.const 64) (i32.const 8)))
        (i64.store (i32.const 64) (i64.add (i64.const 0x6161616161616161)
            (i64.and (i64.load (i32.const 64)) (i64.const 0x0f0f0f0f0f0f0f0f))))
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let command = command(1, code);
    let output = |seed: u8| {
        let mut run = Try::of(command.clone(), "");
        run.seed = [seed; 32];
        async { run.run().await.log.lines.remove(0).message }
    };
    let first = output(1).await;
    assert_eq!(first.len(), 8);
    assert_eq!(first, output(1).await);
    assert_ne!(first, output(2).await);
}

#[tokio::test]
async fn state_named_by_the_operator_is_in_the_document() {
    let mut run = Try::of(module("command"), "not JSON").stored(Stored::with(&[
        ("count:a", "1", 3),
        ("count:b", "2", 4),
        ("other", "x", 5),
        ("total", "3", 6),
    ]));
    let keys = ["count:*", "total", "gone"].map(|text| StateKeys::parse(text).unwrap());
    run.command.state = keys.into();
    let report = run.run().await;
    let document: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(document["state"], json!({ "count:a": "1", "count:b": "2", "total": "3" }));
    let read: Vec<_> = report.reads.keys.iter().map(|(key, version)| (&**key, *version)).collect();
    let expected = [("count:a", Some(3)), ("count:b", Some(4)), ("gone", None), ("total", Some(6))];
    assert_eq!(read, expected, "settling validates what the program saw");
    assert_eq!(report.reads.ranges[0].prefix.as_ref(), "count:");
    let values: Vec<_> =
        report.values_read.iter().map(|e| e.as_ref().map(|e| e.value.to_string())).collect();
    assert_eq!(values, [Some("1".into()), Some("2".into()), None, Some("3".into())]);
}

#[tokio::test]
async fn a_command_without_such_keys_gets_no_state() {
    let report = Try::of(module("command"), "not JSON").run().await;
    let document: Value = serde_json::from_slice(body(&report.effects.messages[0])).unwrap();
    assert_eq!(document.get("state"), None);
    assert!(report.reads.is_empty());
}

#[tokio::test]
async fn more_input_keys_than_the_limit_end_the_run() {
    let keys: Vec<String> = (0..1_100).map(|n| format!("k{n:04}")).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.as_str(), "1", 1)).collect();
    let mut run = Try::of(module("command"), "{}").stored(Stored::with(&entries));
    run.command.state = vec![StateKeys::parse("k*").unwrap()];
    let report = run.run().await;
    assert_eq!(report.outcome(), Outcome::TooMuchData);
    assert!(report.reason().unwrap().contains("more than 1000 keys"), "{report:?}");
}

#[tokio::test]
async fn unreadable_state_ends_a_command_before_it_starts() {
    let stored = Stored { broken: true, ..Stored::default() };
    let mut run = Try::of(module("command"), "{}").stored(stored);
    run.command.state = vec![StateKeys::parse("k").unwrap()];
    let report = run.run().await;
    assert_eq!(report.outcome(), Outcome::Internal);
}

#[tokio::test]
async fn a_command_gets_the_arguments_of_its_settings() {
    let prints_them = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_get" (func $get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (drop (call $get (i32.const 16) (i32.const 1024)))
            (i32.store (i32.const 8) (i32.const 1024))
            (i32.store (i32.const 12) (i32.load (i32.const 4)))
            (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0)))))"#;
    let mut run = Try::of(text(prints_them), "{}");
    run.command.args = vec!["-e".into(), "puts 1".into()];
    assert_eq!(lines(&run.run().await), ["stderr orders\0-e\0puts 1\0"]);
}
