//! The place of a source: its provider, its URL and the reference to its secret, for commands that
//! set the source up. The rest of the file may be invalid, and the secret need not exist yet.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::problem::ConfigErrors;
use super::url::public_base;
use super::{FILE, load};

/// The reference to the current secret of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    File(PathBuf),
    Variable(String),
}

/// A source as far as the file says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePlace {
    /// The name of the provider.
    pub provider: String,
    /// The URL that senders use, if the file says it.
    pub url: Option<String>,
    /// None if the source has no secret.
    pub secret: Option<SecretPlace>,
}

impl SourcePlace {
    /// Finds a source in the given file, else in [`FILE`].
    pub fn find(path: Option<&Path>, source: &str) -> Result<Self, ConfigErrors> {
        let path = path.unwrap_or(Path::new(FILE));
        let text = load::read_file(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        Self::of_text(&text, folder, source)
            .map_err(|what| ConfigErrors::of_file(&path.display().to_string(), what))
    }

    fn of_text(text: &str, folder: &Path, source: &str) -> Result<Self, String> {
        let root: Table =
            text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let sources = root.get("sources").and_then(Value::as_table);
        let found = sources.and_then(|sources| sources.get(source)?.as_table());
        let found = found.ok_or_else(|| {
            let known = sources.into_iter().flat_map(Table::keys).cloned().collect::<Vec<_>>();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            format!("has no source `{source}`; sources: {known}")
        })?;
        let text = |table: &Table, key: &str| table.get(key)?.as_str().map(str::to_owned);
        let provider = text(found, "provider")
            .ok_or_else(|| format!("sources.{source}.provider is missing"))?;
        let server = root.get("server").and_then(Value::as_table);
        let base = server.and_then(|server| text(server, "public_url"));
        let base = base.map(|base| public_base(&base)).transpose()?;
        let url = text(found, "public_url");
        let url = url.or_else(|| Some(format!("{}/webhook/{source}", base?)));
        let first =
            found.get("secrets").and_then(|secrets| secrets.as_array()?.first()?.as_table());
        let file = first.and_then(|first| text(first, "file")).map(|file| folder.join(file));
        let variable = first.and_then(|first| text(first, "env"));
        let secret = file.map(SecretPlace::File).or(variable.map(SecretPlace::Variable));
        Ok(Self { provider, url, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_found_before_its_secret_exists() {
        let text = "[server]\npublic_url = \"https://hooks.example.com/\"\n[sources.github]\n\
                    provider = \"github\"\nsecrets = [{ file = \"secrets/github\" }]\n\
                    [sources.pay]\nprovider = \"stripe\"\npublic_url = \"https://pay.example/x\"\n\
                    secrets = [{ env = \"PAY\", name = \"new\" }]";
        let of = |source| SourcePlace::of_text(text, Path::new("/srv"), source);
        let github = of("github").unwrap();
        assert_eq!(github.url.as_deref(), Some("https://hooks.example.com/webhook/github"));
        assert_eq!(github.secret, Some(SecretPlace::File("/srv/secrets/github".into())));
        let pay = of("pay").unwrap();
        assert_eq!(pay.url.as_deref(), Some("https://pay.example/x"));
        assert_eq!(pay.secret, Some(SecretPlace::Variable("PAY".into())));
        assert_eq!(of("x").unwrap_err(), "has no source `x`; sources: github, pay");
    }
}
