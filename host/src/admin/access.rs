//! Checks from where a request comes: Host and Origin. Pure over the head of a request.
//!
//! A web page in a browser on the operator's machine can reach a loopback listener. It cannot
//! choose the Host header: after DNS rebinding it still sends its own name. So Host is always
//! checked. It cannot read answers from another origin, but it can send requests, so every write
//! needs the listener's own origin, besides the proof that `identity` checks.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;
use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use thiserror::Error;

use super::permissions::is_read;

/// A browser's header: the relation of the request's origin to its target.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of proxies. With one of them, a connection from loopback does not prove a local client.
const PROXY_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("via"),
];

/// A request that comes from where none may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum AccessDenied {
    #[error(
        "the request must have exactly one Host header: a name or address with an optional port"
    )]
    HostMalformed,
    #[error(
        "the admin listener does not answer to this Host; use its address, or add the name to \
         admin.allowed_hosts"
    )]
    HostNotAllowed,
    #[error("a page of another origin may not request this")]
    OriginNotAllowed,
}

/// The place that a permitted request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestOrigin {
    /// True for a client on this machine that did not come through a proxy.
    pub(super) is_local: bool,
    /// True if a browser says that a page of this listener made the request.
    pub(super) is_own_page: bool,
}

/// The kind of Host that the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKind {
    /// A loopback name or address: the client is on this machine.
    Loopback,
    Other,
}

/// The access rules of one listener.
#[derive(Debug)]
pub(super) struct Access {
    listen: SocketAddr,
    allowed_hosts: BTreeSet<String>,
}

impl Access {
    pub(super) fn new(listen: SocketAddr, allowed_hosts: BTreeSet<String>) -> Self {
        Self { listen, allowed_hosts }
    }

    /// Finds out from where a request comes, or refuses it.
    pub(super) fn check(&self, head: &Parts) -> Result<RequestOrigin, AccessDenied> {
        let host = self.host(head)?;
        let host_kind = self.host_kind(&host).ok_or(AccessDenied::HostNotAllowed)?;
        if !same_origin(&head.headers, &host, is_read(&head.method)) {
            return Err(AccessDenied::OriginNotAllowed);
        }
        let is_local = self.listen.ip().is_loopback()
            && host_kind == HostKind::Loopback
            && PROXY_HEADERS.iter().all(|name| !head.headers.contains_key(name));
        Ok(RequestOrigin { is_local, is_own_page: head.headers.contains_key(ORIGIN) })
    }

    fn host(&self, head: &Parts) -> Result<Authority, AccessDenied> {
        let value = only(&head.headers, &HOST).ok_or(AccessDenied::HostMalformed)?;
        let host =
            Authority::try_from(value.as_bytes()).map_err(|_| AccessDenied::HostMalformed)?;
        if host.as_str().contains('@') {
            return Err(AccessDenied::HostMalformed);
        }
        // A request line may name a host too. Two different names are an attack.
        match head.uri.authority() {
            Some(other) if *other != host => Err(AccessDenied::HostNotAllowed),
            _ => Ok(host),
        }
    }

    fn host_kind(&self, host: &Authority) -> Option<HostKind> {
        let name = host.host().to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        let ip: Option<IpAddr> = bare.parse().ok();
        let loopback = ip.map_or(name == "localhost", |ip| ip.to_canonical().is_loopback());
        let own_port = host.port_u16().unwrap_or(80) == self.listen.port();
        let is_own = match ip {
            // An address cannot be rebound: a client that names it has connected to it. A listener
            // on every address does not know its own.
            Some(ip) => loopback || ip == self.listen.ip() || self.listen.ip().is_unspecified(),
            None => loopback,
        };
        if (is_own && own_port) || self.allowed_hosts.contains(bare) {
            Some(if loopback { HostKind::Loopback } else { HostKind::Other })
        } else {
            None
        }
    }
}

/// True unless the browser's headers say that a page of another origin made the request.
fn same_origin(headers: &HeaderMap, host: &Authority, is_read: bool) -> bool {
    let is_own_origin = match only(headers, &ORIGIN).map(HeaderValue::to_str) {
        None => !headers.contains_key(ORIGIN),
        Some(Err(_)) => false,
        Some(Ok(origin)) => ["http://", "https://"]
            .iter()
            .filter_map(|scheme| origin.strip_prefix(scheme))
            .any(|origin| origin.eq_ignore_ascii_case(host.as_str())),
    };
    let is_own_site = match headers.get(SEC_FETCH_SITE) {
        // A link from another site may be followed: the page it leads to is this listener's.
        Some(site) => is_read || site == "same-origin" || site == "none",
        None => true,
    };
    is_own_origin && is_own_site
}

