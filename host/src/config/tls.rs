//! `[server.tls]` and `[admin.tls]`: the certificate files of the listeners.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use toml::de::DeValue;

use super::context::LoadContext;
use super::tree::Section;
use super::value::Value;
use crate::tls::{ClientCa, Protocols, ServerTls, TlsFiles};

/// The requirement of client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientCert {
    Required,
    Optional,
}

/// Reads the section `tls`, if present, and tries its files.
pub(super) fn read(
    parent: &mut Section<'_>,
    protocols: Protocols,
    context: &LoadContext<'_>,
) -> Option<TlsFiles> {
    let mut section = parent.section("tls");
    let cert = section.maybe::<PathBuf>("cert");
    let key = section.maybe::<PathBuf>("key");
    let client_ca = section.maybe::<PathBuf>("client_ca");
    let client_cert = section.maybe::<ClientCert>("client_cert");
    section.finish();
    if !section.is_given() {
        return None;
    }
    for (name, value) in [("cert", &cert), ("key", &key)] {
        if value.is_none() && !section.has(name) {
            section.problem(name, "is missing; name a PEM file");
        }
    }
    if client_cert.is_some() && client_ca.is_none() {
        section.problem("client_cert", "has no effect without `client_ca`");
    }
    let required = client_cert.unwrap_or(ClientCert::Required) == ClientCert::Required;
    let client_ca = client_ca.map(|file| ClientCa { file: context.resolve(&file), required });
    let tls = TlsFiles { cert: context.resolve(&cert?), key: context.resolve(&key?), client_ca };
    if let Err(error) = ServerTls::load(&tls, protocols) {
        section.problem("", error);
        return None;
    }
    if std::fs::metadata(&tls.key).is_ok_and(|file| file.permissions().mode() & 0o004 != 0) {
        let shown = tls.key.display();
        section.warning(
            "key",
            format!("{shown} can be read by every user of this machine; chmod 600 it"),
        );
    }
    Some(tls)
}

impl Value for ClientCert {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match &*String::read(value)? {
            "required" => Ok(Self::Required),
            "optional" => Ok(Self::Optional),
            _ => Err("write \"required\" or \"optional\"".into()),
        }
    }
}
