//! The configuration that a module runs with outside of a hub.
//!
//! A hub's file may name secrets that are not on this machine. What a module runs with needs none
//! of them, so that a file which cannot be loaded whole is loaded without its sources, and with the
//! names of its destinations only. Without a file, the destinations are those that the sidecar
//! grants.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::{self, Config, ConfigErrors, FILE, Mode};

/// The parts of a hub's file that the runs of a module depend on.
const PARTS: [&str; 5] = ["handlers", "defaults", "runs", "plugins", "store"];

/// A configuration to run modules with.
#[derive(Debug)]
pub(crate) struct OfflineConfig {
    pub(crate) config: Config,
    /// True if it has the sources of a hub's file.
    pub(crate) sources_known: bool,
    /// The folder for compiled code: the hub's own if a hub has run here, else that of the user.
    pub(crate) cache: Option<PathBuf>,
}

/// The configuration of a file, of [`FILE`] in the working directory, or for a sidecar alone.
pub(crate) fn offline_config(
    file: Option<&Path>,
    mode: Mode,
    sidecar: Option<&str>,
) -> Result<OfflineConfig, ConfigErrors> {
    let file = file.or_else(|| Some(Path::new(FILE)).filter(|file| file.exists()));
    let (config, sources_known) = match file {
        Some(file) => of_file(file, mode)?,
        None => (without_file(sidecar)?, false),
    };
    let cache = cache(&config);
    Ok(OfflineConfig { config, sources_known, cache })
}

/// The configuration of a file, and true if it has its sources.
fn of_file(file: &Path, mode: Mode) -> Result<(Config, bool), ConfigErrors> {
    match config::load(Some(file), mode) {
        Ok(loaded) => Ok((loaded.config, true)),
        Err(errors) => {
            let folder = file.parent().unwrap_or_else(|| Path::new(""));
            let text = std::fs::read_to_string(file).ok();
            let Some(reduced) = text.and_then(|text| reduced(&text)) else { return Err(errors) };
            let loaded = config::load_text(&file.display().to_string(), &reduced, folder, mode);
            loaded.map(|loaded| (loaded.config, false)).map_err(|_| errors)
        }
    }
}

/// A hub's file without its sources and secrets. None if it is not TOML.
fn reduced(text: &str) -> Option<String> {
    let mut whole: Table = text.parse().ok()?;
    let destinations = whole.remove("destinations");
    let names = destinations.as_ref().and_then(Value::as_table).into_iter().flat_map(Table::keys);
    let destinations = inboxes(names.cloned());
    let mut kept: Table = whole.into_iter().filter(|(key, _)| PARTS.contains(&&**key)).collect();
    kept.insert("destinations".into(), destinations.into());
    toml::to_string(&kept).ok()
}

fn without_file(sidecar: Option<&str>) -> Result<Config, ConfigErrors> {
    let sidecar: Table = sidecar.and_then(|text| text.parse().ok()).unwrap_or_default();
    let granted = sidecar.get("grant").and_then(|grant| grant.get("destinations"));
    let names = granted.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let root =
        Table::from_iter([("destinations".into(), inboxes(names.map(str::to_owned)).into())]);
    let text = toml::to_string(&root).unwrap_or_default();
    let loaded = config::load_text("no weir.toml", &text, Path::new(""), Mode::Production);
    // A name that is no name of a destination is reported as a problem of the sidecar.
    loaded
        .or_else(|_| config::load_text("no weir.toml", "", Path::new(""), Mode::Production))
        .map(|loaded| loaded.config)
}

fn inboxes(names: impl Iterator<Item = String>) -> Table {
    let inbox = || Table::from_iter([("kind".into(), "inbox".into())]);
    names.map(|name| (name, inbox().into())).collect()
}

fn cache(config: &Config) -> Option<PathBuf> {
    if config.data_dir.join("compiled.key").exists() {
        return Some(config.data_dir.clone());
    }
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let folder = folder.or_else(home)?.join("weir");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_secrets_are_missing_keeps_its_handlers_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("weir.toml");
        let text = r#"
            [sources.github]
            provider = "github"
            secrets = [{ env = "WEIR_TEST_NO_SUCH_VARIABLE" }]
            [destinations.ops]
            kind = "webhook"
            url = "https://ops.example.com/hook"
            secrets = [{ env = "WEIR_TEST_NO_SUCH_VARIABLE" }]
            [handlers.orders]
            config = { threshold = "5" }
            grant = { destinations = ["ops"] }
        "#;
        std::fs::write(&file, text).unwrap();
        let loaded = offline_config(Some(&file), Mode::Production, None).unwrap();
        assert!(!loaded.sources_known && loaded.config.sources.is_empty());
        assert!(loaded.config.destinations.contains_key("ops"));
        let settings = &loaded.config.handlers["orders"];
        assert_eq!(settings.config.as_ref().unwrap()["threshold"], "5");
        std::fs::write(&file, format!("{text}\nnonsense = 1")).unwrap();
        let errors = offline_config(Some(&file), Mode::Production, None).unwrap_err();
        assert!(errors.to_string().contains("nonsense"), "{errors}");
        let gone = dir.path().join("gone.toml");
        assert!(offline_config(Some(&gone), Mode::Production, None).is_err());
    }

    #[test]
    fn without_a_file_the_destinations_are_those_of_the_sidecar() {
        let config = without_file(Some("[grant]\ndestinations = [\"ops\", \"ledger\"]")).unwrap();
        let names: Vec<_> = config.destinations.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["ledger", "ops"]);
        assert!(without_file(Some("[grant]\ndestinations = [\"No Name\"]")).is_ok());
        assert!(without_file(None).unwrap().destinations.is_empty());
    }
}
