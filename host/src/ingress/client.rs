//! The other side of a connection: whose address counts, and whether it has proven itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::debts::Network;
use super::limits::CREDIT_MAX;

/// Whose address counts for what a connection costs: none where it would be a proxy's, which stands for everybody.
/// This is the only place that knows; who is behind a trusted proxy would be told from a request's head here.
pub(super) fn accountable(peer: IpAddr, loopback_too: bool) -> Option<Network> {
    (loopback_too || !peer.to_canonical().is_loopback()).then(|| Network::of(peer))
}

/// One client, for the time of a connection.
#[derive(Debug)]
pub(super) struct Client {
    /// The address that is stored with its requests.
    pub(super) address: IpAddr,
    /// What its refusals are charged to, if to anything.
    pub(super) network: Option<Network>,
    credit: AtomicU32,
}

impl Client {
    /// A client that has done nothing yet.
    pub(super) fn new(address: IpAddr, network: Option<Network>) -> Self {
        Self { address, network, credit: AtomicU32::new(0) }
    }

    /// A request of its was verified.
    pub(super) fn verified(&self) {
        let more = |credit: u32| (credit < CREDIT_MAX).then_some(credit + 1);
        let _full = self.credit.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// A request of its was refused.
    pub(super) fn refused(&self) {
        let less = |credit: u32| credit.checked_sub(1);
        let _none = self.credit.try_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Whether it has earned to be heard, whatever its address owes: on this connection more was verified than
    /// refused of late.
    pub(super) fn is_proven(&self) -> bool {
        self.credit.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_answers_for_itself_only_if_it_is_told_to() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(accountable(here, false), None);
        assert_eq!(accountable("::ffff:127.0.0.1".parse().unwrap(), false), None);
        assert_eq!(accountable("::1".parse().unwrap(), false), None);
        assert_eq!(accountable(here, true), Some(Network::of(here)));
        assert!(accountable("192.0.2.1".parse().unwrap(), false).is_some());
    }

    #[test]
    fn credit_is_earned_by_verified_requests_and_lost_by_refused_ones() {
        let client = Client::new("192.0.2.1".parse().unwrap(), None);
        client.refused();
        assert!(!client.is_proven());
        client.verified();
        assert!(client.is_proven());
        client.refused();
        assert!(!client.is_proven(), "and a refusal before it was no debt");
        (0..1_000).for_each(|_| client.verified());
        (0..CREDIT_MAX).for_each(|_| client.refused());
        assert!(!client.is_proven(), "a long good life does not pay for a long flood");
    }
}
