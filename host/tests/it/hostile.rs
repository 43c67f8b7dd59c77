//! Handlers that misbehave: their own attempt fails with the right reason, and nobody else notices.

use serde_json::Value;

use crate::hub::{RunningHub, TestHub, until};
use crate::sink::Sink;
use crate::wat_guests::{command, printing, write};

#[tokio::test(flavor = "multi_thread")]
async fn each_crime_fails_its_own_attempt_with_the_right_outcome() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("guilty", "probe")
        .sidecar(
            "guilty",
            "[limits]\nmemory = \"16MiB\"\ntime = \"500ms\"\n[retry]\nmax_attempts = 1\n[grant]\ndestinations = [\"sink\"]\n",
        )
        .handler("neighbour", "noop")
        .start()
        .await;
    hub.until_ready("guilty").await;
    hub.until_ready("neighbour").await;
    let crimes = [
        (r#"{"op":"loop"}"#, "timeout", ""),
        (r#"{"op":"flood"}"#, "timeout", ""),
        (r#"{"op":"grow"}"#, "out_of_memory", ""),
        (r#"{"op":"recurse"}"#, "stack_overflow", ""),
        (r#"{"op":"panic","message":"on purpose"}"#, "crashed", "on purpose"),
        (
            r#"{"op":"send","destination":"sink","size":10,"times":300000,"must":true}"#,
            "refused",
            "1000",
        ),
        (
            r#"{"op":"send","destination":"elsewhere","body":"x","must":true}"#,
            "refused",
            "elsewhere",
        ),
        (r#"{"op":"emit","type":"x","body":"x","must":true}"#, "refused", "emit"),
    ];
    for (n, (step, outcome, reason)) in crimes.into_iter().enumerate() {
        let body = format!(r#"{{"steps":[{step}]}}"#);
        let event = hub.push("push", &format!("crime-{n}"), body.as_bytes()).await.accepted();
        let stored = hub.until_status(&event, "dead_letter").await;
        let deliveries = stored["deliveries"].as_array().unwrap();
        let of = |name: &str| {
            deliveries.iter().find(|d| d["target"] == format!("handler:{name}")).unwrap()
        };
        let attempt = &of("guilty")["history"][0];
        assert_eq!(attempt["outcome"], outcome, "{step}: {stored}");
        let said = attempt["reason"].as_str().unwrap_or("").replace(',', "");
        assert!(said.contains(reason), "{step}: {said}");
        assert_eq!(of("neighbour")["state"], "processed", "{step}: {stored}");
    }
    assert!(sink.received().is_empty(), "nothing of a failed run may leave");
}

/// A command that no compiler would make, what its run comes to, and what the reason says.
struct Hostile {
    name: &'static str,
    module: Vec<u8>,
    outcome: &'static str,
    reason: &'static str,
}

fn hostile_commands() -> Vec<Hostile> {
    let wat = |text: &str| wat::parse_str(text).unwrap();
    let started = |start: &str| {
        wat(&format!(
            r#"(module (memory (export "memory") 1) (table $t 1 funcref) (func $s {start}) (start $s)
                (func (export "_start")))"#
        ))
    };
    let all: [(_, _, _, _); 12] = [
        ("start-loops", started("(loop (br 0))"), "timeout", "500ms"),
        ("start-traps", started("unreachable"), "crashed", "unreachable"),
        (
            "memory",
            command("(loop (drop (memory.grow (i32.const 16))) (br 0))"),
            "out_of_memory",
            "may have 16777216",
        ),
        (
            "memory-at-once",
            wat(r#"(module (memory (export "memory") 1000) (func (export "_start")))"#),
            "out_of_memory",
            "may have 16777216",
        ),
        // It is told no at 30,000 elements, and gives up where a decent program would go on.
        (
            "table",
            started(
                "(loop (br_if 0 (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
                (if (i32.gt_u (table.size $t) (i32.const 30000)) (then (loop (br 0)))) unreachable",
            ),
            "crashed",
            "unreachable",
        ),
        ("recursion", started("(call $s)"), "stack_overflow", "endless recursion"),
        (
            "output",
            command("(loop (call $print (i32.const 65536)) (br 0))"),
            "too_much_data",
            "bytes on stdout",
        ),
        ("lines", printing("", 300), "too_much_data", "10000 lines"),
        (
            "effects",
            printing(r#"{"effect":"send","destination":"sink","body":"x"}"#, 300),
            "refused",
            "line 1001 of stdout",
        ),
        (
            "not-utf-8",
            command("(i32.store (i32.const 64) (i32.const 0x0afffe22)) (call $print (i32.const 4))"),
            "bad_output",
            "not UTF-8",
        ),
        (
            "far-away",
            command("(drop (call $fd_write (i32.const 1) (i32.const 0x7fffffff) (i32.const 9) (i32.const 8)))"),
            "crashed",
            "",
        ),
        (
            "errors",
            command(
                "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 9999))
                (loop (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (br 0))",
            ),
            "timeout",
            "500ms",
        ),
    ];
    let hostile = |(name, module, outcome, reason)| Hostile { name, module, outcome, reason };
    all.into_iter().map(hostile).collect()
}

/// A hub with all of them, asking for everything that comes in, and a decent neighbour.
async fn hub_of_hostile_commands(sink: &Sink) -> RunningHub {
    let folder = tempfile::tempdir().unwrap();
    let mut hub =
        TestHub::new().github().destination("sink", sink, "").handler("neighbour", "noop");
    for Hostile { name, module, outcome, .. } in hostile_commands() {
        // What ends by what it printed has time to print it, also where the machine is slow.
        let time = if outcome == "timeout" { "500ms" } else { "20s" };
        let sidecar = format!(
            "on = [\"github:*\"]\n[limits]\nmemory = \"16MiB\"\ntime = \"{time}\"\n[retry]\nmax_attempts = 1\n[grant]\ndestinations = [\"sink\"]\n"
        );
        hub = hub.module(name, &write(folder.path(), name, &module)).sidecar(name, &sidecar);
    }
    let hub = hub.start().await;
    hub.until_ready("neighbour").await;
    for Hostile { name, .. } in hostile_commands() {
        hub.until_ready(name).await;
    }
    hub
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_command_fails_its_own_attempt_with_the_right_outcome() {
    let sink = Sink::start().await;
    let hub = hub_of_hostile_commands(&sink).await;
    let event = hub.push("push", "all-at-once", b"{}").await.accepted();
    let settled = until("every delivery to be settled", async || {
        let event = hub.event(&event).await;
        let open = |d: &Value| d["state"] != "dead_letter" && d["state"] != "processed";
        let waiting = event["deliveries"].as_array().unwrap().iter().any(open);
        if waiting { Err(event.to_string()) } else { Ok(event) }
    })
    .await;
    let deliveries = settled["deliveries"].as_array().unwrap();
    let of = |name: &str| {
        let target = format!("handler:{name}");
        deliveries.iter().find(|d| d["target"] == *target).unwrap().clone()
    };
    for Hostile { name, outcome, reason, .. } in hostile_commands() {
        let attempt = &of(name)["history"][0];
        assert_eq!(attempt["outcome"], outcome, "{name}: {attempt}");
        let said = attempt["reason"].as_str().unwrap_or("");
        assert!(said.contains(reason), "{name}: {said}");
    }
    assert_eq!(of("neighbour")["state"], "processed");
    assert!(sink.received().is_empty(), "nothing of a failed run may leave");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_run_has_memory_that_nobody_used_before() {
    let hub = TestHub::new().github().handler("fresh", "fresh").start().await;
    hub.until_ready("fresh").await;
    let load = crate::load::Load::start(hub.ingress, "fresh", 4);
    until("500 answers", async || {
        let answered = load.answered();
        if answered >= 500 { Ok(()) } else { Err(answered.to_string()) }
    })
    .await;
    let sent = load.finish().await;
    for event in sent.acked.values() {
        hub.until_status(event, "processed").await;
    }
}
