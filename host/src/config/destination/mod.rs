//! `[destinations.NAME]` and `[defaults.destination]`: the settings that every kind of destination
//! has.
//!
//! Each kind has a file of its own for the rest.

pub(super) mod aws;
mod file;
mod inbox;
mod kafka;
mod mqtt;
pub(super) mod nats;
mod pattern;
mod postgres;
mod pubsub;
pub(super) mod rabbitmq;
pub(super) mod redis;
pub(super) mod server;
mod webhook;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_core::breaker::BreakerPolicy;
use weir_core::delivery::OnBlocked;
use weir_core::name::DestinationName;
use weir_core::rate::Rate;
use weir_core::retry::RetryPolicy;
use weir_core::word_enum;

pub use self::redis::{RedisKey, RedisSettings};
pub use aws::{AwsAccount, SnsSettings, SqsSettings};
pub use file::{FileSettings, FileSync};
pub(super) use inbox::built_in as inbox;
pub use kafka::{KafkaSettings, SaslMechanism};
pub use mqtt::MqttSettings;
pub use nats::NatsSettings;
pub use pattern::NamePattern;
pub use postgres::{MessageFact, PostgresSettings};
#[cfg(test)]
pub(super) use pubsub::testing::key_file as test_key_file;
pub use pubsub::{PubSubSettings, ServiceAccount};
pub use rabbitmq::RabbitSettings;
pub use server::BrokerServer;
pub use webhook::{AcceptedStatuses, Authorization, OAuthClient, Signing, Webhook, WebhookAuth};
pub(super) use webhook::{headers, read_allow};

use super::access;
use super::breaker::RawBreaker;
use super::context::LoadContext;
use super::expression;
use super::retry::{InvalidSetting, RawRetry};
use super::server::at_most;
use super::tree::Section;
use crate::tls::TrustedRoots;

/// The most attempts at one destination at the same time.
const CONCURRENCY_MAX: usize = 1_024;
/// The longest wait for a response. After it, the slot is better used for a retry.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// The settings of one destination.
#[derive(Debug)]
pub struct Destination {
    pub name: DestinationName,
    pub transport: TransportSettings,
    pub retry: RetryPolicy,
    pub breaker: BreakerPolicy,
    /// Attempts at the same time.
    pub concurrency: usize,
    /// True if messages of handlers keep the order of the events that were handled.
    pub ordered: bool,
    /// The fate of a message that cannot be sent while others wait behind it in its order.
    pub on_blocked: OnBlocked,
    /// The most attempts in a time.
    pub rate: Option<Rate>,
}

/// The settings that only one kind of destination has.
#[derive(Debug)]
pub enum TransportSettings {
    Webhook(Box<Webhook>),
    Inbox,
    Stdout { timeout: Duration },
    File(Box<FileSettings>),
    Redis(Box<RedisSettings>),
    Nats(Box<NatsSettings>),
    RabbitMq(Box<RabbitSettings>),
    Postgres(Box<PostgresSettings>),
    Mqtt(Box<MqttSettings>),
    Sqs(Box<SqsSettings>),
    Sns(Box<SnsSettings>),
    PubSub(Box<PubSubSettings>),
    Kafka(Box<KafkaSettings>),
}

