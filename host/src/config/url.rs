//! The forms of URLs in a configuration. Looks nothing up.

use std::net::IpAddr;

use http::Uri;

use super::tree::Section;
use crate::guard::{self, AllowedNetworks};

pub(super) fn endpoint(text: &str) -> Result<Uri, String> {
    absolute(text, "https://ops.example.com/hook")
}

/// The URL, or its beginning, that senders use. Returned without a slash at its end.
pub(super) fn public_base(text: &str) -> Result<String, String> {
    let example = "https://hooks.example.com";
    absolute(text, example)?;
    if text.contains(['?', '#']) {
        return Err(format!("may have no query or fragment; write one such as \"{example}\""));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Warns if the host of a URL shows that messages to it are refused. Looks nothing up.
pub(super) fn reachable(
    section: &Section<'_>,
    key: &str,
    url: Option<&Uri>,
    allow: AllowedNetworks,
) {
    let Some(host) = url.and_then(Uri::host) else { return };
    if let Some(address) = guard::known_address(host) {
        if let Err(blocked) = guard::check(host, address, allow) {
            section.warning(key, blocked);
        }
    } else if !allow.private && is_inside(host) {
        let what = format!(
            "{host} looks like a name inside your network; if its address is a private one, \
             nothing is sent \
             there until you add allow = [\"{}\"]",
            AllowedNetworks::PRIVATE
        );
        section.warning(key, what);
    }
}

/// True for a name that networks give their own machines.
fn is_inside(host: &str) -> bool {
    const ENDINGS: [&str; 9] = [
        ".local",
        ".internal",
        ".lan",
        ".home",
        ".corp",
        ".intranet",
        ".private",
        ".svc",
        ".home.arpa",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    !is_address && (!host.contains('.') || ENDINGS.iter().any(|ending| host.ends_with(ending)))
}

fn absolute(text: &str, example: &str) -> Result<Uri, String> {
    let wrong = |what: &str| format!("{what}; write one such as \"{example}\"");
    let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
    let Some(authority) = uri.authority() else { return Err(wrong("has no host")) };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("must start with http:// or https://"));
    }
    if authority.as_str().contains('@') {
        return Err("holds a password, which logs would show".into());
    }
    let text = authority.as_str();
    let says_port = text.rfind(':') > text.rfind(']');
    if authority.host().is_empty() || says_port && authority.port_u16().is_none() {
        return Err(wrong("has no usable host and port"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_absolute_and_without_a_password() {
        for good in ["https://ops.example.com/hook?x=1", "http://[::1]:8080/", "http://10.0.0.1"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "ops.example.com",
            "/hook",
            "ftp://x/",
            "https://",
            "http://h:99999/",
            "http://u:p@h/",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_public_url_can_be_extended() {
        assert_eq!(public_base("https://h.example/in/"), Ok("https://h.example/in".into()));
        assert!(public_base("https://h.example/?a=b").is_err());
    }
}
