//! Checks who may read and who may write: Host, Origin and token. Pure over the head of a request.
//!
//! A web page in a browser on the operator's machine can reach a loopback listener. It cannot
//! choose the Host header: after DNS rebinding it still sends its own name. So Host is always
//! checked. It cannot read answers from another origin, but it can send requests, so every write
//! needs the token and the listener's own origin.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method};
use thiserror::Error;

use super::principal::Principal;
use super::token::Token;

/// A browser's header: the relation of the request's origin to its target.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Headers of proxies. With one of them, a connection from loopback does not prove a local client.
const PROXY_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("via"),
];

/// A request that is not permitted. No message contains the right token.
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
    #[error(
        "this needs a token: send `Authorization: Bearer TOKEN` with admin.token or the content \
         of admin-token in the data folder"
    )]
    TokenMissing,
    #[error("the token is wrong")]
    TokenMismatch,
}

/// The permission that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessLevel {
    /// None: a load balancer that checks health has no token, and a page to sign in needs its style.
    Public,
    Read,
    Write,
}

impl AccessLevel {
    fn of(head: &Parts) -> Self {
        match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, "/health/live" | "/health/ready" | "/login") => {
                Self::Public
            }
            (&Method::GET | &Method::HEAD, path) if path.starts_with("/-/") => Self::Public,
            (&Method::POST, "/-/theme" | "/-/zone" | "/-/keys") => Self::Public,
            (&Method::GET | &Method::HEAD, _) => Self::Read,
            _ => Self::Write,
        }
    }
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
    token: Token,
}

impl Access {
    pub(super) fn new(listen: SocketAddr, allowed_hosts: BTreeSet<String>, token: Token) -> Self {
        Self { listen, allowed_hosts, token }
    }

    /// True if a request needs a permission.
    pub(super) fn needs_permission(head: &Parts) -> bool {
        AccessLevel::of(head) != AccessLevel::Public
    }

    /// Finds out who makes a request, or refuses it.
    pub(super) fn check(&self, head: &Parts) -> Result<Principal, AccessDenied> {
        let host = self.host(head)?;
        let host_kind = self.host_kind(&host).ok_or(AccessDenied::HostNotAllowed)?;
        let level = AccessLevel::of(head);
        if !same_origin(&head.headers, &host, &head.method) {
            return Err(AccessDenied::OriginNotAllowed);
        }
        let is_local = self.listen.ip().is_loopback()
            && host_kind == HostKind::Loopback
            && PROXY_HEADERS.iter().all(|name| !head.headers.contains_key(name));
        let by_token = self.check_token(&head.headers).map(|()| Principal::Operator);
        match level {
            AccessLevel::Public => Ok(Principal::Anonymous),
            AccessLevel::Read if is_local => Ok(by_token.unwrap_or(Principal::Anonymous)),
            AccessLevel::Read | AccessLevel::Write => by_token,
        }
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

    fn check_token(&self, headers: &HeaderMap) -> Result<(), AccessDenied> {
        let value = only(headers, &AUTHORIZATION).ok_or(AccessDenied::TokenMissing)?.as_bytes();
        let (scheme, token) = value.split_at_checked(7).ok_or(AccessDenied::TokenMissing)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(AccessDenied::TokenMissing);
        }
        if self.token.matches(token.trim_ascii()) {
            Ok(())
        } else {
            Err(AccessDenied::TokenMismatch)
        }
    }
}

