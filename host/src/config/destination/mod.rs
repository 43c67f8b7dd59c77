//! `[destinations.NAME]` and `[defaults.destination]`: the settings that every kind of destination
//! has.
//!
//! Each kind has a file of its own for the rest.

mod inbox;
mod webhook;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_core::breaker::BreakerPolicy;
use weir_core::name::DestinationName;
use weir_core::retry::RetryPolicy;

pub(super) use inbox::built_in as inbox;
pub(super) use webhook::read_allow;
pub use webhook::{Signing, Webhook};

use super::breaker::RawBreaker;
use super::context::LoadContext;
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
}

/// The settings that only one kind of destination has.
#[derive(Debug)]
pub enum TransportSettings {
    Webhook(Box<Webhook>),
    Inbox,
}

impl TransportSettings {
    #[must_use]
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Webhook(_) => DestinationKind::Webhook,
            Self::Inbox => DestinationKind::Inbox,
        }
    }
}

/// The kinds of destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationKind {
    /// An HTTP endpoint that messages are posted to.
    Webhook,
    /// Messages are kept in memory, for development.
    Inbox,
}

impl DestinationKind {
    pub const ALL: [Self; 2] = [Self::Webhook, Self::Inbox];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Inbox => "inbox",
        }
    }

    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for DestinationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    for (name, section) in sections {
        match DestinationName::new(name) {
            Err(error) => section.problem("", error),
            Ok(name) => {
                if let Some(destination) = one(name.clone(), section, defaults, trust, context) {
                    destinations.insert(name, Arc::new(destination));
                }
            }
        }
    }
    destinations
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
        None => Err("must be \"webhook\" or \"inbox\"".into()),
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
    let kind = kind.as_deref().and_then(DestinationKind::parse);
    let transport = match kind {
        Some(DestinationKind::Inbox) => Some(TransportSettings::Inbox),
        Some(DestinationKind::Webhook) => {
            let url = section.must::<String>("url");
            webhook::read(&mut section, url, defaults, trust, context)
                .map(|webhook| TransportSettings::Webhook(Box::new(webhook)))
        }
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
    })
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
