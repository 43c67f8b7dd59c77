//! Which addresses a message may go to. Pure: an address and what the operator allowed, to a yes or a reason.
//!
//! Asked at connect time for every address that a connection is about to be made to, so that neither a name that
//! resolves to something else the second time nor an unusual way of writing an address gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// What an address is, if it is none that anybody on the internet could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// Behind a carrier's address translation, 100.64.0.0/10.
    Carrier,
    /// The link itself; cloud machines answer with their credentials there.
    LinkLocal,
    /// A cloud's metadata service at an address of its own.
    Metadata,
    /// No address at all.
    Unspecified,
    /// Many machines at once.
    Multicast,
    /// Set aside for documentation, benchmarks or a future that has not come.
    Reserved,
    /// An IPv6 address that tunnels to an IPv4 one which cannot be judged by what it leads to.
    Tunnel,
}

impl Special {
    /// The words for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loopback => "a loopback",
            Self::Private => "a private",
            Self::Carrier => "a carrier-internal",
            Self::LinkLocal => "a link-local",
            Self::Metadata => "a cloud metadata",
            Self::Unspecified => "an unspecified",
            Self::Multicast => "a multicast",
            Self::Reserved => "a reserved",
            Self::Tunnel => "a tunnelling",
        }
    }

    /// Whether `allow = ["@private"]` covers it. Link-local and metadata addresses are never implied.
    #[must_use]
    pub const fn is_private(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::Carrier)
    }
}

/// An address that messages may not go to. Whoever wrote the destination's URL can change it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host} is at {address}, {} address{}", special.as_str(), way_out(*special))]
pub struct Blocked {
    /// The host as the URL has it.
    pub host: Box<str>,
    /// Where it is.
    pub address: IpAddr,
    /// What that is.
    pub special: Special,
}

fn way_out(special: Special) -> &'static str {
    if special.is_private() {
        "; if that is meant, set allow = [\"@private\"] on the destination"
    } else {
        ", where no message may go"
    }
}

/// Refuses an address that is special, unless it is a private one and those are allowed.
pub fn check(host: &str, address: IpAddr, allow_private: bool) -> Result<(), Blocked> {
    match special(address) {
        None => Ok(()),
        Some(special) if allow_private && special.is_private() => Ok(()),
        Some(special) => Err(Blocked { host: host.into(), address, special }),
    }
}

/// What is special about an address, if anything.
#[must_use]
pub fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(v4: Ipv4Addr) -> Option<Special> {
    let [a, b, c, _] = v4.octets();
    Some(match (a, b, c) {
        // Alibaba's metadata service, inside the carriers' block; Oracle's, inside a reserved one.
        (100, 100, 100) if v4.octets()[3] == 200 => Special::Metadata,
        (192, 0, 0) if v4.octets()[3] == 192 => Special::Metadata,
        (0, ..) => Special::Unspecified,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Special::Private,
        (127, ..) => Special::Loopback,
        (100, 64..=127, _) => Special::Carrier,
        (169, 254, _) => Special::LinkLocal,
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => {
            Special::Reserved
        }
        (224..=239, ..) => Special::Multicast,
        (240..=255, ..) => Special::Reserved,
        _ => return None,
    })
}

fn special_v6(v6: Ipv6Addr) -> Option<Special> {
    if v6.is_unspecified() {
        return Some(Special::Unspecified);
    }
    if v6.is_loopback() {
        return Some(Special::Loopback);
    }
    // The two forms whose IPv4 address is the one that answers: judged by it.
    if let Some(v4) = v6.to_ipv4_mapped() {
        return special_v4(v4);
    }
    let s = v6.segments();
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return special_v4(low_v4(v6));
    }
    Some(match s[0] {
        // AWS, at an address of its own inside the private block.
        0xfd00 if s[1..] == [0xec2, 0, 0, 0, 0, 0, 0x254] => Special::Metadata,
        0xfc00..=0xfdff => Special::Private,
        0xfe80..=0xfebf => Special::LinkLocal,
        0xfec0..=0xfeff => Special::Private,
        0xff00..=0xffff => Special::Multicast,
        // ::a.b.c.d; 64:ff9b:1::/48, translation by a rule that only the network knows; Teredo; 6to4.
        0 if s[..6] == [0; 6] => Special::Tunnel,
        0x64 if s[1] == 0xff9b => Special::Tunnel,
        0x2001 if s[1] == 0 => Special::Tunnel,
        0x2002 => Special::Tunnel,
        // ISATAP: an IPv4 address behind a fixed mark, under any prefix.
        _ if s[5] == 0x5efe && s[4] & 0xfdff == 0 => Special::Tunnel,
        0x2001 if s[1] == 0xdb8 || s[1] < 0x200 => Special::Reserved,
        0x3fff if s[1] < 0x1000 => Special::Reserved,
        // What is assigned for the internet.
        0x2000..=0x3fff => return None,
        _ => Special::Reserved,
    })
}

