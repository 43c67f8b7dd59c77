//! IP addresses: address blocks, and the client address of a request behind proxies.
//!
//! A proxy's statement about the previous hop counts only if the operator trusts the proxy, and
//! only in the one header that the proxies are known to write. Anything that a sender invents is to
//! the left of that.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

/// The maximum number of trusted proxies in a row. A longer chain is not followed further.
const HOPS_MAX: usize = 32;

/// A block of addresses, such as `203.0.113.0/24`, `2001:db8::/32`, or a single address.
/// IPv4-mapped IPv6 addresses and blocks count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressBlock(IpNet);

/// Why a text is not an address block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidAddressBlock {
    /// Not an address or a CIDR block.
    #[error("is no address or block, such as \"203.0.113.7\" or \"2001:db8::/32\"")]
    Form,
    /// The address has bits outside its prefix, so one of the two is wrong.
    #[error("has address bits beyond its prefix; did you mean `{0}`?")]
    Beyond(AddressBlock),
}

impl AddressBlock {
    /// True if the block contains the address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// The longest IPv4 prefix that is too short for an operator's own network: the largest private one
/// is 10.0.0.0/8.
const WIDE_V4: u8 = 7;
/// The longest IPv6 prefix that is too short, outside private ranges.
const WIDE_V6: u8 = 15;
/// The maximum number of IPv4 addresses in small blocks together: 16 times the largest private
/// network.
const MANY_V4: u64 = 1 << 28;

/// The widest block that these blocks form together, if it is wider than any network of one
/// operator; all addresses, for example.
#[must_use]
pub fn too_wide(blocks: &[AddressBlock]) -> Option<String> {
    let nets: Vec<IpNet> = blocks.iter().map(|block| block.0).collect();
    let together = IpNet::aggregate(&nets);
    let wide = |net: &&IpNet| match net {
        IpNet::V4(v4) => v4.prefix_len() <= WIDE_V4,
        IpNet::V6(v6) => {
            let private = v6.prefix_len() >= 7 && v6.addr().octets()[0] & 0xfe == 0xfc;
            v6.prefix_len() <= WIDE_V6 && !private
        }
    };
    if let Some(net) = together.iter().filter(wide).min_by_key(|net| net.prefix_len()) {
        return Some(net.to_string());
    }
    let size = |net: &IpNet| match net {
        IpNet::V4(v4) => 1_u64 << (32 - u32::from(v4.prefix_len())),
        IpNet::V6(_) => 0,
    };
    let many = together.iter().map(size).sum::<u64>();
    (many > MANY_V4).then(|| format!("{many} addresses"))
}

impl FromStr for AddressBlock {
    type Err = InvalidAddressBlock;

    fn from_str(text: &str) -> Result<Self, InvalidAddressBlock> {
        let net = match text.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => text.parse::<IpAddr>().map_err(|_| InvalidAddressBlock::Form)?.into(),
        };
        let canonical = canonical(net);
        let whole = canonical.trunc();
        if whole == canonical {
            Ok(Self(whole))
        } else {
            Err(InvalidAddressBlock::Beyond(Self(whole)))
        }
    }
}

fn canonical(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_BITS)) {
        // A prefix of at most 32 bits is valid for IPv4.
        (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

impl fmt::Display for AddressBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The header in which an operator's proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For: 203.0.113.7, 198.51.100.2`
    XForwardedFor,
    /// `Forwarded: for=203.0.113.7, for="[2001:db8::1]:4711"` (RFC 7239)
    Forwarded,
}

impl ForwardedBy {
    /// The header's name, in lower case.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The rest of a line before its last entry, if any, and that entry.
    fn split_last(self, line: &[u8]) -> (Option<&[u8]>, &[u8]) {
        let comma = match self {
            Self::XForwardedFor => line.iter().rposition(|b| *b == b','),
            Self::Forwarded => last_comma(line),
        };
        comma.map_or((None, line), |at| (Some(&line[..at]), &line[at + 1..]))
    }

    fn address(self, entry: &[u8]) -> Option<IpAddr> {
        let entry = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
        match self {
            Self::XForwardedFor => node(entry),
            Self::Forwarded => forwarded_for(entry),
        }
    }
}

/// The proxies that an operator trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    blocks: Vec<AddressBlock>,
    by: ForwardedBy,
}

impl TrustedProxies {
    /// Proxies at these addresses that write this header.
    #[must_use]
    pub fn new(blocks: Vec<AddressBlock>, by: ForwardedBy) -> Self {
        Self { blocks, by }
    }

