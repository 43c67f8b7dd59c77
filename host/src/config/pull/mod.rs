//! `[sources.NAME]` with a `kind` besides `http`: the settings of sources whose messages the hub
//! takes from a server, instead of getting requests.
//!
//! Each kind has a file of its own. What all sources have is in `source`.

mod nats;
mod poll;
mod rabbitmq;
mod redis;
mod sqs;

pub use self::redis::RedisPull;
pub use nats::NatsPull;
pub use poll::PollSettings;
pub use rabbitmq::RabbitPull;
pub use sqs::SqsPull;

use std::time::Duration;

use weir_core::word_enum;

use super::SqsSettings;
use super::context::LoadContext;
use super::destination::DestinationDefaults;
use super::server::at_most;
use super::tree::Section;
use crate::tls::TrustedRoots;

/// The most messages that are taken at once. They are in memory until their events are stored.
const PREFETCH_MAX: usize = 1_000;
const PREFETCH: usize = 100;
/// The name of a group, a consumer or its member, unless it is set.
const NAME: &str = "weir";
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Time without an acknowledgement after which a message is brought again.
const CLAIM_AFTER: Duration = Duration::from_secs(60);
/// Shortest such time: a batch may take as long to be stored.
const CLAIM_AFTER_MIN: Duration = Duration::from_secs(1);

/// Keys that only mean something where senders post requests.
pub(super) const OF_REQUESTS: [&str; 19] = [
    "secrets",
    "params",
    "allow_ips",
    "require_client_cert",
    "auth",
    "rate",
    "burst",
    "responder",
    "responder_deadline",
    "signature",
    "schemes",
    "tolerance",
    "public_url",
    "methods",
    "acknowledge",
    "acknowledge_form",
    "default_answer",
    "failure_status",
    "failure_empty",
];
/// Keys that only mean something where the hub takes messages from a server.
const OF_SERVERS: [&str; 29] = [
    "url",
    "user",
    "password",
    "token",
    "timeout",
    "allow",
    "ca",
    "prefetch",
    "stream",
    "queue",
    "queue_url",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "subject",
    "jetstream",
    "group",
    "consumer",
    "start",
    "body_field",
    "claim_after",
    "headers",
    "interval",
    "items",
    "item_id",
    "newest_first",
    "max_bytes",
];

word_enum! {
    /// The kinds of sources.
    SourceKind {
        /// Senders post requests.
        Http = "http",
        /// The hub reads a stream of Redis as a member of a group.
        Redis = "redis",
        /// The hub consumes a queue of RabbitMQ.
        RabbitMq = "rabbitmq",
        /// The hub reads a stream of NATS by a durable consumer.
        Nats = "nats",
        /// The hub takes messages of a queue of SQS.
        Sqs = "sqs",
        /// The hub asks a URL for a JSON document again and again.
        Poll = "poll",
    }
}

/// The settings of a source whose messages the hub takes itself.
#[derive(Debug, Clone)]
pub struct PullSettings {
    pub from: PullOrigin,
    /// The most messages that are taken at once.
    pub prefetch: usize,
    /// True if the source's own `id` or `dedup` says which messages are the same, instead of the
    /// id that the server gives them.
    pub own_ids: bool,
}

/// The place that messages come from.
#[derive(Debug, Clone)]
pub enum PullOrigin {
    Redis(Box<RedisPull>),
    RabbitMq(Box<RabbitPull>),
    Nats(Box<NatsPull>),
    Sqs(Box<SqsPull>),
    Poll(Box<PollSettings>),
}

