//! The `nats` kind: a subject of a NATS server, with or without JetStream.

use weir_core::verify::Secret;

use super::DestinationDefaults;
use super::pattern::{self, NamePattern};
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::secret;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("nats", false, 4222), ("tls", true, 4222)],
    example: "nats://nats.example.com:4222",
};

/// A NATS server, and the subject that messages are published to.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    pub server: BrokerServer,
    /// Instead of user and password.
    pub token: Option<Secret>,
    pub subject: NamePattern,
    /// True if a stream has to confirm each message.
    pub jetstream: bool,
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<NatsSettings> {
    let server = server(section, defaults, trust, context);
    let subject = pattern::must(section, "subject");
    let jetstream = section.maybe("jetstream").unwrap_or(true);
    let (server, token) = server?;
    Some(NatsSettings { server, token, subject: subject?, jetstream })
}

/// Reads the server with its token, if it has one.
pub(in crate::config) fn server(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<(BrokerServer, Option<Secret>)> {
    let server = server::read(section, &FORM, defaults, trust, context);
    section.mark_read("token");
    let has_token = section.has("token");
    let token = secret::one(section, "token", context);
    let (server, path) = server?;
    if !path.is_empty() {
        section.problem("url", "ends with a path, which a NATS server does not have");
        return None;
    }
    if has_token && server.user.is_some() {
        section.problem("token", "is used instead of user and password; remove one of them");
        return None;
    }
    if has_token && token.is_none() {
        return None;
    }
    Some((server, token))
}
