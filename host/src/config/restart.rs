//! The settings that need a restart, by section, to name those that have changed.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sha2::{Digest as _, Sha256};

use super::{AlertSettings, Config, Destination, OtlpSettings, PullSettings, TransportSettings};

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
        add("shutdown", &config.shutdown_grace);
        add("log", &config.log);
        add("telemetry", &exported(&config.otlp));
        add("fetch", &config.fetch);
        add("quarantine", &config.quarantine);
        let AlertSettings { shapes, fallback, .. } = &*config.alerts;
        rest.insert("alerts.shapes".to_owned(), shapes.to_string());
        rest.insert("alerts.alert_url".to_owned(), format!("{fallback:?}"));
        rest.insert("retention.hold_life".to_owned(), format!("{:?}", config.hold_life));
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
        TransportSettings::Webhook(webhook) => {
            format!("{} {}", webhook.url, hashed(webhook.hidden()))
        }
        other => match &other.secrets()[..] {
            [] => String::new(),
            secrets => hashed(secrets.iter().copied()),
        },
    };
    hashed([format!("{destination:?} {hidden}").as_bytes()])
}

/// A hash of the settings by which the messages of a source are pulled, with their secrets.
#[must_use]
pub fn pull_fingerprint(pull: &PullSettings) -> String {
    let hidden = hashed(pull.secrets());
    hashed([format!("{pull:?} {hidden}").as_bytes()])
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
    fn a_fingerprint_changes_with_secrets_and_headers() {
        let of = |secret: &str, header: &str| {
            let text = format!(
                "[destinations.mine]\nkind = \"webhook\"\nurl = \"https://example.com\"\n\
                 signing = \"sha256-header\"\nsecrets = [\"{secret}\"]\n\
                 headers = {{ authorization = \"{header}\" }}\n"
            );
            let none = |_: &str| None;
            let mode = crate::config::Mode::Development;
            let (config, _) = from_text("weir.toml", &text, Path::new(""), &none, mode).unwrap();
            fingerprint(&config.destinations["mine"])
        };
        let before = of("secret-number-one", "a");
        assert_eq!(before, of("secret-number-one", "a"));
        assert_ne!(before, of("secret-number-two", "a"));
        assert_ne!(before, of("secret-number-one", "b"));
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
        // Destinations are reloaded.
        for (secret, header) in [("one", "a"), ("two", "a"), ("one", "b")] {
            let text = destination(&format!("secret-number-{secret}"), header);
            assert_eq!(changed(&text), Vec::<String>::new());
        }
        assert_eq!(changed("[alerts]\nquiet = \"3m\""), Vec::<String>::new());
        assert_eq!(changed("[alerts]\nshapes = false"), ["alerts.shapes"]);
        assert_eq!(changed("[retention]\npayload_life = \"3d\""), Vec::<String>::new());
        assert_eq!(changed("[retention]\nhold_life = \"3d\""), ["retention.hold_life"]);
        let more = format!(
            "{}[runs]\nslots = 2\n[[route]]\non = [\"github:*\"]\nto \
             = \"mine\"\n[handlers.chat]\non = [\"github:*\"]\n",
            destination("secret-number-one", "a")
        );
        let changed = changed(&more);
        // Routes and the settings of handlers are reloaded.
        assert_eq!(changed, ["[runs]"]);
    }
}
