//! `rabbitmq`: a queue of a real server, and what comes back.

use std::path::Path;
use std::process::Command;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};
use weir_testing::wait::until;

use crate::outage::{self, Arrived};
use crate::servers::{TestServer, free_port};
use crate::wrong;

/// The program itself: the one on the PATH becomes another user first, where it is a wrapper.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A server with a node name, ports and a port mapper of its own.
pub(crate) async fn start() -> Option<TestServer> {
    let name = format!("weir-{}@localhost", free_port());
    let (node_port, mapper_port) = (free_port().to_string(), free_port().to_string());
    TestServer::start(PROGRAM, move |folder: &Path, port| {
        let mut command = Command::new("sh");
        let file = |name: &str| folder.join(name);
        std::fs::write(file("enabled_plugins"), "[].\n").unwrap();
        std::fs::write(file("rabbitmq.conf"), format!("listeners.tcp.1 = 127.0.0.1:{port}\n"))
            .unwrap();
        command
            .args(["-c", &format!("epmd -port {mapper_port} & exec {PROGRAM}")])
            .env("ERL_EPMD_PORT", &mapper_port)
            .env("RABBITMQ_NODENAME", &name)
            .env("RABBITMQ_DIST_PORT", &node_port)
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            // A start that fails leaves no dump in the working folder.
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("HOME", folder);
        command
    })
    .await
}

fn destination(server: &TestServer, more: &str) -> String {
    format!(
        "[destinations.out]\nkind = \"rabbitmq\"\nurl = \"amqp://{}\"\nallow = [\"@private\"]\n\
         timeout = \"5s\"\n{}\n{more}",
        server.address(),
        outage::BREAKER,
    )
}

async fn hub(server: &TestServer, more: &str) -> RunningHub {
    let config = format!("{}\n{}", destination(server, more), outage::ROUTE);
    TestHub::new().github().config(&config).start().await
}

pub(crate) async fn channel(server: &TestServer) -> (Connection, Channel) {
    let url = format!("amqp://{}/%2f", server.address());
    let connection = until("the server to accept AMQP", async || {
        Connection::connect(&url, ConnectionProperties::default()).await.map_err(|e| e.to_string())
    })
    .await;
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

pub(crate) async fn declare(server: &TestServer, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let (_connection, channel) = channel(server).await;
    channel.queue_declare(queue.into(), options, table).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_gets_every_message_in_order() {
    let Some(server) = start().await else { return };
    declare(&server, "events", &[]).await;
    let hub = hub(&server, "queue = \"events\"").await;
    let server = tokio::sync::Mutex::new(server);
    let away = async || server.lock().await.stop().await;
    let back = async || server.lock().await.start_again().await;
    outage::run(&hub, away, back).await;
    let server = server.into_inner();
    let (_connection, channel) = channel(&server).await;
    let mut arrived = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(message) = channel.basic_get("events".into(), options).await.unwrap() {
        let delivery = message.delivery;
        let body: Value = serde_json::from_slice(&delivery.data).unwrap();
        let id = delivery.properties.message_id().clone().unwrap();
        arrived.push(Arrived::new(id.as_str(), &body));
        assert_eq!(delivery.properties.kind().clone().unwrap().as_str(), "push");
    }
    outage::judge(&hub, "rabbitmq", &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(server) = start().await else { return };
    // The queue is not there: the message comes back.
    let hub = hub(&server, "queue = \"small\"").await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("there is no queue small") && said.contains("declare it"), "{said}");
    let (ok, said) = wrong::checked(&destination(&server, "queue = \"small\""));
    assert!(!ok && said.contains("declare the queue"), "{said}");
    // It has room for one message.
    let full = [
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", AMQPValue::LongString("reject-publish".into())),
    ];
    declare(&server, "small", &full).await;
    outage::until_state(&hub, "ok").await;
    let said = wrong::reason(&hub, 1).await;
    assert!(said.contains("the queue is full"), "{said}");
    let (_connection, channel) = channel(&server).await;
    channel.queue_purge("small".into(), Default::default()).await.unwrap();
    outage::until_state(&hub, "ok").await;

    let exchange = destination(&server, "exchange = \"none\"\nrouting_key = \"{type}\"");
    let (ok, said) = wrong::checked(&exchange);
    assert!(!ok && said.contains("declare the exchange"), "{said}");
    let user =
        destination(&server, "queue = \"small\"\nuser = \"other\"\npassword = { env = \"PATH\" }");
    let (ok, said) = wrong::checked(&user);
    assert!(!ok && said.contains("set user and password"), "{said}");
    let (ok, said) = wrong::checked(
        &user
            .replace(&format!("{}\"", server.address()), &format!("{}/nowhere\"", server.address()))
            .replace("user = \"other\"\npassword = { env = \"PATH\" }", ""),
    );
    assert!(!ok && said.contains("virtual host"), "{said}");
    let at = wrong::garbage().await;
    let (ok, said) = wrong::checked(
        &destination(&server, "queue = \"x\"")
            .replace(&server.address().to_string(), &at.to_string()),
    );
    assert!(!ok && said.contains("does not answer as RabbitMQ does"), "{said}");
    let (ok, said) = wrong::checked(&user.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
