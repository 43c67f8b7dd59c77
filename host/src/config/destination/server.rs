//! The server of a destination: its URL, credentials, certificates and permitted addresses. Each
//! kind has its own schemes; the rest is the same for all of them.

use std::time::Duration;

use http::Uri;
use weir_core::verify::Secret;

use super::{DestinationDefaults, read_allow, timeout_ok};
use crate::config::context::LoadContext;
use crate::config::tree::Section;
use crate::config::url::{self, reachable};
use crate::config::{secret, trust};
use crate::guard::AllowedNetworks;
use crate::tls::TrustedRoots;

/// The server that a destination connects to.
#[derive(Debug, Clone)]
pub struct BrokerServer {
    pub scheme: &'static str,
    /// A name or an address; IPv6 addresses are in brackets.
    pub host: Box<str>,
    pub port: u16,
    pub tls: bool,
    pub user: Option<Box<str>>,
    pub password: Option<Secret>,
    /// Time limit for connecting, and for each answer.
    pub timeout: Duration,
    pub allow: AllowedNetworks,
    /// The authorities whose certificates are accepted.
    pub trust: TrustedRoots,
}

impl BrokerServer {
    /// The URL without credentials and path.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// The URLs that a kind accepts.
#[derive(Debug, Clone, Copy)]
pub(in crate::config) struct ServerUrlForm {
    /// Each scheme, with true if it stands for TLS, and its port.
    pub(in crate::config) schemes: &'static [(&'static str, bool, u16)],
    pub(in crate::config) example: &'static str,
}

