//! Development mode: a hub without a file, on loopback, with generated secrets.
//!
//! The secrets are generated at the first start and kept in the data folder, so that a restart and
//! the CLI find them. The configuration is written as text and loaded like a file.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};
use weir_core::provider::Catalog;
use weir_core::verify::Secret;

use super::load::{Loaded, from_text};
use super::problem::ConfigErrors;

pub const DEVELOPMENT_SECRETS_FILE: &str = "development-secrets.toml";

/// One source for each main provider: the names of source and provider.
const SOURCES: [(&str, &str); 8] = [
    ("custom", "custom"),
    ("github", "github"),
    ("sendgrid", "sendgrid"),
    ("shopify", "shopify"),
    ("slack", "slack"),
    ("standard", "standard-webhooks"),
    ("stripe", "stripe"),
    ("twilio", "twilio"),
];

/// The public URL for schemes that sign it. It need not be reachable.
const PUBLIC_URL: &str = "http://127.0.0.1:8080";

const HEADER: &str = "\
# Secrets that weir made for development mode, one source each. Remove the file to have new ones \
made.
# `sign` is there where a sender signs with another key than the one the hub verifies with.
";

/// A generated secret as text, the form in which providers show secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    verify: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<String>,
}

type Secrets = BTreeMap<String, Generated>;

/// The configuration of development mode with its data in `data`: one source for each main
/// provider, an inbox, handlers from `plugins`. Creates the folder and the secrets at the first
/// call.
pub fn development(data: &Path) -> Result<Loaded, ConfigErrors> {
    let file = data.join(DEVELOPMENT_SECRETS_FILE);
    let failed = |what: String| ConfigErrors::of_file(&file.display().to_string(), what);
    let secrets = secrets(data, &file).map_err(failed)?;
    let text = text(data, &secrets).map_err(failed)?;
    let nothing = |_: &str| None;
    let (mut config, warnings) =
        from_text("development mode", &text, Path::new(""), &nothing, super::Mode::Development)?;
    for (name, source) in &mut config.sources {
        let sign = secrets.get(name.as_str()).and_then(|secret| secret.sign.as_ref());
        if let (Some(sign), Some(source)) = (sign, Arc::get_mut(source)) {
            source.signing = Some(Secret::new(sign.as_str()));
        }
    }
    Ok(Loaded { config, file: None, warnings })
}

/// The configuration as the text of a file.
fn text(data: &Path, secrets: &Secrets) -> Result<String, String> {
    use toml::{Table, Value};
    let data = data.to_str().ok_or("the data folder's path is not UTF-8")?;
    let one = |key: &str, value: &str| Value::from(Table::from_iter([(key.into(), value.into())]));
    let source = |(name, provider): (&str, &str)| {
        let mut table = Table::from_iter([("provider".into(), provider.into())]);
        let secret = secrets.get(name).map(|secret| Value::from(secret.verify.as_str()));
        table.insert("secrets".into(), Value::Array(secret.into_iter().collect()));
        (name.to_owned(), Value::from(table))
    };
    let root = Table::from_iter([
        ("server".to_owned(), one("public_url", PUBLIC_URL)),
        ("store".to_owned(), one("url", &format!("sqlite:{data}/weir.db"))),
        ("sources".to_owned(), Value::from(Table::from_iter(SOURCES.map(source)))),
    ]);
    toml::to_string(&root).map_err(|error| format!("the set-up cannot be written: {error}"))
}

/// The stored secrets, completed with new ones and stored.
fn secrets(data: &Path, file: &Path) -> Result<Secrets, String> {
    let known = read(file)?;
    let mut secrets = known.clone().unwrap_or_default();
    let before = secrets.len();
    let catalog = Catalog::built_in().map_err(|error| error.to_string())?;
    for (name, provider) in SOURCES {
        if !secrets.contains_key(name) {
            let provider =
                catalog.get(provider).ok_or_else(|| format!("no provider {provider}"))?;
            let pair = provider
                .generate_secret(None, &SystemRandom::new())
                .map_err(|error| format!("no secret can be made for {name}: {error}"))?;
            let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
            let sign = (pair.sending != pair.verifying).then(|| text(&pair.sending));
            secrets.insert(name.into(), Generated { verify: text(&pair.verifying), sign });
        }
    }
    if secrets.len() == before {
        return Ok(secrets);
    }
    keep(data, file, &secrets, known.is_some())
        .map_err(|error| format!("cannot be written: {error}"))?;
    // If another process was first, its secrets count.
    Ok(read(file)?.unwrap_or(secrets))
}

fn read(file: &Path) -> Result<Option<Secrets>, String> {
    match fs::read_to_string(file) {
        // The parser's message would contain the line, and with it a secret.
        Ok(text) => toml::from_str(&text)
            .map(Some)
            .map_err(|_| "is damaged; remove it to have new secrets made".into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// Writes to another file and renames it.
fn keep(data: &Path, file: &Path, secrets: &Secrets, replace: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let text = toml::to_string(secrets).map_err(io::Error::other)?;
    let beside = data.join(format!("{DEVELOPMENT_SECRETS_FILE}.{}", std::process::id()));
    let mut out =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    out.write_all(HEADER.as_bytes())?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    if replace {
        return fs::rename(&beside, file);
    }
    let linked = fs::hard_link(&beside, file);
    fs::remove_file(&beside)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn verifying(loaded: &Loaded, source: &str) -> Vec<u8> {
        loaded.config.sources[source].secrets[0].value.expose().to_vec()
    }

    #[test]
    fn a_restart_keeps_the_generated_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let first = development(&data).unwrap();
        let second = development(&data).unwrap();
        assert_eq!(first.config.sources.len(), SOURCES.len());
        for (name, _) in SOURCES {
            assert_eq!(verifying(&first, name), verifying(&second, name), "{name}");
        }
        let mode = fs::metadata(data.join(DEVELOPMENT_SECRETS_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_new_source_gets_a_secret_and_the_others_keep_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let first = development(folder.path()).unwrap();
        let file = folder.path().join(DEVELOPMENT_SECRETS_FILE);
        let mut kept = read(&file).unwrap().unwrap();
        kept.remove("slack");
        fs::write(&file, toml::to_string(&kept).unwrap()).unwrap();
        let second = development(folder.path()).unwrap();
        assert_eq!(verifying(&first, "github"), verifying(&second, "github"));
        assert_ne!(verifying(&first, "slack"), verifying(&second, "slack"));
    }

    #[test]
    fn a_damaged_secrets_file_is_named_but_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DEVELOPMENT_SECRETS_FILE);
        fs::write(&file, "[github]\nverify = hunter2\n").unwrap();
        let said = development(folder.path()).unwrap_err().to_string();
        assert!(said.contains("development-secrets.toml: is damaged"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }

    #[test]
    fn development_mode_listens_on_loopback_and_has_an_inbox() {
        let folder = tempfile::tempdir().unwrap();
        let config = development(folder.path()).unwrap().config;
        assert!(config.mode.is_development() && config.destinations.contains_key("inbox"));
        assert!(config.server.listen.ip().is_loopback() && config.admin.listen.ip().is_loopback());
        assert_eq!(config.data_dir, folder.path());
    }
}
