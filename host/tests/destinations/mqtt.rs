//! `mqtt`: a topic of a real server, with a subscriber that keeps its session.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet, Publish};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::Value;
use weir_testing::hub::{RunningHub, TestHub};

use crate::outage::{self, Arrived};
use crate::servers::TestServer;
use crate::wrong;

/// A server that keeps everything for sessions, over its own end too.
fn command(folder: &Path, port: u16, more: &str) -> Command {
    let file = folder.join("mosquitto.conf");
    let folder = folder.display();
    let text = format!(
        "listener {port} 127.0.0.1\npersistence true\npersistence_location {folder}/\n\
         max_queued_messages 0\nmax_inflight_messages 100\nuser root\n{more}\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file);
    command
}

fn open(folder: &Path, port: u16) -> Command {
    command(folder, port, "allow_anonymous true")
}

fn destination(server: &TestServer, more: &str) -> String {
    format!(
        "[destinations.out]\nkind = \"mqtt\"\nurl = \"mqtt://{}\"\nallow = [\"@private\"]\n\
         timeout = \"5s\"\n{}\n{more}",
        server.address(),
        outage::BREAKER,
    )
}

async fn hub(server: &TestServer) -> RunningHub {
    let config =
        format!("{}\n{}", destination(server, "topic = \"events/{source}\""), outage::ROUTE);
    TestHub::new().github().config(&config).start().await
}

/// Connects the subscriber, whose session lasts.
fn subscriber(server: &TestServer) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new("subscriber", "127.0.0.1", server.port);
    options.set_clean_start(false);
    options.set_keep_alive(Duration::from_secs(60));
    let properties =
        ConnectProperties { session_expiry_interval: Some(3_600), ..ConnectProperties::new() };
    options.set_connect_properties(properties);
    AsyncClient::new(options, 100)
}

/// Makes the session of the subscriber, which then leaves.
async fn subscribe(server: &TestServer) {
    let (client, mut events) = subscriber(server);
    client.subscribe("events/#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
}

async fn next(events: &mut EventLoop) -> Publish {
    loop {
        if let Event::Incoming(Packet::Publish(message)) = events.poll().await.unwrap() {
            return message;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_gets_every_message_in_order() {
    let Some(server) = TestServer::start("mosquitto", open).await else { return };
    subscribe(&server).await;
    let hub = hub(&server).await;
    let server = tokio::sync::Mutex::new(server);
    let away = async || server.lock().await.stop().await;
    let back = async || server.lock().await.start_again().await;
    outage::run(&hub, away, back).await;
    let server = server.into_inner();
    let (client, mut events) = subscriber(&server);
    // The last message of the subscriber's queue.
    client.publish("events/end", QoS::AtLeastOnce, false, "end").await.unwrap();
    let mut arrived = Vec::new();
    loop {
        let message = next(&mut events).await;
        if &message.topic[..] == b"events/end" {
            break;
        }
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let properties = message.properties.unwrap().user_properties;
        let fact = |name: &str| &properties.iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!(fact("weir-event-type"), "push");
        arrived.push(Arrived::new(fact("weir-message-id"), &body));
    }
    outage::judge(&hub, "mqtt", &arrived).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_wrong_holds_messages_and_says_what_to_do() {
    let Some(mut server) = TestServer::start("mosquitto", open).await else { return };
    server.stop().await;
    let hub = hub(&server).await;
    let said = wrong::reason(&hub, 0).await;
    assert!(said.contains("cannot be reached"), "{said}");
    server.start_again().await;
    outage::until_state(&hub, "ok").await;

    let limited = TestServer::start("mosquitto", |folder, port| {
        command(folder, port, "allow_anonymous true\nmax_packet_size 1000")
    });
    let limited = limited.await.unwrap();
    let config = format!("{}\n{}", destination(&limited, "topic = \"events\""), outage::ROUTE);
    let hub = TestHub::new().github().config(&config).start().await;
    let body = format!("{{\"key\":1,\"text\":\"{}\"}}", "x".repeat(2_000));
    let event = hub.push("push", "large", body.as_bytes()).await.accepted();
    let dead = hub.until_status(&event, "dead_letter").await;
    assert!(dead.to_string().contains("takes 1000 at most"), "{dead}");

    let secured = TestServer::start("mosquitto", |folder, port| {
        command(folder, port, "allow_anonymous false")
    });
    let secured = secured.await.unwrap();
    let config =
        destination(&secured, "topic = \"x\"\nuser = \"weir\"\npassword = { env = \"PATH\" }");
    let (ok, said) = wrong::checked(&config);
    assert!(!ok && said.contains("set user and password"), "{said}");
    let at = wrong::garbage().await;
    let (ok, said) =
        wrong::checked(&config.replace(&secured.address().to_string(), &at.to_string()));
    assert!(!ok && said.contains("does not answer as MQTT 5 does"), "{said}");
    let (ok, said) = wrong::checked(&config.replace("allow = [\"@private\"]", ""));
    assert!(!ok && said.contains("allow = [\"@private\"]"), "{said}");
}
