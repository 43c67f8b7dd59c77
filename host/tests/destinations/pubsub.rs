//! `pubsub`: a server with the interface of Pub/Sub, which reads requests as Google's own message
//! types and checks tokens with Google's own library. The relay before it is taken away, and not
//! the server itself, which keeps everything in memory.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::{Relay, Sink};

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

const TOPIC: &str = "projects/shop-1/topics/orders";

/// A server, the way to it, and the key file of the account that it knows.
struct PubSub {
    relay: Relay,
    server: TestServer,
    key: String,
    _keys: TempDir,
}

fn python() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/moto/bin/python")
}

fn script() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/destinations/pubsub.py")
}

/// The text of a new key file.
fn new_key(folder: &TempDir, name: &str) -> String {
    let file = folder.path().join(name);
    let made = Command::new(python()).arg(script()).arg("key").arg(&file).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(file).unwrap()
}

impl PubSub {
    async fn start() -> Option<Self> {
        let keys = tempfile::tempdir().unwrap();
        let key = if python().is_file() { new_key(&keys, "key.json") } else { String::new() };
        let program = python().display().to_string();
        let public = keys.path().join("key.json.public");
        let server = TestServer::start(&program.clone(), move |_, port| {
            let mut command = Command::new(&program);
            command.arg(script()).args(["serve", &port.to_string()]).arg(&public);
            command
        })
        .await?;
        let relay = Relay::start(server.address()).await;
        Some(Self { relay, server, key, _keys: keys })
    }

