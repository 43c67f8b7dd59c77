//! The address of a hub, for commands that only talk to it. They must not need its secrets.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use weir_core::verify::Secret;

use super::context::LoadContext;
use super::problem::ConfigErrors;
use super::tree::{Report, Section, parse};
use super::{DEFAULTS, FILE, Mode, load, secret, store};

/// The address of a hub and the way to authenticate.
#[derive(Debug, Clone)]
pub struct HubLocation {
    pub admin: SocketAddr,
    /// The certificate file of the listener, if it speaks TLS.
    pub certificate: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// The store, such as `sqlite:data/weir.db`.
    pub store_url: String,
    /// The token of the configuration, if it can be read here.
    pub token: Option<Secret>,
}

impl HubLocation {
    /// Reads `[admin]` and `[store]` of the given file, else of [`FILE`], else of development mode.
    /// Everything else may be invalid: after a mistake these commands are needed most.
    pub fn find(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        let path = path.or_else(|| Path::new(FILE).exists().then_some(Path::new(FILE)));
        let (name, text) = match path {
            Some(path) => (path.display().to_string(), load::read_file(path)?),
            None => ("development mode".into(), String::new()),
        };
        let folder = path.and_then(Path::parent).unwrap_or_else(|| Path::new(""));
        Self::of_text(&name, &text, folder)
    }

    fn of_text(name: &str, text: &str, folder: &Path) -> Result<Self, ConfigErrors> {
        let report = Report::new(name, text);
        let tree = parse(text, &report);
        let silent = Report::new(name, text);
        let defaults_report = Report::new("defaults", DEFAULTS);
        let defaults = parse(DEFAULTS, &defaults_report);
        let context = LoadContext {
            folder,
            variable: &|name| std::env::var_os(name),
            mode: Mode::Development,
            paths_read: &RefCell::default(),
        };
        let mut root = Section::root(&report, Some(tree.get_ref()), Some(defaults.get_ref()));
        let mut admin = root.section("admin");
        let certificate = admin.section("tls").maybe::<PathBuf>("cert");
        let certificate = certificate.map(|file| context.resolve(&file));
        let admin = admin.must::<SocketAddr>("listen");
        let store = store::read(root.section("store"), &context);
        // An unreadable token is not a problem: the data folder has one.
        let mut root = Section::root(&silent, Some(tree.get_ref()), None);
        let token = secret::one(&mut root.section("admin"), "token", &context);
        report.close()?;
        match (admin, store) {
            (Some(admin), Some(store)) => {
                let (data_dir, store_url) = (store.folder, store.url);
                Ok(Self { admin, certificate, data_dir, store_url, token })
            }
            _ => Err(ConfigErrors::of_file(name, "does not say where the hub is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_found_without_its_secrets() {
        let text = "[admin]\nlisten = \"127.0.0.1:9\"\ntoken = { env = \"NO_SUCH_VARIABLE\" }\n\
                    [admin.tls]\ncert = \"tls/a.pem\"\nkey = \"tls/not-for-us\"\n\
                    [store]\nurl = \"sqlite:d/weir.db\"\n[sources.github]\nprovider = \"unknown\"";
        let place = HubLocation::of_text("weir.toml", text, Path::new("/srv")).unwrap();
        assert_eq!(place.admin.port(), 9);
        assert_eq!(place.data_dir, Path::new("/srv/d"));
        assert_eq!(place.certificate.as_deref(), Some(Path::new("/srv/tls/a.pem")));
        assert!(place.token.is_none());
    }
}
