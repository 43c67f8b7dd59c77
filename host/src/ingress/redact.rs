//! What is kept of a request: its headers and body with credentials replaced by fingerprints, so that a secret
//! that travels in a request is never stored or handed on. Pure.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderMap};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use weir_core::json_pointer::{Pointer, scalar_text};
use weir_core::request::multipart_fields;
use weir_core::selector::{HeaderPattern, Selector as Place};
use weir_core::token::Tokens;

use super::content::{self, Content};

/// Turns a secret into something that tells two of them apart and tells nothing else.
#[derive(Clone)]
pub(super) struct Fingerprints {
    key: [u8; 32],
}

impl std::fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprints(…)")
    }
}

impl Fingerprints {
    /// Fingerprints under a key, without which a weak secret could be guessed from them.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// The fingerprint of a secret.
    fn of(&self, secret: &[u8]) -> String {
        let digest = Sha256::new().chain_update(self.key).chain_update(secret).finalize();
        format!("fingerprint-{}", hex::encode(&digest[..6]))
    }
}

/// Where the secrets of one source's requests stand. Made once per source.
#[derive(Debug, Default)]
pub(super) struct SecretFields {
    headers: Vec<HeaderPattern>,
    places: Vec<Place>,
    /// Parameters of the query, as the fields that they are where it stands in the place of a body.
    parameters: Vec<Place>,
}

impl SecretFields {
    /// Sorts the fields that a provider names, with the place in which a source has a token.
    pub(super) fn new(fields: &[Place], tokens: Option<&Tokens>) -> Self {
        let mut sorted = Self::default();
        let whole = |name: &str| HeaderPattern { name: name.into(), numbered: false };
        let parameter = |name: &str| Place::Form(name.into(), None);
        sorted.headers.extend(tokens.and_then(Tokens::header).map(whole));
        sorted.parameters.extend(tokens.and_then(Tokens::parameter).map(parameter));
        for field in fields {
            match field {
                Place::Header(names) => sorted.headers.extend(
                    names.iter().map(|name| HeaderPattern { name: name.clone(), numbered: false }),
                ),
                Place::Headers(patterns) => sorted.headers.extend(patterns.iter().cloned()),
                // Of URLs nothing else is kept.
                Place::Query(name) => sorted.parameters.push(parameter(name)),
                // Parts of a signature header are not kept on their own.
                Place::Pair(_) => {}
                Place::Json(_) | Place::Body(_) | Place::Each(_) | Place::Form(..) => {
                    sorted.places.push(field.clone());
                }
                // Names of what happened; a provider file may not list them.
                Place::Outer(_) | Place::KeyBesides(_) | Place::FormXml(..) => {}
            }
        }
        sorted
    }

    fn holds(&self, name: &str) -> bool {
        matches!(name, "authorization" | "proxy-authorization" | "cookie")
            || self.headers.iter().any(|pattern| is_named(pattern, name))
    }
}

fn is_named(pattern: &HeaderPattern, name: &str) -> bool {
    let Some((start, rest)) = name.split_at_checked(pattern.name.len()) else { return false };
    let digits = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    start.eq_ignore_ascii_case(&pattern.name)
        && if pattern.numbered { digits } else { rest.is_empty() }
}

/// The headers to keep, in their order. Those that speak of the connection, and the body's length, are not. A query in
/// the place of a body gets the content type that it has.
pub(super) fn headers(
    headers: &HeaderMap,
    content: &Content,
    secret: &SecretFields,
    fingerprints: &Fingerprints,
) -> Vec<(Box<str>, Bytes)> {
    let named = |name: &str| {
        let mut lists = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
        lists.any(|list| list.split(',').any(|token| token.trim().eq_ignore_ascii_case(name)))
    };
    // One allocation for all values: what is kept of a request lives and dies together.
    let size = headers.values().map(|value| value.len() + 8).sum();
    let mut values = BytesMut::with_capacity(size);
    let mut kept = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.as_str();
        let replaced = content.is_undeclared_form() && name == CONTENT_TYPE.as_str();
        if is_hop_by_hop(name) || named(name) || replaced || name.starts_with(HUB_PREFIX) {
            continue;
        }
        if secret.holds(name) {
            values.put_slice(fingerprints.of(value.as_bytes()).as_bytes());
        } else {
            values.put_slice(value.as_bytes());
        }
        kept.push((name.into(), values.split().freeze()));
    }
    if content.is_undeclared_form() {
        let form = Bytes::from_static(content::FORM.as_bytes());
        kept.push((CONTENT_TYPE.as_str().into(), form));
    }
    kept
}

