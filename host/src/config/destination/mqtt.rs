//! The `mqtt` kind: a topic of an MQTT 5 server.

use super::DestinationDefaults;
use super::pattern::{self, NamePattern};
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("mqtt", false, 1883), ("mqtts", true, 8883)],
    example: "mqtts://mqtt.example.com:8883",
};
/// Longest client id that every server accepts, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 23;

/// An MQTT server, and the topic that messages are published to.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    pub server: BrokerServer,
    pub topic: NamePattern,
    /// Empty if the server chooses one.
    pub client_id: String,
    pub retain: bool,
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<MqttSettings> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let topic = pattern::must(section, "topic");
    if topic.as_ref().is_some_and(|topic| topic.text().contains(['#', '+'])) {
        section.problem("topic", "has # or +, which only subscriptions may have");
        return None;
    }
    let client_id = section.maybe::<String>("client_id").unwrap_or_default();
    if client_id.len() > CLIENT_ID_BYTES_MAX {
        section.problem("client_id", format!("must have at most {CLIENT_ID_BYTES_MAX} bytes"));
        return None;
    }
    let retain = section.maybe("retain").unwrap_or(false);
    let (server, path) = server?;
    if !path.is_empty() {
        section.problem("url", "ends with a path, which an MQTT server does not have");
        return None;
    }
    Some(MqttSettings { server, topic: topic?, client_id, retain })
}