    /// Asks the server itself, and returns what it answers.
    fn ask(&self, request: &[&str]) -> Value {
        let mut command = Command::new(python());
        command.arg(script()).arg("ask").arg(self.server.address().to_string()).args(request);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{request:?}: {}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    fn topic(&self) {
        self.ask(&["PUT", &format!("/v1/{TOPIC}")]);
    }

    fn permit(&self, publishing: &str) {
        self.ask(&["PUT", "/permission", publishing]);
    }

    /// Every message, in the order of publication.
    fn messages(&self) -> Vec<Value> {
        self.ask(&["GET", "/messages"]).as_array().unwrap().clone()
    }

    fn destination(&self, more: &str) -> String {
        format!(
            "[destinations.out]\nkind = \"pubsub\"\ntopic = \"{TOPIC}\"\n\
             endpoint = \"http://{}\"\nallow = [\"@private\"]\n\
             credentials = {{ file = \"key.json\" }}\ntimeout = \"10s\"\n{}\n{more}",
            self.relay.address(),
            outage::BREAKER
        )
    }

    async fn hub(&self, more: &str) -> RunningHub {
        let config = format!("{}\n{}", self.destination(more), outage::ROUTE);
        self.with_key().github().config(&config).start().await
    }

    fn with_key(&self) -> TestHub {
        TestHub::new().file("key.json", &self.key)
    }
}

fn body(message: &Value) -> Vec<u8> {
    STANDARD.decode(message["data"].as_str().unwrap()).unwrap()
}

fn arrived(messages: &[Value]) -> Vec<Arrived> {
    let arrived = messages.iter().map(|message| {
        let body: Value = serde_json::from_slice(&body(message)).unwrap();
        assert_eq!(message["ordering_key"], body["key"].to_string(), "the order key");
        Arrived::new(message["attributes"]["weir-message-id"].as_str().unwrap(), &body)
    });
    arrived.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_every_message_in_order() {
    let Some(pubsub) = PubSub::start().await else { return };
    pubsub.topic();
    let hub = pubsub.hub("").await;
    let (away, back) = (async || pubsub.relay.away().await, async || pubsub.relay.back().await);
    outage::run(&hub, away, back).await;
    outage::judge(&hub, "pubsub", &arrived(&pubsub.messages())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_its_facts_and_any_body() {
    let Some(pubsub) = PubSub::start().await else { return };
    pubsub.topic();
    // Without an order, for which a body has to be JSON.
    let route = "[[route]]\non = [\"github:*\"]\nto = \"out\"";
    let config = format!("{}\n{route}", pubsub.destination(""));
    let hub = pubsub.with_key().github().config(&config).start().await;
    for (n, sent) in [&b"{\"a\":\"\xc3\xa4\"}"[..], b"", b"\xff\x00"].into_iter().enumerate() {
        let event = hub.push("push", &format!("d-{n}"), sent).await.accepted();
        hub.until_status(&event, "processed").await;
        let message = pubsub.messages().pop().unwrap();
        assert_eq!((body(&message).as_slice(), &message["ordering_key"]), (sent, &json!("")));
        let attributes = &message["attributes"];
        assert_eq!(attributes["weir-event-id"], event.as_str());
        assert_eq!(attributes["weir-source"], "github");
        assert_eq!(attributes["x-github-event"], "push");
        assert!(attributes["x-weir-hops"].is_string(), "{attributes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_own_fate() {
    let Some(pubsub) = PubSub::start().await else { return };
    pubsub.topic();
    let hub = pubsub.hub("concurrency = 10").await;
    // They come while the topic cannot be reached, and are sent in batches afterwards. The server
    // refuses a whole batch because of one message.
    pubsub.relay.away().await;
    let mut events = Vec::new();
    for n in 0..30 {
        let text = "x".repeat(if n % 10 == 3 { 100_000 } else { 10 });
        let body = json!({ "n": n, "key": n, "text": text }).to_string();
        events.push(hub.push("push", &format!("d-{n}"), body.as_bytes()).await.accepted());
    }
    outage::until_state(&hub, "failing").await;
    pubsub.relay.back().await;
    for (n, event) in events.iter().enumerate() {
        if n % 10 == 3 {
            let dead = hub.until_status(event, "dead_letter").await.to_string();
            assert!(dead.contains("INVALID_ARGUMENT: The value for message_size"), "{dead}");
        } else {
            hub.until_status(event, "processed").await;
        }
    }
    let arrived = arrived(&pubsub.messages());
    let mut numbers: Vec<usize> = arrived.iter().map(|one| one.n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30).filter(|n| n % 10 != 3).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(pubsub) = PubSub::start().await else { return };
    let hub = pubsub.hub("").await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("NOT_FOUND") && said.contains("make projects/shop-1"), "{said}");
    pubsub.topic();
    outage::until_state(&hub, "ok").await;
    pubsub.permit("false");
    let said = wrong::reason(&hub, 1).await;
    assert!(said.contains("grant roles/pubsub.publisher") && said.contains("hub@shop-1"), "{said}");

    let config = pubsub.destination("");
    let checked = |config: &str| wrong::checked_in(pubsub.with_key(), config);
    let (ok, said) = checked(&config);
    assert!(!ok && said.contains("may not publish to it"), "{said}");
    pubsub.permit("true");
    assert!(checked(&config).0);

    let another = new_key(&tempfile::tempdir().unwrap(), "another.json");
    let with_another = TestHub::new().file("key.json", &another);
    let (ok, said) = wrong::checked_in(with_another, &config);
    assert!(!ok && said.contains("is not accepted; see that it exists"), "{said}");
    let unsigned = config.replace("credentials = { file = \"key.json\" }\n", "");
    assert!(checked(&unsigned).0, "only the topic is asked for, as an emulator can be");

    let page = Sink::saying("<html>It works!</html>").await;
    let relay = pubsub.relay.address().to_string();
    let (ok, said) = checked(&config.replace(&relay, page.url().split('/').nth(2).unwrap()));
    assert!(!ok && said.contains("does not answer as Pub/Sub does (HTTP 200)"), "{said}");
    pubsub.relay.away().await;
    let (ok, said) = checked(&config);
    assert!(!ok && said.contains("cannot be reached"), "{said}");
    let (ok, said) = checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