    /// True if a proxy with this address is trusted.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.blocks.iter().any(|block| block.contains(address))
    }

    /// The header whose values [`Self::client`] takes, in lower case.
    #[must_use]
    pub const fn header(&self) -> &'static str {
        self.by.header()
    }

    /// The client address of a request: the right-most address of the chain that is not a trusted
    /// proxy. `lines` are the values of [`Self::header`] in their order. An entry without an
    /// address ends the search, and the last trusted proxy is the client: no trusted proxy confirms
    /// the entries to the left.
    #[must_use]
    pub fn client<'a>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut lines = lines.rev();
        let mut line = None;
        for _ in 0..HOPS_MAX {
            if !self.contains(client) {
                break;
            }
            let Some(rest) = line.take().or_else(|| lines.next()) else { break };
            let (before, entry) = self.by.split_last(rest);
            let Some(address) = self.by.address(entry) else { break };
            line = before;
            client = address.to_canonical();
        }
        client
    }
}

/// Parses an address as proxies write it: with or without a port, IPv6 with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let named = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return named.then(|| address.parse::<Ipv6Addr>().ok())?.map(IpAddr::V6);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse::<Ipv4Addr>().ok())?.map(IpAddr::V4)
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// The last comma outside quotes. Searched from the right, because a sender may have left a quote
/// open on the left.
fn last_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(line, at) => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn is_escaped(line: &[u8], at: usize) -> bool {
    line[..at].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

/// The address in the `for` of one element of `Forwarded`; `None` for an obfuscated name or an
/// invalid element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (name, text) = text.trim_start_matches([' ', '\t']).split_once('=')?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        let (value, after) = value(text)?;
        let after = after.trim_matches([' ', '\t']);
        rest = match after.strip_prefix(';') {
            Some(more) => Some(more),
            None if after.is_empty() => None,
            None => return None,
        };
        if name.eq_ignore_ascii_case("for") {
            let second = found.replace(node(&value)?).is_some();
            if second {
                return None;
            }
        }
    }
    found
}