/// The value of a header that occurs once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        listen: &str,
        method: &str,
        headers: &[(&str, &str)],
    ) -> Result<RequestOrigin, AccessDenied> {
        asked_at(listen, method, "/api/v1/events", headers)
    }

    fn asked_at(
        listen: &str,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<RequestOrigin, AccessDenied> {
        let hosts = BTreeSet::from(["weir.example.com".to_owned()]);
        let access = Access::new(listen.parse().unwrap(), hosts);
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.check(&request.body(()).unwrap().into_parts().0)
    }

    const LOOPBACK: &str = "127.0.0.1:8081";
    const LOOPBACK_6: &str = "[::1]:8081";
    const EVERYWHERE: &str = "0.0.0.0:8081";
    const OUTSIDE: &str = "192.0.2.7:8081";

    #[test]
    fn only_known_hosts_are_answered() {
        let no = Err(AccessDenied::HostNotAllowed);
        let yes = Ok(RequestOrigin { is_local: true, is_own_page: false });
        let remote = Ok(RequestOrigin { is_local: false, is_own_page: false });
        for (listen, host, expected) in [
            (LOOPBACK, "localhost:8081", yes),
            (LOOPBACK, "LocalHost:8081", yes),
            (LOOPBACK, "127.0.0.1:8081", yes),
            (LOOPBACK, "[::1]:8081", yes),
            (LOOPBACK_6, "[::1]:8081", yes),
            (LOOPBACK, "localhost", no),
            (LOOPBACK, "localhost:80", no),
            (LOOPBACK, "localhost.attacker.example:8081", no),
            (LOOPBACK, "attacker.example:8081", no),
            (LOOPBACK, "attacker.example", no),
            (LOOPBACK, "0.0.0.0:8081", no),
            (LOOPBACK, "192.0.2.7:8081", no),
            (LOOPBACK, "2130706433:8081", no),
            (LOOPBACK, "weir.example.com", remote),
            (LOOPBACK, "weir.example.com:443", remote),
            (LOOPBACK, "x.weir.example.com", no),
            (OUTSIDE, "192.0.2.7:8081", remote),
            (OUTSIDE, "192.0.2.8:8081", no),
            (OUTSIDE, "attacker.example:8081", no),
            (EVERYWHERE, "192.0.2.7:8081", remote),
            (EVERYWHERE, "localhost:8081", remote),
            (EVERYWHERE, "192.0.2.7:9999", no),
            (EVERYWHERE, "attacker.example:8081", no),
        ] {
            for method in ["GET", "POST"] {
                let asked = asked(listen, method, &[("host", host)]);
                assert_eq!(asked, expected, "{method} {host} at {listen}");
            }
        }
    }

    #[test]
    fn a_missing_malformed_or_repeated_host_is_refused() {
        let twice = [("host", "localhost:8081"), ("host", "localhost:8081")];
        for headers in [&[][..], &twice, &[("host", "u@localhost:8081")], &[("host", "a b")]] {
            assert_eq!(
                asked(LOOPBACK, "GET", headers),
                Err(AccessDenied::HostMalformed),
                "{headers:?}"
            );
        }
        let uri = "http://attacker.example:8081/api/v1/events";
        let asked = asked_at(LOOPBACK, "GET", uri, &[("host", "localhost:8081")]);
        assert_eq!(asked, Err(AccessDenied::HostNotAllowed));
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let other = Err(AccessDenied::OriginNotAllowed);
        for (name, value, read, write) in [
            ("origin", "http://localhost:8081", Ok(()), Ok(())),
            ("origin", "https://localhost:8081", Ok(()), Ok(())),
            ("origin", "http://localhost:3000", other, other),
            ("origin", "http://localhost", other, other),
            ("origin", "http://attacker.example", other, other),
            ("origin", "null", other, other),
            ("sec-fetch-site", "same-origin", Ok(()), Ok(())),
            ("sec-fetch-site", "none", Ok(()), Ok(())),
            ("sec-fetch-site", "same-site", Ok(()), other),
            ("sec-fetch-site", "cross-site", Ok(()), other),
        ] {
            let headers = [("host", "localhost:8081"), (name, value)];
            let ask = |method| asked(LOOPBACK, method, &headers).map(drop);
            assert_eq!(ask("GET"), read, "GET with {name}: {value}");
            assert_eq!(ask("POST"), write, "POST with {name}: {value}");
        }
    }

    #[test]
    fn a_request_through_a_proxy_is_not_local() {
        for name in PROXY_HEADERS {
            let headers = [("host", "127.0.0.1:8081"), (name.as_str(), "203.0.113.9")];
            let origin = asked(LOOPBACK, "GET", &headers).unwrap();
            assert!(!origin.is_local, "{name}");
        }
    }

    #[test]
    fn only_an_origin_header_shows_a_page_of_this_listener() {
        let host = ("host", "localhost:8081");
        let page = asked(LOOPBACK, "POST", &[host, ("origin", "http://localhost:8081")]).unwrap();
        assert!(page.is_own_page && page.is_local);
        assert!(!asked(LOOPBACK, "POST", &[host]).unwrap().is_own_page);
    }
}
