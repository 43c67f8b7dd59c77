//! The block of addresses that counts as one client. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that count as one client: one IPv4 address, or an IPv6 /64, which is the smallest
/// block that a client is given and has as many addresses as it could want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Network {
    /// The network of an address. IPv4-mapped IPv6 addresses count as IPv4.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// The /48 around an IPv6 client: one customer of a provider can have every /64 of it. `None`
    /// for IPv4, where neighbouring addresses belong to different clients.
    pub(crate) const fn surrounding(self) -> Option<Self> {
        match self {
            Self::V4(_) => None,
            Self::V6([a, b, c, d, e, f, ..]) => Some(Self::V6([a, b, c, d, e, f, 0, 0])),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(octets) => fmt::Display::fmt(&Ipv4Addr::from(*octets), f),
            Self::V6(first) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(first);
                write!(f, "{}/64", Ipv6Addr::from(octets))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_64_and_mapped_ipv4_is_ipv4() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
