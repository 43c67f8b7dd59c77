//! Jobs: replays by filter that the hub does by itself, over kills, pauses and cancellations.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use weir_testing::guests::committed;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

use crate::load::Load;

/// A destination that is never paused after failures.
const NEVER_PAUSED: &str =
    "breaker = { min_attempts = 1000000, pause = \"1h\", max_pause = \"1h\" }";
const ALL_TO_SINK: &str = "[[route]]\non = [\"github:*\"]\nto = \"sink\"";
/// Dead letters that are waited for at once: a wait has a limit.
const AT_ONCE: u64 = 2_000;

/// The number of dead letters. `WEIR_JOB_DEAD_LETTERS=100000` makes more.
fn dead_letters() -> u64 {
    std::env::var("WEIR_JOB_DEAD_LETTERS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000)
}

async fn count_of(hub: &RunningHub, state: &str) -> u64 {
    let health = hub.api("/health").await;
    health["queues"]["destination:sink"][state].as_u64().unwrap_or(0)
}

/// Waits until a number has grown to `all`, however long that takes, as long as it grows.
async fn until_grown(what: &str, all: u64, read: impl AsyncFn() -> u64) {
    let mut enough = 0;
    while enough < all {
        enough = (enough + AT_ONCE).min(all);
        until(what, async || {
            let now = read().await;
            if now >= enough { Ok(()) } else { Err(format!("{now} of {enough}")) }
        })
        .await;
    }
}

/// Pushes events until `all` are dead letters. Returns their exact number.
async fn give_up(hub: &RunningHub, sink: &Sink, all: u64) -> u64 {
    sink.answers(422);
    let load = Load::start(hub.ingress, "given-up", 16);
    until_grown("answers", all, async || load.answered()).await;
    let sent = load.finish().await;
    assert!(sent.refused.is_empty() && sent.in_flight.is_empty(), "{:?}", sent.refused);
    let exact = sent.acked.len() as u64;
    until_grown("dead letters", exact, async || count_of(hub, "dead_letter").await).await;
    sink.answers(200);
    exact
}

async fn job(hub: &RunningHub, name: &str) -> Value {
    hub.api(&format!("/api/v1/jobs/{name}")).await
}

async fn until_job(hub: &RunningHub, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until(&format!("the job {name}"), async || {
        let now = job(hub, name).await;
        if is_so(&now) { Ok(now) } else { Err(now.to_string()) }
    })
    .await
}

/// The generations of all deliveries, each with the number of deliveries that have it.
async fn generations(hub: &RunningHub) -> Vec<(u64, u64)> {
    let mut found = std::collections::BTreeMap::<u64, u64>::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/events?source=github&limit=500{cursor}");
        let page = hub.api(&path).await;
        for event in page["items"].as_array().unwrap() {
            for delivery in event["deliveries"].as_array().unwrap() {
                *found.entry(delivery["generation"].as_u64().unwrap()).or_default() += 1;
            }
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found.into_iter().collect(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dead_letter_is_requeued_once_over_kills_and_two_jobs() {
    let sink = Sink::start().await;
    let hub = TestHub::new().github().destination("sink", &sink, NEVER_PAUSED);
    let mut hub = hub.config(ALL_TO_SINK).start().await;
    let all = give_up(&hub, &sink, dead_letters()).await;
    let refused = sink.received().len();

    let rate = format!("{}/s", all / 8);
    let first = ["replay", "--dead-letters", "--request", "first", "--rate", &rate];
    hub.cli_ok(&[&first[..], &["--detach"]].concat());
    let mut done = 0;
    for _ in 0..3 {
        let before = done;
        let now = until_job(&hub, "first", |job| job["done"].as_u64().unwrap() > before).await;
        assert_eq!(now["state"], "running", "{now}");
        hub = hub.kill_and_restart().await;
        done = job(&hub, "first").await["done"].as_u64().unwrap();
        assert!(done > before, "progress was lost in a kill");
    }
    hub.cli_ok(&["jobs", "cancel", "first"]);
    until_job(&hub, "first", |job| job["state"] == "cancelled").await;
    let again = hub.cli(&["replay", "--dead-letters", "--request", "first", "--rate", &rate]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("cancelled"), "the same job: {said}");

    let rest = hub.cli_ok(&["replay", "--dead-letters", "--request", "second", "--json"]);
    let second: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    let first = job(&hub, "first").await;
    let (first, second) = (&first["deliveries"], &second["deliveries"]);
    let (first, second) = (first.as_u64().unwrap(), second.as_u64().unwrap());
    assert!(first > 0 && second > 0, "{first} by the first job, {second} by the second");
    assert_eq!(first + second, all, "{first} by the first job, {second} by the second");

    until_grown("messages", all, async || sink.received().len() as u64 - refused as u64).await;
    until("no dead letters", async || match count_of(&hub, "dead_letter").await {
        0 => Ok(()),
        left => Err(left.to_string()),
    })
    .await;
    assert_eq!(generations(&hub).await, [(1, all)], "each was requeued once");
    let sent = &sink.received()[refused..];
    let ids: BTreeSet<&str> = sent.iter().map(|message| message.header("webhook-id")).collect();
    assert_eq!(ids.len() as u64, all, "distinct messages");
    eprintln!("{all} dead letters: {first} requeued by the first job, {second} by the second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_pauses_resumes_and_finishes_under_its_name() {
    let sink = Sink::start().await;
    let hub = TestHub::new().github().destination("sink", &sink, NEVER_PAUSED);
    let hub = hub.config(ALL_TO_SINK).start().await;
    let all = give_up(&hub, &sink, 40).await;
    let order = ["replay", "--dead-letters", "--source", "github", "--request", "mine", "--rate"];
    let made = hub.cli_ok(&[&order[..], &["5/s", "--detach"]].concat());
    assert!(made.contains("job mine is running"), "{made}");
    until_job(&hub, "mine", |job| job["done"].as_u64().unwrap() >= 5).await;
    hub.cli_ok(&["jobs", "pause", "mine"]);
    // The step that was recorded is withdrawn, and nothing more becomes due.
    let paused = until_job(&hub, "mine", |job| job["state"] == "paused").await;
    assert!(paused["done"].as_u64().unwrap() < all, "{paused}");
    assert_eq!(
        hub.metric_lines(&["weir_jobs{", "paused"]).await,
        ["weir_jobs{state=\"paused\"} 1"]
    );
    let hub = hub.stop_and_restart().await;
    assert_eq!(job(&hub, "mine").await["state"], "paused", "also after a restart");
    let (exit, said) = hub.cli_err(&[&order[..], &["6/s"]].concat());
    assert!(exit == 1 && said.contains("job_differs"), "{said}");
    hub.cli_ok(&["jobs", "resume", "mine"]);
    let ended = hub.cli_ok(&["jobs", "show", "mine", "--follow", "--json"]);
    let ended: Value = serde_json::from_str(ended.lines().last().unwrap()).unwrap();
    let numbers = [&ended["done"], &ended["deliveries"], &ended["total"], &ended["skipped"]];
    assert_eq!(numbers, [&json!(all), &json!(all), &json!(all), &json!(0)], "{ended}");
    until_grown("messages", 2 * all, async || sink.received().len() as u64).await;
    assert_eq!(generations(&hub).await, [(1, all)]);

    let again = hub.cli_ok(&[&order[..], &["5/s", "--json"]].concat());
    let again: Value = serde_json::from_str(again.lines().last().unwrap()).unwrap();
    assert_eq!((&again["job"], &again["deliveries"]), (&json!("mine"), &json!(all)));
    assert_eq!(sink.received().len() as u64, 2 * all, "the same name does nothing again");
    let (exit, said) = hub.cli_err(&["jobs", "cancel", "mine"]);
    assert!(exit == 1 && said.contains("job_over"), "{said}");
    assert_eq!(hub.cli_err(&["jobs", "show", "other"]).0, 4);
    assert!(hub.cli_ok(&["jobs", "list"]).contains("finished"));
    let audit = hub.cli_ok(&["audit", "--subject", "mine"]);
    for act in ["job_create", "job_pause", "job_resume", "job_cancel"] {
        assert!(audit.contains(act), "{act}: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processed_events_are_routed_again_by_the_rules_of_now() {
    let sink = Sink::start().await;
    let hub = TestHub::new().github().destination("sink", &sink, "").config(ALL_TO_SINK);
    let hub = hub.handler("noop", "noop").sidecar("noop", "on = [\"github:push\"]\n");
    let hub = hub.start().await;
    hub.until_ready("noop").await;
    for number in 0..30 {
        let kind = if number % 3 == 0 { "push" } else { "issues" };
        let event = hub.push(kind, &format!("one-{number}"), b"{}").await.accepted();
        hub.until_status(&event, "processed").await;
    }
    hub.put_handler("later", committed("noop"));
    hub.write("plugins/later.toml", "on = [\"github:push\"]\n");
    hub.until_ready("later").await;
    let pushes = ["replay", "--events", "--type", "push", "--status", "processed", "--since", "1h"];
    let read =
        |said: String| -> Value { serde_json::from_str(said.lines().last().unwrap()).unwrap() };
    let dry = read(hub.cli_ok(&[&pushes[..], &["--dry-run", "--json"]].concat()));
    let numbers = json!({"dry_run": true, "events": 10, "routed": 10, "deliveries": 30});
    assert_eq!(dry, numbers);
    assert_eq!(sink.received().len(), 30, "counting changes nothing");
    let done = read(hub.cli_ok(&[&pushes[..], &["--new-ids", "--json"]].concat()));
    assert_eq!((&done["events"], &done["deliveries"]), (&json!(10), &json!(30)), "{done}");
    let received = sink.until_received(40).await;
    let ids: BTreeSet<_> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), 40, "each under a new id");
    let none = hub.cli_ok(&["replay", "--events", "--category", "payment.received"]);
    assert_eq!(none.trim(), "no events");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_resent_to_one_destination_also_to_one_that_never_had_them() {
    let (sink, billing) = (Sink::start().await, Sink::start().await);
    let hub = TestHub::new().github().destination("sink", &sink, "").config(ALL_TO_SINK);
    let hub = hub.destination("billing", &billing, "").start().await;
    let mut events = Vec::new();
    for number in 0..20 {
        let event = hub.push("push", &format!("one-{number}"), b"{\"n\":1}").await.accepted();
        hub.until_status(&event, "processed").await;
        events.push(event);
    }
    let resend = ["replay", "--events", "--source", "github", "--since", "1h", "--to", "billing"];
    let said = hub.cli_ok(&[&resend[..], &["--dry-run"]].concat());
    assert_eq!(said.trim(), "20 events: 20 would be replayed in 20 deliveries");
    let to_billing = [&resend[..], &["--request", "resend", "--rate", "1000/s"]].concat();
    hub.cli_ok(&to_billing);
    let received = billing.until_received(20).await;
    assert!(received.iter().all(|one| &*one.body == b"{\"n\":1}"), "as it was received");
    hub.cli_ok(&to_billing);
    hub.cli_ok(&["replay", &events[0], "--to", "billing"]);
    billing.until_received(21).await;
    for event in &events {
        let found = hub.until_status(event, "processed").await;
        assert_eq!(found["deliveries"].as_array().unwrap().len(), 2, "{found}");
    }
    assert_eq!(sink.received().len(), 20, "the other destination gets nothing");
    assert_eq!(billing.received().len(), 21);
    let (exit, said) = hub.cli_err(&["replay", "--events", "--to", "nowhere"]);
    assert!(exit == 4 && said.contains("there are billing, sink"), "{said}");
}
