//! Classifies addresses, and blocks those that the operator has not allowed. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::AllowedNetworks;

/// Metadata services of cloud providers: AWS, Google, Azure and others; ECS and EKS (two); Tencent;
/// Alibaba, in the carrier block; Oracle, in a reserved block; Azure's second one, in a public
/// block.
const METADATA_V4: [[u8; 4]; 7] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [169, 254, 0, 23],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [168, 63, 129, 16],
];
/// The same on IPv6: Google, Scaleway, OpenStack. AWS's fd00:ec2::/32 is matched below.
const METADATA_V6: [[u16; 8]; 3] = [
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42],
    [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
];

/// The classes of addresses that no host on the internet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// This machine.
    Loopback,
    Private,
    /// Behind a carrier's address translation: 100.64.0.0/10.
    Carrier,
    /// Addresses of one network segment. Most metadata services are here.
    LinkLocal,
    /// A cloud provider's metadata service, which gives out the machine's credentials.
    Metadata,
    Unspecified,
    Multicast,
    /// Set aside for documentation, benchmarks or the future.
    Reserved,
    /// An IPv6 address that leads to an IPv4 address which is not known for certain.
    Tunnel,
}

impl AddressClass {
    /// The class with its article, for messages.
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

    /// The word in `allow` that permits the class; none if no word does. No word implies another.
    #[must_use]
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Loopback | Self::Private | Self::Carrier => Some(AllowedNetworks::PRIVATE),
            Self::LinkLocal => Some(AllowedNetworks::LINK_LOCAL),
            Self::Metadata => Some(AllowedNetworks::METADATA),
            Self::Unspecified | Self::Multicast | Self::Reserved | Self::Tunnel => None,
        }
    }

    const fn is_allowed(self, allow: AllowedNetworks) -> bool {
        match self {
            Self::Loopback => allow.private || allow.loopback,
            Self::Private | Self::Carrier => allow.private,
            Self::LinkLocal => allow.link_local,
            Self::Metadata => allow.metadata,
            Self::Unspecified | Self::Multicast | Self::Reserved | Self::Tunnel => false,
        }
    }
}

/// An address that the hub may not connect to. Lasts until the operator changes the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host} is at {address}, {} address{}", special.as_str(), remedy(*special))]
pub struct Blocked {
    /// As in the URL.
    pub host: Box<str>,
    pub address: IpAddr,
    pub special: AddressClass,
}

fn remedy(special: AddressClass) -> String {
    match special.word() {
        Some(word) => format!("; if that is meant, set allow = [\"{word}\"] on the destination"),
        None => ", where nothing may be sent".into(),
    }
}

/// Blocks an address of a class that `allow` does not contain.
pub fn check(host: &str, address: IpAddr, allow: AllowedNetworks) -> Result<(), Blocked> {
    match classify(address) {
        Some(special) if !special.is_allowed(allow) => {
            Err(Blocked { host: host.into(), address, special })
        }
        _ => Ok(()),
    }
}

/// The address of a host that is known without a lookup: an address in any form that the system's
/// resolver accepts, or a name that means the same machine everywhere.
#[must_use]
pub fn known_address(host: &str) -> Option<IpAddr> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    // A zone, as in fe80::1%eth0, is not a part of the address.
    let bare = bare.split_once('%').map_or(bare, |(address, _)| address);
    if let Ok(address) = bare.parse() {
        return Some(address);
    }
    match bare {
        "localhost" | "localhost.localdomain" | "ip6-localhost" | "ip6-loopback" => {
            Some(Ipv4Addr::LOCALHOST.into())
        }
        "metadata.google.internal" | "instance-data" | "instance-data.ec2.internal" => {
            Some(Ipv4Addr::from([169, 254, 169, 254]).into())
        }
        _ if bare.ends_with(".localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        _ => numbers(bare).map(Into::into),
    }
}

/// An IPv4 address in its old forms: one to four decimal, octal or hexadecimal numbers. The last
/// one has the bits that are left.
fn numbers(text: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, first) = parts.split_last().filter(|(_, first)| first.len() <= 3)?;
    let mut bits = *last;
    for (index, part) in (0..).zip(first) {
        bits |= u8::try_from(*part).map(u32::from).ok()? << (24 - 8 * index);
    }
    let room = 32 - 8 * u32::try_from(first.len()).ok()?;
    (u64::from(*last) < 1 << room).then(|| bits.into())
}

