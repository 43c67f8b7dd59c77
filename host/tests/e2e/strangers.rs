//! Strangers' bytes on a terminal and in the log: whatever is sent, answered or logged, nothing
//! changes but text.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub, hmac_hex};
use weir_testing::sink::Sink;
use weir_testing::strangers::{ESCAPES, HIDDEN, bodies, first_active, long_bodies};

const SECRET: &str = "a secret of the partner's own";
const GIVES_UP: &str = "retry = { max_attempts = 1 }\nbreaker = { min_attempts = 1000 }";

/// A hub whose handler logs and gives up with hostile words, and whose destination answers so.
async fn hub() -> RunningHub {
    let sink = Sink::saying(&format!("{ESCAPES}{HIDDEN}")).await;
    sink.answers(422);
    let words = format!("{ESCAPES}{HIDDEN}\nforged line");
    let steps = json!([
        { "op": "log", "message": words },
        { "op": "reject", "reason": words },
    ]);
    let hub = TestHub::new()
        .github()
        .source("partner", "custom", SECRET)
        .destination("ops", &sink, GIVES_UP)
        .config("[[route]]\non = [\"partner:*\", \"github:*\"]\nto = \"ops\"")
        .replace("[log]", "[log]\nlevel = \"weir=debug\"")
        .handler("talker", "probe")
        .sidecar(
            "talker",
            &format!(
                "on = [\"partner:*\"]\n[retry]\nmax_attempts = 1\n[config]\nsteps = {}",
                json!(steps.to_string())
            ),
        )
        .start()
        .await;
    hub.until_ready("talker").await;
    hub
}

/// Posts an event whose type and id are hostile too, as far as the hub accepts them.
async fn post(hub: &RunningHub, number: usize, body: &[u8]) -> Option<String> {
    let name = String::from_utf8_lossy(body);
    let body = json!({
        "type": format!("order{number}{HIDDEN}<script>"),
        "id": format!("{number}{ESCAPES}{HIDDEN}"),
        "more": name,
    });
    let body = body.to_string();
    let signature = format!("sha256={}", hmac_hex(SECRET.as_bytes(), body.as_bytes()));
    let headers = [
        ("content-type", "application/json"),
        ("x-webhook-signature", &*signature),
        ("user-agent", "agent\u{202e}<script>"),
    ];
    let answer = hub.post("partner", &headers, body.as_bytes()).await;
    (answer.status == 200).then(|| answer.accepted())
}

fn assert_text(what: &str, said: &str) {
    assert_eq!(first_active(said), None, "{what}: {said:?}");
}

/// Runs a command as text and as JSON; returns the text.
fn asked(hub: &RunningHub, args: &[&str]) -> String {
    let mut as_text = String::new();
    for json in [false, true] {
        let mut all = args.to_vec();
        if json {
            all.insert(0, "--json");
        }
        let out = hub.cli(&all);
        let said = String::from_utf8(out.stdout).unwrap();
        assert_text(&format!("{all:?}"), &said);
        assert_text(&format!("{all:?}"), &String::from_utf8(out.stderr).unwrap());
        assert!(out.status.success(), "{all:?}: {said}");
        if json {
            for line in said.lines() {
                serde_json::from_str::<Value>(line).unwrap();
            }
        } else {
            as_text = said;
        }
    }
    as_text
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_are_text_in_every_command() {
    let hub = hub().await;
    let mut events = Vec::new();
    for (number, (_, body)) in bodies().iter().enumerate() {
        events.push(post(&hub, number, body).await.unwrap());
        events.push(hub.push("push", &format!("raw-{number}"), body).await.accepted());
    }
    for (name, body) in long_bodies() {
        events.push(hub.push("push", name, &body).await.accepted());
    }
    for event in &events {
        hub.until_status(event, "dead_letter").await;
        let shown = asked(&hub, &["events", event]);
        assert!(shown.contains(event), "{shown}");
        asked(&hub, &["why", event]);
    }
    let shown = asked(&hub, &["events", &events[0]]);
    assert!(shown.contains("\\u001b[2J") && shown.contains("\\u202e"), "it is named: {shown}");
    for args in [
        &["events"][..],
        &["events", "--limit", "100"],
        &["logs", "--limit", "100"],
        &["dead-letters", "list"],
        &["dead-letters", "causes"],
        &["sources", "list"],
        &["quarantine", "list"],
        &["audit"],
    ] {
        asked(&hub, args);
    }
    let dead = hub.api("/api/v1/dead-letters?limit=500").await;
    for letter in dead["items"].as_array().unwrap() {
        asked(&hub, &["dead-letters", "show", letter["id"].as_str().unwrap()]);
    }
    // An id that is one of a stranger's is looked for as it is, and named in the refusal.
    let out = hub.cli(&["events", &format!("gone{HIDDEN}")]);
    assert_text("a refusal", &String::from_utf8(out.stderr).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_are_text_in_the_log_that_is_followed() {
    let hub = hub().await;
    let mut command = hub.command(&["logs", "-f"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let event = post(&hub, 0, &bodies()[4].1).await.unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut seen = String::new();
        for line in lines.map_while(Result::ok) {
            seen.push_str(&line);
            seen.push('\n');
            if seen.contains(&event) && seen.contains("handler:talker") && line.contains("| ") {
                break;
            }
        }
        seen
    });
    let seen = tokio::time::timeout(std::time::Duration::from_secs(60), read).await;
    drop(follower.kill());
    drop(follower.wait());
    let seen = seen.unwrap().unwrap();
    assert!(seen.contains("handler:talker"), "{seen}");
    assert_text("weir logs -f", &seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_bytes_are_text_in_the_hubs_log() {
    let hub = hub().await;
    for (number, (_, body)) in bodies().iter().enumerate() {
        let event = post(&hub, number, body).await.unwrap();
        hub.until_status(&event, "dead_letter").await;
        // What is refused is logged too.
        let headers = [("x-github-event", HIDDEN), ("user-agent", "<script>\u{202e}")];
        hub.post("github", &headers, body).await;
    }
    let log = hub.log.all();
    assert!(log.lines().count() > 20, "{log}");
    assert_text("the log", &log);
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}
