//! URL patterns: the hosts and paths that a URL from a request may have.
//!
//! | in a host | matches |
//! |---|---|
//! | `*` | one or more letters, digits and hyphens |
//! | `{region}` | an AWS region outside China, such as `us-east-1` or `us-gov-west-1` |
//! | `{region:cn}` | an AWS region in China, such as `cn-north-1` |
//!
//! In a path, `{hex:16-64}` matches 16 to 64 hexadecimal digits, and `{word:1-64}` letters, digits
//! and hyphens.

use std::fmt;

/// The maximum length of a URL, in bytes.
const URL_BYTES_MAX: usize = 1024;

/// A host name with at most one placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    text: Box<str>,
    /// The text before the placeholder, the placeholder, and the text after it.
    placeholder: Option<(Box<str>, HostPlaceholder, Box<str>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostPlaceholder {
    Any,
    Region,
    ChineseRegion,
}

impl HostPlaceholder {
    const ALL: [(&'static str, Self); 3] =
        [("*", Self::Any), ("{region}", Self::Region), ("{region:cn}", Self::ChineseRegion)];

    fn matches(self, text: &str) -> bool {
        match self {
            Self::Any => {
                !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            }
            Self::Region => is_region(text) && !text.starts_with("cn-"),
            Self::ChineseRegion => is_region(text) && text.starts_with("cn-"),
        }
    }
}

/// True for an AWS region: an area, for some a further word, a direction and a number, joined with
/// hyphens.
fn is_region(text: &str) -> bool {
    const FURTHER: [&str; 6] = ["gov", "iso", "isob", "isoe", "isof", "de"];
    const DIRECTIONS: [&str; 9] = [
        "north",
        "south",
        "east",
        "west",
        "central",
        "northeast",
        "northwest",
        "southeast",
        "southwest",
    ];
    let parts: Vec<&str> = text.split('-').collect();
    let (place, direction, number) = match *parts.as_slice() {
        [place, direction, number] => (place, direction, number),
        [place, word, direction, number] if FURTHER.contains(&word) => (place, direction, number),
        _ => return false,
    };
    let is_place = place.len() == 2 && place.bytes().all(|b| b.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    (is_place || place == "eusc") && DIRECTIONS.contains(&direction) && is_number
}

impl HostPattern {
    /// Parses a pattern such as `sns.{region}.amazonaws.com`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        let text = text.to_ascii_lowercase();
        let placeholder = HostPlaceholder::ALL.into_iter().find_map(|(word, placeholder)| {
            let (before, after) = text.split_once(word)?;
            Some((Box::<str>::from(before), placeholder, Box::<str>::from(after)))
        });
        let sound = match &placeholder {
            Some((before, _, after)) => plain(before) && plain(after),
            None => plain(&text),
        };
        (sound && !text.is_empty()).then(|| Self { text: text.into(), placeholder })
    }

    /// True if `host` matches.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        self.fitting(host).is_some()
    }

    /// The text that the placeholder matches in `host`; empty without a placeholder.
    fn fitting(&self, host: &str) -> Option<String> {
        let host = host.to_ascii_lowercase();
        let Some((before, placeholder, after)) = &self.placeholder else {
            return (*self.text == *host).then(String::new);
        };
        let middle = host.strip_prefix(&**before)?.strip_suffix(&**after)?;
        placeholder.matches(middle).then(|| middle.to_owned())
    }

    /// True if a certificate for `name` is valid for this pattern, for a key from a host with this
    /// `region`.
    fn covers(&self, name: &str, region: Option<&str>) -> bool {
        let Some(found) = self.fitting(name) else { return false };
        match (&self.placeholder, region) {
            (
                Some((_, HostPlaceholder::Region | HostPlaceholder::ChineseRegion, _)),
                Some(region),
            ) => found == region,
            (Some((_, HostPlaceholder::Region | HostPlaceholder::ChineseRegion, _)), None) => false,
            (Some((_, HostPlaceholder::Any, _)) | None, _) => true,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// True if one of a certificate's names is one of `patterns`, for a key at `url` on one of `hosts`.
pub(super) fn is_named_for(
    names: &[String],
    patterns: &[HostPattern],
    url: &str,
    hosts: &[HostPattern],
) -> bool {
    let (host, _) = host_and_rest(url).unwrap_or_default();
    let region = hosts.iter().find_map(|pattern| match &pattern.placeholder {
        Some((_, HostPlaceholder::Region | HostPlaceholder::ChineseRegion, _)) => {
            pattern.fitting(host)
        }
        _ => None,
    });
    let region = region.as_deref();
    names.iter().any(|name| patterns.iter().any(|pattern| pattern.covers(name, region)))
}

/// A path with at most one placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    before: Box<str>,
    placeholder: Option<(PathPlaceholder, usize, usize)>,
    after: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathPlaceholder {
    Hex,
    Word,
}

impl PathPattern {
    /// Parses a pattern such as `/certs/{hex:16-64}.pem`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"/-._".contains(&b);
        let sound = |text: &str| text.bytes().all(good);
        if !text.starts_with('/') {
            return None;
        }
        let Some((before, rest)) = text.split_once('{') else {
            let whole = Self { before: text.into(), placeholder: None, after: "".into() };
            return sound(text).then_some(whole);
        };
        let (placeholder, after) = rest.split_once('}')?;
        let (word, range) = placeholder.split_once(':')?;
        let (least, most) = range.split_once('-')?;
        let (least, most) = (least.parse().ok()?, most.parse().ok()?);
        let kind = match word {
            "hex" => PathPlaceholder::Hex,
            "word" => PathPlaceholder::Word,
            _ => return None,
        };
        let fits = sound(before) && sound(after) && 0 < least && least <= most;
        fits.then(|| Self {
            before: before.into(),
            placeholder: Some((kind, least, most)),
            after: after.into(),
        })
    }

    /// True if `path` matches.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some((kind, least, most)) = self.placeholder else { return *self.before == *path };
        let middle = path.strip_prefix(&*self.before).and_then(|p| p.strip_suffix(&*self.after));
        middle.is_some_and(|middle| {
            (least..=most).contains(&middle.len())
                && middle.bytes().all(|b| match kind {
                    PathPlaceholder::Hex => b.is_ascii_hexdigit(),
                    PathPlaceholder::Word => b.is_ascii_alphanumeric() || b == b'-',
                })
        })
    }
}

/// The host of an `https` URL and the rest after it; `None` unless the URL is plain, without
/// credentials and fragment.
fn host_and_rest(url: &str) -> Option<(&str, &str)> {
    let plain = url.len() <= URL_BYTES_MAX && url.bytes().all(|b| b.is_ascii_graphic());
    let rest = url.strip_prefix("https://").filter(|_| plain)?;
    if rest.contains(['#', '\\', '@']) {
        return None;
    }
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

/// True if `url` is `https`, on one of these hosts, without credentials, port or fragment. A query
/// is permitted; the path must match `path` if given.
#[must_use]
pub fn is_allowed_url(url: &str, hosts: &[HostPattern], path: Option<&PathPattern>) -> bool {
    let Some((host, rest)) = host_and_rest(url) else { return false };
    let found = rest.split('?').next().unwrap_or_default();
    hosts.iter().any(|pattern| pattern.matches(host))
        && path.is_none_or(|pattern| pattern.matches(found))
}

/// True if a key may be fetched from `url`: as [`is_allowed_url`], and without a query.
#[must_use]
pub(crate) fn is_key_url(url: &str, hosts: &[HostPattern], path: Option<&PathPattern>) -> bool {
    is_allowed_url(url, hosts, path) && !url.contains('?')
}

/// True if `text` can be one label or path segment of a URL without changing anything around it.
#[must_use]
pub(super) fn is_plain_segment(text: &[u8]) -> bool {
    let good = |b: &u8| b.is_ascii_alphanumeric() || b"-._".contains(b);
    !text.is_empty() && text.iter().all(good) && !text.iter().all(|b| *b == b'.')
}

/// True if the certificate of an issuer may be fetched from `url`. It need not be `https`, because
/// the certificate is signed; but it must be a plain URL with a host name.
#[must_use]
pub(super) fn is_issuer_url(url: &str) -> bool {
    let plain = url.len() <= 512 && url.bytes().all(|b| b.is_ascii_graphic());
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some((host, path)) = rest.filter(|_| plain).and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        && host.contains('.')
        && host.bytes().any(|b| b.is_ascii_alphabetic());
    is_name && !path.is_empty() && !path.contains(['?', '#', '@', '\\'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|p| HostPattern::parse(p).unwrap()).collect()
    }

    #[test]
    fn a_star_matches_one_label() {
        let star = HostPattern::parse("sns.*.amazonaws.com").unwrap();
        assert!(star.matches("sns.us-east-1.amazonaws.com"));
        assert!(star.matches("SNS.EU-WEST-1.amazonaws.com"));
        for host in [
            "sns.amazonaws.com",
            "sns..amazonaws.com",
            "sns.a.b.amazonaws.com",
            "sns.us-east-1.amazonaws.com.evil.example",
            "evil-sns.us-east-1.amazonaws.com",
            "sns.x@y.amazonaws.com",
        ] {
            assert!(!star.matches(host), "{host}");
        }
        for text in ["*.*.com", "a b", "", "{region}.{region}.com", "{region:cn}.*"] {
            assert!(HostPattern::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_region_does_not_match_other_services() {
        let here = HostPattern::parse("sns.{region}.amazonaws.com").unwrap();
        let china = HostPattern::parse("sns.{region:cn}.amazonaws.com.cn").unwrap();
        for region in
            ["us-east-1", "us-gov-west-1", "ap-southeast-2", "mx-central-1", "eusc-de-east-1"]
        {
            assert!(here.matches(&format!("sns.{region}.amazonaws.com")), "{region}");
        }
        for region in [
            "s3",
            "s3-us-west-2",
            "s3-website-us-east-1",
            "s3-accelerate",
            "elb",
            "execute-api",
            "us-east",
            "us-east-1a",
            "us-east-123",
            "us--east-1",
            "us-up-1",
            "x-east-1",
            "cn-north-1",
            "s3.us-east-1",
            "lambda-url",
            "sqs-us-east-1",
        ] {
            assert!(!here.matches(&format!("sns.{region}.amazonaws.com")), "{region}");
        }
        assert!(china.matches("sns.cn-northwest-1.amazonaws.com.cn"));
        assert!(!china.matches("sns.us-east-1.amazonaws.com.cn"));
    }

    #[test]
    fn a_certificate_must_be_for_the_region_of_its_url() {
        let hosts = hosts(&["sns.{region}.amazonaws.com"]);
        let patterns = ["sns.amazonaws.com", "sns-signing.{region}.amazonaws.com"];
        let patterns: Vec<_> = patterns.iter().map(|p| HostPattern::parse(p).unwrap()).collect();
        let named = |name: &str, region: &str| {
            let url = format!("https://sns.{region}.amazonaws.com/a.pem");
            is_named_for(&[name.to_owned()], &patterns, &url, &hosts)
        };
        assert!(named("sns.amazonaws.com", "us-east-1"));
        assert!(named("sns-signing.af-south-1.amazonaws.com", "af-south-1"));
        assert!(!named("sns-signing.af-south-1.amazonaws.com", "us-east-1"));
        assert!(!named("sns-signing.s3.amazonaws.com", "s3"));
        assert!(!named("*.amazonaws.com", "us-east-1"));
    }

    #[test]
    fn a_path_must_match_as_a_whole() {
        let pem = PathPattern::parse("/Service-{hex:4-8}.pem").unwrap();
        assert!(pem.matches("/Service-00Af.pem"));
        for path in [
            "/Service-00A.pem",
            "/Service-00Af00Af0.pem",
            "/Service-00Ag.pem",
            "//Service-00Af.pem",
            "/x/Service-00Af.pem",
            "/Service-00Af.pem/",
            "/Service-../a.pem",
            "/Service-%30%30.pem",
        ] {
            assert!(!pem.matches(path), "{path}");
        }
        let cert = PathPattern::parse("/certs/CERT-{word:1-64}").unwrap();
        assert!(cert.matches("/certs/CERT-360caa42-fca2") && !cert.matches("/certs/CERT-a/../b"));
        assert!(PathPattern::parse("/").unwrap().matches("/"));
        for text in ["", "a", "/{hex}", "/{hex:1}", "/{hex:2-1}", "/{hex:0-1}", "/{x:1-2}", "/a?b"]
        {
            assert!(PathPattern::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn keys_come_from_plain_https_urls_on_allowed_hosts() {
        let hosts = hosts(&["api.paypal.com", "sns.{region}.amazonaws.com"]);
        let path = PathPattern::parse("/{word:1-9}.pem").unwrap();
        let allowed = |url: &str| is_key_url(url, &hosts, Some(&path));
        assert!(allowed("https://api.paypal.com/a.pem"));
        assert!(allowed("https://sns.eu-west-1.amazonaws.com/a.pem"));
        for url in [
            "http://api.paypal.com/a.pem",
            "https://api.paypal.com/a.txt",
            "https://api.paypal.com/a.pem?x=1",
            "https://api.paypal.com/a.pem?",
            "https://api.paypal.com/a.txt?x=.pem",
            "https://api.paypal.com.evil.example/a.pem",
            "https://user@api.paypal.com/a.pem",
            "https://evil.example/@api.paypal.com/a.pem",
            "https://api.paypal.com:8443/a.pem",
            "https://api.paypal.com:443/a.pem",
            "https://api.paypal.com./a.pem",
            "https://evil.example\\.api.paypal.com/a.pem",
            "https://evil.example#api.paypal.com/a.pem",
            "https://api.paypal.com/a.pem#",
            "https://api.paypal.com /a.pem",
            "HTTPS://api.paypal.com/a.pem",
            "https://sns.s3.amazonaws.com/a.pem",
            "https:///a.pem",
            "",
        ] {
            assert!(!allowed(url), "{url}");
        }
    }

    #[test]
    fn an_issuer_url_must_be_plain() {
        assert!(is_issuer_url("http://crt.r2m01.amazontrust.com/r2m01.cer"));
        for url in [
            "http://127.0.0.1/a",
            "http://[::1]/a",
            "http://localhost/a",
            "http://a.example:81/a",
            "http://u@a.example/a",
            "http://a.example/",
            "http://a.example/a?b",
            "ftp://a.example/a",
            "ldap:///a",
            "http://a.example/a#b",
            "file:///etc/passwd",
        ] {
            assert!(!is_issuer_url(url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_url_escapes_its_hosts(url in "https?://[a-z@:/?#.\\\\%\\[\\]-]{0,40}(api.paypal.com)?[a-z@:/?#.\\\\-]{0,20}") {
            if is_allowed_url(&url, &hosts(&["api.paypal.com"]), None) {
                let rest = url.strip_prefix("https://api.paypal.com").unwrap();
                prop_assert!(rest.is_empty() || rest.starts_with(['/', '?']));
            }
        }
    }
}