impl TransportSettings {
    #[must_use]
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Webhook(_) => DestinationKind::Webhook,
            Self::Inbox => DestinationKind::Inbox,
            Self::Stdout { .. } => DestinationKind::Stdout,
            Self::File(_) => DestinationKind::File,
            Self::Redis(_) => DestinationKind::Redis,
            Self::Nats(_) => DestinationKind::Nats,
            Self::RabbitMq(_) => DestinationKind::RabbitMq,
            Self::Postgres(_) => DestinationKind::Postgres,
            Self::Mqtt(_) => DestinationKind::Mqtt,
            Self::Sqs(_) => DestinationKind::Sqs,
            Self::Sns(_) => DestinationKind::Sns,
            Self::PubSub(_) => DestinationKind::PubSub,
            Self::Kafka(_) => DestinationKind::Kafka,
        }
    }

    /// The place that messages go to, for people. Without credentials, and without the path of a
    /// URL, which may be one.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Webhook(webhook) => origin(&webhook.url),
            Self::Inbox => "the memory of this hub".into(),
            Self::Stdout { .. } => "the standard output of this hub".into(),
            Self::File(file) => file.path.display().to_string(),
            Self::Redis(redis) => {
                let RedisSettings { server, database, into } = &**redis;
                format!("{}/{database} {}", server.address(), into.shown())
            }
            Self::Nats(nats) => {
                let NatsSettings { server, subject, .. } = &**nats;
                format!("{} subject {}", server.address(), subject.text())
            }
            Self::RabbitMq(rabbit) => format!("{} {}", rabbit.server.address(), rabbit.shown()),
            Self::Postgres(postgres) => {
                let PostgresSettings { server, database, .. } = &**postgres;
                format!("{}/{database}", server.address())
            }
            Self::Mqtt(mqtt) => {
                let MqttSettings { server, topic, .. } = &**mqtt;
                format!("{} topic {}", server.address(), topic.text())
            }
            Self::Sqs(sqs) => format!("{} queue {}", sqs.account.server.address(), sqs.queue),
            Self::Sns(sns) => format!("{} topic {}", sns.account.server.address(), sns.topic),
            Self::PubSub(pubsub) => format!("{} {}", pubsub.server.address(), pubsub.topic),
            Self::Kafka(kafka) => format!("{} topic {}", kafka.addresses(), kafka.topic.text()),
        }
    }

    /// The server, for kinds that keep a connection to one.
    pub(super) fn server(&self) -> Option<&BrokerServer> {
        match self {
            Self::Webhook(_) | Self::Inbox | Self::Stdout { .. } | Self::File(_) => None,
            Self::Redis(redis) => Some(&redis.server),
            Self::Nats(nats) => Some(&nats.server),
            Self::RabbitMq(rabbit) => Some(&rabbit.server),
            Self::Postgres(postgres) => Some(&postgres.server),
            Self::Mqtt(mqtt) => Some(&mqtt.server),
            Self::Sqs(_) | Self::Sns(_) => self.account().map(|account| &account.server),
            Self::PubSub(pubsub) => Some(&pubsub.server),
            // All have the same settings beside their addresses.
            Self::Kafka(kafka) => kafka.servers.first(),
        }
    }

    /// The account of AWS, for kinds that have one.
    fn account(&self) -> Option<&AwsAccount> {
        match self {
            Self::Sqs(sqs) => Some(&sqs.account),
            Self::Sns(sns) => Some(&sns.account),
            _ => None,
        }
    }

    /// The secrets, for their hash.
    pub(super) fn secrets(&self) -> Vec<&[u8]> {
        let password = self.server().and_then(|server| server.password.as_ref());
        let token = match self {
            Self::Nats(nats) => nats.token.as_ref(),
            Self::PubSub(pubsub) => pubsub.account.as_ref().map(|account| &account.private_key),
            _ => None,
        };
        let keys = self.account().into_iter().flat_map(AwsAccount::secrets);
        password.into_iter().chain(token).chain(keys).map(|secret| secret.expose()).collect()
    }
}

fn origin(url: &http::Uri) -> String {
    let scheme = url.scheme_str().unwrap_or_default();
    format!("{scheme}://{}", url.authority().map_or("", http::uri::Authority::as_str))
}

word_enum! {
    /// The kinds of destinations.
    DestinationKind {
        /// An HTTP endpoint that messages are posted to.
        Webhook = "webhook",
        /// Messages are kept in memory, for development.
        Inbox = "inbox",
        /// Messages are written to the standard output, one JSON line each.
        Stdout = "stdout",
        /// Messages are appended to a file, one JSON line each.
        File = "file",
        /// Messages are added to a stream or list of Redis, or published.
        Redis = "redis",
        /// Messages are published to a subject of NATS, for a stream or without one.
        Nats = "nats",
        /// Messages are published to an exchange or queue of RabbitMQ.
        RabbitMq = "rabbitmq",
        /// A statement is run for each message.
        Postgres = "postgres",
        /// Messages are published to a topic of MQTT.
        Mqtt = "mqtt",
        /// Messages are sent to a queue of AWS.
        Sqs = "sqs",
        /// Messages are published to a topic of AWS.
        Sns = "sns",
        /// Messages are published to a topic of Google Cloud Pub/Sub.
        PubSub = "pubsub",
        /// Messages are appended to a topic of Kafka.
        Kafka = "kafka",
    }
}

/// The settings of a destination that does not set its own.
#[derive(Debug, Clone)]
pub(super) struct DestinationDefaults {
    pub(super) timeout: Duration,
    pub(super) concurrency: usize,
    pub(super) retry: RetryPolicy,
    pub(super) breaker: BreakerPolicy,
    raw_retry: RawRetry,
    raw_breaker: RawBreaker,
    fallback_waits: RawRetry,
}

