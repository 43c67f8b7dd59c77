//! Every setting with its value and the place that it comes from, for operators. Secrets are
//! masked: a value that may be one is never in the result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::load::read_file;
use super::shown::{is_path, is_variable_name, is_word, looks_secret};
use super::{Config, DEFAULTS};

/// Stands in place of a value that may be a secret.
const MASK: &str = "(masked)";
/// Parts of keys whose values are secrets.
const SECRET_KEYS: [&str; 11] = [
    "secret",
    "token",
    "password",
    "credential",
    "private",
    "signing",
    "authorization",
    "api_key",
    "bearer",
    "client_key",
    "routing_key",
];
/// Most settings that are listed.
const SETTINGS_MAX: usize = 5_000;

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// Its key with those of its tables, such as `server.listen`.
    pub key: String,
    /// The value as it was written, or a mask.
    pub value: String,
    /// The line of the file; none for a default.
    pub line: Option<usize>,
}

/// The configuration file of a hub, with the settings that it had at the start.
#[derive(Debug, Clone, Default)]
pub struct SettingsFile {
    path: Option<PathBuf>,
    at_start: Vec<EffectiveSetting>,
}

impl SettingsFile {
    /// The file that a configuration was loaded from.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let path = config.origin.as_ref().map(|origin| origin.file.clone());
        let at_start = settings_of(path.as_deref()).unwrap_or_default();
        Self { path, at_start }
    }

    /// The path of the file; none for development mode without a file.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The settings of the file as it is now, each with true if it differs from the start.
    ///
    /// # Errors
    /// A reason for people, if the file cannot be read.
    pub fn now(&self) -> Result<Vec<(EffectiveSetting, bool)>, String> {
        let before: BTreeMap<_, _> =
            self.at_start.iter().map(|setting| (&setting.key, &setting.value)).collect();
        let with_change = |now: EffectiveSetting| {
            let is_changed = before.get(&now.key) != Some(&&now.value);
            (now, is_changed)
        };
        Ok(settings_of(self.path.as_deref())?.into_iter().map(with_change).collect())
    }
}

fn settings_of(path: Option<&Path>) -> Result<Vec<EffectiveSetting>, String> {
    let text = match path {
        Some(path) => read_file(path).map_err(|error| error.to_string())?,
        None => String::new(),
    };
    effective(&text)
}

/// Every setting of a file, completed with the defaults, in the order of their keys.
fn effective(text: &str) -> Result<Vec<EffectiveSetting>, String> {
    let mut settings = BTreeMap::new();
    for (text, is_default) in [(DEFAULTS, true), (text, false)] {
        let tree = DeTable::parse(text)
            .map_err(|_| "it is not TOML; `weir check` names the line".to_owned())?;
        table(&mut settings, text, "", tree.get_ref(), is_default);
    }
    Ok(settings.into_values().collect())
}

type Settings = BTreeMap<String, EffectiveSetting>;

fn table(into: &mut Settings, text: &str, path: &str, of: &DeTable<'_>, is_default: bool) {
    for (name, value) in of {
        let name = name.get_ref();
        let key = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        let line = text[..value.span().start].matches('\n').count() + 1;
        match value.get_ref() {
            DeValue::Table(inner) => table(into, text, &key, inner, is_default),
            DeValue::Array(items) if !items.is_empty() && all_tables(items) && !is_secret(&key) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        table(into, text, &format!("{key}[{}]", index + 1), inner, is_default);
                    }
                }
            }
            leaf if into.len() < SETTINGS_MAX => {
                let value = match is_shown(&key, leaf) {
                    true => text[value.span()].to_owned(),
                    false => MASK.to_owned(),
                };
                let line = (!is_default).then_some(line);
                into.insert(key.clone(), EffectiveSetting { key, value, line });
            }
            _ => {}
        }
    }
}

fn all_tables(items: &toml::de::DeArray<'_>) -> bool {
    items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
}

