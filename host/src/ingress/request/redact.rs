//! Replaces the secrets in a request's headers and body by fingerprints, so that a secret is never
//! stored or passed on. Pure.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap};
use serde_json::value::RawValue;
use weir_core::json_pointer::{Pointer, scalar_text};
use weir_core::request::multipart_fields;
use weir_core::selector::Selector;

use super::content::{Content, ContentOrigin, FORM};
use super::fingerprints::Fingerprints;
use super::secret_fields::SecretFields;

/// The headers to store, in their order, without those of the connection and the body's length. A
/// query in place of a body gets a form's content type.
pub(crate) fn headers(
    headers: &HeaderMap,
    content: &Content,
    secret: &SecretFields,
    fingerprints: &Fingerprints,
) -> Vec<(Box<str>, Bytes)> {
    let is_listed = |name: &str| {
        let mut lists = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
        lists.any(|list| list.split(',').any(|token| token.trim().eq_ignore_ascii_case(name)))
    };
    // One allocation for all values, which are dropped together.
    let size = headers.values().map(|value| value.len() + 8).sum();
    let mut values = BytesMut::with_capacity(size);
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.as_str();
        let replaced = content.is_undeclared_form() && name == CONTENT_TYPE.as_str();
        if is_hop_by_hop(name) || is_listed(name) || replaced || name.starts_with(HUB_PREFIX) {
            continue;
        }
        if secret.has_header(name) {
            values.put_slice(fingerprints.of(value.as_bytes()).as_bytes());
        } else {
            values.put_slice(value.as_bytes());
        }
        kept.push((name.into(), values.split().freeze()));
    }
    if content.is_undeclared_form() {
        let form = Bytes::from_static(FORM.as_bytes());
        kept.push((CONTENT_TYPE.as_str().into(), form));
    }
    kept
}

/// The prefix of headers that the hub adds to an event. A sender's headers with it are dropped.
const HUB_PREFIX: &str = "weir-";

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
            | "content-length"
    )
}

/// The content of a request, and what is replaced in it.
#[derive(Debug)]
pub(crate) struct Redacted<'a> {
    body: &'a Bytes,
    /// In order, without overlap.
    cuts: Vec<(Range<usize>, String)>,
}

impl<'a> Redacted<'a> {
    /// Finds the secrets in `content`. `events` are the parts that are events of their own; a
    /// multipart form is read by the content type.
    pub(crate) fn new(
        content: &'a Content,
        content_type: &[u8],
        events: impl Iterator<Item = Range<usize>>,
        secret: &SecretFields,
        fingerprints: &Fingerprints,
    ) -> Self {
        let body = &content.bytes;
        let mut cuts = Vec::new();
        let parameters = match content.origin {
            ContentOrigin::Query => &secret.parameters[..],
            ContentOrigin::Body { .. } | ContentOrigin::Multipart => &[],
        };
        if !secret.selectors.is_empty() || !parameters.is_empty() {
            let whole = 0..body.len();
            for event in events {
                let inside = secret.selectors.iter().filter(|s| matches!(s, Selector::Json(_)));
                inside.for_each(|s| find(s, body, event.clone(), fingerprints, &mut cuts));
            }
            let outside = secret.selectors.iter().filter(|s| !matches!(s, Selector::Json(_)));
            let is_form = content.is_form();
            outside
                .chain(parameters)
                .filter(|s| is_form || !matches!(s, Selector::Form(..)))
                .for_each(|s| find(s, body, whole.clone(), fingerprints, &mut cuts));
            if content.origin == ContentOrigin::Multipart {
                find_in_multipart(&secret.selectors, content_type, body, fingerprints, &mut cuts);
            }
            cuts.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
            let mut end = 0;
            cuts.retain(|(range, _)| {
                let apart = range.start >= end;
                end = end.max(range.end);
                apart
            });
        }
        Self { body, cuts }
    }

