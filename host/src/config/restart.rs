//! The settings that need a restart, by section, to name those that have changed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sha2::{Digest as _, Sha256};

use super::{Config, Destination, OtlpSettings, TransportSettings};

/// A text per section that shows whether it has changed. Secrets are in it as hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestartSettings(BTreeMap<String, String>);

impl RestartSettings {
    pub(super) fn of(config: &Config) -> Self {
        let mut rest = BTreeMap::new();
        let mut add = |section: &str, value: &dyn Debug| {
            rest.insert(format!("[{section}]"), format!("{value:?}"));
        };
        add("server", &config.server);
        let token = config.admin.token.as_ref().map(|token| hashed([token.expose()]));
        add("admin", &(&config.admin, token));
        add("store", &(&config.store_url, &config.data_dir));
        add("plugins", &config.plugins);
        add("runs", &config.runs);
        add("responders", &config.responders);
        add("defaults", &config.handler_defaults);
        add("retention", &(&config.retention, config.hold_life));
        add("alerts", &config.alerts);
        add("shutdown", &config.shutdown_grace);
        add("log", &config.log);
        add("telemetry", &exported(&config.otlp));
        add("fetch", &config.fetch);
        add("quarantine", &config.quarantine);
        if !config.routes.is_empty() {
            add("[route]", &config.routes);
        }
        for (name, destination) in &config.destinations {
            add(&format!("destinations.{name}"), &fingerprint(destination));
        }
        for (name, handler) in &config.handlers {
            add(&format!("handlers.{name}"), handler);
        }
        Self(rest)
    }

    /// The sections that differ from another version.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let differs = |section: &&String| self.0.get(*section) != other.0.get(*section);
        let mut all: Vec<&String> = self.0.keys().chain(other.0.keys()).filter(differs).collect();
        all.sort_unstable();
        all.dedup();
        all.into_iter().cloned().collect()
    }
}

/// A hash of all settings of a destination, with its secrets.
#[must_use]
pub fn fingerprint(destination: &Destination) -> String {
    let hidden = match &destination.transport {
        TransportSettings::Inbox => String::new(),
        TransportSettings::Webhook(webhook) => {
            let secrets = webhook.secrets.iter().map(|secret| secret.expose());
            let headers = webhook.headers.iter().map(|(_, value)| value.as_bytes());
            format!("{} {}", webhook.url, hashed(secrets.chain(headers)))
        }
    };
    hashed([format!("{destination:?} {hidden}").as_bytes()])
}

/// The settings of the export, with a hash of what they do not show.
fn exported(otlp: &OtlpSettings) -> String {
    let targets = [&otlp.traces, &otlp.metrics, &otlp.logs].into_iter().flatten();
    let hidden = targets.map(|target| {
        let values = target.headers.values().map(|value| value.as_bytes());
        format!("{} {}", target.url, hashed(values))
    });
    let hidden: Vec<String> = hidden.collect();
    hashed([format!("{otlp:?} {hidden:?}").as_bytes()])
}

fn hashed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(Sha256::digest(part));
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::load::from_text;
    use super::*;

    fn rest(text: &str) -> RestartSettings {
        let none = |_: &str| None;
        RestartSettings::of(
            &from_text("weir.toml", text, Path::new(""), &none, crate::config::Mode::Development)
                .unwrap()
                .0,
        )
    }

    #[test]
    fn only_changed_sections_are_named() {
        let destination = |secret: &str, header: &str| {
            format!(
                "[destinations.mine]\nkind = \"webhook\"\nurl = \"https://example.com\"\nsigning \
                 = \"sha256-header\"\n\
                 secrets = [\"{secret}\"]\nheaders = {{ authorization = \"{header}\" }}\n"
            )
        };
        let before = rest(&destination("secret-number-one", "a"));
        let changed = |text: &str| before.changed(&rest(text));
        assert_eq!(changed(&destination("secret-number-one", "a")), Vec::<String>::new());
        assert_eq!(changed(&destination("secret-number-two", "a")), ["[destinations.mine]"]);
        assert_eq!(changed(&destination("secret-number-one", "b")), ["[destinations.mine]"]);
        assert_eq!(changed(""), ["[destinations.mine]"]);
        let more = format!(
            "{}[runs]\nslots = 2\n[[route]]\non = [\"github:*\"]\nto \
             = \"mine\"\n[handlers.chat]\non = [\"github:*\"]\n",
            destination("secret-number-one", "a")
        );
        let changed = changed(&more);
        for section in ["[[route]]", "[handlers.chat]", "[runs]"] {
            assert!(changed.contains(&section.to_owned()), "{section}: {changed:?}");
        }
        assert!(!changed.contains(&"[destinations.mine]".to_owned()), "{changed:?}");
    }
}
