//! Inserts a signature into the body or the query, where the draft has a place for it.

use crate::json_pointer::{Pointer, array_items};
use crate::selector::Selector;

/// The body with `text` at `source`; `None` if it has no such place.
pub(super) fn in_body(source: &Selector, body: &[u8], text: &str) -> Option<Vec<u8>> {
    match source {
        Selector::Json(pointer) | Selector::Body(pointer) => {
            let found = pointer.find(body).ok().flatten()?;
            Some(spliced(body, &[found.get()], text))
        }
        Selector::Each(pointer) => each(pointer, body, text),
        Selector::Form(field, None) => form(field, body, text),
        _ => None,
    }
}

/// The URL with `text` in the query field `source`; `None` if there is no such field. The rest
/// stays the same.
pub(super) fn in_query(source: &Selector, url: &str, text: &str) -> Option<String> {
    let (Selector::Form(field, None) | Selector::Query(field)) = source else { return None };
    let (before, query) = url.split_once('?')?;
    let mut any = false;
    let pairs = query.split('&').map(|pair| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        if name.as_deref() != Some(&**field) {
            return pair.to_owned();
        }
        any = true;
        form_urlencoded::Serializer::new(String::new()).append_pair(field, text).finish()
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    any.then(|| format!("{before}?{query}"))
}

/// The body with each of these slices replaced by a JSON string.
fn spliced(body: &[u8], places: &[&str], text: &str) -> Vec<u8> {
    let quoted = serde_json::Value::from(text).to_string();
    let mut out = body.to_vec();
    for place in places.iter().rev() {
        let at = place.as_ptr().addr() - body.as_ptr().addr();
        out.splice(at..at + place.len(), quoted.bytes());
    }
    out
}

fn each(pointer: &Pointer, body: &[u8], text: &str) -> Option<Vec<u8>> {
    let (array, rest) = pointer.split_at_star()?;
    let array = array.find(body).ok().flatten()?;
    let items = array_items(array.get().as_bytes(), crate::bounds::EVENTS_PER_REQUEST_MAX).ok()?;
    let places = items
        .into_iter()
        .map(|item| Some(rest.find(item.get().as_bytes()).ok().flatten()?.get()))
        .collect::<Option<Vec<_>>>()?;
    Some(spliced(body, &places, text))
}

/// The form with a new value of an existing field.
fn form(field: &str, body: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut out = form_urlencoded::Serializer::new(String::new());
    let mut any = false;
    for (name, value) in form_urlencoded::parse(body) {
        let here = name == field;
        any |= here;
        out.append_pair(&name, if here { text } else { &value });
    }
    any.then(|| out.finish().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(source: &str, body: &str) -> Option<String> {
        let source = Selector::parse(source).unwrap();
        in_body(&source, body.as_bytes(), "a\"b").map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_signature_is_put_into_its_place_in_the_body() {
        assert_eq!(
            placed("/s/v", r#"{"s":{"v":"","w":1}}"#).as_deref(),
            Some(r#"{"s":{"v":"a\"b","w":1}}"#)
        );
        assert_eq!(placed("/s", "{}"), None);
        assert_eq!(
            placed("each:/v/*/s", r#"{"v":[{"s":1},{"s":""}]}"#).as_deref(),
            Some(r#"{"v":[{"s":"a\"b"},{"s":"a\"b"}]}"#)
        );
        assert_eq!(placed("each:/v/*/s", r#"{"v":[{"s":1},{}]}"#), None);
        assert_eq!(placed("form:s", "a=1&s=&b=%2B").as_deref(), Some("a=1&s=a%22b&b=%2B"));
        assert_eq!(placed("form:s", "a=1"), None);
    }

    #[test]
    fn a_signature_in_a_query_leaves_the_rest_unchanged() {
        let placed =
            |source: &str, url: &str| in_query(&Selector::parse(source).unwrap(), url, "a b");
        for source in ["form:s", "query:s"] {
            let signed = placed(source, "https://h/?a=%20b&s=&c");
            assert_eq!(signed.as_deref(), Some("https://h/?a=%20b&s=a+b&c"), "{source}");
        }
        assert_eq!(placed("form:s", "https://h/?a=1"), None);
        assert_eq!(placed("form:s", "https://h/"), None);
        assert_eq!(placed("/s", "https://h/?s="), None);
    }
}
