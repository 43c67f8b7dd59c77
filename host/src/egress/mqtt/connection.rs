//! One MQTT connection: a task that writes messages, and matches each PubAck with its message.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rumqttc::v5::mqttbytes::v5::{
    Codec, Connect, ConnectProperties, ConnectReturnCode, Login, Packet, PingReq, PubAckReason,
    Publish,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use crate::config::MqttSettings;
use crate::egress::server::{ConnectionTasks, ServerStream};

/// Time between two pings. The server closes a connection that was silent for half as long again.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The largest packet that is accepted from a server: it sends no messages here.
const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// The most messages without a PubAck, unless the server says less.
const IN_FLIGHT_MAX: u16 = 1_024;

type Stream = Framed<ServerStream, Codec>;

/// An open connection.
#[derive(Debug)]
pub(super) struct OpenMqtt {
    publish: mpsc::Sender<Waiting>,
    /// Bytes of the largest packet that the server accepts.
    most: Option<u32>,
    broken: CancellationToken,
}

/// A message that waits for its PubAck.
#[derive(Debug)]
struct Waiting {
    message: Publish,
    answer: oneshot::Sender<PubAckReason>,
}

/// A message without a PubAck.
#[derive(Debug)]
pub(super) enum PublishError {
    TooLarge { bytes: usize, most: u32 },
    Broken(&'static str),
}

impl OpenMqtt {
    pub(super) fn works(&self) -> bool {
        !self.broken.is_cancelled()
    }

    /// Publishes a message and waits for its PubAck.
    pub(super) async fn publish(&self, message: Publish) -> Result<PubAckReason, PublishError> {
        // With its packet id, which is not set yet.
        let bytes = message.size() + 2;
        if let Some(most) = self.most.filter(|most| bytes > *most as usize) {
            return Err(PublishError::TooLarge { bytes, most });
        }
        let broken = |_| PublishError::Broken("the connection broke");
        let (answer, answered) = oneshot::channel();
        self.publish.send(Waiting { message, answer }).await.map_err(|_| broken(()))?;
        answered.await.map_err(|_| broken(()))
    }
}

/// Opens a connection on a connected stream, and drives it.
///
/// # Errors
/// The reason for which the server refuses it, and the advice.
pub(super) async fn open(
    settings: &MqttSettings,
    stream: ServerStream,
    tasks: &ConnectionTasks,
) -> Result<OpenMqtt, String> {
    let codec = Codec { max_incoming_size: Some(PACKET_BYTES_MAX), max_outgoing_size: None };
    let mut stream = Framed::new(stream, codec);
    let server = &settings.server;
    let login = server.user.as_ref().map(|user| Login {
        username: user.to_string(),
        password: server.password.as_ref().map_or_else(String::new, |secret| {
            String::from_utf8_lossy(secret.expose()).into_owned()
        }),
    });
    let hello = Connect {
        keep_alive: u16::try_from(PING_EVERY.as_secs() * 3 / 2).unwrap_or(u16::MAX),
        client_id: settings.client_id.clone(),
        clean_start: true,
        properties: Some(ConnectProperties {
            max_packet_size: Some(PACKET_BYTES_MAX),
            ..ConnectProperties::new()
        }),
    };
    let failed = |what: String| format!("the connection broke while it was opened: {what}");
    stream
        .send(Packet::Connect(hello, None, login))
        .await
        .map_err(|error| failed(error.to_string()))?;
    let answer = match stream.next().await {
        Some(Ok(Packet::ConnAck(answer))) => answer,
        Some(Ok(_)) => return Err("does not answer as MQTT 5 does".into()),
        Some(Err(error)) => return Err(format!("does not answer as MQTT 5 does: {error}")),
        None => return Err(failed("it closed the connection; does it speak MQTT 5?".into())),
    };
    if answer.code != ConnectReturnCode::Success {
        return Err(refused(answer.code));
    }
    let said = answer.properties;
    let most = said.as_ref().and_then(|said| said.max_packet_size);
    let in_flight = said.as_ref().and_then(|said| said.receive_max).unwrap_or(u16::MAX);
    let (publish, waiting) = mpsc::channel(1);
    let broken = CancellationToken::new();
    let ended = broken.clone().drop_guard();
    let driver = Driver {
        stream,
        waiting,
        in_flight: BTreeMap::new(),
        most: usize::from(in_flight.clamp(1, IN_FLIGHT_MAX)),
        last_id: 0,
    };
    tasks.spawn("mqtt connection", async move {
        let _ended = ended;
        driver.run().await;
    });
    Ok(OpenMqtt { publish, most, broken })
}

fn refused(code: ConnectReturnCode) -> String {
    use ConnectReturnCode as Code;
    let advice = match code {
        Code::BadUserNamePassword | Code::NotAuthorized | Code::BadAuthenticationMethod => {
            "set user and password as the server has them"
        }
        Code::BadClientId | Code::ClientIdentifierNotValid => "set a client_id that it accepts",
        Code::RefusedProtocolVersion | Code::UnsupportedProtocolVersion => "it has to speak MQTT 5",
        Code::ServerBusy | Code::ServerUnavailable | Code::ServiceUnavailable => "it is busy",
        Code::QuotaExceeded | Code::ConnectionRateExceeded => "it takes no more connections",
        _ => "see the server's log",
    };
    format!("refuses the connection: {code:?}; {advice}")
}

struct Driver {
    stream: Stream,
    waiting: mpsc::Receiver<Waiting>,
    in_flight: BTreeMap<u16, oneshot::Sender<PubAckReason>>,
    /// The most messages in flight.
    most: usize,
    last_id: u16,
}

impl Driver {
    /// Drives the connection until it breaks, or until no send uses it any more.
    async fn run(mut self) {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let is_full = self.in_flight.len() >= self.most;
            tokio::select! {
                next = self.waiting.recv(), if !is_full => {
                    let Some(next) = next else { return };
                    if self.write(next).await.is_err() {
                        return;
                    }
                }
                packet = self.stream.next() => {
                    let Some(Ok(packet)) = packet else { return };
                    heard = Instant::now();
                    if !self.read(packet) {
                        return;
                    }
                }
                _ = ping.tick() => {
                    let is_silent = heard.elapsed() > PING_EVERY * 2;
                    if is_silent || self.stream.send(Packet::PingReq(PingReq)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn write(&mut self, next: Waiting) -> Result<(), ()> {
        let Waiting { mut message, answer } = next;
        // Fewer are in flight than there are ids.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&self.last_id) {
                break;
            }
        }
        message.pkid = self.last_id;
        self.in_flight.insert(self.last_id, answer);
        self.stream.send(Packet::Publish(message)).await.map_err(|_| ())
    }

    /// False if the server ends the connection.
    fn read(&mut self, packet: Packet) -> bool {
        match packet {
            Packet::PubAck(acknowledged) => {
                if let Some(answer) = self.in_flight.remove(&acknowledged.pkid) {
                    // A send that ended early does not want it.
                    let _ = answer.send(acknowledged.reason);
                }
                true
            }
            Packet::Disconnect(_) => false,
            _ => true,
        }
    }
}
