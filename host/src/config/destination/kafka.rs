//! The `kafka` kind: a topic of Apache Kafka, or of a server with its protocol.

use super::DestinationDefaults;
use super::pattern::{self, NamePattern};
use super::server::{self, BrokerServer, ServerUrlForm};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::tls::TrustedRoots;

const FORM: ServerUrlForm = ServerUrlForm {
    schemes: &[("kafka", false, 9092), ("kafka+ssl", true, 9093)],
    example: "kafka+ssl://kafka-1.example.com:9093",
};
/// Most servers that are named beside the first.
const MORE_URLS_MAX: usize = 16;

/// A cluster, and the topic that messages are appended to.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// The servers that are asked for the others of the cluster, in order.
    pub servers: Vec<BrokerServer>,
    pub topic: NamePattern,
    /// The way to log in, if there is a user.
    pub mechanism: SaslMechanism,
}

impl KafkaSettings {
    /// The servers by their addresses, for people.
    #[must_use]
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(BrokerServer::address).collect();
        addresses.join(", ")
    }
}

/// The ways to log in with a user and a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl SaslMechanism {
    const ALL: [Self; 3] = [Self::Plain, Self::ScramSha256, Self::ScramSha512];

    /// The name in the registry of SASL mechanisms.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(word))
    }
}

/// Reads the settings of a destination of this kind.
pub(super) fn read(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<KafkaSettings> {
    let server = server::read(section, &FORM, defaults, trust, context);
    let more = more_servers(section, server.as_ref().map(|(server, _)| server));
    let topic = pattern::must(section, "topic");
    let mechanism = mechanism(section);
    let (server, path) = server?;
    if !path.is_empty() {
        section.problem("url", "ends with a path, which a Kafka server does not have");
        return None;
    }
    if server.user.is_some() != server.password.is_some() {
        section.problem("password", "is needed with user, and user with it");
        return None;
    }
    let servers = std::iter::once(server).chain(more?).collect();
    Some(KafkaSettings { servers, topic: topic?, mechanism: mechanism? })
}

/// The servers beside the first, whose settings they share.
fn more_servers(
    section: &mut Section<'_>,
    first: Option<&BrokerServer>,
) -> Option<Vec<BrokerServer>> {
    const KEY: &str = "more_urls";
    if !section.has(KEY) {
        section.mark_read(KEY);
        return Some(Vec::new());
    }
    let urls: Vec<String> = section.list(KEY)?;
    if urls.len() > MORE_URLS_MAX {
        section.problem(KEY, format!("has more than {MORE_URLS_MAX} URLs"));
        return None;
    }
    let mut servers = Some(Vec::new());
    for (index, url) in urls.iter().enumerate() {
        match (server::beside(url, &FORM, first?), &mut servers) {
            (Ok(server), Some(servers)) => servers.push(server),
            (Ok(_), None) => {}
            (Err(what), _) => {
                section.problem(&format!("{KEY}[{index}]"), what);
                servers = None;
            }
        }
    }
    servers
}

fn mechanism(section: &mut Section<'_>) -> Option<SaslMechanism> {
    const KEY: &str = "mechanism";
    let given = section.maybe::<String>(KEY);
    if !section.has(KEY) {
        return Some(SaslMechanism::Plain);
    }
    let mechanism = SaslMechanism::parse(&given?);
    if mechanism.is_none() {
        section.problem(KEY, "must be \"plain\", \"scram-sha-256\" or \"scram-sha-512\"");
    }
    mechanism
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::config::load::from_text;
    use crate::config::{Mode, TransportSettings};

    fn read(settings: &str) -> Result<KafkaSettings, Vec<String>> {
        let text = format!("[destinations.out]\nkind = \"kafka\"\n{settings}\n");
        let variable = |_: &str| Some("hunter2".into());
        match from_text("weir.toml", &text, Path::new(""), &variable, Mode::Production) {
            Ok((mut config, _)) => {
                let out = Arc::into_inner(config.destinations.remove("out").unwrap()).unwrap();
                let TransportSettings::Kafka(settings) = out.transport else {
                    panic!("another kind")
                };
                Ok(*settings)
            }
            Err(errors) => {
                let paths = errors.problems.into_iter().map(|problem| problem.path);
                Err(paths.map(|path| path.replace("destinations.out.", "")).collect())
            }
        }
    }

    #[test]
    fn servers_share_what_the_first_has() {
        let made = read(
            "url = \"kafka+ssl://a.example.com\"\nmore_urls = [\"kafka+ssl://b.example.com:9094\"]\n\
             topic = \"events-{source}\"\nuser = \"hub\"\npassword = { env = \"P\" }\n\
             mechanism = \"scram-sha-512\"",
        )
        .unwrap();
        let addresses = "kafka+ssl://a.example.com:9093, kafka+ssl://b.example.com:9094";
        assert_eq!(made.addresses(), addresses);
        assert!(made.servers[1].tls && made.servers[1].password.is_some());
        assert_eq!(made.mechanism, SaslMechanism::ScramSha512);
    }

    #[test]
    fn mistakes_are_named() {
        let url = "url = \"kafka://a.example.com\"";
        for (settings, path) in [
            ("topic = \"a\"".to_owned(), "url"),
            (url.to_owned(), "topic"),
            (format!("{url}/x\ntopic = \"a\"").replace("com\"/x", "com/x\""), "url"),
            (format!("{url}\ntopic = \"a\"\nuser = \"u\""), "password"),
            (format!("{url}\ntopic = \"a\"\nmechanism = \"gssapi\""), "mechanism"),
            (format!("{url}\ntopic = \"a\"\nmore_urls = [\"kafka+ssl://b\"]"), "more_urls[0]"),
            (format!("{url}\ntopic = \"a\"\nmore_urls = [\"http://b\"]"), "more_urls[0]"),
        ] {
            let found = read(&settings).unwrap_err();
            assert!(found.iter().any(|problem| problem == path), "{settings}: {found:?}");
        }
    }
}
