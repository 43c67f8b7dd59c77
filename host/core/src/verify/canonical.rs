//! Canonical forms: how senders rewrite parts of a request before they sign them.
//!
//! Each form has a name in the notation of signed messages; none knows a provider. Lists whose
//! length a request chooses are limited here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::json_pointer::{Pointer, PointerSet, scalar_text};
use crate::selector::unless_duplicated;

use super::{LISTED_HEADERS_MAX, VerifyError};
use crate::request::{FORM_FIELDS_MAX, RequestView};

/// The form of the public URL that is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlForm {
    AsIs,
    /// With its port, without it, or with the default port: any of them may be signed.
    AnyPort,
    /// With those escapes decoded that `HubSpot` decodes.
    Hubspot,
    /// The path and query without the origin; the query is escaped as one value, then the whole
    /// once more.
    EscapedPath,
}

impl UrlForm {
    /// The forms of `url` that may be signed.
    pub(super) fn of(self, url: &str) -> Vec<Cow<'_, str>> {
        match self {
            Self::AsIs => vec![Cow::Borrowed(url)],
            Self::AnyPort => port_forms(url),
            Self::Hubspot => vec![Cow::Owned(hubspot_url(url))],
            Self::EscapedPath => vec![Cow::Owned(escaped_path(url))],
        }
    }
}

/// The decoded fields of a form, in order.
type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

fn form_fields<'a>(request: &RequestView<'a>) -> Result<Fields<'a>, VerifyError> {
    if request.is_form() { fields_of(request.body) } else { Ok(Vec::new()) }
}

fn fields_of(form: &[u8]) -> Result<Fields<'_>, VerifyError> {
    let fields: Vec<_> = form_urlencoded::parse(form).take(FORM_FIELDS_MAX + 1).collect();
    if fields.len() > FORM_FIELDS_MAX { Err(VerifyError::TooManyFields) } else { Ok(fields) }
}

/// Every field of a form except one, sorted by name, each as `&name=value`; in values, `&` and `=`
/// become `_`.
pub(super) fn params_sorted(
    request: &RequestView<'_>,
    besides: &str,
) -> Result<Vec<u8>, VerifyError> {
    if !request.is_payload_form() {
        return Err(VerifyError::SignedFieldMissing);
    }
    let mut fields = fields_of(request.payload())?;
    fields.retain(|(name, _)| name != besides);
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut out = Vec::with_capacity(request.payload().len());
    for (name, value) in fields {
        // One parameter could be written like two.
        if name.contains(['&', '=']) {
            return Err(VerifyError::SignatureMalformed);
        }
        out.extend_from_slice(format!("&{name}={}", value.replace(['&', '='], "_")).as_bytes());
    }
    Ok(out)
}

/// The name and value of every form field, sorted by name and joined with nothing between; empty if
/// the body is not a form.
pub(super) fn form_sorted(request: &RequestView<'_>, dedupe: bool) -> Result<Vec<u8>, VerifyError> {
    let mut fields = form_fields(request)?;
    if dedupe {
        fields.sort();
        fields.dedup();
    } else {
        // The sort is stable, so values of one name keep their order.
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let mut out = Vec::with_capacity(request.body.len());
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    Ok(out)
}

/// The URL as it is, and with its port removed or the scheme's default port added.
fn port_forms(url: &str) -> Vec<Cow<'_, str>> {
    let mut forms = vec![Cow::Borrowed(url)];
    let Some((scheme, rest)) = url.split_once("://") else { return forms };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let host_at = authority.rfind('@').map_or(0, |at| at + 1);
    // A colon inside brackets belongs to an IPv6 address.
    let port_at = authority[host_at..].rfind(':').map(|at| at + host_at);
    let port_at = port_at.filter(|at| !authority[*at..].contains(']'));
    match port_at {
        Some(at) => forms.push(Cow::Owned(format!("{scheme}://{}{tail}", &authority[..at]))),
        None => {
            let port = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
            forms.push(Cow::Owned(format!("{scheme}://{authority}:{port}{tail}")));
        }
    }
    forms
}

