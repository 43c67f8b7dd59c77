//! The other side of a connection, and who asks over it: whose address counts, and whether it has proven itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use http::HeaderMap;
use weir_core::address::TrustedProxies;

use super::limits::CREDIT_MAX;
use super::penalties::Network;

/// Whose words are believed about whose requests come over a connection.
#[derive(Debug)]
pub(super) struct AddressPolicy {
    pub(super) proxies: TrustedProxies,
    /// Whether addresses of this machine count: a proxy may stand behind them for everybody.
    pub(super) penalize_loopback: bool,
}

impl AddressPolicy {
    /// Whose address counts for what is asked: none where it is a proxy's, which stands for everybody.
    fn penalized_network(&self, address: IpAddr) -> Option<Network> {
        let counts = self.penalize_loopback || !address.to_canonical().is_loopback();
        (counts && !self.proxies.contains(address)).then(|| Network::of(address))
    }
}

/// The other side, for the time of a connection.
#[derive(Debug)]
pub(super) struct Client {
    peer: IpAddr,
    network: Option<Network>,
    is_proxy: bool,
    has_certificate: bool,
    credit: Credit,
}

/// Who sent one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// The address that is stored with the request.
    pub(super) address: IpAddr,
    /// What its refusals are charged to, if to anything.
    pub(super) network: Option<Network>,
    /// Whether the client of the connection has a certificate.
    pub(super) has_certificate: bool,
    /// Of the connection. One that a proxy uses for many has none.
    credit: Option<&'a Credit>,
}

impl Client {
    /// One that has done nothing yet.
    pub(super) fn new(peer: IpAddr, address_policy: &AddressPolicy) -> Self {
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

    /// The same, after the handshake of TLS.
    pub(super) fn with_certificate(self, has_certificate: bool) -> Self {
        Self { has_certificate, ..self }
    }

    /// What the connection itself is charged to, if to anything.
    pub(super) fn network(&self) -> Option<Network> {
        self.network
    }

    /// Who is answerable for what comes over the connection and is no request.
    pub(super) fn connection_caller(&self) -> Caller<'_> {
        let credit = (!self.is_proxy).then_some(&self.credit);
        let Self { peer, network, has_certificate, .. } = *self;
        Caller { address: peer, network, has_certificate, credit }
    }

    /// Who sent a request with these headers.
    pub(super) fn caller(&self, headers: &HeaderMap, address_policy: &AddressPolicy) -> Caller<'_> {
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
    /// Who sent a request that was kept, and owes nothing for it any more.
    pub(super) fn of_kept(address: IpAddr) -> Self {
        Self { address, network: None, has_certificate: false, credit: None }
    }

    /// A request of its was verified.
    pub(super) fn verified(&self) {
        self.credit.inspect(|credit| credit.earn());
    }

    /// A request of its was refused.
    pub(super) fn refused(&self) {
        self.credit.inspect(|credit| credit.spend());
    }

    /// Whether it has earned to be heard, whatever its address owes: on this connection more was verified than
    /// refused of late.
    pub(super) fn is_proven(&self) -> bool {
        self.credit.is_some_and(Credit::is_left)
    }
}

/// What verified requests have earned on a connection.
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
    fn this_machine_answers_for_itself_only_if_it_is_told_to() {
        let of =
            |address, loopback| Client::new(ip(address), &address_policy(&[], loopback)).network();
        assert_eq!(of("127.0.0.1", false), None);
        assert_eq!(of("::ffff:127.0.0.1", false), None);
        assert_eq!(of("::1", false), None);
        assert_eq!(of("127.0.0.1", true), Some(Network::of(ip("127.0.0.1"))));
        assert!(of("192.0.2.1", false).is_some());
    }

    #[test]
    fn behind_a_trusted_proxy_everybody_answers_for_themselves_and_the_proxy_for_nobody() {
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
        assert!(!caller.is_proven(), "the next request may be a stranger's");
        let silent = proxy.caller(&HeaderMap::new(), &address_policy);
        assert_eq!((silent.address, silent.network), (ip("10.0.0.1"), None));
        let stranger = Client::new(ip("192.0.2.1"), &address_policy);
        assert_eq!(
            stranger.caller(&headers("192.0.2.7"), &address_policy).address,
            ip("192.0.2.1")
        );
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
        assert!(!caller.is_proven(), "and a refusal before it was no debt");
        (0..1_000).for_each(|_| caller.verified());
        (0..CREDIT_MAX).for_each(|_| caller.refused());
        assert!(!caller.is_proven(), "a long good life does not pay for a long flood");
    }
}
