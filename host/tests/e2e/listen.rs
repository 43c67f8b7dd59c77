//! `weir listen`: the live events of a hub on another machine, whole, in order, none missed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::Value;
use weir_testing::hub::{Log, RunningHub, TestHub, github_signature, weir};
use weir_testing::sink::Sink;
use weir_testing::wait::{until, until_true};

/// A listener in a folder of its own. Dropping it kills it.
struct Listener {
    process: Child,
    out: Log,
    err: Log,
}

impl Listener {
    fn start(folder: &Path, hub: &RunningHub, token: &str, args: &[&str]) -> Self {
        let mut command = weir();
        let from = format!("http://{}", hub.admin);
        command.args(["--json", "listen", "--from", &from]).args(args);
        command.current_dir(folder).env("WEIR_ADMIN_TOKEN", token);
        command.env("XDG_STATE_HOME", folder).env("XDG_CACHE_HOME", folder);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (Log::default(), Log::default());
        out.follow(process.stdout.take().unwrap());
        err.follow(process.stderr.take().unwrap());
        Self { process, out, err }
    }

    async fn until_listening(self) -> Self {
        until_true("it to listen", || !self.err.having(&["Listening"]).is_empty()).await;
        self
    }

    /// Waits until an event is acknowledged. Returns its line.
    async fn until_done(&self, event: &str) -> Value {
        let what = format!("{event} to be acknowledged");
        let line = until(&what, async || {
            let found = self.out.having(&[event, "\"acknowledged\":true"]).pop();
            found.ok_or_else(|| format!("{}\n{}", self.out.all(), self.err.all()))
        })
        .await;
        serde_json::from_str(&line).unwrap()
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A token that may only read.
fn reader(hub: &RunningHub) -> String {
    hub.cli_ok(&["tokens", "create", "listener", "--role", "read"]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_forwarded_byte_for_byte_with_its_headers() {
    let hub =
        TestHub::new().github().source("other", "custom", "a secret of another").start().await;
    let (token, folder, sink) = (reader(&hub), tempfile::tempdir().unwrap(), Sink::start().await);
    hub.push("push", "before", b"{}").await.accepted();
    let url = sink.url();
    let args = ["--source", "github", "--forward", &url];
    let listener = Listener::start(folder.path(), &hub, &token, &args).until_listening().await;
    let second = ["--source", "github"];
    let elsewhere = tempfile::tempdir().unwrap();
    let printer = Listener::start(elsewhere.path(), &hub, &token, &second).until_listening().await;
    let body = "{ \"a\" :\t1,\r\n\"b\": \"\u{1b}[31m\u{e9}\" }".as_bytes();
    let event = hub.push("push", "one", body).await.accepted();
    let done = listener.until_done(&event).await;
    assert_eq!((&done["result"]["status"], &done["tries"]), (&200.into(), &1.into()));
    printer.until_done(&event).await;
    let received = sink.received();
    let [got] = &received[..] else { panic!("{received:?}") };
    assert_eq!(got.header("weir-event-id"), event);
    assert_eq!(got.body, body);
    assert_eq!(got.header("x-github-event"), "push");
    assert_eq!(got.header("x-hub-signature-256"), github_signature(body));
    assert_eq!((got.header("weir-source"), got.header("weir-event-type")), ("github", "push"));
    assert_eq!(got.header("x-github-delivery"), "one", "not the one before it listened");
    assert!(!listener.out.all().contains('\u{1b}'), "{}", listener.out.all());

    // A second one with the same file would tear the place away.
    let refused = Listener::start(folder.path(), &hub, &token, &args);
    until_true("a refusal", || !refused.err.having(&["another listener uses"]).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_taken_again_until_it_is_acknowledged() {
    let hub = TestHub::new().github().start().await;
    let (token, folder) = (reader(&hub), tempfile::tempdir().unwrap());
    let sink = Sink::answering([(500, vec![]), (302, vec![])]).await;
    let first = hub.push("push", "one", b"{}").await.accepted();
    let second = hub.push("ping", "two", b"{}").await.accepted();
    let url = sink.url();
    let args = ["--source", "github", "--since", "1h", "--forward", &url, "--count", "2"];
    let mut listener = Listener::start(folder.path(), &hub, &token, &args);
    assert_eq!(listener.until_done(&first).await["tries"], 3);
    assert_eq!(listener.until_done(&second).await["tries"], 1);
    assert!(!listener.err.having(&["500 recorded", "trying again"]).is_empty());
    let ended = until("it to end", async || {
        listener.process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert!(ended.await.success());
    let order: Vec<_> =
        sink.received().iter().map(|got| got.header("weir-event-id").to_owned()).collect();
    assert_eq!(order, [&first, &first, &first, &second].map(String::clone));

    sink.answers(418);
    let third = hub.push("push", "three", b"{}").await.accepted();
    let args = ["--source", "github", "--forward", &url, "--any-status"];
    let listener = Listener::start(folder.path(), &hub, &token, &args);
    let done = listener.until_done(&third).await;
    assert_eq!(done["result"]["status"], 418, "it went on where the last run stopped");
    assert!(listener.out.having(&[&second]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_run_through_a_local_module() {
    let hub = TestHub::new().github().start().await;
    let (token, folder) = (reader(&hub), tempfile::tempdir().unwrap());
    let module = weir_testing::guests::committed("version-a");
    std::fs::copy(module, folder.path().join("teller.wasm")).unwrap();
    let sidecar = "on = [\"github:push\"]\n[grant]\ndestinations = [\"sink\"]\n";
    std::fs::write(folder.path().join("teller.toml"), sidecar).unwrap();
    let pushed = hub.push("push", "one", b"{}").await.accepted();
    let pinged = hub.push("ping", "two", b"{}").await.accepted();
    let args = ["--since", "1h", "--handler", "teller.wasm"];
    let listener = Listener::start(folder.path(), &hub, &token, &args);
    let done = listener.until_done(&pushed).await;
    assert_eq!(done["result"]["outcome"], "ok", "{done}");
    assert_eq!(done["result"]["effects"][0]["destination"], "sink", "{done}");
    assert_eq!(listener.until_done(&pinged).await["result"]["subscribed"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_or_repeated_while_both_are_killed_in_turn() {
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = TestHub::new().github();
    let at = |address: &str| format!("[admin]\nlisten = \"{address}\"");
    let hub = hub.replace(&at("127.0.0.1:0"), &at(&admin.to_string()));
    let mut hub = hub.start().await;
    let (token, folder, sink) = (reader(&hub), tempfile::tempdir().unwrap(), Sink::start().await);
    let url = sink.url();
    let args = ["--source", "github", "--since", "1h", "--forward", &url];
    let mut listener = Listener::start(folder.path(), &hub, &token, &args).until_listening().await;
    let again = &args[..2].iter().chain(&args[4..]).copied().collect::<Vec<_>>()[..];
    let (mut sent, mut acknowledged) = (BTreeSet::new(), BTreeMap::new());
    const ROUNDS: usize = 6;
    for round in 0..ROUNDS {
        for n in 0..25 {
            let delivery = format!("{round}-{n}");
            sent.insert(hub.push("push", &delivery, delivery.as_bytes()).await.accepted());
        }
        let wanted = sent.len() - 20;
        sink.until_received(wanted).await;
        if round % 2 == 0 {
            note(&listener, &mut acknowledged);
            listener.kill();
            hub.push("push", &format!("alone-{round}"), b"{}").await.accepted();
            listener = Listener::start(folder.path(), &hub, &token, again);
            let alone = hub.api("/api/v1/events?source=github&limit=1").await;
            sent.insert(alone["items"][0]["id"].as_str().unwrap().to_owned());
        } else {
            hub = hub.kill_and_restart().await;
        }
    }
    let ids = || -> Vec<String> {
        sink.received().iter().map(|got| got.header("weir-event-id").to_owned()).collect()
    };
    until("every event to arrive", async || {
        let arrived: BTreeSet<_> = ids().into_iter().collect();
        match arrived == sent {
            true => Ok(()),
            false => Err(format!("{} of {}: {}", arrived.len(), sent.len(), listener.err.all())),
        }
    })
    .await;
    until("the last to be acknowledged", async || {
        note(&listener, &mut acknowledged);
        let missing = sent.iter().find(|id| !acknowledged.contains_key(*id));
        // A listener that was killed may not have printed its last line.
        match acknowledged.len() + ROUNDS / 2 >= sent.len() {
            true => Ok(()),
            false => Err(format!("{missing:?}")),
        }
    })
    .await;
    let received = sink.received();
    let repeated = received.len() - sent.len();
    assert!(repeated <= ROUNDS / 2, "{repeated} repeats, at most the one under way at each kill");
    for got in &received {
        if let Some(at) = acknowledged.get(got.header("weir-event-id")) {
            assert!(got.at <= *at, "forwarded again after its acknowledgement");
        }
    }
    eprintln!("{} events, {repeated} forwarded twice over {} kills", sent.len(), ROUNDS);
}

/// Notes the events that a listener says are acknowledged, with the time of the first look.
fn note(listener: &Listener, acknowledged: &mut BTreeMap<String, Instant>) {
    let now = Instant::now();
    for line in listener.out.having(&["\"acknowledged\":true"]) {
        let line: Value = serde_json::from_str(&line).unwrap();
        let id = line["id"].as_str().unwrap().to_owned();
        acknowledged.entry(id).or_insert(now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_ends_the_listener() {
    let hub = TestHub::new().github().start().await;
    let (token, folder) = (reader(&hub), tempfile::tempdir().unwrap());
    let mut listener = Listener::start(folder.path(), &hub, &token, &[]).until_listening().await;
    hub.push("push", "one", b"{}").await.accepted();
    hub.cli_ok(&["tokens", "revoke", "listener"]);
    let ended = until("it to end", async || {
        listener.process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
    });
    assert_eq!(ended.await.code(), Some(1));
    until_true("the reason", || !listener.err.having(&["token"]).is_empty()).await;
    let other = Listener::start(folder.path(), &hub, "not a token of the hub", &["--since", "1h"]);
    until_true("a refusal", || !other.err.having(&["error:"]).is_empty()).await;
}