/// The class of an address; none for addresses on the internet.
#[must_use]
pub fn classify(address: IpAddr) -> Option<AddressClass> {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(v4: Ipv4Addr) -> Option<AddressClass> {
    let [a, b, c, _] = v4.octets();
    if METADATA_V4.contains(&v4.octets()) {
        return Some(AddressClass::Metadata);
    }
    Some(match (a, b, c) {
        (0, ..) => AddressClass::Unspecified,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => AddressClass::Private,
        (127, ..) => AddressClass::Loopback,
        (100, 64..=127, _) => AddressClass::Carrier,
        (169, 254, _) => AddressClass::LinkLocal,
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => {
            AddressClass::Reserved
        }
        (224..=239, ..) => AddressClass::Multicast,
        (240..=255, ..) => AddressClass::Reserved,
        _ => return None,
    })
}

fn classify_v6(v6: Ipv6Addr) -> Option<AddressClass> {
    if v6.is_unspecified() {
        return Some(AddressClass::Unspecified);
    }
    if v6.is_loopback() {
        return Some(AddressClass::Loopback);
    }
    // The two forms that always lead to their IPv4 address.
    if let Some(v4) = v6.to_ipv4_mapped() {
        return classify_v4(v4);
    }
    let s = v6.segments();
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return classify_v4(low_v4(v6));
    }
    if METADATA_V6.contains(&s) || s[..2] == [0xfd00, 0xec2] {
        return Some(AddressClass::Metadata);
    }
    Some(match s[0] {
        0xfc00..=0xfdff => AddressClass::Private,
        0xfe80..=0xfebf => AddressClass::LinkLocal,
        0xfec0..=0xfeff => AddressClass::Private,
        0xff00..=0xffff => AddressClass::Multicast,
        // ::a.b.c.d; 64:ff9b:1::/48, which each network translates by its own rule; Teredo; 6to4.
        0 if s[..6] == [0; 6] => AddressClass::Tunnel,
        0x64 if s[1] == 0xff9b => AddressClass::Tunnel,
        0x2001 if s[1] == 0 => AddressClass::Tunnel,
        0x2002 => AddressClass::Tunnel,
        // ISATAP: an IPv4 address after a fixed marker, under any prefix.
        _ if s[5] == 0x5efe && s[4] & 0xfdff == 0 => AddressClass::Tunnel,
        0x2001 if s[1] == 0xdb8 || s[1] < 0x200 => AddressClass::Reserved,
        0x3fff if s[1] < 0x1000 => AddressClass::Reserved,
        // The internet.
        0x2000..=0x3fff => return None,
        _ => AddressClass::Reserved,
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

    fn what(address: &str) -> Option<AddressClass> {
        classify(address.parse().unwrap())
    }

    #[test]
    fn internet_addresses_have_no_class() {
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert_eq!(what(address), None, "{address}");
        }
    }

    #[test]
    fn every_special_address_has_its_class() {
        for (address, special) in [
            ("127.0.0.1", AddressClass::Loopback),
            ("127.255.255.254", AddressClass::Loopback),
            ("::1", AddressClass::Loopback),
            ("10.0.0.1", AddressClass::Private),
            ("172.31.255.255", AddressClass::Private),
            ("192.168.1.1", AddressClass::Private),
            ("fd12::1", AddressClass::Private),
            ("fec0::1", AddressClass::Private),
            ("100.64.0.1", AddressClass::Carrier),
            ("169.254.169.254", AddressClass::Metadata),
            ("169.254.170.2", AddressClass::Metadata),
            ("168.63.129.16", AddressClass::Metadata),
            ("fd20:ce::254", AddressClass::Metadata),
            ("fd00:ec2::23", AddressClass::Metadata),
            ("fe80::a9fe:a9fe", AddressClass::Metadata),
            ("169.254.1.1", AddressClass::LinkLocal),
            ("fe80::1", AddressClass::LinkLocal),
            ("fd00:ec2::254", AddressClass::Metadata),
            ("100.100.100.200", AddressClass::Metadata),
            ("192.0.0.192", AddressClass::Metadata),
            ("0.0.0.0", AddressClass::Unspecified),
            ("::", AddressClass::Unspecified),
            ("224.0.0.1", AddressClass::Multicast),
            ("ff02::1", AddressClass::Multicast),
            ("255.255.255.255", AddressClass::Reserved),
            ("198.18.0.1", AddressClass::Reserved),
            ("2001:db8::1", AddressClass::Reserved),
            ("4000::1", AddressClass::Reserved),
        ] {
            assert_eq!(what(address), Some(special), "{address}");
        }
    }

    #[test]
    fn embedded_addresses_are_classified_or_are_tunnels() {
        assert_eq!(what("::ffff:127.0.0.1"), Some(AddressClass::Loopback));
        assert_eq!(what("::ffff:169.254.169.254"), Some(AddressClass::Metadata));
        assert_eq!(what("::ffff:8.8.8.8"), None);
        assert_eq!(what("64:ff9b::10.0.0.1"), Some(AddressClass::Private));
        assert_eq!(what("64:ff9b::8.8.8.8"), None);
        for tunnel in [
            "::127.0.0.1",
            "64:ff9b:1::a00:1",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2a00::5efe:10.0.0.1",
            "2a00::200:5efe:10.0.0.1",
        ] {
            assert_eq!(what(tunnel), Some(AddressClass::Tunnel), "{tunnel}");
        }
    }

    const NOTHING: AllowedNetworks =
        AllowedNetworks { loopback: false, private: false, link_local: false, metadata: false };
    const PRIVATE: AllowedNetworks = AllowedNetworks { private: true, ..NOTHING };
    const EVERYTHING: AllowedNetworks =
        AllowedNetworks { loopback: true, private: true, link_local: true, metadata: true };

    fn allowed(address: &str, allow: AllowedNetworks) -> bool {
        check("x", address.parse().unwrap(), allow).is_ok()
    }

    #[test]
    fn allowing_private_addresses_never_allows_link_local_and_metadata() {
        for address in ["127.0.0.1", "10.1.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(allowed(address, PRIVATE) && !allowed(address, NOTHING), "{address}");
        }
        for address in [
            "169.254.169.254",
            "169.254.1.1",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "64:ff9b::169.254.169.254",
        ] {
            assert!(!allowed(address, PRIVATE) && allowed(address, EVERYTHING), "{address}");
        }
    }

    #[test]
    fn allowing_link_local_addresses_never_allows_metadata() {
        let allow = AllowedNetworks { link_local: true, ..NOTHING };
        assert!(allowed("169.254.1.1", allow) && allowed("fe80::1", allow));
        assert!(!allowed("169.254.169.254", allow) && !allowed("fe80::a9fe:a9fe", allow));
        assert!(!allowed("10.0.0.1", allow));
    }

    #[test]
    fn an_address_is_known_in_every_form() {
        for (host, address) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.0.0.1.", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("[::ffff:10.0.0.1]", Some("::ffff:10.0.0.1")),
            ("[fe80::1%25eth0]", Some("fe80::1")),
            ("2130706433", Some("127.0.0.1")),
            ("0x7f000001", Some("127.0.0.1")),
            ("0X7F.1", Some("127.0.0.1")),
            ("0177.0.0.1", Some("127.0.0.1")),
            ("10.1", Some("10.0.0.1")),
            ("192.168.257", Some("192.168.1.1")),
            ("0", Some("0.0.0.0")),
            ("localhost", Some("127.0.0.1")),
            ("LOCALHOST.", Some("127.0.0.1")),
            ("app.localhost", Some("127.0.0.1")),
            ("metadata.google.internal", Some("169.254.169.254")),
            ("1.2.3.256", None),
            ("1.2.3.4.5", None),
            ("256.1", None),
            ("4294967296", None),
            ("ops.example.com", None),
            ("1.example", None),
            ("", None),
        ] {
            assert_eq!(known_address(host), address.map(|text| text.parse().unwrap()), "{host}");
        }
    }

    #[test]
    fn development_mode_allows_this_machine_and_no_other() {
        let allow = AllowedNetworks { loopback: true, ..NOTHING };
        assert!(allowed("127.0.0.1", allow) && allowed("::1", allow));
        assert!(!allowed("10.0.0.1", allow) && !allowed("169.254.169.254", allow));
    }

    #[test]
    fn no_word_allows_addresses_without_a_host() {
        for address in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "2002:7f00:1::", "::"]
        {
            assert!(!allowed(address, EVERYTHING), "{address}");
        }
    }

    #[test]
    fn the_refusal_names_the_setting_only_if_one_helps() {
        let refusal = |a: &str| check("ops.test", a.parse().unwrap(), NOTHING).unwrap_err();
        let text = |a: &str| refusal(a).to_string();
        assert_eq!(
            text("10.0.0.1"),
            "ops.test is at 10.0.0.1, a private address; \
             if that is meant, set allow = [\"@private\"] on the destination"
        );
        assert!(text("169.254.1.1").contains("@linklocal"));
        assert!(text("169.254.169.254").contains("@metadata"));
        assert!(!text("224.0.0.1").contains("allow"));
    }

    /// The blocks of the IANA registry of special-purpose IPv4 addresses that are not globally
    /// reachable, the multicast block, and Azure's address.
    const BLOCKS_V4: &[(&str, u32)] = &[
        ("0.0.0.0", 8),
        ("10.0.0.0", 8),
        ("100.64.0.0", 10),
        ("127.0.0.0", 8),
        ("169.254.0.0", 16),
        ("172.16.0.0", 12),
        ("192.0.0.0", 24),
        ("192.0.2.0", 24),
        ("192.88.99.0", 24),
        ("192.168.0.0", 16),
        ("198.18.0.0", 15),
        ("198.51.100.0", 24),
        ("203.0.113.0", 24),
        ("224.0.0.0", 4),
        ("240.0.0.0", 4),
        ("168.63.129.16", 32),
    ];

    fn in_block(v4: Ipv4Addr, (start, bits): (&str, u32)) -> bool {
        let start: Ipv4Addr = start.parse().unwrap();
        (u32::from(v4) ^ u32::from(start)).checked_shr(32 - bits).is_none_or(|apart| apart == 0)
    }

    /// Every way that is known of writing an IPv4 address as an IPv6 one.
    fn embedded(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let at = |s: [u16; 8]| Ipv6Addr::from(s);
        vec![
            at([0, 0, 0, 0, 0, 0xffff, high, low]),
            at([0, 0, 0, 0, 0, 0, high, low]),
            at([0, 0, 0, 0, 0xffff, 0, high, low]),
            at([0x64, 0xff9b, 0, 0, 0, 0, high, low]),
            at([0x64, 0xff9b, 1, 0, 0, 0, high, low]),
            at([0x2002, high, low, 0, 0, 0, 0, 1]),
            at([0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low]),
            at([0x2001, 0, high, low, 0, 0, 0, 0]),
            at([0x2a00, 0, 0, 0, 0, 0x5efe, high, low]),
            at([0xfe80, 0, 0, 0, 0x200, 0x5efe, high, low]),
        ]
    }

    /// Half of them inside a block, half anywhere.
    fn v4() -> impl Strategy<Value = Ipv4Addr> {
        let anywhere = any::<u32>().prop_map(Ipv4Addr::from);
        let inside = (0..BLOCKS_V4.len(), any::<u32>()).prop_map(|(block, bits)| {
            let (start, length) = BLOCKS_V4[block];
            let start = u32::from(start.parse::<Ipv4Addr>().unwrap());
            Ipv4Addr::from(start | bits.checked_shr(length).unwrap_or(0))
        });
        prop_oneof![anywhere, inside]
    }

    proptest! {
        #[test]
        fn exactly_the_special_purpose_blocks_have_a_class(v4 in v4()) {
            let expected = BLOCKS_V4.iter().any(|block| in_block(v4, *block));
            prop_assert_eq!(classify(v4.into()).is_some(), expected, "{}", v4);
        }

        #[test]
        fn no_form_of_a_blocked_address_is_allowed(v4 in v4(), private: bool) {
            let allow = AllowedNetworks { private, ..NOTHING };
            if check("x", v4.into(), allow).is_err() {
                for v6 in embedded(v4) {
                    prop_assert!(check("x", v6.into(), allow).is_err(), "{} as {}", v4, v6);
                }
            }
        }

        #[test]
        fn only_ipv6_addresses_of_the_internet_block_are_allowed(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let is_nat64 = bits >> 32 == 0x64_ff9b << 64;
            let global = bits >> 125 == 0b001 || v6.to_ipv4_mapped().is_some() || is_nat64;
            prop_assert!(global || check("x", v6.into(), NOTHING).is_err(), "{}", v6);
        }

        #[test]
        fn an_ipv4_mapped_address_has_the_same_class(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), classify(v4.into()));
        }
    }
}
