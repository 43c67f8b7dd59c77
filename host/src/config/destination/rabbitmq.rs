//! The `rabbitmq` kind: a queue, or an exchange with a routing key.

use percent_encoding::percent_decode_str;

use super::DestinationDefaults;
use super::pattern::{self, NamePattern};
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

pub(in crate::config) const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("amqp", false, 5672), ("amqps", true, 5671)],
    example: "amqp://rabbit.example.com:5672/vhost",
};
/// Longest name of an exchange or a virtual host, in bytes, by the protocol.
const NAME_BYTES_MAX: usize = 255;

/// A RabbitMQ server, and the exchange and routing key of messages.
#[derive(Debug, Clone)]
pub struct RabbitSettings {
    pub server: BrokerServer,
    pub vhost: String,
    /// Empty for the exchange that brings messages to the queue of the routing key's name.
    pub exchange: String,
    pub routing_key: NamePattern,
}

impl RabbitSettings {
    /// The queue, or the exchange with its routing key, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let Self { vhost, exchange, routing_key, .. } = self;
        match exchange.as_str() {
            "" => format!("virtual host {vhost}, queue {}", routing_key.text()),
            _ => format!("virtual host {vhost}, exchange {exchange}, key {}", routing_key.text()),
        }
    }
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<RabbitSettings> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let queue = pattern::read(section, "queue");
    let exchange = section.maybe::<String>("exchange");
    let routing_key = pattern::read(section, "routing_key");
    let is_wrong = match (section.has("queue"), section.has("exchange")) {
        (true, false) if !section.has("routing_key") => false,
        (false, true) => !section.has("routing_key"),
        _ => true,
    };
    if is_wrong {
        section.problem("", "expected queue = \"…\", or exchange = \"…\" and routing_key = \"…\"");
        return None;
    }
    if exchange.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        section.problem("exchange", "must have 1 to 255 bytes; for the default one, name a queue");
        return None;
    }
    let (server, path) = server?;
    let vhost = vhost(section, &path)?;
    let exchange = exchange.unwrap_or_default();
    Some(RabbitSettings { server, vhost, exchange, routing_key: queue.or(routing_key)? })
}

/// The virtual host in the path of a URL.
pub(in crate::config) fn vhost(section: &Section<'_>, path: &str) -> Option<String> {
    let Ok(vhost) = percent_decode_str(path).decode_utf8() else {
        section.problem("url", "has a virtual host that is not text");
        return None;
    };
    if vhost.len() > NAME_BYTES_MAX {
        section.problem("url", format!("has a virtual host of more than {NAME_BYTES_MAX} bytes"));
        return None;
    }
    Some(if vhost.is_empty() { "/".to_owned() } else { vhost.into_owned() })
}