/// A token or a quoted string at the start, and the rest after it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|b| !is_token(b)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].into(), &text[end..]));
    };
    let mut plain = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((plain.into(), &quoted[at + 1..])),
            '\\' => plain.push(chars.next()?.1),
            c => plain.push(c),
        }
    }
    None
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(text: &str) -> AddressBlock {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const PEER: &str = "10.0.0.1";

    /// The client behind proxies in 10/8 and 2001:db8::/32; the peer is one of them.
    fn client(by: ForwardedBy, lines: &[&str]) -> String {
        let proxies = TrustedProxies::new(vec![block("10.0.0.0/8"), block("2001:db8::/32")], by);
        proxies.client(ip(PEER), lines.iter().map(|line| line.as_bytes())).to_string()
    }

    fn x(lines: &[&str]) -> String {
        client(ForwardedBy::XForwardedFor, lines)
    }

    fn f(lines: &[&str]) -> String {
        client(ForwardedBy::Forwarded, lines)
    }

    #[test]
    fn a_block_contains_its_addresses_in_any_notation() {
        assert!(block("203.0.113.0/24").contains(ip("203.0.113.255")));
        assert!(block("203.0.113.0/24").contains(ip("::ffff:203.0.113.9")));
        assert!(!block("203.0.113.0/24").contains(ip("203.0.114.0")));
        assert!(block("::ffff:203.0.113.0/120").contains(ip("203.0.113.9")));
        assert!(block("203.0.113.7").contains(ip("203.0.113.7")));
        assert!(!block("203.0.113.7").contains(ip("203.0.113.8")));
        assert!(block("2001:db8::/32").contains(ip("2001:db8:ffff::1")));
        assert!(!block("2001:db8::/32").contains(ip("2001:db9::1")));
        assert!(!block("::/0").contains(ip("203.0.113.7")), "all of IPv6 is nothing of IPv4");
        assert!(!block("0.0.0.0/0").contains(ip("2001:db8::1")));
    }

    #[test]
    fn an_invalid_block_is_refused_with_a_suggestion() {
        for text in ["", "203.0.113", "203.0.113.0/33", "example.com", "203.0.113.0/24 ", "::g"] {
            assert_eq!(text.parse::<AddressBlock>(), Err(InvalidAddressBlock::Form), "{text}");
        }
        let beyond = "203.0.113.7/24".parse::<AddressBlock>().unwrap_err();
        assert_eq!(beyond, InvalidAddressBlock::Beyond(block("203.0.113.0/24")));
        assert!(beyond.to_string().contains("203.0.113.0/24"), "{beyond}");
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_address() {
        assert_eq!(x(&["192.0.2.1"]), "192.0.2.1");
        assert_eq!(x(&["192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(x(&["192.0.2.1", "2001:db8::7, 10.0.0.2"]), "192.0.2.1", "lines are one list");
        assert_eq!(f(&["for=192.0.2.1;proto=https;by=10.0.0.9"]), "192.0.2.1");
        assert_eq!(f(&[r#"for=192.0.2.1, For="[2001:db8::7]:4711""#]), "192.0.2.1");
        assert_eq!(f(&[r#"for="[2a00::1]:4711";host="a, b""#]), "2a00::1");
    }

    #[test]
    fn entries_that_a_sender_invents_are_ignored() {
        assert_eq!(x(&["198.51.100.7, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(x(&["10.0.0.7, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(x(&["nonsense,,\u{fffd}, 192.0.2.1"]), "192.0.2.1");
        assert_eq!(f(&["for=198.51.100.7, for=192.0.2.1"]), "192.0.2.1");
        assert_eq!(f(&[r#"for="198.51.100.7, for=192.0.2.1"#]), "192.0.2.1", "a mark left open");
        assert_eq!(f(&[r#"for=1;a="\"#, "for=192.0.2.1"]), "192.0.2.1");
    }

    #[test]
    fn an_untrusted_peer_is_the_client() {
        let proxies = TrustedProxies::new(vec![block("10.0.0.0/8")], ForwardedBy::XForwardedFor);
        let lines = ["198.51.100.7".as_bytes()];
        assert_eq!(proxies.client(ip("192.0.2.1"), lines.into_iter()), ip("192.0.2.1"));
        assert_eq!(proxies.client(ip("::ffff:10.0.0.1"), lines.into_iter()), ip("198.51.100.7"));
        let none = TrustedProxies::new(vec![], ForwardedBy::XForwardedFor);
        assert_eq!(none.client(ip("10.0.0.1"), lines.into_iter()), ip("10.0.0.1"));
    }

    #[test]
    fn an_entry_without_an_address_ends_the_search() {
        for entry in
            ["unknown", "", "_hidden", "192.0.2.1:", "192.0.2.1:x", "192.0.2", "[192.0.2.1]"]
        {
            assert_eq!(x(&[&format!("198.51.100.7, {entry}, 10.0.0.2")]), "10.0.0.2", "{entry}");
        }
        for element in [
            "for=unknown",
            "for=_hidden",
            "by=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;",
            "for=192.0.2.1 x",
            "for =192.0.2.1",
            "for=[2a00::1]",
            "192.0.2.1",
            "",
            r#"for="192.0.2.1"#,
            r#"for=192.0.2.1;host=\"a"#,
        ] {
            let line = format!("for=198.51.100.7, {element}, for=10.0.0.2");
            assert_eq!(f(&[&line]), "10.0.0.2", "{element}");
        }
        assert_eq!(x(&[]), PEER);
        assert_eq!(x(&["10.0.0.3, 10.0.0.2"]), "10.0.0.3", "all of it is ours");
    }

    #[test]
    fn a_long_chain_of_proxies_is_read_up_to_the_limit() {
        let endless = format!("192.0.2.1{}", ", 10.0.0.2".repeat(1_000_000));
        assert_eq!(x(&[&endless]), "10.0.0.2");
    }

    fn headers() -> impl Strategy<Value = ForwardedBy> {
        prop_oneof![Just(ForwardedBy::XForwardedFor), Just(ForwardedBy::Forwarded)]
    }

    fn written(by: ForwardedBy, address: IpAddr, port: Option<u16>, quoted: bool) -> String {
        let node = match (address, port) {
            (IpAddr::V4(v4), None) => v4.to_string(),
            (IpAddr::V4(v4), Some(port)) => format!("{v4}:{port}"),
            (IpAddr::V6(v6), None) => format!("[{v6}]"),
            (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
        };
        let plain = !quoted && node.bytes().all(is_token);
        match by {
            ForwardedBy::XForwardedFor => node,
            ForwardedBy::Forwarded if plain => format!("for={node}"),
            ForwardedBy::Forwarded => format!("proto=https; for=\"{node}\""),
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(
            by in headers(),
            lines in prop::collection::vec("([0-9a-f.:,;=\"\\\\ \\[\\]for]|for=|\\PC){0,60}", 0..4),
        ) {
            client(by, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        }

        #[test]
        fn the_address_that_the_trusted_proxy_saw_counts(
            by in headers(),
            made_up in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..3),
            address: IpAddr,
            port: Option<u16>,
            quoted: bool,
            same_line: bool,
        ) {
            let proxies = TrustedProxies::new(vec![block("10.0.0.0/8")], by);
            prop_assume!(!proxies.contains(address));
            let mut lines = made_up;
            let entry = written(by, address, port, quoted);
            match lines.last_mut() {
                Some(last) if same_line => {
                    last.extend_from_slice(b", ");
                    last.extend_from_slice(entry.as_bytes());
                }
                _ => lines.push(entry.into_bytes()),
            }
            let found = proxies.client(ip(PEER), lines.iter().map(Vec::as_slice));
            prop_assert_eq!(found, address.to_canonical());
        }
    }
}