/// The URL as `HubSpot` signs it: these escapes are decoded, all others stay.
fn hubspot_url(url: &str) -> String {
    const DECODED: [(&str, char); 12] = [
        ("3A", ':'),
        ("2F", '/'),
        ("3F", '?'),
        ("40", '@'),
        ("21", '!'),
        ("24", '$'),
        ("27", '\''),
        ("28", '('),
        ("29", ')'),
        ("2A", '*'),
        ("2C", ','),
        ("3B", ';'),
    ];
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let code = tail.get(1..3).unwrap_or("");
        match DECODED.iter().find(|(hex, _)| hex.eq_ignore_ascii_case(code)) {
            Some((_, plain)) => {
                out.push(*plain);
                rest = &tail[3..];
            }
            None => {
                out.push('%');
                rest = &tail[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// The characters that JavaScript's `encodeURIComponent` leaves alone.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
/// The characters that `encodeURI` leaves alone.
const WHOLE: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');

/// `/a?b=1` becomes `/a?b%253D1`: the query is escaped as one value, then everything once more.
fn escaped_path(url: &str) -> String {
    let (path, query) = path_and_query(url);
    let path = if path.is_empty() { "/" } else { path };
    if query.is_empty() {
        return utf8_percent_encode(path, WHOLE).to_string();
    }
    let once = format!("{path}?{}", utf8_percent_encode(query, COMPONENT));
    utf8_percent_encode(&once, WHOLE).to_string()
}

/// The unreserved characters of RFC 3986.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The text that Atlassian's products hash for a request: the method, the path below the app's
/// base, and the query sorted by name, joined with `&`. Values of one name are sorted and joined
/// with commas; a token in the query is left out. The base `{origin}` has no path.
pub(super) fn atlassian(request: &RequestView<'_>, base: &str) -> Result<Vec<u8>, VerifyError> {
    let (path, query) = path_and_query(request.url);
    let below = if base == "{origin}" { "" } else { path_and_query(base).0 };
    let path = path.strip_prefix(below).unwrap_or(path);
    let path = path.replace('&', "%26");
    let path = path.strip_prefix('/').unwrap_or(&path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut parameters: BTreeMap<Cow<'_, str>, Vec<Cow<'_, str>>> = BTreeMap::new();
    for (count, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
        if count == FORM_FIELDS_MAX {
            return Err(VerifyError::TooManyFields);
        }
        if name != "jwt" {
            parameters.entry(name).or_default().push(value);
        }
    }
    let parameters = parameters.into_iter().map(|(name, mut values)| {
        values.sort();
        let escaped = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
        let values = values.iter().map(|value| escaped(value)).collect::<Vec<_>>();
        format!("{}={}", escaped(&name), values.join(","))
    });
    let parameters = parameters.collect::<Vec<_>>().join("&");
    let method = request.method.to_ascii_uppercase();
    Ok(format!("{method}&/{path}&{parameters}").into_bytes())
}

/// The path and query of a URL as written, without the question mark.
fn path_and_query(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    rest.split_once('?').unwrap_or((rest, ""))
}

/// For each key of the JSON object in `body`: the key, a line end, its text, a line end.
pub(super) fn json_lines(body: &[u8], keys: &[(Box<str>, bool)]) -> Result<Vec<u8>, VerifyError> {
    let pointers: Vec<_> = keys.iter().map(|(key, _)| Pointer::of_key(key)).collect();
    let found =
        unless_duplicated(PointerSet::new(pointers).lookup_unique(body))?.unwrap_or_default();
    let mut out = Vec::with_capacity(body.len());
    for ((key, optional), raw) in keys.iter().zip(found.into_iter().chain(std::iter::repeat(None)))
    {
        let Some(text) = raw.and_then(scalar_text) else {
            if *optional {
                continue;
            }
            return Err(VerifyError::SignedFieldMissing);
        };
        for line in [&**key, &*text] {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
    }
    Ok(out)
}

/// The output of PHP's `serialize` for the form's fields except one, sorted by name, each value a
/// string with its length in bytes. Of two fields with one name, PHP would sign one and another
/// reader might take the other, so they are refused.
pub(super) fn form_php(request: &RequestView<'_>, besides: &str) -> Result<Vec<u8>, VerifyError> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_fields(request)? {
        if fields.insert(name, value).is_some() {
            return Err(VerifyError::FieldDuplicated);
        }
    }
    fields.remove(besides);
    let mut out = format!("a:{}:{{", fields.len());
    for text in fields.iter().flat_map(|(name, value)| [name, value]) {
        out.push_str(&format!("s:{}:\"{text}\";", text.len()));
    }
    out.push('}');
    Ok(out.into_bytes())
}

/// The parameters of a query as a JSON object of strings, in their order, without white space.
pub(super) fn query_json(query: &str) -> Result<Vec<u8>, VerifyError> {
    let mut out = vec![b'{'];
    for (n, (name, value)) in fields_of(query.as_bytes())?.into_iter().enumerate() {
        let [name, value] = [name, value].map(|text| serde_json::Value::from(text).to_string());
        let comma = if n == 0 { "" } else { "," };
        out.extend_from_slice(format!("{comma}{name}:{value}").as_bytes());
    }
    out.push(b'}');
    Ok(out)
}

/// The headers that a list of the request names, in its order.
fn listed<'n, 'a>(
    request: &RequestView<'a>,
    names: impl Iterator<Item = &'n str>,
) -> Result<Vec<(&'n str, &'a [u8])>, VerifyError> {
    let mut out = Vec::new();
    for name in names {
        if out.len() == LISTED_HEADERS_MAX {
            return Err(VerifyError::TooManyFields);
        }
        let value = request.single_header(name)?.ok_or(VerifyError::SignedFieldMissing)?;
        out.push((name, value));
    }
    Ok(out)
}

fn names(list: &[u8]) -> Result<&str, VerifyError> {
    std::str::from_utf8(list).map_err(|_| VerifyError::SignatureMalformed)
}

/// The values of the headers in a space-separated list, joined with full stops.
pub(super) fn header_values(
    request: &RequestView<'_>,
    list: &[u8],
) -> Result<Vec<u8>, VerifyError> {
    let headers = listed(request, names(list)?.split(' ').filter(|name| !name.is_empty()))?;
    let values: Vec<_> = headers.into_iter().map(|(_, value)| value).collect();
    Ok(values.join(&b'.'))
}

/// The headers in a comma-separated list as `name:value`, with names in lower case, sorted and
/// joined with semicolons. A list without one of `wanted` is refused, because what it omits is not
/// signed.
pub(super) fn header_pairs(
    request: &RequestView<'_>,
    list: &[u8],
    wanted: &[Box<str>],
) -> Result<Vec<u8>, VerifyError> {
    let list = names(list)?.to_ascii_lowercase();
    let list = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut headers = listed(request, list)?;
    if !wanted.iter().all(|w| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(w))) {
        return Err(VerifyError::SignedFieldMissing);
    }
    headers.sort_by_key(|(name, _)| *name);
    let pairs: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| [name.as_bytes(), b":", value.trim_ascii()].concat())
        .collect();
    Ok(pairs.join(&b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_port_tries_the_url_with_and_without_its_port() {
        assert_eq!(
            port_forms("https://h.example/in?a=b:c"),
            ["https://h.example/in?a=b:c", "https://h.example:443/in?a=b:c"]
        );
        assert_eq!(
            port_forms("http://h.example:8080/in"),
            ["http://h.example:8080/in", "http://h.example/in"]
        );
        assert_eq!(
            port_forms("https://u:p@h.example?x"),
            ["https://u:p@h.example?x", "https://u:p@h.example:443?x"]
        );
        assert_eq!(port_forms("https://[::1]/"), ["https://[::1]/", "https://[::1]:443/"]);
        assert_eq!(port_forms("nonsense"), ["nonsense"]);
    }

    #[test]
    fn hubspot_decodes_some_escapes_and_no_others() {
        assert_eq!(hubspot_url("https://h/a%2Fb%20c%3a%zz%"), "https://h/a/b%20c:%zz%");
    }

    #[test]
    fn form_fields_are_sorted_and_equal_ones_count_once() {
        let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
        let request = RequestView { method: "POST", url: "", headers, body: b"b=2&a=2&b=1&a=2" };
        assert_eq!(form_sorted(&request, true).unwrap(), b"a2b1b2");
        assert_eq!(form_sorted(&request, false).unwrap(), b"a2a2b2b1");
    }

    #[test]
    fn parameters_are_sorted_and_cannot_merge() {
        let url = "https://h.example/in?text=a%26b%3Dc&sig=x&id=1";
        let of = |method, headers, body: &'static [u8]| {
            params_sorted(&RequestView { method, url, headers, body }, "sig")
        };
        assert_eq!(of("GET", &[], b"").unwrap(), b"&id=1&text=a_b_c");
        assert_eq!(of("POST", FORM, b"b=2&sig=x&a=1").unwrap(), b"&a=1&b=2", "and no query");
        assert_eq!(of("POST", &[], b"{}"), Err(VerifyError::SignedFieldMissing));
        let merged = of("POST", FORM, b"a%3D1%26b=2");
        assert_eq!(merged, Err(VerifyError::SignatureMalformed), "signed as a=1&b=2 is");
    }

    #[test]
    fn query_json_keeps_the_order() {
        let of = |query| String::from_utf8(query_json(query).unwrap()).unwrap();
        assert_eq!(of("b=2&a=%22x%22+y&c"), r#"{"b":"2","a":"\"x\" y","c":""}"#);
        assert_eq!(of(""), "{}");
        let bomb = "a&".repeat(FORM_FIELDS_MAX + 1);
        assert_eq!(query_json(&bomb), Err(VerifyError::TooManyFields));
    }

    #[test]
    fn escaped_path_escapes_the_query_twice() {
        for (url, path) in [
            ("https://h.example/api/1", "/api/1"),
            ("https://h.example/api?q=1&w=2", "/api?q%253D1%2526w%253D2"),
            ("https://h.example", "/"),
            ("https://h.example/a b?", "/a%20b"),
            ("https://h.example/a#f?x", "/a"),
        ] {
            assert_eq!(escaped_path(url), path);
        }
    }

    #[test]
    fn the_atlassian_form_matches_its_documentation() {
        let of = |url, base| {
            let request = RequestView { method: "post", url, headers: &[], body: b"" };
            String::from_utf8(atlassian(&request, base).unwrap()).unwrap()
        };
        let query =
            "https://h.example/in/?b=2&a=x%20y+z&a=%C3%A9&jwt=t&empty&A=(1)*&c=a%2Cb,d~-._#f";
        for (url, base, canonical) in [
            (
                query,
                "{origin}",
                "POST&/in&A=%281%29%2A&a=x%20y%20z,%C3%A9&b=2&c=a%2Cb%2Cd~-._&empty=",
            ),
            ("https://h.example", "{origin}", "POST&/&"),
            ("https://h.example/", "https://h.example/", "POST&/&"),
            ("https://h.example/app/in&out?x=1", "https://h.example/app", "POST&/in%26out&x=1"),
            ("https://h.example/app/in", "https://h.example/app/", "POST&/in&"),
            ("https://h.example/app", "https://h.example/app", "POST&/&"),
            ("https://h.example/in?b&ab=2&a%7B=1", "https://h.example", "POST&/in&ab=2&a%7B=1&b="),
        ] {
            assert_eq!(of(url, base), canonical, "{url} below {base}");
        }
        let bomb = format!("https://h.example/?{}", "a&".repeat(FORM_FIELDS_MAX + 1));
        let request = RequestView { method: "POST", url: &bomb, headers: &[], body: b"" };
        assert_eq!(atlassian(&request, "{origin}"), Err(VerifyError::TooManyFields));
    }

    #[test]
    fn json_lines_omit_missing_optional_keys() {
        let keys = [("a".into(), false), ("b".into(), true), ("c".into(), false)];
        assert_eq!(json_lines(br#"{"c":1,"a":"x\ny"}"#, &keys).unwrap(), b"a\nx\ny\nc\n1\n");
        assert_eq!(json_lines(br#"{"a":"x"}"#, &keys), Err(VerifyError::SignedFieldMissing));
        assert_eq!(json_lines(b"no json", &keys), Err(VerifyError::SignedFieldMissing));
        let twice = json_lines(br#"{"c":1,"a":"x","a":"x"}"#, &keys);
        assert_eq!(twice, Err(VerifyError::FieldDuplicated));
    }

    fn form<'a>(body: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> RequestView<'a> {
        RequestView { method: "POST", url: "", headers, body }
    }

    const FORM: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];

    #[test]
    fn form_php_counts_bytes_and_sorts_by_name() {
        assert_eq!(
            form_php(&form(b"b=%C3%85&sig=x&a=", FORM), "sig").unwrap(),
            "a:2:{s:1:\"a\";s:0:\"\";s:1:\"b\";s:2:\"Å\";}".as_bytes()
        );
        let twice = form_php(&form(b"a=1&sig=x&a=1", FORM), "sig");
        assert_eq!(twice, Err(VerifyError::FieldDuplicated));
    }

    #[test]
    fn a_form_with_too_many_fields_is_refused() {
        let bomb = "a&".repeat(FORM_FIELDS_MAX + 1);
        let request = form(bomb.as_bytes(), FORM);
        assert_eq!(form_sorted(&request, true), Err(VerifyError::TooManyFields));
        assert_eq!(form_php(&request, "b"), Err(VerifyError::TooManyFields));
    }

    #[test]
    fn listed_headers_must_be_present_unique_and_few() {
        let headers: &[(&str, &[u8])] =
            &[("X-B", b" 2 "), ("x-a", b"1"), ("x-c", b"3"), ("X-C", b"4")];
        let request = form(b"", headers);
        assert_eq!(header_values(&request, b"x-b x-a").unwrap(), b" 2 .1");
        assert_eq!(header_pairs(&request, b"X-B, x-a", &["X-A".into()]).unwrap(), b"x-a:1;x-b:2");
        let left_out = header_pairs(&request, b"x-b", &["x-a".into()]);
        assert_eq!(left_out, Err(VerifyError::SignedFieldMissing));
        assert_eq!(header_values(&request, b"x-d"), Err(VerifyError::SignedFieldMissing));
        assert_eq!(header_values(&request, b"x-c"), Err(VerifyError::HeaderDuplicated));
        let long = "x-a ".repeat(LISTED_HEADERS_MAX + 1);
        assert_eq!(header_values(&request, long.as_bytes()), Err(VerifyError::TooManyFields));
    }
}
