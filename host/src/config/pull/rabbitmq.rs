//! The `rabbitmq` kind of source: a queue.

use super::PullContext;
use crate::config::context::LoadContext;
use crate::config::destination::rabbitmq::{FORM, vhost};
use crate::config::destination::server::{self, BrokerServer};
use crate::config::tree::Section;

/// A queue of a RabbitMQ server.
#[derive(Debug, Clone)]
pub struct RabbitPull {
    pub server: BrokerServer,
    pub vhost: String,
    pub queue: String,
}

pub(super) fn read(
    section: &mut Section<'_>,
    PullContext { defaults, trust }: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<RabbitPull> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let queue = section.checked("queue", |name: &String| super::named(name));
    let (server, path) = server?;
    Some(RabbitPull { server, vhost: vhost(section, &path)?, queue: queue? })
}