/// True for a key whose value is a secret.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    // The value of a header, unless it is a reference to a variable or a file.
    let reference = |name: &str| name.ends_with(".env") || name.ends_with(".file");
    let is_value = |part| key.split_once(part).is_some_and(|(_, name)| !reference(name));
    let is_header = is_value(".headers.") || is_value(".oauth2.params.");
    is_header || !key.ends_with(".token_url") && SECRET_KEYS.iter().any(|part| key.contains(part))
}

/// True if the value of a key may be shown.
fn is_shown(key: &str, value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Boolean(_) => true,
        DeValue::String(text) if is_secret(key) => is_reference(key, text),
        DeValue::String(text) => !looks_secret(text),
        DeValue::Array(items) => items.iter().all(|item| match item.get_ref() {
            DeValue::Table(inner) => inner.iter().all(|(name, value)| {
                is_shown(&format!("{key}.{}", name.get_ref()), value.get_ref())
            }),
            other => is_shown(key, other),
        }),
        _ => !is_secret(key) || key.ends_with("_ttl"),
    }
}

/// True for a value that only says where a secret is.
fn is_reference(key: &str, text: &str) -> bool {
    match key.rsplit('.').next() {
        Some("env") => is_variable_name(text),
        Some("file") => is_path(Path::new(text)),
        Some("name" | "scheme") => is_word(text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(settings: &[EffectiveSetting], key: &str) -> (String, Option<usize>) {
        let found = settings.iter().find(|setting| setting.key == key);
        let found = found.unwrap_or_else(|| panic!("no {key}"));
        (found.value.clone(), found.line)
    }

    #[test]
    fn a_setting_has_its_line_or_is_a_default() {
        let settings = effective("[server]\nlisten = \"0.0.0.0:80\" # here\n").unwrap();
        assert_eq!(value(&settings, "server.listen"), ("\"0.0.0.0:80\"".into(), Some(2)));
        assert_eq!(value(&settings, "server.max_headers"), ("100".into(), None));
        assert!(effective("[server\n").is_err());
    }

    #[test]
    fn routes_are_listed_one_by_one() {
        let text = "[[route]]\non = [\"github:*\"]\nto = \"ops\"\n[[route]]\nto = \"b\"\n";
        let settings = effective(text).unwrap();
        assert_eq!(value(&settings, "route[1].on"), ("[\"github:*\"]".into(), Some(2)));
        assert_eq!(value(&settings, "route[2].to"), ("\"b\"".into(), Some(5)));
    }

    #[test]
    fn no_secret_is_shown() {
        let text = r#"
[admin]
token = "hunter2hunter2"
[sources.a]
secrets = ["hunter2", { env = "A_SECRET" }]
[sources.b]
secrets = [{ env = "B_SECRET", name = "new" }, { file = "secrets/b" }]
[sources.c]
secrets = [{ env = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }]
[destinations.x]
url = "https://user:hunter2@example.com/"
[destinations.x.auth]
bearer = "hunter2"
[destinations.x.auth.oauth2]
token_url = "https://login.example.com/token"
params = { assertion = "hunter2", resource = { env = "RESOURCE" } }
[handlers.y.config]
key = "sk_live_4f2a8f5f167f44f4964e"
word = "eur"
"#;
        let settings = effective(text).unwrap();
        let all = format!("{settings:?}");
        for secret in ["hunter2", "whsec_", "sk_live"] {
            assert!(!all.contains(secret), "{secret}");
        }
        let shown = "[{ env = \"B_SECRET\", name = \"new\" }, { file = \"secrets/b\" }]";
        assert_eq!(value(&settings, "sources.b.secrets").0, shown);
        assert_eq!(value(&settings, "handlers.y.config.word").0, "\"eur\"");
        let oauth = |key: &str| value(&settings, &format!("destinations.x.auth.oauth2.{key}")).0;
        assert_eq!(oauth("token_url"), "\"https://login.example.com/token\"");
        assert_eq!(oauth("params.resource.env"), "\"RESOURCE\"");
    }
}