/// Reads `[defaults.destination]`. `fallback_waits` has the waits that are used where only some are
/// set.
pub(super) fn defaults(
    mut section: Section<'_>,
    fallback_waits: &RawRetry,
) -> Option<DestinationDefaults> {
    let timeout = section.checked("timeout", |d| timeout_ok(*d));
    let concurrency = section.checked("concurrency", |n| at_most(*n, CONCURRENCY_MAX));
    let raw_retry = RawRetry::read(&mut section.section("retry")).growing_as(fallback_waits);
    let report = |(key, what): InvalidSetting| section.problem(&format!("retry.{key}"), what);
    let retry = raw_retry.policy().map_err(report).ok();
    let raw_breaker = RawBreaker::read(&mut section.section("breaker"));
    let report = |(key, what): InvalidSetting| section.problem(&format!("breaker.{key}"), what);
    let breaker = raw_breaker.policy().map_err(report).ok();
    section.finish();
    Some(DestinationDefaults {
        timeout: timeout?,
        concurrency: concurrency?,
        retry: retry?,
        breaker: breaker?,
        raw_retry,
        raw_breaker,
        fallback_waits: fallback_waits.clone(),
    })
}

/// Reads every `[destinations.NAME]`.
pub(super) fn read(
    sections: Vec<(&str, Section<'_>)>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> BTreeMap<DestinationName, Arc<Destination>> {
    let mut destinations = BTreeMap::new();
    let mut files: BTreeMap<PathBuf, DestinationName> = BTreeMap::new();
    for (name, section) in sections {
        let name = match DestinationName::new(name) {
            Ok(name) => name,
            Err(error) => {
                section.problem("", error);
                continue;
            }
        };
        let place = section.place_of("path");
        let Some(destination) = one(name.clone(), section, defaults, trust, context) else {
            continue;
        };
        if let TransportSettings::File(file) = &destination.transport
            && let Some(other) = files.insert(without_dots(&file.path), name.clone())
        {
            place.problem(format!(
                "is also the file of destinations.{other}, and each would rotate it under the other; \
                 give each a file of its own, or send both to one destination"
            ));
        }
        destinations.insert(name, Arc::new(destination));
    }
    destinations
}

/// The same path, without parts that mean the folder itself.
fn without_dots(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn one(
    name: DestinationName,
    mut section: Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<Destination> {
    let kind = section.checked("kind", |word: &String| match DestinationKind::parse(word) {
        Some(_) => Ok(()),
        None => Err(unknown_kind()),
    });
    let concurrency = match section.has("concurrency") {
        true => section.checked("concurrency", |n| at_most(*n, CONCURRENCY_MAX)),
        false => section.maybe("concurrency").or(Some(defaults.concurrency)),
    };
    let mut retry = section.section("retry");
    let own = RawRetry::read(&mut retry);
    let retry = if retry.is_given() {
        let raw = own.over(&defaults.raw_retry).growing_as(&defaults.fallback_waits);
        let report = |(key, what): InvalidSetting| section.problem(&format!("retry.{key}"), what);
        raw.policy().map_err(report).ok()
    } else {
        Some(defaults.retry.clone())
    };
    let own = RawBreaker::read(&mut section.section("breaker"));
    let report = |(key, what): InvalidSetting| section.problem(&format!("breaker.{key}"), what);
    let breaker = own.over(&defaults.raw_breaker).policy().map_err(report).ok();
    let ordered = section.maybe("ordered").unwrap_or(false);
    let on_blocked = expression::on_blocked(&mut section).unwrap_or(OnBlocked::Skip);
    let rate = access::sending_rate(&mut section);
    let kind = kind.as_deref().and_then(DestinationKind::parse);
    let transport = match kind {
        Some(DestinationKind::Inbox) => Some(TransportSettings::Inbox),
        Some(DestinationKind::Webhook) => {
            let url = section.must::<String>("url");
            webhook::read(&mut section, url, defaults, trust, context)
                .map(|webhook| TransportSettings::Webhook(Box::new(webhook)))
        }
        Some(kind) => beside_webhook(kind, &mut section, defaults, trust, context),
        // Read as a webhook, so that the other mistakes of its table are reported too.
        None => {
            let url = section.maybe::<String>("url");
            webhook::read(&mut section, url, defaults, trust, context);
            None
        }
    };
    section.finish();
    Some(Destination {
        name,
        transport: transport?,
        retry: retry?,
        breaker: breaker?,
        concurrency: concurrency?,
        ordered,
        on_blocked,
        rate,
    })
}

/// Reads the settings of a kind that is not HTTP.
fn beside_webhook(
    kind: DestinationKind,
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<TransportSettings> {
    match kind {
        DestinationKind::Webhook | DestinationKind::Inbox => None,
        DestinationKind::Stdout => {
            server::timeout(section, defaults).map(|timeout| TransportSettings::Stdout { timeout })
        }
        DestinationKind::File => file::read(section, defaults, context)
            .map(|file| TransportSettings::File(Box::new(file))),
        DestinationKind::Redis => redis::read(section, defaults, trust, context)
            .map(|redis| TransportSettings::Redis(Box::new(redis))),
        DestinationKind::Nats => nats::read(section, defaults, trust, context)
            .map(|nats| TransportSettings::Nats(Box::new(nats))),
        DestinationKind::RabbitMq => rabbitmq::read(section, defaults, trust, context)
            .map(|rabbit| TransportSettings::RabbitMq(Box::new(rabbit))),
        DestinationKind::Postgres => postgres::read(section, defaults, trust, context)
            .map(|postgres| TransportSettings::Postgres(Box::new(postgres))),
        DestinationKind::Mqtt => mqtt::read(section, defaults, trust, context)
            .map(|mqtt| TransportSettings::Mqtt(Box::new(mqtt))),
        DestinationKind::Sqs => aws::read_sqs(section, defaults, trust, context)
            .map(|sqs| TransportSettings::Sqs(Box::new(sqs))),
        DestinationKind::Sns => aws::read_sns(section, defaults, trust, context)
            .map(|sns| TransportSettings::Sns(Box::new(sns))),
        DestinationKind::PubSub => pubsub::read(section, defaults, trust, context)
            .map(|pubsub| TransportSettings::PubSub(Box::new(pubsub))),
        DestinationKind::Kafka => kafka::read(section, defaults, trust, context)
            .map(|kafka| TransportSettings::Kafka(Box::new(kafka))),
    }
}

fn unknown_kind() -> String {
    let known: Vec<_> = DestinationKind::ALL.iter().map(|kind| format!("\"{kind}\"")).collect();
    format!("must be one of {}", known.join(", "))
}

fn timeout_ok(timeout: Duration) -> Result<(), String> {
    if timeout > TIMEOUT_MAX { Err("must be at most 5m".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::load::from_text;

    fn problems(text: &str) -> Vec<String> {
        let none = |_: &str| None;
        let read =
            from_text("weir.toml", text, Path::new(""), &none, crate::config::Mode::Production)
                .map(|_| ());
        read.unwrap_err().problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn an_unknown_kind_does_not_hide_other_mistakes() {
        let wrong = "url = \"ftp://x\"\nconcurrency = 0\ntimeout = \"9h\"\nsigning = \"none\"\n\
                     allow = [\"@all\"]\nspeed = 1\n\
                     headers = { host = \"x\" }\n[destinations.a.retry]\nmax_attempts = 0";
        let others =
            ["url", "concurrency", "timeout", "signing", "allow[0]", "speed", "headers.host"];
        for kind in ["kind = \"email\"", "kind = 3", ""] {
            let found = problems(&format!("[destinations.a]\n{kind}\n{wrong}"));
            for other in ["kind"].iter().chain(&others) {
                let path = format!("destinations.a.{other}");
                assert!(found.contains(&path), "{path} with {kind}: {found:?}");
            }
            assert!(found.iter().any(|path| path.starts_with("destinations.a.retry")), "{found:?}");
        }
        assert_eq!(problems("[destinations.a]\nkind = \"inbx\""), ["destinations.a.kind"]);
    }

    #[test]
    fn two_destinations_may_not_have_one_file() {
        let file = |name: &str, path: &str| {
            format!("[destinations.{name}]\nkind = \"file\"\npath = \"{path}\"\n")
        };
        let [one, two] = [file("a", "out.jsonl"), file("b", "./out.jsonl")];
        assert_eq!(problems(&(one.clone() + &two)), ["destinations.b.path"]);
        let both = one + &file("b", "other.jsonl");
        let mode = crate::config::Mode::Production;
        assert!(from_text("weir.toml", &both, Path::new(""), &|_| None, mode).is_ok());
    }

    #[test]
    fn an_unknown_provider_does_not_hide_other_mistakes() {
        let found = problems(
            "[sources.a]\nprovider = \"githib\"\nsecrets = [\"x\"]\n\
             params = { a = \"b\" }\nblock = [\"x\"]\n\
             max_silence = \"soon\"\nspeed = 1",
        );
        for key in ["provider", "secrets[0]", "max_silence", "speed"] {
            assert!(found.contains(&format!("sources.a.{key}")), "{key}: {found:?}");
        }
        assert!(!found.contains(&"sources.a.params".to_owned()), "{found:?}");
    }
}
