//! `sqs` and `sns`: queues and topics of moto, a server with the interface of AWS, which keeps
//! everything in memory: the relay before it is taken away, and not the server itself. The client
//! of AWS makes, fills and reads the queues.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::{Relay, Sink};

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

/// It searches the whole queue for each message, and a queue with an order four times.
const MESSAGES: usize = 300;
const ORDERED_MESSAGES: usize = 120;

fn tool(program: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/tools/moto/bin").join(program)
}

/// A server, the way to it, and what the client of AWS does there.
pub(crate) struct Aws {
    pub(crate) relay: Relay,
    server: TestServer,
}

impl Aws {
    /// Starts a server. After `free` requests it checks signatures and permissions.
    pub(crate) async fn start(free: Option<usize>) -> Option<Self> {
        let program = tool("moto_server").display().to_string();
        let server = TestServer::start(&program.clone(), move |_, port| {
            let mut command = Command::new(&program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command.env("AWS_DEFAULT_REGION", "eu-west-1");
            if let Some(free) = free {
                command.env("INITIAL_NO_AUTH_ACTION_COUNT", free.to_string());
            }
            command
        })
        .await?;
        Some(Self { relay: Relay::start(server.address()).await, server })
    }

    /// Runs the client of AWS, and returns what it prints.
    pub(crate) fn client(&self, args: &[&str]) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/destinations/aws.py");
        let mut command = Command::new(tool("python"));
        command.arg(script).arg(format!("http://{}", self.server.address())).args(args);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// The messages of a queue, in order. They are taken out.
    fn drained(&self, queue: &str) -> Vec<Value> {
        let lines = self.client(&["drain", queue]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn destination(&self, kind: &str, place: &str, more: &str) -> String {
        let setting = if kind == "sqs" { "queue_url" } else { "topic_arn" };
        format!(
            "[destinations.out]\nkind = \"{kind}\"\n{setting} = \"{place}\"\n\
             endpoint = \"http://{}\"\nregion = \"eu-west-1\"\nallow = [\"@private\"]\n\
             access_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"key\" }}\n\
             timeout = \"10s\"\n{}\n{more}",
            self.relay.address(),
            outage::BREAKER
        )
    }

    async fn hub(&self, kind: &str, place: &str, more: &str) -> RunningHub {
        let config = format!("{}\n{}", self.destination(kind, place, more), outage::ROUTE);
        with_keys(TestHub::new(), "test", "test").github().config(&config).start().await
    }
}

pub(crate) fn with_keys(hub: TestHub, id: &str, key: &str) -> TestHub {
    hub.file("id", id).file("key", key)
}

fn arrived(messages: &[Value]) -> Vec<Arrived> {
    let arrived = messages.iter().map(|message| {
        let attributes = &message["attributes"];
        assert_eq!(attributes["weir-event-type"], "push");
        let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        Arrived::new(attributes["weir-message-id"].as_str().unwrap(), &body)
    });
    arrived.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_an_order_gets_every_message_in_it() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders.fifo", "FifoQueue=true"]);
    let hub = aws.hub("sqs", &queue, "").await;
    let (away, back) = (async || aws.relay.away().await, async || aws.relay.back().await);
    outage::run_with(&hub, ORDERED_MESSAGES, away, back).await;
    let messages = aws.drained(&queue);
    for message in &messages {
        let body: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
        assert_eq!(message["group"], body["key"].to_string(), "the order key is the group");
        assert_eq!(message["deduplication"], message["attributes"]["weir-message-id"]);
    }
    let arrived = arrived(&messages);
    outage::judge_unordered(&hub, "sqs with an order", ORDERED_MESSAGES, &arrived).await;
    outage::ordered(&arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_hands_every_message_to_its_queue() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    let topic = aws.client(&["topic", "news", &queue]);
    let hub = aws.hub("sns", &topic, "").await;
    let (away, back) = (async || aws.relay.away().await, async || aws.relay.back().await);
    outage::run_with(&hub, MESSAGES, away, back).await;
    let arrived = arrived(&aws.drained(&queue));
    outage::judge_unordered(&hub, "sns", MESSAGES, &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_own_fate() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "small", "MaximumMessageSize=4096"]);
    let hub = aws.hub("sqs", &queue, "concurrency = 10").await;
    // They come while the queue cannot be reached, and are sent in batches afterwards. This server
    // refuses a whole batch because of one message.
    aws.relay.away().await;
    let mut events = Vec::new();
    for n in 0..30 {
        let text = if n % 10 == 3 { "x".repeat(5_000) } else { "ä \" \n".into() };
        let body = serde_json::json!({ "n": n, "key": n, "text": text }).to_string();
        events.push(hub.push("push", &format!("d-{n}"), body.as_bytes()).await.accepted());
    }
    outage::until_state(&hub, "failing").await;
    aws.relay.back().await;
    for (n, event) in events.iter().enumerate() {
        if n % 10 == 3 {
            let dead = hub.until_status(event, "dead_letter").await.to_string();
            assert!(dead.contains("raise MaximumMessageSize"), "{dead}");
        } else {
            hub.until_status(event, "processed").await;
        }
    }
    let arrived = arrived(&aws.drained(&queue));
    let mut numbers: Vec<usize> = arrived.iter().map(|one| one.n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30).filter(|n| n % 10 != 3).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_its_facts_and_any_body() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    // Without an order, for which a body has to be JSON.
    let route = "[[route]]\non = [\"github:*\"]\nto = \"out\"";
    let config = format!("{}\n{route}", aws.destination("sqs", &queue, ""));
    let hub = with_keys(TestHub::new(), "test", "test").github().config(&config).start().await;
    let text = "{\"key\":\"a b\",\"text\":\"\u{e4}\u{1f600}\\u0000\"}";
    let event = hub.push("push", "text", text.as_bytes()).await.accepted();
    hub.until_status(&event, "processed").await;
    let message = aws.drained(&queue).remove(0);
    let attributes = &message["attributes"];
    assert_eq!(message["body"], text);
    assert_eq!(attributes["content-type"], "application/json");
    assert_eq!(attributes["weir-event-id"], event.as_str());
    assert_eq!(attributes["weir-source"], "github");
    assert!(attributes["x-weir-hops"].is_string() && message["group"].is_null(), "{message}");
    // There is room for the provider's headers beside the facts.
    assert_eq!(attributes["x-github-event"], "push");
    assert!(attributes["x-hub-signature-256"].is_string(), "{attributes}");
    assert!(attributes["weir-headers"].is_null(), "{attributes}");

    let event = hub.push("push", "bytes", b"\xff\x00").await.accepted();
    hub.until_status(&event, "processed").await;
    let message = aws.drained(&queue).remove(0);
    assert_eq!(message["body"], "/wA=");
    assert_eq!(message["attributes"]["weir-body-encoding"], "base64");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_checks_signatures_accepts_those_of_the_hub() {
    // The requests that make the queue, the topic and the key.
    let Some(aws) = Aws::start(Some(7)).await else { return };
    let queue = aws.client(&["queue", "orders"]);
    let topic = aws.client(&["topic", "news", &queue]);
    // Those that AWS names sqs:SendMessage and sns:Publish are others here.
    let key = aws.client(&["key", "sender", "sqs:SendMessageBatch", "sns:PublishBatch"]);
    let (id, secret) = key.split_once(' ').unwrap();
    for (kind, place) in [("sqs", &queue), ("sns", &topic)] {
        let config = format!("{}\n{}", aws.destination(kind, place, ""), outage::ROUTE);
        let hub = with_keys(TestHub::new(), id, secret).github().config(&config).start().await;
        let event = hub.push("push", "one", b"{\"key\":1}").await.accepted();
        hub.until_status(&event, "processed").await;
    }
    for (kind, place) in [("sqs", &queue), ("sns", &topic)] {
        let config = aws.destination(kind, place, "");
        let checked = |id: &str, secret: &str| {
            wrong::checked_in(with_keys(TestHub::new(), id, secret), &config)
        };
        let (ok, said) = checked(id, secret);
        assert!(!ok && said.contains("permit s") && said.contains("for this check"), "{said}");
        let (ok, said) = checked(id, "another");
        assert!(!ok && said.contains("set secret_access_key"), "{said}");
        let (ok, said) = checked("AKIAUNKNOWN", secret);
        assert!(!ok && said.contains("a key that exists"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(aws) = Aws::start(None).await else { return };
    let queue = format!("http://{}/123456789012/later", aws.relay.address());
    let hub = aws.hub("sqs", &queue, "").await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("make the queue in this region"), "{said}");
    aws.client(&["queue", "later"]);
    outage::until_state(&hub, "ok").await;

    let checked = |config: &str| wrong::checked_in(with_keys(TestHub::new(), "id", "key"), config);
    let config = aws.destination("sqs", &queue, "");
    assert!(checked(&config).0);
    let topic = "arn:aws:sns:eu-west-1:123456789012:missing";
    let (ok, said) = checked(&aws.destination("sns", topic, ""));
    assert!(!ok && said.contains("make the topic in this region"), "{said}");
    let page = Sink::saying("<html>It works!</html>").await;
    let relay = aws.relay.address().to_string();
    let (ok, said) = checked(&config.replace(&relay, page.url().split('/').nth(2).unwrap()));
    assert!(!ok && said.contains("does not answer as SQS does (HTTP 200)"), "{said}");
    aws.relay.away().await;
    let (ok, said) = checked(&config);
    assert!(!ok && said.contains("cannot be reached"), "{said}");
    let (ok, said) = checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
