//! The `nats` kind of source: a stream of JetStream, read by a durable consumer.

use std::time::Duration;

use weir_core::verify::Secret;

use super::PullContext;
use crate::config::context::LoadContext;
use crate::config::destination::nats;
use crate::config::destination::server::BrokerServer;
use crate::config::tree::Section;

/// A stream of a NATS server, and the consumer that reads it.
#[derive(Debug, Clone)]
pub struct NatsPull {
    pub server: BrokerServer,
    /// Instead of user and password.
    pub token: Option<Secret>,
    pub stream: String,
    /// The name of the durable consumer.
    pub consumer: String,
    /// The subjects of a consumer that the hub makes; all of the stream without it.
    pub subject: Option<String>,
    /// True if a consumer that the hub makes begins with the oldest message, not with the next one.
    pub from_oldest: bool,
    /// The time after which a consumer that the hub makes brings an unacknowledged message again.
    pub claim_after: Duration,
}

pub(super) fn read(
    section: &mut Section<'_>,
    PullContext { defaults, trust }: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<NatsPull> {
    let server = nats::server(section, defaults, trust, context);
    if section.has("jetstream") {
        section.mark_read("jetstream");
        let what = "means nothing for a source, which always reads a stream: without one, messages \
                    that are published while the hub is away would be lost; remove it";
        section.problem("jetstream", what);
    }
    let stream = section.checked("stream", |name: &String| named(name));
    let consumer = super::name(section, "consumer");
    if let Some(Err(what)) = consumer.as_deref().map(named) {
        section.problem("consumer", what);
    }
    let subject = section.maybe::<String>("subject");
    let from_oldest = super::from_oldest(section);
    let claim_after = super::claim_after(section);
    let (server, token) = server?;
    Some(NatsPull {
        server,
        token,
        stream: stream?,
        consumer: consumer?,
        subject,
        from_oldest: from_oldest?,
        claim_after: claim_after?,
    })
}

/// Checks a name, which is a part of subjects.
fn named(name: &str) -> Result<(), String> {
    super::named(name)?;
    match name.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c)) {
        true => Err("may not have spaces or any of . * > / \\".into()),
        false => Ok(()),
    }
}