    /// A part of the content without its secrets. Copies nothing where there is none.
    pub(crate) fn part(&self, of: Range<usize>) -> Bytes {
        let first = self.cuts.partition_point(|(cut, _)| cut.start < of.start);
        if let Some((cut, text)) = self.cuts[..first].last()
            && cut.end > of.start
        {
            return Bytes::copy_from_slice(text.as_bytes());
        }
        let inside = self.cuts[first..].iter().take_while(|(cut, _)| cut.end <= of.end);
        let mut out = Vec::new();
        let mut at = of.start;
        for (cut, text) in inside {
            out.extend_from_slice(&self.body[at..cut.start]);
            out.extend_from_slice(text.as_bytes());
            at = cut.end;
        }
        if at == of.start {
            return self.body.slice(of);
        }
        out.extend_from_slice(&self.body[at..of.end]);
        out.into()
    }
}

/// Adds the cuts of the values that a selector finds in `within`.
fn find(
    selector: &Selector,
    body: &Bytes,
    within: Range<usize>,
    fingerprints: &Fingerprints,
    cuts: &mut Vec<(Range<usize>, String)>,
) {
    let part = &body[within.clone()];
    let mut cut = |found: &RawValue| {
        if is_empty_value(found) {
            return;
        }
        let start = found.get().as_ptr().addr() - body.as_ptr().addr();
        cuts.push((start..start + found.get().len(), quoted(found, fingerprints)));
    };
    match selector {
        Selector::Json(pointer) | Selector::Body(pointer) | Selector::Each(pointer) => {
            pointer.find_every(part).into_iter().for_each(&mut cut);
        }
        Selector::Form(field, inside) => {
            for value in form_values(part, field) {
                let start = within.start + value.start;
                let found = form_cuts(&part[value], inside.as_ref(), fingerprints).into_iter();
                cuts.extend(found.map(|(cut, text)| (start + cut.start..start + cut.end, text)));
            }
        }
        Selector::Header(_)
        | Selector::Headers(_)
        | Selector::Query(_)
        | Selector::Pair(_)
        | Selector::Outer(_)
        | Selector::KeyBesides(_)
        | Selector::FormXml(..) => {}
    }
}

fn quoted(found: &RawValue, fingerprints: &Fingerprints) -> String {
    let text = scalar_text(found).unwrap_or(Cow::Borrowed(found.get()));
    format!("\"{}\"", fingerprints.of(text.as_bytes()))
}

/// Adds the cuts in the fields of a multipart form.
fn find_in_multipart(
    selectors: &[Selector],
    content_type: &[u8],
    body: &Bytes,
    fingerprints: &Fingerprints,
    cuts: &mut Vec<(Range<usize>, String)>,
) {
    for field in multipart_fields(content_type, body).into_iter().flatten() {
        let value = &body[field.value.clone()];
        for selector in selectors {
            match selector {
                Selector::Form(name, None) if **name == *field.name && !value.is_empty() => {
                    cuts.push((field.value.clone(), fingerprints.of(value)));
                }
                Selector::Form(name, Some(pointer)) if **name == *field.name => {
                    let inside = Selector::Json(pointer.clone());
                    find(&inside, body, field.value.clone(), fingerprints, cuts);
                }
                _ => {}
            }
        }
    }
}

/// True for a value that cannot be a secret.
fn is_empty_value(found: &RawValue) -> bool {
    matches!(found.get(), "null" | "\"\"")
}

/// The ranges of a form field's values.
fn form_values(form: &[u8], field: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for pair in form.split(|b| *b == b'&') {
        if let Some((name, _)) = form_urlencoded::parse(pair).next()
            && name == field
            && let Some(equals) = pair.iter().position(|b| *b == b'=')
        {
            found.push(at + equals + 1..at + pair.len());
        }
        at += pair.len() + 1;
    }
    found
}

/// The cuts in an encoded form value, with their replacements: the whole value, or what a pointer
/// selects in the JSON that it holds. All other bytes stay.
fn form_cuts(
    value: &[u8],
    inside: Option<&Pointer>,
    fingerprints: &Fingerprints,
) -> Vec<(Range<usize>, String)> {
    let (decoded, offsets) = decode(value);
    let Some(pointer) = inside else {
        let whole = || (0..value.len(), fingerprints.of(&decoded));
        return (!value.is_empty()).then(whole).into_iter().collect();
    };
    let at = |index: usize| offsets.get(index).copied().unwrap_or(value.len());
    let found = pointer.find_every(&decoded).into_iter().filter(|found| !is_empty_value(found));
    let cut = |found: &RawValue| {
        let start = found.get().as_ptr().addr() - decoded.as_ptr().addr();
        let text = quoted(found, fingerprints);
        let text = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        (at(start)..at(start + found.get().len()), text)
    };
    found.map(cut).collect()
}

