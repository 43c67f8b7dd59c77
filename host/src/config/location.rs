//! Where a hub is, for commands that only talk to it: they must not need its secrets.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use weir_core::verify::Secret;

use super::context::LoadContext;
use super::problem::ConfigErrors;
use super::tree::{Report, Section, parse};
use super::{DEFAULTS, FILE, load, secret, store};

/// Where a hub is and how to be let in.
#[derive(Debug, Clone)]
pub struct HubLocation {
    /// Its admin listener.
    pub admin: SocketAddr,
    /// The file with the certificate that it has there, if it speaks TLS.
    pub certificate: Option<PathBuf>,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// The operator's own token, if the configuration names one that can be had here.
    pub token: Option<Secret>,
}

impl HubLocation {
    /// Reads `[admin]` and `[store]` of the named file, else of [`FILE`], else what development mode has. All
    /// else in the file may be wrong: whoever is locked out by a mistake needs these commands most.
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
            development: true,
            paths_read: &RefCell::default(),
        };
        let mut root = Section::root(&report, Some(tree.get_ref()), Some(defaults.get_ref()));
        let mut admin = root.section("admin");
        let certificate = admin.section("tls").maybe::<PathBuf>("cert");
        let certificate = certificate.map(|file| context.resolve(&file));
        let admin = admin.must::<SocketAddr>("listen");
        let store = store::read(root.section("store"), &context);
        // A token that is not to be had here is no problem: there is the one in the data folder.
        let mut root = Section::root(&silent, Some(tree.get_ref()), None);
        let token = secret::one(&mut root.section("admin"), "token", &context);
        report.close()?;
        match (admin, store) {
            (Some(admin), Some(store)) => {
                Ok(Self { admin, certificate, data_dir: store.folder, token })
            }
            _ => Err(ConfigErrors::of_file(name, "does not say where the hub is")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_found_though_its_secrets_are_not_to_be_had_here() {
        let text = "[admin]\nlisten = \"127.0.0.1:9\"\ntoken = { env = \"NO_SUCH_VARIABLE\" }\n\
                    [admin.tls]\ncert = \"tls/a.pem\"\nkey = \"tls/not-for-us\"\n\
                    [store]\nurl = \"sqlite:d/weir.db\"\n[sources.github]\nprovider = \"nobody\"";
        let place = HubLocation::of_text("weir.toml", text, Path::new("/srv")).unwrap();
        assert_eq!(place.admin.port(), 9);
        assert_eq!(place.data_dir, Path::new("/srv/d"));
        assert_eq!(place.certificate.as_deref(), Some(Path::new("/srv/tls/a.pem")));
        assert!(place.token.is_none());
    }
}
