//! `[trust]`, and the key `ca` of other sections: the authorities for servers that the hub calls.

use std::path::PathBuf;

use toml::de::DeValue;

use super::context::LoadContext;
use super::tree::Section;
use super::value::Value;
use crate::tls::{TrustedRoots, roots};

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

/// Reads `[trust]`, the roots for every server.
pub(super) fn read(mut section: Section<'_>, context: &LoadContext<'_>) -> Option<TrustedRoots> {
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
    Some(TrustedRoots { system, ca: None, ssl_cert_file, ssl_cert_dirs })
}

/// The same roots with the authorities that the key `ca` of a section names.
pub(super) fn with_ca(
    trust: &TrustedRoots,
    section: &mut Section<'_>,
    context: &LoadContext<'_>,
) -> TrustedRoots {
    let ca = section.maybe::<PathBuf>("ca").map(|file| context.resolve(&file));
    if let Some(error) = ca.as_ref().and_then(|file| roots::try_file(file).err()) {
        section.problem("ca", error);
    }
    TrustedRoots { ca, ..trust.clone() }
}
