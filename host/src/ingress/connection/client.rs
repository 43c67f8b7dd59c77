//! The client of a connection and the sender of a request: the address that counts, and whether the
//! connection has carried verified requests.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;
use weir_core::address::TrustedProxies;

use super::limits::CREDIT_MAX;
use super::network::Network;

/// The proxies that may name a sender, and the addresses that are penalized.
#[derive(Debug)]
pub(crate) struct AddressPolicy {
    pub(crate) proxies: TrustedProxies,
    /// True if addresses of this machine are penalized: a proxy there may forward for all senders.
    pub(crate) penalize_loopback: bool,
}

impl AddressPolicy {
    /// The network that is penalized for an address. `None` for a proxy, which forwards for all
    /// senders.
    fn penalized_network(&self, address: IpAddr) -> Option<Network> {
        let counts = self.penalize_loopback || !address.to_canonical().is_loopback();
        (counts && !self.proxies.contains(address)).then(|| Network::of(address))
    }
}

/// The other side of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    peer: IpAddr,
    network: Option<Network>,
    is_proxy: bool,
    has_certificate: bool,
    credit: Credit,
}

/// The sender of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    /// The address that is stored with the request.
    pub(crate) address: IpAddr,
    /// The network that its refusals are charged to, if to any.
    pub(crate) network: Option<Network>,
    /// True if the client of the connection has shown a certificate.
    pub(crate) has_certificate: bool,
    /// The credit of the connection. A proxy's connection has none, as it carries several senders.
    credit: Option<&'a Credit>,
}

impl Client {
    /// The client of a new connection.
    pub(crate) fn new(peer: IpAddr, address_policy: &AddressPolicy) -> Self {
        let is_proxy = address_policy.proxies.contains(peer);
        let (has_certificate, credit) = (false, Credit::default());
        Self {
            peer,
            network: address_policy.penalized_network(peer),
            is_proxy,
            has_certificate,
            credit,
        }
    }

    /// The client after its TLS handshake.
    pub(crate) fn with_certificate(self, has_certificate: bool) -> Self {
        Self { has_certificate, ..self }
    }

    /// The network that the connection counts to, if to any.
    pub(crate) fn network(&self) -> Option<Network> {
        self.network
    }

    /// The caller that is charged for what happens on the connection outside of a request.
    pub(crate) fn connection_caller(&self) -> Caller<'_> {
        let credit = (!self.is_proxy).then_some(&self.credit);
        let Self { peer, network, has_certificate, .. } = *self;
        Caller { address: peer, network, has_certificate, credit }
    }

    /// The sender of a request with these headers.
    pub(crate) fn caller(&self, headers: &HeaderMap, address_policy: &AddressPolicy) -> Caller<'_> {
        if !self.is_proxy {
            return self.connection_caller();
        }
        let lines = headers.get_all(address_policy.proxies.header()).iter();
        let address =
            address_policy.proxies.client(self.peer, lines.map(http::HeaderValue::as_bytes));
        let network = address_policy.penalized_network(address);
        Caller { address, network, has_certificate: self.has_certificate, credit: None }
    }
}

impl Caller<'_> {
    /// The sender of a quarantined request, which was charged when it came.
    pub(crate) fn of_kept(address: IpAddr) -> Self {
        Self { address, network: None, has_certificate: false, credit: None }
    }

    /// A request of this caller was verified.
    pub(crate) fn verified(&self) {
        self.credit.inspect(|credit| credit.earn());
    }

    /// A request of this caller was refused.
    pub(crate) fn refused(&self) {
        self.credit.inspect(|credit| credit.spend());
    }

    /// True if the connection has carried more verified requests than refused ones of late. Its
    /// requests are served even if its address has a penalty.
    pub(crate) fn is_proven(&self) -> bool {
        self.credit.is_some_and(Credit::is_left)
    }
}

/// The number of refusals that a connection may have before its address counts again.
#[derive(Debug, Default)]
struct Credit(AtomicU32);

impl Credit {
    fn earn(&self) {
        let more = |credit: u32| (credit < CREDIT_MAX).then_some(credit + 1);
        let _full = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn spend(&self) {
        let less = |credit: u32| credit.checked_sub(1);
        let _none = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use weir_core::address::ForwardedBy;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address_policy(proxies: &[&str], penalize_loopback: bool) -> AddressPolicy {
        let blocks = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let proxies = TrustedProxies::new(blocks, ForwardedBy::XForwardedFor);
        AddressPolicy { proxies, penalize_loopback }
    }

    #[test]
    fn loopback_is_penalized_only_if_configured() {
        let of =
            |address, loopback| Client::new(ip(address), &address_policy(&[], loopback)).network();
        assert_eq!(of("127.0.0.1", false), None);
        assert_eq!(of("::ffff:127.0.0.1", false), None);
        assert_eq!(of("::1", false), None);
        assert_eq!(of("127.0.0.1", true), Some(Network::of(ip("127.0.0.1"))));
        assert!(of("192.0.2.1", false).is_some());
    }

    #[test]
    fn a_trusted_proxy_is_not_charged_for_the_senders_behind_it() {
        let address_policy = address_policy(&["10.0.0.0/8"], false);
        let headers = |value| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static("x-forwarded-for"),
                http::HeaderValue::from_static(value),
            )])
        };
        let proxy = Client::new(ip("10.0.0.1"), &address_policy);
        assert_eq!(proxy.network(), None);
        let caller = proxy.caller(&headers("192.0.2.7"), &address_policy);
        assert_eq!(
            (caller.address, caller.network),
            (ip("192.0.2.7"), Some(Network::of(ip("192.0.2.7"))))
        );
        caller.verified();
        assert!(!caller.is_proven(), "the next request may be of another sender");
        let silent = proxy.caller(&HeaderMap::new(), &address_policy);
        assert_eq!((silent.address, silent.network), (ip("10.0.0.1"), None));
        let other = Client::new(ip("192.0.2.1"), &address_policy);
        assert_eq!(other.caller(&headers("192.0.2.7"), &address_policy).address, ip("192.0.2.1"));
    }

    #[test]
    fn credit_is_earned_by_verified_requests_and_lost_by_refused_ones() {
        let client = Client::new(ip("192.0.2.1"), &address_policy(&[], false));
        let caller = client.connection_caller();
        caller.refused();
        assert!(!caller.is_proven());
        caller.verified();
        assert!(caller.is_proven());
        caller.refused();
        assert!(!caller.is_proven(), "a refusal before the first verified request does not count");
        (0..1_000).for_each(|_| caller.verified());
        (0..CREDIT_MAX).for_each(|_| caller.refused());
        assert!(!caller.is_proven(), "credit is limited");
    }
}