/// True unless the browser's headers say that a page of another origin made the request.
fn same_origin(headers: &HeaderMap, host: &Authority, method: &Method) -> bool {
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
        Some(site) => method.is_safe() || site == "same-origin" || site == "none",
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

    const TOKEN: &str = "0123456789abcdef";

    fn asked(listen: &str, method: &str, headers: &[(&str, &str)]) -> Result<(), AccessDenied> {
        asked_at(listen, method, "/api/v1/events", headers)
    }

    fn asked_at(
        listen: &str,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<(), AccessDenied> {
        let hosts = BTreeSet::from(["weir.example.com".to_owned()]);
        let access = Access::new(listen.parse().unwrap(), hosts, Token::given(TOKEN.as_bytes()));
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.check(&request.body(()).unwrap().into_parts().0).map(drop)
    }

    #[test]
    fn the_token_makes_the_principal_an_operator() {
        let access = |headers: &[(&str, &str)]| {
            let token = Token::given(TOKEN.as_bytes());
            let access = Access::new(LOOPBACK.parse().unwrap(), BTreeSet::new(), token);
            let mut request = http::Request::get("/health").header("host", LOOPBACK);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            access.check(&request.body(()).unwrap().into_parts().0)
        };
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(access(&[]), Ok(Principal::Anonymous));
        assert_eq!(access(&[("authorization", &bearer)]), Ok(Principal::Operator));
    }

    const LOOPBACK: &str = "127.0.0.1:8081";
    const LOOPBACK_6: &str = "[::1]:8081";
    const EVERYWHERE: &str = "0.0.0.0:8081";
    const OUTSIDE: &str = "192.0.2.7:8081";

    #[test]
    fn only_known_hosts_are_answered() {
        let yes = Ok(());
        let no = Err(AccessDenied::HostNotAllowed);
        let token = Err(AccessDenied::TokenMissing);
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
            (LOOPBACK, "weir.example.com", token),
            (LOOPBACK, "weir.example.com:443", token),
            (LOOPBACK, "x.weir.example.com", no),
            (OUTSIDE, "192.0.2.7:8081", token),
            (OUTSIDE, "192.0.2.8:8081", no),
            (OUTSIDE, "attacker.example:8081", no),
            (EVERYWHERE, "192.0.2.7:8081", token),
            (EVERYWHERE, "localhost:8081", token),
            (EVERYWHERE, "192.0.2.7:9999", no),
            (EVERYWHERE, "attacker.example:8081", no),
        ] {
            assert_eq!(asked(listen, "GET", &[("host", host)]), expected, "{host} at {listen}");
            let write = asked(listen, "POST", &[("host", host)]);
            let expected = if expected == no { no } else { token };
            assert_eq!(write, expected, "write to {host} at {listen}");
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
    fn a_page_of_another_origin_is_refused_even_with_the_token() {
        let bearer = format!("Bearer {TOKEN}");
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
            let headers =
                [("host", "localhost:8081"), (name, value), ("authorization", bearer.as_str())];
            assert_eq!(asked(LOOPBACK, "GET", &headers), read, "GET with {name}: {value}");
            assert_eq!(asked(LOOPBACK, "POST", &headers), write, "POST with {name}: {value}");
        }
    }

    #[test]
    fn writes_need_the_token_and_so_do_reads_from_elsewhere() {
        let here = ("host", "localhost:8081");
        let outside = ("host", "192.0.2.7:8081");
        let good = &*format!("Bearer {TOKEN}");
        let (missing, wrong) = (Err(AccessDenied::TokenMissing), Err(AccessDenied::TokenMismatch));
        for (listen, host, authorization, read, write) in [
            (LOOPBACK, here, None, Ok(()), missing),
            (LOOPBACK, here, Some("Bearer 0123456789abcdeF"), Ok(()), wrong),
            (LOOPBACK, here, Some("Bearer "), Ok(()), wrong),
            (LOOPBACK, here, Some("Basic 0123456789abcdef"), Ok(()), missing),
            (LOOPBACK, here, Some(TOKEN), Ok(()), missing),
            (LOOPBACK, here, Some(good), Ok(()), Ok(())),
            (OUTSIDE, outside, None, missing, missing),
            (OUTSIDE, outside, Some("bearer 0123456789abcdef"), Ok(()), Ok(())),
            (EVERYWHERE, here, None, missing, missing),
            (EVERYWHERE, here, Some(good), Ok(()), Ok(())),
        ] {
            let mut headers = vec![host];
            headers.extend(authorization.map(|value| ("authorization", value)));
            assert_eq!(asked(listen, "GET", &headers), read, "GET {listen} {authorization:?}");
            assert_eq!(asked(listen, "HEAD", &headers), read, "HEAD {listen} {authorization:?}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
                let asked = asked(listen, method, &headers);
                assert_eq!(asked, write, "{method} {listen} {authorization:?}");
            }
        }
        let twice = [here, ("authorization", good), ("authorization", good)];
        assert_eq!(asked(LOOPBACK, "POST", &twice), missing);
    }

    #[test]
    fn a_request_through_a_proxy_is_not_local() {
        for name in PROXY_HEADERS {
            let headers = [("host", "127.0.0.1:8081"), (name.as_str(), "203.0.113.9")];
            assert_eq!(asked(LOOPBACK, "GET", &headers), Err(AccessDenied::TokenMissing), "{name}");
        }
    }

    #[test]
    fn a_load_balancer_needs_no_token_for_health_checks() {
        let headers = [("host", "192.0.2.7:8081")];
        for (path, expected) in [
            ("/health/live", Ok(())),
            ("/health/ready", Ok(())),
            ("/health", Err(AccessDenied::TokenMissing)),
            ("/metrics", Err(AccessDenied::TokenMissing)),
        ] {
            assert_eq!(asked_at(OUTSIDE, "GET", path, &headers), expected, "{path}");
        }
        let write = asked_at(OUTSIDE, "POST", "/health/live", &headers);
        assert_eq!(write, Err(AccessDenied::TokenMissing));
    }
}