/// The bytes of a form value, each with its offset in the encoded text.
fn decode(value: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let hex = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut bytes, mut offsets) = (Vec::with_capacity(value.len()), Vec::new());
    let mut at = 0;
    while let Some(first) = value.get(at) {
        let escape = match (first, value.get(at + 1), value.get(at + 2)) {
            (b'%', Some(high), Some(low)) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        let (byte, length) = match (first, escape) {
            (_, Some((high, low))) => (high << 4 | low, 3),
            (b'+', None) => (b' ', 1),
            (other, None) => (*other, 1),
        };
        bytes.push(byte);
        offsets.push(at);
        at += length;
    }
    (bytes, offsets)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use weir_core::token::{TokenLocation, Tokens};

    use super::*;

    const SECRET: &str = "s3cr3t";
    const TYPE: &[u8] = b"multipart/form-data; boundary=b";

    fn fingerprints() -> Fingerprints {
        Fingerprints::new([7; 32])
    }

    fn fields(texts: &[&str]) -> SecretFields {
        with_token_in(texts, "header:x-token")
    }

    fn with_token_in(texts: &[&str], location: &str) -> SecretFields {
        let tokens = Tokens::new(location.parse::<TokenLocation>().unwrap(), []);
        let selectors: Vec<_> = texts.iter().map(|t| Selector::parse(t).unwrap()).collect();
        SecretFields::new(&selectors, Some(&tokens))
    }

    fn in_body(bytes: Bytes, is_form: bool) -> Content {
        Content { bytes, origin: ContentOrigin::Body { is_form } }
    }

    fn in_query(query: &'static str) -> Content {
        let bytes = Bytes::from_static(query.as_bytes());
        Content { bytes, origin: ContentOrigin::Query }
    }

    /// The whole content without its secrets.
    fn whole(content: &Content, secret: &SecretFields) -> String {
        let all = 0..content.bytes.len();
        let redacted =
            Redacted::new(content, TYPE, std::iter::once(all.clone()), secret, &fingerprints());
        String::from_utf8(redacted.part(all).to_vec()).unwrap()
    }

    fn header_map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn kept(body: &str, is_form: bool, selectors: &[&str]) -> String {
        let content = in_body(Bytes::copy_from_slice(body.as_bytes()), is_form);
        whole(&content, &fields(selectors))
    }

    #[test]
    fn a_sender_cannot_set_a_header_of_the_hub() {
        let sent = header_map(&[("weir-path", "/lie"), ("Weir-Event-Id", "evt_lie"), ("x-a", "1")]);
        let content = in_body(Bytes::new(), false);
        let kept = headers(&sent, &content, &fields(&[]), &fingerprints());
        assert_eq!(kept, [("x-a".into(), Bytes::from_static(b"1"))]);
    }

    #[test]
    fn credential_headers_become_fingerprints_and_hop_headers_are_dropped() {
        let map = header_map(&[
            ("host", "h"),
            ("authorization", SECRET),
            ("x-gitlab-token", SECRET),
            ("x-event", "push"),
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("x-event", "again"),
        ]);
        let secret = fields(&["header:X-Gitlab-Token"]);
        let kept = headers(&map, &in_body(Bytes::new(), false), &secret, &fingerprints());
        let names: Vec<&str> = kept.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["host", "authorization", "x-gitlab-token", "x-event", "x-event"]);
        assert_eq!(kept[1].1, kept[2].1, "the same secret has the same fingerprint");
        assert!(kept[1].1.starts_with(b"fingerprint-"));
        assert_eq!((&kept[3].1[..], &kept[4].1[..]), (&b"push"[..], &b"again"[..]));
    }

    #[test]
    fn numbered_headers_match_their_pattern() {
        let secret = fields(&["headers:X-Token-*|X-Key"]);
        assert!(secret.has_header("x-token-12") && secret.has_header("x-key"));
        assert!(
            !secret.has_header("x-token-")
                && !secret.has_header("x-token-a")
                && !secret.has_header("x-keys")
        );
    }

    #[test]
    fn only_the_secret_in_json_is_replaced() {
        let body = r#"{ "token": "s3cr3t", "event": {"n": 1.0} }"#;
        let kept = kept(body, false, &["/token"]);
        assert!(!kept.contains(SECRET) && kept.ends_with(r#", "event": {"n": 1.0} }"#), "{kept}");
        assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok());
    }

    #[test]
    fn a_secret_in_a_form_is_replaced_also_in_json_inside_it() {
        let plain = kept("a=1&token=s3cr%33t&b=2", true, &["form:token"]);
        assert!(plain.starts_with("a=1&token=fingerprint-") && plain.ends_with("&b=2"), "{plain}");
        let inside =
            kept("payload=%7B%22token%22%3A%22s3cr3t%22%7D", true, &["form:payload#/token"]);
        let (_, json) = form_urlencoded::parse(inside.as_bytes()).next().unwrap();
        assert!(json.starts_with(r#"{"token":"fingerprint-"#), "{json}");
        assert_eq!(kept("token=s3cr3t", false, &["form:token"]), "token=s3cr3t", "not a form");
    }

    #[test]
    fn a_secret_is_replaced_in_repeated_keys_and_broken_json() {
        let json = r#"{"token":"s3cr3t","a":[1],"token":"s3cr3t","\u0074oken":"s3cr3t"#;
        let ends = [r#""}"#, r#"","x":"\ud800"}"#, r#"", broken"#];
        for end in ends {
            let kept = kept(&format!("{json}{end}"), false, &["/token"]);
            assert!(!kept.contains(SECRET) && kept.contains(r#","a":[1],"#), "{kept}");
        }
        let form: String =
            form_urlencoded::byte_serialize(format!("{json}\"}}").as_bytes()).collect();
        let kept = kept(
            &format!("payload={form}&token=s3cr3t"),
            true,
            &["form:payload#/token", "form:token"],
        );
        assert!(!kept.contains(SECRET), "{kept}");
    }

    #[test]
    fn only_the_secret_in_a_multipart_form_is_replaced() {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let json = r#"{"token":"s3cr3t", "a":1}"#;
        let parts = [part("token", SECRET), part("payload", json), part("c", "%ff+")];
        let body = Bytes::from(format!("{}--b--\r\n", parts.concat()));
        let content = Content { bytes: body, origin: ContentOrigin::Multipart };
        let kept = whole(&content, &fields(&["form:token", "form:payload#/token"]));
        assert!(!kept.contains(SECRET) && kept.contains(r#"", "a":1}"#), "{kept}");
        assert!(kept.ends_with(&format!("{}--b--\r\n", part("c", "%ff+"))), "{kept}");
    }

    #[test]
    fn all_other_bytes_of_forms_and_json_stay() {
        let selector = "form:payload#/token";
        for form in [
            "text=%ff%FE+%2b&payload=%7B%22a%22%3A%22%ff%22%7D",
            "payload=%7b%22a%22%3a1%7d&x=%e4%20",
            "payload=no+json%2c%ff",
            "payload=%7B%22token%22%3Anull%7D",
            "payload",
            "payload=",
        ] {
            assert_eq!(kept(form, true, &[selector, "form:token"]), form);
        }
        let before = "x=%ff&payload=%7b%22a%22:%22%c3%bc+%41%22%2c%22token%22:";
        let form = format!("{before}%22s3cr%33t%22%2c%22b%22:+%5B%5D%7D&y=%fe");
        let kept_form = kept(&form, true, &[selector]);
        assert!(kept_form.starts_with(&format!("{before}%22fingerprint-")), "{kept_form}");
        assert!(kept_form.ends_with("%22%2c%22b%22:+%5B%5D%7D&y=%fe"), "{kept_form}");
        for json in ["\u{feff}{\"a\":1}", r#"{"token":null}"#, r#"{"token":""}"#, "{"] {
            assert_eq!(kept(json, false, &["/token"]), json);
        }
        let marked = kept("\u{feff}{\"\\ud800\":1, \"token\":\"s3cr3t\"}", false, &["/token"]);
        assert!(!marked.contains(SECRET), "{marked}");
        assert!(marked.starts_with("\u{feff}{\"\\ud800\":1, \"token\":\"fingerprint-"), "{marked}");
    }

    #[test]
    fn a_query_in_place_of_a_body_is_stored_as_a_form_without_secrets() {
        let secret = with_token_in(&["query:sig", "form:pin"], "query:key");
        let content = in_query("a=1&ke%79=s3cr3t&pin=s3cr3t&sig=s3cr3t&b=2");
        let kept = whole(&content, &secret);
        assert!(!kept.contains(SECRET), "{kept}");
        let names: Vec<_> = kept.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(names, ["a", "ke%79", "pin", "sig", "b"]);
        let map = header_map(&[("host", "h"), ("content-type", "text/plain")]);
        let head = headers(&map, &content, &secret, &fingerprints());
        let (name, value) = head.last().unwrap();
        assert_eq!((head.len(), &**name, &value[..]), (2, "content-type", FORM.as_bytes()));
        let nothing = headers(&map, &in_query(""), &secret, &fingerprints());
        assert_eq!(&nothing[1].1[..], b"text/plain", "an empty query gets no content type");
    }

    #[test]
    fn a_query_selector_does_not_apply_to_a_body() {
        let secret = with_token_in(&["query:sig"], "query:key");
        let body = in_body(Bytes::from_static(b"key=1&sig=2"), true);
        assert_eq!(whole(&body, &secret), "key=1&sig=2");
    }

    #[test]
    fn a_batch_hides_the_secrets_of_each_event_and_of_the_body() {
        let items = [r#"{"t":"s3cr3t"}"#, r#"{"t":"other"}"#, "{}"];
        let body = format!(r#"{{"key":"s3cr3t","items":[{}]}}"#, items.join(","));
        let spans = items.map(|item| body.find(item).map(|at| at..at + item.len()).unwrap());
        let body = in_body(Bytes::from(body), false);
        let secret = fields(&["/t", "body:/key"]);
        let redacted = Redacted::new(&body, TYPE, spans.iter().cloned(), &secret, &fingerprints());
        let text = |of| String::from_utf8(redacted.part(of).to_vec()).unwrap();
        let whole = text(0..body.bytes.len());
        assert!(!whole.contains(SECRET) && !whole.contains("other"), "{whole}");
        let [first, second, third] = spans.map(text);
        assert!(whole.contains(&first) && whole.contains(&second));
        assert!(first.starts_with(r#"{"t":"fingerprint-"#) && first != second);
        assert_eq!(third, "{}");
    }

    #[test]
    fn a_body_without_secrets_is_not_copied() {
        let body = in_body(Bytes::from_static(b"{}"), false);
        let secret = fields(&["/token"]);
        let redacted = Redacted::new(&body, TYPE, std::iter::once(0..2), &secret, &fingerprints());
        assert_eq!(redacted.part(0..2).as_ptr(), body.bytes.as_ptr());
    }

    proptest! {
        #[test]
        fn every_byte_around_a_secret_in_a_form_stays(
            before in "([a-z%+=0-9]|%ff|%C3){0,12}",
            secret in "[a-z%+0-9]{1,12}",
            after in "(&[a-z%+=0-9]{0,8}){0,3}",
        ) {
            let form = format!("a={before}&secret-one={secret}{after}");
            let kept = kept(&form, true, &["form:secret-one"]);
            let start = format!("a={before}&secret-one=fingerprint-");
            prop_assert!(kept.starts_with(&start) && kept.ends_with(&after), "{} {}", form, kept);
            prop_assert_eq!(kept.len(), start.len() + 12 + after.len());
        }

        #[test]
        fn any_bytes_can_be_searched(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields = ["/a", "body:/b/0", "each:/c/*/d", "form:e", "form:f#/g", "query:h"];
            let secret = with_token_in(&fields, "query:i");
            let bytes = Bytes::from(body);
            let form = ContentOrigin::Body { is_form: true };
            for origin in [form, ContentOrigin::Multipart, ContentOrigin::Query] {
                let content = Content { bytes: bytes.clone(), origin };
                let all = 0..bytes.len();
                let events = std::iter::once(all.clone());
                let redacted = Redacted::new(&content, TYPE, events, &secret, &fingerprints());
                let _ = redacted.part(all);
            }
        }
    }
}
