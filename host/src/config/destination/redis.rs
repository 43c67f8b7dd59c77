//! The `redis` kind: a stream, a list or a channel of a Redis server.

use super::DestinationDefaults;
use super::pattern::{self, NamePattern};
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::server::at_most;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

pub(in crate::config) const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("redis", false, 6379), ("rediss", true, 6379)],
    example: "redis://cache.example.com:6379/0",
};
/// The most entries that a stream or list may be told to keep.
const MAX_LEN_MAX: usize = 1_000_000_000;
/// The most databases that a server may be configured to have.
const DATABASE_MAX: u16 = 9_999;

/// A Redis server, and the key or channel that messages go to.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    pub server: BrokerServer,
    pub database: u16,
    pub into: RedisKey,
}

/// The kind of key that messages are added to.
#[derive(Debug, Clone)]
pub enum RedisKey {
    /// `XADD`, which trims the stream to about `max_len` entries.
    Stream { key: NamePattern, max_len: Option<usize> },
    /// `RPUSH`.
    List { key: NamePattern },
    /// `PUBLISH`: only the clients that are subscribed at this moment get it.
    Channel { name: NamePattern },
}

impl RedisKey {
    /// The key with its kind, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Stream { key, .. } => format!("stream {}", key.text()),
            Self::List { key } => format!("list {}", key.text()),
            Self::Channel { name } => format!("channel {}", name.text()),
        }
    }
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<RedisSettings> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let stream = pattern::read(section, "stream");
    let list = pattern::read(section, "list");
    let channel = pattern::read(section, "channel");
    let max_len = match section.has("max_len") {
        true => section.checked("max_len", |n| at_most(*n, MAX_LEN_MAX)),
        false => section.maybe("max_len"),
    };
    let given = ["stream", "list", "channel"].into_iter().filter(|key| section.has(key)).count();
    if given != 1 {
        section.problem("", "expected one of stream = \"…\", list = \"…\" and channel = \"…\"");
    }
    if section.has("max_len") && !section.has("stream") {
        section.problem("max_len", "trims a stream; a list or channel has no such limit");
    }
    let into = match (stream, list, channel) {
        (Some(key), None, None) => Some(RedisKey::Stream { key, max_len }),
        (None, Some(key), None) => Some(RedisKey::List { key }),
        (None, None, Some(name)) => Some(RedisKey::Channel { name }),
        _ => None,
    };
    let (server, path) = server?;
    let database = database(section, &path)?;
    Some(RedisSettings { server, database, into: into? })
}

/// The number of a database in the path of a URL.
pub(in crate::config) fn database(section: &Section<'_>, path: &str) -> Option<u16> {
    match (path.is_empty(), path.parse::<u16>()) {
        (true, _) => Some(0),
        (false, Ok(number)) if number <= DATABASE_MAX => Some(number),
        (false, _) => {
            section.problem("url", "must end with the number of a database, such as /0");
            None
        }
    }
}
