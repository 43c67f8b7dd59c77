//! Which addresses a message may go to. Pure: an address and what the operator allowed, to a yes or a reason.
//!
//! Asked at connect time for every address that a connection is about to be made to, so that neither a name that
//! resolves to something else the second time nor an unusual way of writing an address gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::AllowedNetworks;

/// Where cloud providers answer with a machine's credentials: AWS, Google, Azure and those who do as they do; ECS and
/// EKS; Tencent; Alibaba, inside the carriers' block; Oracle, inside a reserved one; Azure's own, which looks public.
const METADATA_V4: [[u8; 4]; 7] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [169, 254, 0, 23],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [168, 63, 129, 16],
];
/// The same on IPv6, beside AWS's fd00:ec2::/32: Google, Scaleway, OpenStack.
const METADATA_V6: [[u16; 8]; 3] = [
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42],
    [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
];

/// What an address is, if it is none that anybody on the internet could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
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

impl AddressClass {
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

    /// The word of `allow` that lets messages go there; none if nothing does. No word implies another.
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

/// An address that messages may not go to. Whoever wrote the destination's URL can change it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host} is at {address}, {} address{}", special.as_str(), way_out(*special))]
pub struct Blocked {
    /// The host as the URL has it.
    pub host: Box<str>,
    /// Where it is.
    pub address: IpAddr,
    /// What that is.
    pub special: AddressClass,
}

fn way_out(special: AddressClass) -> String {
    match special.word() {
        Some(word) => format!("; if that is meant, set allow = [\"{word}\"] on the destination"),
        None => ", where no message may go".into(),
    }
}

/// Refuses an address that is special, unless the operator allowed its kind.
pub fn check(host: &str, address: IpAddr, allow: AllowedNetworks) -> Result<(), Blocked> {
    match classify(address) {
        Some(special) if !special.is_allowed(allow) => {
            Err(Blocked { host: host.into(), address, special })
        }
        _ => Ok(()),
    }
}

/// The address that a host has for certain, without looking it up: one that is written out, in any form that the
/// system's resolver knows too, or a name that everybody gives the same machine.
#[must_use]
pub fn known_address(host: &str) -> Option<IpAddr> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    // A zone, as in fe80::1%eth0, says which link, not which address.
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

/// An IPv4 address in the forms of old: one to four numbers, decimal, octal or hexadecimal, the last of which fills what
/// is left.
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

/// What is special about an address, if anything.
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
    // The two forms whose IPv4 address is the one that answers: judged by it.
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
        // ::a.b.c.d; 64:ff9b:1::/48, translation by a rule that only the network knows; Teredo; 6to4.
        0 if s[..6] == [0; 6] => AddressClass::Tunnel,
        0x64 if s[1] == 0xff9b => AddressClass::Tunnel,
        0x2001 if s[1] == 0 => AddressClass::Tunnel,
        0x2002 => AddressClass::Tunnel,
        // ISATAP: an IPv4 address behind a fixed mark, under any prefix.
        _ if s[5] == 0x5efe && s[4] & 0xfdff == 0 => AddressClass::Tunnel,
        0x2001 if s[1] == 0xdb8 || s[1] < 0x200 => AddressClass::Reserved,
        0x3fff if s[1] < 0x1000 => AddressClass::Reserved,
        // What is assigned for the internet.
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
    fn the_internet_is_nothing_special() {
        for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert_eq!(what(address), None, "{address}");
        }
    }

    #[test]
    fn every_special_address_is_known_for_what_it_is() {
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
    fn an_embedded_address_is_judged_by_what_it_leads_to_or_not_followed() {
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
    fn an_address_is_known_however_it_is_written() {
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
    fn no_word_allows_what_is_no_place_to_send_to() {
        for address in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "2002:7f00:1::", "::"]
        {
            assert!(!allowed(address, EVERYTHING), "{address}");
        }
    }

    #[test]
    fn the_refusal_names_the_way_out_only_where_there_is_one() {
        let refusal = |a: &str| check("ops.test", a.parse().unwrap(), NOTHING).unwrap_err();
        let text = |a: &str| refusal(a).to_string();
        assert_eq!(
            text("10.0.0.1"),
            "ops.test is at 10.0.0.1, a private address; if that is meant, set allow = [\"@private\"] on the destination"
        );
        assert!(text("169.254.1.1").contains("@linklocal"));
        assert!(text("169.254.169.254").contains("@metadata"));
        assert!(!text("224.0.0.1").contains("allow"));
    }

    /// The blocks of the IANA registry of special-purpose IPv4 addresses that are not globally reachable, the
    /// multicast block, and Azure's address.
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
        fn exactly_the_blocks_that_nobody_on_the_internet_has_are_special(v4 in v4()) {
            let expected = BLOCKS_V4.iter().any(|block| in_block(v4, *block));
            prop_assert_eq!(classify(v4.into()).is_some(), expected, "{}", v4);
        }

        #[test]
        fn no_way_of_writing_a_refused_address_gets_it_through(v4 in v4(), private: bool) {
            let allow = AllowedNetworks { private, ..NOTHING };
            if check("x", v4.into(), allow).is_err() {
                for v6 in embedded(v4) {
                    prop_assert!(check("x", v6.into(), allow).is_err(), "{} as {}", v4, v6);
                }
            }
        }

        #[test]
        fn an_ipv6_address_gets_through_only_from_the_internets_block(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let global = bits >> 125 == 0b001 || v6.to_ipv4_mapped().is_some() || bits >> 32 == 0x64_ff9b << 64;
            prop_assert!(global || check("x", v6.into(), NOTHING).is_err(), "{}", v6);
        }

        #[test]
        fn mapping_an_address_into_v6_changes_nothing(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from(bits);
            prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), classify(v4.into()));
        }
    }
}