/// How the names of headers begin by which the hub tells facts of an event. A sender cannot say any.
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

/// What a request says with what is to be replaced in it.
#[derive(Debug)]
pub(super) struct Redacted<'a> {
    body: &'a Bytes,
    /// In order, none touching another.
    cuts: Vec<(Range<usize>, String)>,
}

impl<'a> Redacted<'a> {
    /// Finds the secrets in it; `events` are the parts of it that are events of their own. The content type says how a
    /// form in parts is read.
    pub(super) fn new(
        content: &'a Content,
        content_type: &[u8],
        events: impl Iterator<Item = Range<usize>>,
        secret: &SecretFields,
        fingerprints: &Fingerprints,
    ) -> Self {
        let body = &content.bytes;
        let mut cuts = Vec::new();
        let parameters = match content.place {
            content::Place::Query => &secret.parameters[..],
            content::Place::Body { .. } | content::Place::Parts => &[],
        };
        if !secret.places.is_empty() || !parameters.is_empty() {
            let whole = 0..body.len();
            for event in events {
                let inside = secret.places.iter().filter(|p| matches!(p, Place::Json(_)));
                inside.for_each(|place| find(place, body, event.clone(), fingerprints, &mut cuts));
            }
            let outside = secret.places.iter().filter(|p| !matches!(p, Place::Json(_)));
            let is_form = content.is_form();
            outside
                .chain(parameters)
                .filter(|place| is_form || !matches!(place, Place::Form(..)))
                .for_each(|place| find(place, body, whole.clone(), fingerprints, &mut cuts));
            if content.place == content::Place::Parts {
                find_in_parts(&secret.places, content_type, body, fingerprints, &mut cuts);
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

    /// A part of it as it may be kept; without a copy where there is nothing to hide.
    pub(super) fn part(&self, of: Range<usize>) -> Bytes {
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

fn find(
    place: &Place,
    body: &Bytes,
    within: Range<usize>,
    fingerprints: &Fingerprints,
    cuts: &mut Vec<(Range<usize>, String)>,
) {
    let part = &body[within.clone()];
    let mut cut = |found: &RawValue| {
        if is_nothing(found) {
            return;
        }
        let start = found.get().as_ptr().addr() - body.as_ptr().addr();
        cuts.push((start..start + found.get().len(), quoted(found, fingerprints)));
    };
    match place {
        Place::Json(pointer) | Place::Body(pointer) | Place::Each(pointer) => {
            pointer.find_every(part).into_iter().for_each(&mut cut);
        }
        Place::Form(field, inside) => {
            for value in form_values(part, field) {
                let start = within.start + value.start;
                let found = form_cuts(&part[value], inside.as_ref(), fingerprints).into_iter();
                cuts.extend(found.map(|(cut, text)| (start + cut.start..start + cut.end, text)));
            }
        }
        Place::Header(_)
        | Place::Headers(_)
        | Place::Query(_)
        | Place::Pair(_)
        | Place::Outer(_)
        | Place::KeyBesides(_)
        | Place::FormXml(..) => {}
    }
}

fn quoted(found: &RawValue, fingerprints: &Fingerprints) -> String {
    let text = scalar_text(found).unwrap_or(Cow::Borrowed(found.get()));
    format!("\"{}\"", fingerprints.of(text.as_bytes()))
}

/// The same in the fields of a form in parts.
fn find_in_parts(
    places: &[Place],
    content_type: &[u8],
    body: &Bytes,
    fingerprints: &Fingerprints,
    cuts: &mut Vec<(Range<usize>, String)>,
) {
    for field in multipart_fields(content_type, body).into_iter().flatten() {
        let value = &body[field.value.clone()];
        for place in places {
            match place {
                Place::Form(name, None) if **name == *field.name && !value.is_empty() => {
                    cuts.push((field.value.clone(), fingerprints.of(value)));
                }
                Place::Form(name, Some(pointer)) if **name == *field.name => {
                    let inside = Place::Json(pointer.clone());
                    find(&inside, body, field.value.clone(), fingerprints, cuts);
                }
                _ => {}
            }
        }
    }
}

/// True for what holds no secret: nothing at all.
fn is_nothing(found: &RawValue) -> bool {
    matches!(found.get(), "null" | "\"\"")
}

/// Where the values of a form's field stand.
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

/// What to replace in a form's value, as it stands there, and with what: all of it, or what a pointer names in the JSON
/// that it is. Everything else keeps its bytes.
fn form_cuts(
    value: &[u8],
    inside: Option<&Pointer>,
    fingerprints: &Fingerprints,
) -> Vec<(Range<usize>, String)> {
    let (decoded, offsets) = decoded(value);
    let Some(pointer) = inside else {
        let whole = || (0..value.len(), fingerprints.of(&decoded));
        return (!value.is_empty()).then(whole).into_iter().collect();
    };
    let at = |index: usize| offsets.get(index).copied().unwrap_or(value.len());
    let found = pointer.find_every(&decoded).into_iter().filter(|found| !is_nothing(found));
    let cut = |found: &RawValue| {
        let start = found.get().as_ptr().addr() - decoded.as_ptr().addr();
        let text = quoted(found, fingerprints);
        let text = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        (at(start)..at(start + found.get().len()), text)
    };
    found.map(cut).collect()
}

/// The bytes of a form's value, and where each of them begins in it.
fn decoded(value: &[u8]) -> (Vec<u8>, Vec<usize>) {
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
    use weir_core::token::TokenLocation;

    use super::*;

    const SECRET: &str = "s3cr3t";
    const TYPE: &[u8] = b"multipart/form-data; boundary=b";

    fn fingerprints() -> Fingerprints {
        Fingerprints::new([7; 32])
    }

    fn fields(texts: &[&str]) -> SecretFields {
        with_token_in(texts, "header:x-token")
    }

    fn with_token_in(texts: &[&str], place: &str) -> SecretFields {
        let tokens = Tokens::new(place.parse::<TokenLocation>().unwrap(), []);
        let places: Vec<_> = texts.iter().map(|t| Place::parse(t).unwrap()).collect();
        SecretFields::new(&places, Some(&tokens))
    }

    fn in_body(bytes: Bytes, is_form: bool) -> Content {
        Content { bytes, place: content::Place::Body { is_form } }
    }

    fn in_query(query: &'static str) -> Content {
        let bytes = Bytes::from_static(query.as_bytes());
        Content { bytes, place: content::Place::Query }
    }

    /// All of it, as it is kept.
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

    fn kept(body: &str, is_form: bool, places: &[&str]) -> String {
        let content = in_body(Bytes::copy_from_slice(body.as_bytes()), is_form);
        whole(&content, &fields(places))
    }

    #[test]
    fn no_sender_can_say_a_fact_of_the_hubs() {
        let sent = header_map(&[("weir-path", "/lie"), ("Weir-Event-Id", "evt_lie"), ("x-a", "1")]);
        let content = in_body(Bytes::new(), false);
        let kept = headers(&sent, &content, &fields(&[]), &fingerprints());
        assert_eq!(kept, [("x-a".into(), Bytes::from_static(b"1"))]);
    }

    #[test]
    fn credentials_are_kept_as_fingerprints_and_connection_headers_not_at_all() {
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
        assert_eq!(kept[1].1, kept[2].1, "one secret, one fingerprint");
        assert!(kept[1].1.starts_with(b"fingerprint-"));
        assert_eq!((&kept[3].1[..], &kept[4].1[..]), (&b"push"[..], &b"again"[..]));
    }

    #[test]
    fn numbered_headers_are_secret_by_their_pattern() {
        let secret = fields(&["headers:X-Token-*|X-Key"]);
        assert!(secret.holds("x-token-12") && secret.holds("x-key"));
        assert!(!secret.holds("x-token-") && !secret.holds("x-token-a") && !secret.holds("x-keys"));
    }

    #[test]
    fn a_secret_in_json_is_replaced_where_it_stands_and_nothing_else_changes() {
        let body = r#"{ "token": "s3cr3t", "event": {"n": 1.0} }"#;
        let kept = kept(body, false, &["/token"]);
        assert!(!kept.contains(SECRET) && kept.ends_with(r#", "event": {"n": 1.0} }"#), "{kept}");
        assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok());
    }

    #[test]
    fn a_secret_in_a_form_is_replaced_also_inside_its_json() {
        let plain = kept("a=1&token=s3cr%33t&b=2", true, &["form:token"]);
        assert!(plain.starts_with("a=1&token=fingerprint-") && plain.ends_with("&b=2"), "{plain}");
        let inside =
            kept("payload=%7B%22token%22%3A%22s3cr3t%22%7D", true, &["form:payload#/token"]);
        let (_, json) = form_urlencoded::parse(inside.as_bytes()).next().unwrap();
        assert!(json.starts_with(r#"{"token":"fingerprint-"#), "{json}");
        assert_eq!(kept("token=s3cr3t", false, &["form:token"]), "token=s3cr3t", "no form");
    }

    #[test]
    fn a_secret_is_replaced_wherever_a_reader_could_find_it() {
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
    fn a_secret_in_a_part_of_a_form_is_replaced_and_nothing_else() {
        let part = |name: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let json = r#"{"token":"s3cr3t", "a":1}"#;
        let parts = [part("token", SECRET), part("payload", json), part("c", "%ff+")];
        let body = Bytes::from(format!("{}--b--\r\n", parts.concat()));
        let content = Content { bytes: body, place: content::Place::Parts };
        let kept = whole(&content, &fields(&["form:token", "form:payload#/token"]));
        assert!(!kept.contains(SECRET) && kept.contains(r#"", "a":1}"#), "{kept}");
        assert!(kept.ends_with(&format!("{}--b--\r\n", part("c", "%ff+"))), "{kept}");
    }

    #[test]
    fn what_is_no_secret_keeps_its_bytes() {
        let place = "form:payload#/token";
        for form in [
            "text=%ff%FE+%2b&payload=%7B%22a%22%3A%22%ff%22%7D",
            "payload=%7b%22a%22%3a1%7d&x=%e4%20",
            "payload=no+json%2c%ff",
            "payload=%7B%22token%22%3Anull%7D",
            "payload",
            "payload=",
        ] {
            assert_eq!(kept(form, true, &[place, "form:token"]), form);
        }
        let before = "x=%ff&payload=%7b%22a%22:%22%c3%bc+%41%22%2c%22token%22:";
        let form = format!("{before}%22s3cr%33t%22%2c%22b%22:+%5B%5D%7D&y=%fe");
        let kept_form = kept(&form, true, &[place]);
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
    fn a_query_in_the_place_of_a_body_is_kept_as_the_form_that_it_is_without_its_secrets() {
        let secret = with_token_in(&["query:sig", "form:pin"], "query:key");
        let said = in_query("a=1&ke%79=s3cr3t&pin=s3cr3t&sig=s3cr3t&b=2");
        let kept = whole(&said, &secret);
        assert!(!kept.contains(SECRET), "{kept}");
        let names: Vec<_> = kept.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(names, ["a", "ke%79", "pin", "sig", "b"]);
        let map = header_map(&[("host", "h"), ("content-type", "text/plain")]);
        let head = headers(&map, &said, &secret, &fingerprints());
        let (name, value) = head.last().unwrap();
        assert_eq!(
            (head.len(), &**name, &value[..]),
            (2, "content-type", content::FORM.as_bytes())
        );
        let nothing = headers(&map, &in_query(""), &secret, &fingerprints());
        assert_eq!(&nothing[1].1[..], b"text/plain", "a query that is not there has no type");
    }

    #[test]
    fn a_field_of_a_body_is_no_secret_for_being_called_like_one_in_the_query() {
        let secret = with_token_in(&["query:sig"], "query:key");
        let body = in_body(Bytes::from_static(b"key=1&sig=2"), true);
        assert_eq!(whole(&body, &secret), "key=1&sig=2");
    }

    #[test]
    fn a_batch_hides_the_secrets_of_each_event_and_of_the_whole() {
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
    fn what_holds_no_secret_is_not_copied() {
        let body = in_body(Bytes::from_static(b"{}"), false);
        let secret = fields(&["/token"]);
        let redacted = Redacted::new(&body, TYPE, std::iter::once(0..2), &secret, &fingerprints());
        assert_eq!(redacted.part(0..2).as_ptr(), body.bytes.as_ptr());
    }

    proptest! {
        #[test]
        fn a_form_keeps_every_byte_around_its_secret(
            before in "([a-z%+=0-9]|%ff|%C3){0,12}", secret in "[a-z%+0-9]{1,12}", after in "(&[a-z%+=0-9]{0,8}){0,3}"
        ) {
            let form = format!("a={before}&secret-one={secret}{after}");
            let kept = kept(&form, true, &["form:secret-one"]);
            let start = format!("a={before}&secret-one=fingerprint-");
            prop_assert!(kept.starts_with(&start) && kept.ends_with(&after), "{} {}", form, kept);
            prop_assert_eq!(kept.len(), start.len() + 12 + after.len());
        }

        #[test]
        fn any_body_survives_the_search(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields = ["/a", "body:/b/0", "each:/c/*/d", "form:e", "form:f#/g", "query:h"];
            let secret = with_token_in(&fields, "query:i");
            let bytes = Bytes::from(body);
            for place in [content::Place::Body { is_form: true }, content::Place::Parts, content::Place::Query] {
                let content = Content { bytes: bytes.clone(), place };
                let all = 0..bytes.len();
                let redacted = Redacted::new(&content, TYPE, std::iter::once(all.clone()), &secret, &fingerprints());
                let _ = redacted.part(all);
            }
        }
    }
}
