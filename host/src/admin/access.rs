//! Who may ask and who may act: Host, Origin and token. Pure over the head of a request.
//!
//! A page in a browser on the operator's own machine can reach a loopback listener. It cannot choose the Host
//! header: after rebinding its name to our address it still says its own name. So Host is always checked. It cannot
//! read answers from another origin; it can send, so what changes anything needs a token and its own origin.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderValue, Method};
use thiserror::Error;

use super::token::Token;

/// Set by a browser: where the request comes from, relative to where it goes.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Signs that a proxy passed the request on, so that the connection from loopback says nothing of who asks.
const PROXY_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("via"),
];

/// Why a request is not let in. Never says what the right token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum AccessDenied {
    /// No Host, several, or one that is none.
    #[error(
        "the request must have one Host header that is a name or address with an optional port"
    )]
    HostMalformed,
    /// A name that nobody allowed.
    #[error(
        "this Host is not one that the admin listener answers to; use its address, or add the name to admin.allowed_hosts"
    )]
    HostNotAllowed,
    /// A page of another origin.
    #[error("a page of another origin may not ask this")]
    OriginNotAllowed,
    /// A token is needed.
    #[error(
        "this needs a token: send `Authorization: Bearer TOKEN` with admin.token, or what is in the data folder's admin-token"
    )]
    TokenMissing,
    /// It is another.
    #[error("the token is not the right one")]
    TokenMismatch,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AccessLevel {
    /// Whether the process lives: told to everybody, for a load balancer has no token.
    Public,
    /// To see.
    Read,
    /// To change.
    Write,
}

impl AccessLevel {
    fn of(head: &Parts) -> Self {
        match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, "/health/live" | "/health/ready") => Self::Public,
            (&Method::GET | &Method::HEAD, _) => Self::Read,
            _ => Self::Write,
        }
    }
}

/// By what kind of name the listener was addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostKind {
    /// From this machine: only it can mean us by loopback.
    Loopback,
    /// From anywhere.
    Other,
}

/// The rules of one listener.
#[derive(Debug)]
pub(super) struct Access {
    listen: SocketAddr,
    allowed_hosts: BTreeSet<String>,
    token: Token,
}

impl Access {
    /// The rules for a listener at this address.
    pub(super) fn new(listen: SocketAddr, allowed_hosts: BTreeSet<String>, token: Token) -> Self {
        Self { listen, allowed_hosts, token }
    }

    /// Whether a request that is let in asks for more than anybody may.
    pub(super) fn is_known(head: &Parts) -> bool {
        AccessLevel::of(head) != AccessLevel::Public
    }

    /// Whether a request is let in.
    pub(super) fn check(&self, head: &Parts) -> Result<(), AccessDenied> {
        let host = self.host(head)?;
        let addressed = self.addressed(&host).ok_or(AccessDenied::HostNotAllowed)?;
        let asks = AccessLevel::of(head);
        if !same_origin(&head.headers, &host, asks) {
            return Err(AccessDenied::OriginNotAllowed);
        }
        let from_here = self.listen.ip().is_loopback()
            && addressed == HostKind::Loopback
            && PROXY_HEADERS.iter().all(|name| !head.headers.contains_key(name));
        match asks {
            AccessLevel::Public => Ok(()),
            AccessLevel::Read if from_here => Ok(()),
            AccessLevel::Read | AccessLevel::Write => self.token(&head.headers),
        }
    }

    fn host(&self, head: &Parts) -> Result<Authority, AccessDenied> {
        let value = only(&head.headers, &HOST).ok_or(AccessDenied::HostMalformed)?;
        let host =
            Authority::try_from(value.as_bytes()).map_err(|_| AccessDenied::HostMalformed)?;
        if host.as_str().contains('@') {
            return Err(AccessDenied::HostMalformed);
        }
        // A request line may name a host too; two that differ are a trick.
        match head.uri.authority() {
            Some(other) if *other != host => Err(AccessDenied::HostNotAllowed),
            _ => Ok(host),
        }
    }

    fn addressed(&self, host: &Authority) -> Option<HostKind> {
        let name = host.host().to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(&name);
        let ip: Option<IpAddr> = bare.parse().ok();
        let loopback = ip.map_or(name == "localhost", |ip| ip.to_canonical().is_loopback());
        let own_port = host.port_u16().unwrap_or(80) == self.listen.port();
        let ours = match ip {
            // An address can't be rebound: whoever says it has connected to it. One that listens everywhere does
            // not know its own.
            Some(ip) => loopback || ip == self.listen.ip() || self.listen.ip().is_unspecified(),
            None => loopback,
        };
        if (ours && own_port) || self.allowed_hosts.contains(bare) {
            Some(if loopback { HostKind::Loopback } else { HostKind::Other })
        } else {
            None
        }
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), AccessDenied> {
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

/// Where a browser says that a page of another origin asks, it is believed.
fn same_origin(headers: &HeaderMap, host: &Authority, asks: AccessLevel) -> bool {
    let origin_is_ours = match only(headers, &ORIGIN).map(HeaderValue::to_str) {
        None => !headers.contains_key(ORIGIN),
        Some(Err(_)) => false,
        Some(Ok(origin)) => ["http://", "https://"]
            .iter()
            .filter_map(|scheme| origin.strip_prefix(scheme))
            .any(|said| said.eq_ignore_ascii_case(host.as_str())),
    };
    let site_is_ours = match headers.get(SEC_FETCH_SITE) {
        // A link from elsewhere may be followed: the page it leads to is ours.
        Some(site) => asks != AccessLevel::Write || site == "same-origin" || site == "none",
        None => true,
    };
    origin_is_ours && site_is_ours
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
        access.check(&request.body(()).unwrap().into_parts().0)
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
    fn a_host_that_is_none_or_two_is_refused() {
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
    fn a_page_of_another_origin_may_do_nothing_even_with_the_token() {
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
    fn writes_need_the_token_and_reads_do_unless_they_come_from_this_machine() {
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
    fn what_a_proxy_passes_on_is_not_from_this_machine() {
        for name in PROXY_HEADERS {
            let headers = [("host", "127.0.0.1:8081"), (name.as_str(), "203.0.113.9")];
            assert_eq!(asked(LOOPBACK, "GET", &headers), Err(AccessDenied::TokenMissing), "{name}");
        }
    }

    #[test]
    fn a_load_balancer_needs_no_token_for_the_pulse() {
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
