//! Modules without a hub: `weir run`, `weir test` and `weir check FILE`, and that a hub agrees with
//! them.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use weir_testing::guests::committed;
use weir_testing::hostile;
use weir_testing::hub::{Log, TestHub, weir};
use weir_testing::sink::Sink;
use weir_testing::wait::until;

/// A folder with modules and no hub.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn module(self, name: &str, guest: &str) -> Self {
        std::fs::copy(committed(guest), self.path().join(format!("{name}.wasm"))).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Runs `weir` here. Compiled code is kept here too.
    fn weir(&self, args: &[&str]) -> Output {
        let mut command = weir();
        command.args(args).current_dir(self.path()).env("XDG_CACHE_HOME", self.path());
        command.output().unwrap()
    }
}

fn code(out: &Output) -> i32 {
    out.status.code().unwrap_or(-1)
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

fn json_of(out: &Output) -> Value {
    serde_json::from_str(&stdout(out)).unwrap_or_else(|_| panic!("{}", stderr(out)))
}

/// An event for the probe, with these steps.
fn event(steps: &Value) -> String {
    json!({ "event": { "source": "github", "type": "push" }, "json": { "steps": steps } })
        .to_string()
}

const SIDECAR: &str = "on = [\"github:*\"]\n[grant]\ndestinations = [\"sink\"]\nemit = true\n";

#[test]
fn a_run_prints_effects_reads_log_and_cost() {
    let steps = json!([
        { "op": "get", "key": "before" },
        { "op": "add", "key": "n", "delta": 2 },
        { "op": "send", "destination": "sink", "json": { "a": 1 } },
        { "op": "emit", "type": "done", "body": "x" },
        { "op": "log", "message": "hello" },
        { "op": "config", "key": "threshold" },
        { "op": "report", "destination": "sink" },
    ]);
    let folder = Folder::new()
        .module("orders", "probe")
        .file("orders.toml", SIDECAR)
        .file("event.json", &event(&steps))
        .file("state.json", r#"{"before": "yes", "n": "40"}"#);
    let args = ["run", "orders.wasm", "--event", "event.json", "--state", "state.json"];
    let args = [&args[..], &["--config", "threshold=5"]].concat();
    let text = folder.weir(&args);
    assert_eq!(code(&text), 0, "{}", stderr(&text));
    for part in ["outcome   ok", "hello", "before: yes", "send to sink", "memory peak"] {
        assert!(stdout(&text).contains(part), "{part}: {}", stdout(&text));
    }
    let run = json_of(&folder.weir(&[&args[..], &["--json"]].concat()));
    assert_eq!(run["outcome"], "ok");
    assert_eq!(run["reads"][0], json!({ "key": "before", "value": "yes" }));
    let of = |effect: &str| {
        let effects = run["effects"].as_array().unwrap();
        effects.iter().find(|e| e["effect"] == effect).unwrap().clone()
    };
    assert_eq!(of("send")["json"], json!({ "a": 1 }));
    assert_eq!(of("emit")["type"], "done");
    assert_eq!(of("state.set"), json!({ "effect": "state.set", "key": "n", "value": "42" }));
    assert!(run["log"].as_array().unwrap().iter().any(|line| line["message"] == "hello"));
    assert!(run["memory_peak"].as_u64().unwrap() > 0 && run["wall_us"].as_u64().unwrap() > 0);
    let reported = run["effects"].as_array().unwrap().iter().rfind(|e| e["effect"] == "send");
    assert_eq!(reported.unwrap()["json"]["results"][5], "5", "the setting of the command line");
}

#[test]
fn the_exit_code_of_a_run_tells_its_outcome() {
    let folder = Folder::new().module("orders", "probe").file("orders.toml", SIDECAR);
    let cases = [
        (json!([]), 0, "ok"),
        (json!([{ "op": "retry", "reason": "later" }]), 75, "retry"),
        (json!([{ "op": "reject", "reason": "never" }]), 65, "reject"),
        (json!([{ "op": "panic", "message": "half way" }]), 70, "crashed"),
        (
            json!([{ "op": "send", "destination": "other", "body": "x", "must": true }]),
            70,
            "refused",
        ),
    ];
    for (steps, expected, outcome) in cases {
        std::fs::write(folder.path().join("event.json"), event(&steps)).unwrap();
        let out = folder.weir(&["run", "orders.wasm", "--event", "event.json", "--json"]);
        assert_eq!(code(&out), expected, "{}", stderr(&out));
        assert_eq!(json_of(&out)["outcome"], outcome);
    }
}

#[test]
fn a_sample_is_identified_as_its_provider_says() {
    let folder = Folder::new().module("tell", "version-a").file("tell.toml", SIDECAR);
    let out = folder.weir(&["run", "tell.wasm", "--sample", "github:push", "--json"]);
    let run = json_of(&out);
    assert_eq!(
        (&run["event"]["source"], &run["event"]["type"]),
        (&json!("github"), &json!("push"))
    );
    assert_eq!(run["effects"][0]["json"]["version"], "a");
    assert_eq!(run["subscribed"], true);
    let other = folder.weir(&["run", "tell.wasm", "--sample", "stripe:payment_intent.succeeded"]);
    assert!(stdout(&other).contains("a hub would not run it"), "{}", stderr(&other));
    let conditional = format!("when = 'event.body.ref == \"refs/heads/none\"'\n{SIDECAR}");
    std::fs::write(folder.path().join("tell.toml"), conditional).unwrap();
    let run = json_of(&folder.weir(&["run", "tell.wasm", "--sample", "github:push", "--json"]));
    assert_eq!(run["subscribed"], false);
    assert!(run["not_routed"].as_str().unwrap().contains("event.body.ref"), "{run}");
    let out = folder.weir(&["run", "tell.wasm", "--sample", "github:nonsense"]);
    assert_eq!(code(&out), 2);
    assert!(stderr(&out).contains("github has no sample"), "{}", stderr(&out));
}

#[test]
fn input_that_is_no_event_is_refused_by_name() {
    let folder = Folder::new().module("tell", "version-a").file("tell.toml", SIDECAR);
    std::fs::write(folder.path().join("event.json"), "{ no json").unwrap();
    for (args, said) in [
        (&["run", "tell.wasm"][..], "give an event"),
        (&["run", "tell.wasm", "--event", "event.json"], "is not a fixture"),
        (&["run", "tell.wasm", "--event", "nothing.json"], "cannot be read"),
        (&["run", "tell.wasm", "--sample", "push"], "PROVIDER:NAME"),
    ] {
        let out = folder.weir(args);
        assert_eq!(code(&out), 2, "{args:?}");
        assert!(stderr(&out).contains(said), "{args:?}: {}", stderr(&out));
    }
    let out = folder.weir(&["run", "nothing.wasm", "--sample", "github:push"]);
    assert_eq!(code(&out), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_module_runs_again_when_a_file_changes() {
    let folder = Folder::new()
        .module("orders", "probe")
        .file("orders.toml", SIDECAR)
        .file("event.json", &event(&json!([])));
    let mut command = weir();
    command
        .args(["run", "orders.wasm", "--event", "event.json", "--watch", "--json"])
        .current_dir(folder.path())
        .env("XDG_CACHE_HOME", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let log = Log::default();
    log.follow(child.stdout.take().unwrap());
    log.follow(child.stderr.take().unwrap());
    let until_told = async |part: &str| {
        until(part, async || if log.having(&[part]).is_empty() { Err(log.all()) } else { Ok(()) })
            .await;
    };
    until_told(r#""outcome":"ok""#).await;
    let folder = folder.file("event.json", "{ no json");
    until_told("is not a fixture").await;
    let again = event(&json!([{ "op": "reject", "reason": "changed" }]));
    let _folder = folder.file("event.json", &again);
    until_told(r#""outcome":"reject""#).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The outcome and reason of `weir run`.
fn ran(out: &Output) -> (String, String) {
    let run = json_of(out);
    let text = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_run_ends_alone_as_in_a_hub() {
    let sink = Sink::start().await;
    let hub = hostile::hub_of_all(&sink, "push").await;
    let event = hub.push("push", "all-at-once", b"{}").await.accepted();
    let settled = until("every delivery to be settled", async || {
        let event = hub.event(&event).await;
        let open = |d: &Value| d["state"] != "dead_letter" && d["state"] != "processed";
        let waiting = event["deliveries"].as_array().unwrap().iter().any(open);
        if waiting { Err(event.to_string()) } else { Ok(event) }
    })
    .await;
    std::fs::write(
        hub.folder.path().join("event.json"),
        r#"{"event": {"source": "github", "type": "push"}, "json": {}}"#,
    )
    .unwrap();
    for fixture in hostile::runs() {
        let target = format!("handler:{}", fixture.name);
        let deliveries = settled["deliveries"].as_array().unwrap();
        let attempt = &deliveries.iter().find(|d| d["target"] == *target).unwrap()["history"][0];
        let module = format!("plugins/{}.wasm", fixture.name);
        let out = hub.cli(&["run", &module, "--event", "event.json", "--json"]);
        let (outcome, reason) = ran(&out);
        assert_eq!(attempt["outcome"], outcome, "{}", fixture.name);
        assert_eq!(attempt["reason"].as_str().unwrap_or_default(), reason, "{}", fixture.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refused_file_is_refused_alone_as_in_a_hub() {
    let hub = TestHub::new().github().handler("victim", "version-a").start().await;
    hub.until_ready("victim").await;
    let module = hub.folder.path().join("plugins/victim.wasm");
    let mut before = String::new();
    for fixture in hostile::refused() {
        fixture.put(&module);
        let refused = until(&format!("{} to be refused", fixture.name), async || {
            let handlers = hub.api("/api/v1/handlers").await;
            let victim =
                handlers["items"].as_array().unwrap().iter().find(|h| h["name"] == "victim");
            let reason = victim.and_then(|h| h["last_error"].as_str()).unwrap_or_default();
            let found = reason.contains(fixture.reason) && reason != before;
            if found { Ok(reason.to_owned()) } else { Err(handlers.to_string()) }
        })
        .await;
        let out = hub.cli(&["check", "plugins/victim.wasm", "--json"]);
        assert_eq!(code(&out), 1, "{}", fixture.name);
        let alone = json_of(&out)["problem"].as_str().unwrap().to_owned();
        assert_eq!(alone, format!("plugins/victim.wasm: {refused}"), "{}", fixture.name);
        before = refused;
    }
}

const FIXTURE: &str = r#"{
  "event": { "source": "github", "type": "push" },
  "json": { "steps": [
    { "op": "add", "key": "n", "delta": 1 },
    { "op": "send", "destination": "sink", "json": { "n": 42 } }
  ] },
  "state": { "n": "41" },
  "expect": {
    "outcome": "ok",
    "effects": [{ "effect": "send", "destination": "sink", "json": { "n": 42 } }],
    "state": { "n": "42" }
  }
}"#;

#[test]
fn fixtures_pass_fail_with_a_difference_and_are_recorded() {
    let folder = Folder::new()
        .module("orders", "probe")
        .file("orders.toml", SIDECAR)
        .file("orders.fixtures/one.json", FIXTURE);
    let out = folder.weir(&["test", "orders.wasm"]);
    assert_eq!(code(&out), 0, "{}{}", stdout(&out), stderr(&out));
    let wrong = FIXTURE.replace("\"n\": \"42\"", "\"n\": \"43\"");
    let folder = folder.file("orders.fixtures/one.json", &wrong);
    let out = folder.weir(&["test", "."]);
    assert_eq!(code(&out), 1);
    assert!(stdout(&out).contains("-    \"n\": \"43\"\n+    \"n\": \"42\""), "{}", stdout(&out));
    let result = json_of(&folder.weir(&["test", "orders.wasm", "--json"]));
    assert_eq!((&result["ok"], &result["fixture"]), (&json!(false), &json!("one.json")));
    assert_eq!(code(&folder.weir(&["test", "orders.wasm", "--bless"])), 0);
    assert_eq!(code(&folder.weir(&["test", "orders.wasm"])), 0);
    let recorded: Value = serde_json::from_str(&folder.read("orders.fixtures/one.json")).unwrap();
    assert_eq!(recorded["expect"]["state"], json!({ "n": "42" }));
    assert_eq!(recorded["state"], json!({ "n": "41" }), "the input stays");
    let again = folder.weir(&["test", "orders.wasm", "--bless"]);
    assert!(stdout(&again).contains("1 unchanged"), "{}", stdout(&again));
}

#[test]
fn a_fixture_that_is_no_json_fails_by_name() {
    let folder = Folder::new()
        .module("orders", "probe")
        .file("orders.fixtures/broken.json", "{ \"event\": ")
        .file("orders.fixtures/other.json", "{ \"events\": [] }");
    let out = folder.weir(&["test", "orders.wasm"]);
    assert_eq!(code(&out), 1);
    let said = stdout(&out);
    for part in ["FAILED    orders/broken.json", "line 1 column", "unknown field `events`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(code(&folder.weir(&["test", "nothing"])), 4);
    let bare = Folder::new().module("orders", "probe");
    assert_eq!(code(&bare.weir(&["test", "orders.wasm"])), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_fixture_fails_does_not_serve() {
    let sink = Sink::start().await;
    let fixture = |version: &str| {
        json!({
            "event": { "id": "evt_00000000000000000000000001", "source": "github", "type": "push" },
            "expect": { "outcome": "ok", "effects": [{
                "effect": "send", "destination": "sink",
                "json": { "version": version, "event": "evt_00000000000000000000000001" },
            }] },
        })
        .to_string()
    };
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("orders", "version-a")
        .sidecar("orders", "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n");
    let folder = hub.folder.path().join("plugins/orders.fixtures");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("one.json"), fixture("a")).unwrap();
    let hub = hub.start().await;
    hub.until_ready("orders").await;
    let put = |guest: &str| {
        let path = hub.folder.path().join("plugins/orders.wasm");
        std::fs::copy(committed(guest), path.with_extension("new")).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    let until_error = async |parts: &[&str]| {
        until("the handler to be refused", async || {
            let handlers = hub.api("/api/v1/handlers").await;
            let reason = handlers["items"][0]["last_error"].as_str().unwrap_or_default();
            let told = parts.iter().all(|part| reason.contains(part));
            if told { Ok(()) } else { Err(handlers.to_string()) }
        })
        .await;
    };
    put("version-b");
    until_error(&["fixture one.json differs", "\"version\": \"a\"", "\"version\": \"b\""]).await;
    hub.push("push", "one", b"{}").await.accepted();
    assert_eq!(sink.until_received(1).await[0].json()["version"], "a", "the last good one serves");
    std::fs::write(folder.join("one.json"), "no JSON").unwrap();
    until_error(&["fixture one.json is not a fixture"]).await;
    std::fs::write(folder.join("one.json"), fixture("b")).unwrap();
    until("version b to serve", async || {
        let handlers = hub.api("/api/v1/handlers").await;
        let serves = handlers["items"][0]["last_error"].is_null();
        if serves { Ok(()) } else { Err(handlers.to_string()) }
    })
    .await;
    hub.push("push", "two", b"{}").await.accepted();
    assert_eq!(sink.until_received(2).await[1].json()["version"], "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_hub_becomes_a_fixture() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("orders", "probe")
        .sidecar("orders", SIDECAR)
        .start()
        .await;
    hub.until_ready("orders").await;
    let counted = br#"{"steps":[{"op":"add","key":"n","delta":41}]}"#;
    let first = hub.push("push", "zero", counted).await.accepted();
    hub.until_status(&first, "processed").await;
    let body = br#"{"steps":[{"op":"get","key":"n"},{"op":"retry","reason":"later"}]}"#;
    let event = hub.push("push", "one", body).await.accepted();
    hub.until_status(&event, "retrying").await;
    let file = "plugins/orders.fixtures/one.json";
    hub.cli_ok(&["events", &event, "--save", file]);
    let saved = std::fs::read_to_string(hub.folder.path().join(file)).unwrap();
    let fixture: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(fixture["event"]["id"], event.as_str());
    assert_eq!(fixture["expect"]["outcome"], "retry");
    assert!(saved.contains(std::str::from_utf8(body).unwrap()), "unchanged: {saved}");
    assert_eq!(fixture["state"], json!({ "n": "41" }), "what the run read");
    hub.cli_ok(&["test", "plugins/orders.wasm"]);
    let (code, error) = hub.cli_err(&["events", &event, "--save", file]);
    assert!(code == 1 && error.contains("cannot be written"), "an old one is kept: {error}");
}

#[test]
fn a_check_says_what_a_hub_would_say() {
    let folder = Folder::new().module("facts", "facts").file("facts.toml", SIDECAR);
    let checked = folder.weir(&["check", "facts.wasm", "--json"]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    let said = json_of(&checked);
    assert_eq!((&said["kind"], &said["contract"]), (&json!("component"), &json!("0.1.1")));
    assert_eq!((&said["state_version"], &said["subscriptions"]), (&json!(3), &json!(["github:*"])));
    assert_eq!(said["missing_grants"], json!(["ledger"]));
    let text = folder.weir(&["check", "facts.wasm"]);
    assert!(stderr(&text).contains("needs the destination `ledger`, which is not granted"));
    let folder = folder.file("facts.fixtures/one.json", "[]");
    let out = folder.weir(&["check", "facts.wasm"]);
    assert_eq!(code(&out), 1);
    assert!(stderr(&out).contains("1 of 1 fixtures fail"), "{}", stderr(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_is_reported_when_a_module_loads() {
    let sink = Sink::start().await;
    let hub = TestHub::new()
        .github()
        .destination("sink", &sink, "")
        .handler("facts", "facts")
        .sidecar("facts", "on = [\"github:*\"]\n[grant]\ndestinations = [\"sink\"]\n")
        .start()
        .await;
    hub.until_ready("facts").await;
    let handlers = hub.api("/api/v1/handlers").await;
    assert_eq!(handlers["items"][0]["grants"]["missing"], json!(["ledger"]));
    until("the log to tell it", async || {
        let lines = hub.log.having(&["needs a destination", "ledger", "under [grant]"]);
        if lines.is_empty() { Err(hub.log.all()) } else { Ok(()) }
    })
    .await;
}
