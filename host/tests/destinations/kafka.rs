//! `kafka`: the mock cluster of librdkafka with three servers, whose consumer reads what arrived
//! and checks its checksums. Its servers are stopped and started, and keep what they have.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};
use weir_testing::hub::{RunningHub, TestHub};

use crate::outage::{self, Arrived};
use crate::wrong;

const TOPIC: &str = "orders";
const PARTITIONS: usize = 6;

/// A cluster that takes commands.
struct Kafka {
    process: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    address: String,
}

impl Kafka {
    fn start() -> Option<Self> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = folder.join("../target/tools/moto/bin/python");
        if !python.is_file() {
            assert!(std::env::var_os("CI").is_none(), "run .ci/moto first");
            eprintln!("SKIPPED: the cluster for tests is not installed; run .ci/moto first");
            return None;
        }
        let mut process = Command::new(python)
            .arg(folder.join("tests/destinations/kafka.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let mut from = BufReader::new(process.stdout.take().unwrap());
        let address = said(&mut from).as_str().unwrap().to_owned();
        Some(Self { process, pipes: Mutex::new((to, from)), address })
    }

    fn run(&self, command: &Value) -> Value {
        let mut pipes = self.pipes.lock().unwrap();
        writeln!(pipes.0, "{command}").unwrap();
        said(&mut pipes.1)
    }

    fn topic(&self) {
        assert_eq!(self.run(&json!(["topic", TOPIC, PARTITIONS])), 0);
    }

    fn read(&self) -> Vec<Value> {
        self.run(&json!(["read", TOPIC])).as_array().unwrap().clone()
    }

    fn destination(&self, more: &str) -> String {
        format!(
            "[destinations.out]\nkind = \"kafka\"\nurl = \"kafka://{}\"\ntopic = \"{TOPIC}\"\n\
             allow = [\"@private\"]\ntimeout = \"10s\"\n{}\n{more}",
            self.address,
            outage::BREAKER
        )
    }

    async fn hub(&self, more: &str) -> RunningHub {
        let config = format!("{}\n{}", self.destination(more), outage::ROUTE);
        TestHub::new().github().config(&config).start().await
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The next line that the cluster prints.
fn said(from: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    assert!(from.read_line(&mut line).unwrap() > 0, "the cluster has ended");
    serde_json::from_str(&line).unwrap()
}

fn value(message: &Value) -> Vec<u8> {
    let hex = message["value"].as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn arrived(messages: &[Value]) -> Vec<Arrived> {
    let arrived = messages.iter().map(|message| {
        let body: Value = serde_json::from_slice(&value(message)).unwrap();
        assert_eq!(message["key"], body["key"].to_string(), "the order key");
        Arrived::new(message["headers"]["weir-message-id"].as_str().unwrap(), &body)
    });
    arrived.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_every_message_in_the_order_of_its_key() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.topic();
    let hub = kafka.hub("").await;
    let away = async || drop(kafka.run(&json!(["away"])));
    let back = async || drop(kafka.run(&json!(["back"])));
    outage::run(&hub, away, back).await;
    let messages = kafka.read();
    outage::judge(&hub, "kafka", &arrived(&messages)).await;
    let mut partitions: Vec<u64> =
        messages.iter().map(|message| message["partition"].as_u64().unwrap()).collect();
    partitions.sort_unstable();
    partitions.dedup();
    assert_eq!(partitions.len(), PARTITIONS, "the keys are spread");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_with_its_facts_and_any_body() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.topic();
    // Without an order, for which a body has to be JSON.
    let route = "[[route]]\non = [\"github:*\"]\nto = \"out\"";
    let config = format!("{}\n{route}", kafka.destination(""));
    let hub = TestHub::new().github().config(&config).start().await;
    let bodies = [&b"{\"a\":\"\xc3\xa4\"}"[..], b"", b"\xff\x00"];
    let mut events = Vec::new();
    for (n, body) in bodies.iter().enumerate() {
        let event = hub.push("push", &format!("d-{n}"), body).await.accepted();
        hub.until_status(&event, "processed").await;
        events.push(event);
    }
    let messages = kafka.read();
    assert_eq!(messages.len(), bodies.len());
    for (event, body) in events.iter().zip(bodies) {
        let message = messages.iter().find(|one| one["headers"]["weir-event-id"] == event.as_str());
        let message = message.unwrap();
        assert_eq!((value(message).as_slice(), &message["key"]), (body, &Value::Null));
        let headers = &message["headers"];
        assert_eq!(headers["weir-source"], "github");
        assert_eq!(headers["x-github-event"], "push");
        assert!(headers["x-weir-hops"].is_string(), "{headers}");
        assert!(message["timestamp"].as_u64().unwrap() > 1_700_000_000_000, "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_moves_costs_no_attempt() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.topic();
    let hub = kafka.hub("").await;
    for node in 1..=3 {
        for partition in 0..PARTITIONS {
            assert_eq!(kafka.run(&json!(["leader", TOPIC, partition, node])), 0);
        }
        let body = json!({ "n": node, "key": node }).to_string();
        let event = hub.push("push", &format!("d-{node}"), body.as_bytes()).await.accepted();
        hub.until_status(&event, "processed").await;
    }
    assert_eq!(arrived(&kafka.read()).len(), 3);
    assert_eq!(hub.metric("weir_attempts_unavailable_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_own_consequence() {
    let Some(kafka) = Kafka::start() else { return };
    assert_eq!(kafka.run(&json!(["topic", TOPIC, 1])), 0);
    assert_eq!(kafka.run(&json!(["leader", TOPIC, 0, 1])), 0);
    let hub = kafka.hub("").await;
    kafka.run(&json!(["refuse", 1, 10]));
    let event = hub.push("push", "large", b"{\"key\":1,\"n\":1}").await.accepted();
    let dead = hub.until_status(&event, "dead_letter").await.to_string();
    assert!(dead.contains("raise max.message.bytes"), "{dead}");
    // As often as it is asked until the destination is looked at.
    kafka.run(&json!(["refuse", 1, 19, 19, 19]));
    let said = wrong::reason(&hub, 2).await;
    assert!(said.contains("NOT_ENOUGH_REPLICAS"), "{said}");
    outage::until_state(&hub, "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_login_needs_its_password_and_its_mechanism() {
    let Some(kafka) = Kafka::start() else { return };
    kafka.topic();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let address = kafka.run(&json!(["login", mechanism, "hub", "a pass,word="]));
        let config = |mechanism: &str| {
            kafka.destination("").replace(&kafka.address, address.as_str().unwrap())
                + &format!(
                    "\nuser = \"hub\"\npassword = {{ file = \"password\" }}\n\
                     mechanism = \"{mechanism}\"",
                )
        };
        let checked = |password: &str, config: &str| {
            wrong::checked_in(TestHub::new().file("password", password), config)
        };
        let config_of_it = config(&mechanism.to_lowercase());
        let (ok, said) = checked("a pass,word=", &config_of_it);
        assert!(ok, "{mechanism}: {said}");
        let (ok, said) = checked("another", &config_of_it);
        assert!(!ok && said.contains("does not accept the user hub"), "{said}");
        let other = if mechanism == "PLAIN" { "scram-sha-256" } else { "plain" };
        let (ok, said) = checked("a pass,word=", &config(other));
        assert!(!ok && said.contains(&format!("but {mechanism}; set mechanism")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(kafka) = Kafka::start() else { return };
    let hub = kafka.hub("").await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("UNKNOWN_TOPIC_OR_PARTITION: make the topic"), "{said}");
    let config = kafka.destination("");
    let (ok, said) = wrong::checked(&config);
    assert!(!ok && said.contains("make the topic"), "{said}");
    kafka.topic();
    outage::until_state(&hub, "ok").await;
    assert!(wrong::checked(&config).0);

    let more = format!("{config}\nmore_urls = [\"kafka://{}\"]", kafka.address);
    let absent = more.replacen(&kafka.address, "127.0.0.1:1", 1);
    assert!(wrong::checked(&absent).0, "the second server is asked too");
    let garbage = wrong::garbage().await.to_string();
    let (ok, said) = wrong::checked(&config.replace(&kafka.address, &garbage));
    assert!(!ok && said.contains("does not answer as Kafka does"), "{said}");
    kafka.run(&json!(["away"]));
    let (ok, said) = wrong::checked(&config);
    assert!(!ok && said.contains("cannot be reached"), "{said}");
    let (ok, said) = wrong::checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
