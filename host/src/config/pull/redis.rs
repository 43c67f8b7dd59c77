//! The `redis` kind of source: a stream, read as a member of a consumer group.

use std::time::Duration;

use super::PullContext;
use crate::config::context::LoadContext;
use crate::config::destination::redis::{FORM, database};
use crate::config::destination::server::{self, BrokerServer};
use crate::config::tree::Section;

/// A stream of a Redis server, and the group that reads it.
#[derive(Debug, Clone)]
pub struct RedisPull {
    pub server: BrokerServer,
    pub database: u16,
    pub stream: String,
    pub group: String,
    /// The name of this hub in the group.
    pub consumer: String,
    /// True if a group that the hub makes begins with the oldest entry, not with the next one.
    pub from_oldest: bool,
    /// The field that is the body.
    pub body_field: Option<String>,
    /// Entries that another member has had for this long are taken from it.
    pub claim_after: Duration,
}

pub(super) fn read(
    section: &mut Section<'_>,
    PullContext { defaults, trust }: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<RedisPull> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let stream = section.checked("stream", |name: &String| super::named(name));
    let group = super::name(section, "group");
    let consumer = super::name(section, "consumer");
    let from_oldest = super::from_oldest(section);
    let body_field = section.maybe::<String>("body_field");
    let claim_after = super::claim_after(section);
    let (server, path) = server?;
    Some(RedisPull {
        server,
        database: database(section, &path)?,
        stream: stream?,
        group: group?,
        consumer: consumer?,
        from_oldest: from_oldest?,
        body_field,
        claim_after: claim_after?,
    })
}
