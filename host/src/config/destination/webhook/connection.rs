//! `client_cert`, `client_key` and `proxy`: the connection to an endpoint.

use std::path::PathBuf;

use super::auth::basic_value;
use super::read_allow;
use crate::config::context::LoadContext;
use crate::config::secret;
use crate::config::tree::Section;
use crate::config::url::{endpoint, reachable};
use crate::guard::ForwardProxy;
use crate::tls::ClientIdentity;

/// Largest file of certificates, in bytes.
const CERTIFICATES_BYTES_MAX: u64 = 256 * 1024;

/// Reads `client_cert` and `client_key`.
pub(super) fn client_identity(
    section: &mut Section<'_>,
    context: &LoadContext<'_>,
) -> Option<ClientIdentity> {
    let file = section.maybe::<PathBuf>("client_cert").map(|file| context.resolve(&file));
    let key = secret::one(section, "client_key", context);
    match (section.has("client_cert"), section.has("client_key")) {
        (false, false) => return None,
        (true, true) => {}
        (has_cert, _) => {
            let missing = if has_cert { "client_key" } else { "client_cert" };
            section.problem(missing, "is missing; a certificate and its key belong together");
            return None;
        }
    }
    let (file, key) = (file?, key?);
    context.record_read(&file);
    let shown = file.display();
    let text = match std::fs::metadata(&file).and_then(|found| match found.len() {
        0..=CERTIFICATES_BYTES_MAX => std::fs::read(&file),
        _ => Err(std::io::Error::other("it is larger than 256KiB")),
    }) {
        Ok(text) => text,
        Err(error) => {
            section.problem("client_cert", format!("{shown} cannot be read: {error}"));
            return None;
        }
    };
    match ClientIdentity::from_pem(&text, key) {
        Ok(identity) => Some(identity),
        Err(error) => {
            let key = if error.is_about_the_key() { "client_key" } else { "client_cert" };
            section.problem(key, format!("{error} ({shown})"));
            None
        }
    }
}

/// Reads `proxy`.
pub(super) fn proxy(section: &mut Section<'_>, context: &LoadContext<'_>) -> Option<ForwardProxy> {
    let mut proxy = section.section("proxy");
    if !proxy.is_given() {
        return None;
    }
    let url = proxy.must::<String>("url").and_then(|text| match endpoint(&text) {
        Ok(url) if url.scheme_str() == Some("http") && url.path() == "/" => Some(url),
        Ok(_) => {
            let what = "must be http://HOST:PORT: the hub asks the proxy for a tunnel, and TLS is \
                        between the hub and the endpoint";
            proxy.problem("url", what);
            None
        }
        Err(what) => {
            proxy.problem("url", what);
            None
        }
    });
    let username = proxy.maybe::<String>("username");
    let password = secret::one(&mut proxy, "password", context);
    let allow = read_allow(&mut proxy, context.mode.is_development());
    reachable(&proxy, "url", url.as_ref(), allow);
    proxy.finish();
    let has_login = proxy.has("username") || proxy.has("password");
    if has_login {
        for key in ["username", "password"].into_iter().filter(|key| !proxy.has(key)) {
            proxy.problem(key, "is missing; a name and its password belong together");
        }
    }
    let authorization = match (username, password) {
        (Some(name), Some(password)) => {
            Some((basic_value(name.as_bytes(), password.expose())?, password))
        }
        _ if has_login => return None,
        _ => None,
    };
    let url = url?;
    let port = url.port_u16().unwrap_or(80);
    Some(ForwardProxy { host: url.host()?.into(), port, authorization, allow })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{problems_with, webhook_with_variables};

    #[test]
    fn a_proxy_has_an_address_and_perhaps_a_login() {
        let of = |text: &str| webhook_with_variables(text, &[("P", "secret")]).proxy.unwrap();
        let plain = of("proxy = { url = \"http://proxy.example.com:3128\" }");
        assert_eq!((&*plain.host, plain.port), ("proxy.example.com", 3128));
        let login = of(
            "proxy = { url = \"http://10.0.0.7\", username = \"a\", password = { env = \"P\" }, \
             allow = [\"@private\"] }",
        );
        assert!(login.authorization.is_some() && login.allow.private && login.port == 80);
        assert!(!format!("{login:?}").contains("secret"));
    }

    #[test]
    fn mistakes_in_a_connection_are_named() {
        for (text, path) in [
            ("proxy = {}", "proxy.url"),
            ("proxy = { url = \"https://proxy.example.com\" }", "proxy.url"),
            ("proxy = { url = \"http://proxy/x\" }", "proxy.url"),
            ("proxy = { url = \"http://proxy\", username = \"a\" }", "proxy.password"),
            ("client_cert = \"none.pem\"", "client_key"),
            ("client_key = { env = \"P\" }", "client_cert"),
            ("client_cert = \"none.pem\"\nclient_key = { env = \"P\" }", "client_cert"),
        ] {
            let found = problems_with(text, &[("P", "secret")]);
            assert!(found.iter().any(|problem| problem == path), "{text}: {found:?}");
        }
    }
}
