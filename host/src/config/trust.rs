//! Who vouches for the servers that the hub calls: `[trust]`, and `ca` wherever an address is named.

use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::context::LoadContext;
use super::tree::Section;
use super::value::Value;
use crate::roots;

/// Authorities.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// The system's list instead of the one that is built in.
    pub system: bool,
    /// A PEM file with further ones.
    pub ca: Option<PathBuf>,
    /// Another, which the environment names: `SSL_CERT_FILE`.
    pub ssl_cert_file: Option<PathBuf>,
    /// Folders of such files, which the environment names: `SSL_CERT_DIR`.
    pub ssl_cert_dirs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
struct System(bool);

impl Value for System {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match &*String::read(value)? {
            "built-in" => Ok(Self(false)),
            "system" => Ok(Self(true)),
            _ => Err("write \"built-in\" or \"system\"".into()),
        }
    }
}

/// Reads `[trust]`: what holds for every address.
pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<Trust> {
    let system = section.must::<System>("roots");
    let path = |name: &str| (context.variable)(name).filter(|value| !value.is_empty());
    let ssl_cert_file = path("SSL_CERT_FILE").map(PathBuf::from).filter(|file| {
        let usable = roots::try_file(file);
        if let Err(error) = &usable {
            section.warning("roots", format!("SSL_CERT_FILE is not used: {error}"));
        }
        usable.is_ok()
    });
    let ssl_cert_dirs = path("SSL_CERT_DIR")
        .map(|folders| std::env::split_paths(&folders).collect())
        .unwrap_or_default();
    section.finish();
    let System(system) = system?;
    Some(Trust { system, ca: None, ssl_cert_file, ssl_cert_dirs })
}

impl Trust {
    /// The same, with the authorities that a section names by `ca`.
    pub(super) fn with(&self, section: &mut Section<'_>, context: &LoadContext<'_>) -> Self {
        let ca = section.maybe::<PathBuf>("ca").map(|file| context.resolve(&file));
        if let Some(error) = ca.as_ref().and_then(|file| roots::try_file(file).err()) {
            section.problem("ca", error);
        }
        Self { ca, ..self.clone() }
    }

    /// The files that may change.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.ca.iter().chain(&self.ssl_cert_file).chain(&self.ssl_cert_dirs).map(PathBuf::as_path)
    }
}