impl PullSettings {
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self.from {
            PullOrigin::Redis(_) => SourceKind::Redis,
            PullOrigin::RabbitMq(_) => SourceKind::RabbitMq,
            PullOrigin::Nats(_) => SourceKind::Nats,
            PullOrigin::Sqs(_) => SourceKind::Sqs,
            PullOrigin::Poll(_) => SourceKind::Poll,
        }
    }

    /// The place that messages come from, for people. Without credentials.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.from {
            PullOrigin::Redis(redis) => {
                let RedisPull { server, database, stream, group, .. } = &**redis;
                format!("{}/{database} stream {stream} group {group}", server.address())
            }
            PullOrigin::RabbitMq(rabbit) => {
                let RabbitPull { server, vhost, queue } = &**rabbit;
                format!("{} virtual host {vhost}, queue {queue}", server.address())
            }
            PullOrigin::Nats(nats) => {
                let NatsPull { server, stream, consumer, .. } = &**nats;
                format!("{} stream {stream}, consumer {consumer}", server.address())
            }
            PullOrigin::Sqs(sqs) => {
                let SqsSettings { account, queue, .. } = &sqs.queue;
                format!("{} queue {queue}", account.server.address())
            }
            PullOrigin::Poll(poll) => poll.origin(),
        }
    }

    /// The secrets, for their hash.
    pub(super) fn secrets(&self) -> Vec<&[u8]> {
        let (server, token) = match &self.from {
            PullOrigin::Redis(redis) => (&redis.server, None),
            PullOrigin::RabbitMq(rabbit) => (&rabbit.server, None),
            PullOrigin::Nats(nats) => (&nats.server, nats.token.as_ref()),
            PullOrigin::Sqs(sqs) => {
                let secrets = sqs.queue.account.secrets();
                return secrets.map(|secret| secret.expose()).collect();
            }
            PullOrigin::Poll(poll) => return poll.hidden(),
        };
        server.password.iter().chain(token).map(|secret| secret.expose()).collect()
    }
}

/// The things that the settings of servers are read with.
#[derive(Clone, Copy)]
pub(super) struct PullContext<'a> {
    pub(super) defaults: &'a DestinationDefaults,
    pub(super) trust: &'a TrustedRoots,
}

/// Reads the kind of a source. An unknown one is a problem, and is read as `http`.
pub(super) fn kind(section: &mut Section<'_>) -> SourceKind {
    let Some(word) = section.maybe::<String>("kind") else { return SourceKind::Http };
    SourceKind::parse(&word).unwrap_or_else(|| {
        let known: Vec<_> = SourceKind::ALL.iter().map(|kind| format!("\"{kind}\"")).collect();
        section.problem("kind", format!("must be one of {}", known.join(", ")));
        SourceKind::Http
    })
}

/// Notes each setting of requests in a source that gets none.
pub(super) fn refuse_settings_of_requests(section: &mut Section<'_>, kind: SourceKind) {
    for key in OF_REQUESTS {
        if section.has(key) {
            section.mark_read(key);
            let what = format!(
                "means nothing for a source of the kind {kind}: the hub takes its messages from a \
                 server, and no sender posts any; remove it"
            );
            section.problem(key, what);
        }
    }
}

/// Notes each setting of a server in a source that senders post to.
pub(super) fn refuse_settings_of_servers(section: &mut Section<'_>) {
    for key in OF_SERVERS {
        if section.has(key) {
            section.mark_read(key);
            let kinds = SourceKind::ALL.iter().filter(|kind| **kind != SourceKind::Http);
            let kinds: Vec<_> = kinds.map(|kind| format!("\"{kind}\"")).collect();
            let what = format!(
                "is a setting of sources whose messages the hub takes from a server; write kind = \
                 {}, or remove it",
                kinds.join(" or ")
            );
            section.problem(key, what);
        }
    }
}

/// Reads the settings of a kind besides `http`.
pub(super) fn read(
    kind: SourceKind,
    section: &mut Section<'_>,
    known: PullContext<'_>,
    context: &LoadContext<'_>,
) -> Option<PullSettings> {
    let prefetch = match section.has("prefetch") {
        true => section.checked("prefetch", |n| at_most(*n, PREFETCH_MAX)),
        false => section.maybe("prefetch").or(Some(PREFETCH)),
    };
    let own_ids = section.has("id") || section.has("dedup");
    let from = match kind {
        SourceKind::Http => None,
        SourceKind::Redis => {
            redis::read(section, known, context).map(|redis| PullOrigin::Redis(Box::new(redis)))
        }
        SourceKind::RabbitMq => rabbitmq::read(section, known, context)
            .map(|rabbit| PullOrigin::RabbitMq(Box::new(rabbit))),
        SourceKind::Nats => {
            nats::read(section, known, context).map(|nats| PullOrigin::Nats(Box::new(nats)))
        }
        SourceKind::Sqs => {
            sqs::read(section, known, context).map(|sqs| PullOrigin::Sqs(Box::new(sqs)))
        }
        SourceKind::Poll => {
            poll::read(section, known, context).map(|poll| PullOrigin::Poll(Box::new(poll)))
        }
    };
    Some(PullSettings { from: from?, prefetch: prefetch?, own_ids })
}