/// Reads the server of a destination or source, and the path of its URL without the first slash.
pub(in crate::config) fn read(
    section: &mut Section<'_>,
    form: &ServerUrlForm,
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<(BrokerServer, String)> {
    let url = section.must::<String>("url").and_then(|text| match parsed(&text, form) {
        Ok(url) => Some(url),
        Err(what) => {
            section.problem("url", what);
            None
        }
    });
    let user = section.maybe::<String>("user").map(String::into_boxed_str);
    section.mark_read("password");
    let has_password = section.has("password");
    let password = secret::one(section, "password", context);
    let timeout = timeout(section, defaults);
    let allow = read_allow(section, context.mode.is_development());
    reachable(section, "url", url.as_ref().map(|(uri, ..)| uri), allow);
    let trust = trust::with_ca(trust, section, context);
    if has_password && password.is_none() {
        return None;
    }
    let (uri, (scheme, tls, port)) = url?;
    let host = uri.host()?.into();
    let port = uri.port_u16().unwrap_or(port);
    let path = uri.path().strip_prefix('/').unwrap_or_default().to_owned();
    let timeout = timeout?;
    Some((BrokerServer { scheme, host, port, tls, user, password, timeout, allow, trust }, path))
}

/// Another server with the settings of the first one.
///
/// # Errors
/// The problem, for people.
pub(super) fn beside(
    text: &str,
    form: &ServerUrlForm,
    first: &BrokerServer,
) -> Result<BrokerServer, String> {
    let (uri, (scheme, _, port)) = parsed(text, form)?;
    if scheme != first.scheme {
        return Err(format!("must start with {}:// as url does", first.scheme));
    }
    if !matches!(uri.path(), "" | "/") {
        return Err("ends with a path; write only the host and the port".into());
    }
    let host = uri.host().unwrap_or_default().into();
    Ok(BrokerServer { host, port: uri.port_u16().unwrap_or(port), ..first.clone() })
}

/// Reads the rest of a server with an HTTP interface: its time limit, permitted addresses and
/// authorities. `endpoint` is its URL, with the key that says it.
pub(super) fn at_endpoint(
    section: &mut Section<'_>,
    (key, endpoint): (&'static str, Option<&Uri>),
    defaults: &DestinationDefaults,
    trust: &TrustedRoots,
    context: &LoadContext<'_>,
) -> Option<BrokerServer> {
    let timeout = timeout(section, defaults);
    let allow = read_allow(section, context.mode.is_development());
    reachable(section, key, endpoint, allow);
    let trust = trust::with_ca(trust, section, context);
    let (endpoint, timeout) = (endpoint?, timeout?);
    let tls = endpoint.scheme_str() == Some("https");
    let (scheme, port) = if tls { ("https", 443) } else { ("http", 80) };
    let host = endpoint.host()?.into();
    let port = endpoint.port_u16().unwrap_or(port);
    let (user, password) = (None, None);
    Some(BrokerServer { scheme, host, port, tls, user, password, timeout, allow, trust })
}

/// The endpoint that the file names. The inner `None` is one that is wrong.
pub(super) fn own_endpoint(section: &mut Section<'_>) -> Option<Option<Uri>> {
    let text = section.maybe::<String>("endpoint");
    if !section.has("endpoint") {
        return None;
    }
    let wrong = |what: String| {
        section.problem("endpoint", what);
        None
    };
    Some(text.and_then(|text| match url::endpoint(&text) {
        Ok(uri) if uri.path() == "/" && uri.query().is_none() => Some(uri),
        Ok(_) => wrong("may have no path and no query, because requests go to its root".into()),
        Err(what) => wrong(what),
    }))
}

/// Reads `timeout`.
pub(in crate::config) fn timeout(
    section: &mut Section<'_>,
    defaults: &DestinationDefaults,
) -> Option<Duration> {
    match section.has("timeout") {
        true => section.checked("timeout", |d| timeout_ok(*d)),
        false => section.maybe("timeout").or(Some(defaults.timeout)),
    }
}

type Scheme = (&'static str, bool, u16);

fn parsed(text: &str, form: &ServerUrlForm) -> Result<(Uri, Scheme), String> {
    let wrong = |what: &str| format!("{what}; write one such as \"{}\"", form.example);
    let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let Some(authority) = uri.authority() else { return Err(wrong("has no host")) };
    if authority.as_str().contains('@') {
        return Err("holds a password or user, which logs would show; \
                    write user = \"…\" and password = { env = \"NAME\" }"
            .into());
    }
    let given = uri.scheme_str().unwrap_or_default();
    let Some(scheme) = form.schemes.iter().find(|(scheme, ..)| *scheme == given) else {
        let known: Vec<_> =
            form.schemes.iter().map(|(scheme, ..)| format!("{scheme}://")).collect();
        return Err(wrong(&format!("must start with {}", known.join(" or "))));
    };
    let text = authority.as_str();
    let says_port = text.rfind(':') > text.rfind(']');
    if authority.host().is_empty() || says_port && authority.port_u16().is_none() {
        return Err(wrong("has no usable host and port"));
    }
    if uri.query().is_some() {
        return Err(wrong("may have no query: its settings are keys of their own"));
    }
    Ok((uri, *scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: ServerUrlForm = ServerUrlForm {
        schemes: &[("redis", false, 6379), ("rediss", true, 6379)],
        example: "redis://cache.example.com:6379/0",
    };

    #[test]
    fn a_url_has_a_known_scheme_and_no_password() {
        for (good, scheme, tls) in [
            ("redis://cache.example.com", "redis", false),
            ("rediss://[::1]:7000/2", "rediss", true),
            ("redis://10.0.0.1:6380/", "redis", false),
        ] {
            let (_, (said, is_tls, _)) = parsed(good, &FORM).unwrap();
            assert_eq!((said, is_tls), (scheme, tls), "{good}");
        }
        for (bad, what) in [
            ("", "is not a URL"),
            ("cache", "must start"),
            ("http://cache", "must start with redis:// or rediss://"),
            ("redis://", "is not a URL"),
            ("redis://h:99999", "is not a URL"),
            ("redis://u:hunter2@h", "holds a password"),
            ("redis://h/?db=1", "may have no query"),
        ] {
            let said = parsed(bad, &FORM).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
            let close = said.contains(what) || said.contains("usable") || said.contains("no host");
            assert!(close, "{bad}: {said}");
        }
    }
}