fn low_v4(v6: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = v6.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what(address: &str) -> Option<Special> {
        special(address.parse().unwrap())
    }

    #[test]
    fn the_internet_is_nothing_special() {
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert_eq!(what(address), None, "{address}");
        }
    }

    #[test]
    fn every_special_address_is_known_for_what_it_is() {
        for (address, special) in [
            ("127.0.0.1", Special::Loopback),
            ("127.255.255.254", Special::Loopback),
            ("::1", Special::Loopback),
            ("10.0.0.1", Special::Private),
            ("172.31.255.255", Special::Private),
            ("192.168.1.1", Special::Private),
            ("fd12::1", Special::Private),
            ("fec0::1", Special::Private),
            ("100.64.0.1", Special::Carrier),
            ("169.254.169.254", Special::LinkLocal),
            ("fe80::1", Special::LinkLocal),
            ("fd00:ec2::254", Special::Metadata),
            ("100.100.100.200", Special::Metadata),
            ("192.0.0.192", Special::Metadata),
            ("0.0.0.0", Special::Unspecified),
            ("::", Special::Unspecified),
            ("224.0.0.1", Special::Multicast),
            ("ff02::1", Special::Multicast),
            ("255.255.255.255", Special::Reserved),
            ("198.18.0.1", Special::Reserved),
            ("2001:db8::1", Special::Reserved),
            ("4000::1", Special::Reserved),
        ] {
            assert_eq!(what(address), Some(special), "{address}");
        }
    }

    #[test]
    fn an_embedded_address_is_judged_by_what_it_leads_to_or_not_followed() {
        assert_eq!(what("::ffff:127.0.0.1"), Some(Special::Loopback));
        assert_eq!(what("::ffff:169.254.169.254"), Some(Special::LinkLocal));
        assert_eq!(what("::ffff:8.8.8.8"), None);
        assert_eq!(what("64:ff9b::10.0.0.1"), Some(Special::Private));
        assert_eq!(what("64:ff9b::8.8.8.8"), None);
        for tunnel in [
            "::127.0.0.1",
            "64:ff9b:1::a00:1",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:10.0.0.1",
        ] {
            assert_eq!(what(tunnel), Some(Special::Tunnel), "{tunnel}");
        }
    }

    #[test]
    fn allowing_private_addresses_never_allows_link_local_and_metadata() {
        let allowed = |address: &str| check("x", address.parse().unwrap(), true).is_ok();
        for address in ["127.0.0.1", "10.1.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(allowed(address), "{address}");
        }
        for address in
            ["169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "2002:7f00:1::"]
        {
            assert!(!allowed(address), "{address}");
        }
    }

    #[test]
    fn the_refusal_names_the_way_out_only_where_there_is_one() {
        let text = |a: &str| check("ops.test", a.parse().unwrap(), false).unwrap_err().to_string();
        assert_eq!(
            text("10.0.0.1"),
            "ops.test is at 10.0.0.1, a private address; if that is meant, set allow = [\"@private\"] on the destination"
        );
        assert!(!text("169.254.169.254").contains("@private"));
    }

    proptest! {
        #[test]
        fn mapping_an_address_into_v6_changes_nothing(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(special(v4.to_ipv6_mapped().into()), special(v4.into()));
        }
    }
}