/// Reads whether reading begins with the oldest message.
fn from_oldest(section: &mut Section<'_>) -> Option<bool> {
    match section.maybe::<String>("start").as_deref() {
        Some("new") => Some(false),
        Some("oldest") => Some(true),
        Some(_) => {
            section.problem("start", "must be \"oldest\" or \"new\"");
            None
        }
        None => (!section.has("start")).then_some(true),
    }
}

fn claim_after(section: &mut Section<'_>) -> Option<Duration> {
    match section.has("claim_after") {
        true => section.checked("claim_after", |time: &Duration| match *time < CLAIM_AFTER_MIN {
            true => Err("must be at least 1s".into()),
            false => Ok(()),
        }),
        false => section.maybe("claim_after").or(Some(CLAIM_AFTER)),
    }
}

fn name(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    match section.has(key) {
        true => section.checked(key, |name: &String| named(name)),
        false => section.maybe(key).or_else(|| Some(NAME.to_owned())),
    }
}

fn named(name: &str) -> Result<(), String> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        _ => Err(format!("must have 1 to {NAME_BYTES_MAX} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load::from_text;
    use crate::config::{Config, ConfigErrors, Mode};

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let secret = |name: &str| (name == "P").then(|| "hunter2hunter2hunter2".into());
        from_text("weir.toml", text, Path::new(""), &secret, Mode::Production)
            .map(|(config, _)| config)
    }

    fn problems(text: &str) -> Vec<(String, String)> {
        let problems = load(text).unwrap_err().problems;
        problems.into_iter().map(|problem| (problem.path, problem.what)).collect()
    }

    #[test]
    fn a_redis_source_has_defaults() {
        let config = load(
            "[sources.orders]\nkind = \"redis\"\nurl = \"rediss://cache.example.com/3\"\nstream = \
             \"orders\"",
        )
        .unwrap();
        let source = &config.sources["orders"];
        let pull = source.pull.as_ref().unwrap();
        assert_eq!(pull.address(), "rediss://cache.example.com:6379/3 stream orders group weir");
        assert_eq!((pull.prefetch, pull.own_ids), (100, false));
        assert_eq!((&*source.provider.name, source.secrets.len()), ("custom", 0));
        let own = load(
            "[sources.orders]\nkind = \"redis\"\nurl = \"rediss://cache.example.com/3\"\nstream = \
             \"orders\"\nid = [\"header:order-id\"]\npassword = { env = \"P\" }",
        )
        .unwrap();
        let pull = own.sources["orders"].pull.as_ref().unwrap();
        assert!(pull.own_ids && !format!("{pull:?}").contains("hunter2"), "{pull:?}");
    }

    #[test]
    fn settings_of_another_kind_are_named() {
        let found = problems(
            "[sources.a]\nkind = \"redis\"\nurl = \"redis://cache.example.com\"\nstream = \
             \"s\"\nsecrets = [{ env = \"P\" }]\nallow_ips = [\"10.0.0.1\"]\nrate = \
             \"1/s\"\nmethods = [\"GET\"]",
        );
        let keys: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
        let wanted =
            ["secrets", "allow_ips", "rate", "methods"].map(|key| format!("sources.a.{key}"));
        assert_eq!(keys, wanted, "{found:?}");
        assert!(found[0].1.contains("no sender posts any"), "{found:?}");
        let found = problems(
            "[sources.a]\nprovider = \"github\"\nsecrets = [{ env = \"P\" }]\nstream = \"s\"",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == "sources.a.stream" && found[0].1.contains("write kind ="));
    }

    #[test]
    fn missing_and_wrong_settings_are_named() {
        let found = problems("[sources.a]\nkind = \"redis\"\nprefetch = 0\nstart = \"soon\"");
        for key in ["url", "stream", "prefetch", "start"] {
            assert!(found.iter().any(|(path, _)| *path == format!("sources.a.{key}")), "{found:?}");
        }
        let found = problems("[sources.a]\nkind = \"carrier\"\nprovider = \"github\"");
        assert!(
            found.iter().any(|(_, what)| what.contains("must be one of \"http\", \"redis\"")),
            "{found:?}"
        );
    }
}
