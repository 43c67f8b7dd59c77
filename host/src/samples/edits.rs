//! Changes to a sample before it is signed: another body, fields of the body, headers.

use std::io::Read as _;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use thiserror::Error;
use weir_core::bounds::BODY_BYTES_MAX;
use weir_core::units::format_size;

/// Longest list that `--set` may extend.
const ITEMS_MAX: usize = 10_000;

/// A field of the body and its new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    pointer: String,
    value: String,
}

/// The changes to a sample.
#[derive(Debug, Clone, Default)]
pub(crate) struct SampleChanges {
    /// Replaces the whole body.
    pub(crate) body: Option<Vec<u8>>,
    /// Replaces fields of the body, in order.
    pub(crate) set: Vec<Set>,
    /// Replaces headers. An empty value removes one.
    pub(crate) headers: Vec<(String, String)>,
}

/// A change that cannot be made. It contains no value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChangeError {
    #[error(
        "--set {pointer}: the body is neither JSON nor a form, so it has no fields; give a whole \
         body with --file"
    )]
    NoFields { pointer: String },
    /// A value on the path has no fields.
    #[error("--set {pointer}: {at} is {kind} and has no fields")]
    Through { pointer: String, at: String, kind: &'static str },
    #[error(
        "--set {pointer}: {at} is a list of {length}; write an index up to {length}, or - to append"
    )]
    Index { pointer: String, at: String, length: usize },
}

/// Reads `/issue/title=x`.
pub(crate) fn set(text: &str) -> Result<Set, String> {
    let form = "write /PATH/TO/FIELD=VALUE, such as /issue/title=Hello or /issue/number=7";
    let (pointer, value) = text.split_once('=').ok_or(form)?;
    if !pointer.starts_with('/') || pointer.len() < 2 {
        return Err(form.into());
    }
    Ok(Set { pointer: pointer.into(), value: value.into() })
}

/// Reads `Name: value`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let form = "write 'Name: value', such as 'X-GitHub-Event: issues'";
    let (name, value) = text.split_once(':').ok_or(form)?;
    let (name, value) = (name.trim(), value.trim());
    let wrong = HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err();
    if wrong { Err(form.into()) } else { Ok((name.to_owned(), value.to_owned())) }
}

/// The bytes of a file, or of standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed =
        |error: std::io::Error| format!("--file: {} cannot be read: {error}", path.display());
    let limit = BODY_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() > BODY_BYTES_MAX {
        return Err(format!(
            "--file: {} is larger than {}, which no source accepts",
            path.display(),
            format_size(BODY_BYTES_MAX)
        ));
    }
    Ok(bytes)
}

impl SampleChanges {
    /// The changed body.
    pub(crate) fn body(&self, sample: Vec<u8>) -> Result<Vec<u8>, ChangeError> {
        let mut body = self.body.clone().unwrap_or(sample);
        for set in &self.set {
            body = set.apply(&body)?;
        }
        Ok(body)
    }

    /// Replaces the headers of the same names.
    pub(crate) fn put_headers(&self, headers: &mut Vec<(String, String)>) {
        for (name, _) in &self.headers {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        }
        let given = self.headers.iter().filter(|(_, value)| !value.is_empty());
        headers.extend(given.cloned());
    }
}

/// The media type of a body from a file.
pub(crate) fn media_type(body: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else if is_form(body) {
        "application/x-www-form-urlencoded"
    } else {
        "application/octet-stream"
    }
}

fn is_form(body: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"<>{}[]\"".contains(b);
    body.contains(&b'=') && body.iter().all(plain)
}

impl Set {
    fn apply(&self, body: &[u8]) -> Result<Vec<u8>, ChangeError> {
        let tokens: Vec<String> =
            self.pointer[1..].split('/').map(|t| t.replace("~1", "/").replace("~0", "~")).collect();
        let blank = body.iter().all(u8::is_ascii_whitespace);
        if blank {
            let mut json = Value::Object(Map::new());
            self.put(&mut json, &tokens, "the body")?;
            return Ok(json.to_string().into_bytes());
        }
        if let Ok(mut json) = serde_json::from_slice::<Value>(body) {
            self.put(&mut json, &tokens, "the body")?;
            return Ok(json.to_string().into_bytes());
        }
        if !is_form(body) {
            return Err(ChangeError::NoFields { pointer: self.pointer.clone() });
        }
        self.in_form(body, &tokens)
    }

    /// In a form, the path starts with the name of a field. If there is none of that name, it leads
    /// into the field that contains JSON.
    fn in_form(&self, body: &[u8], tokens: &[String]) -> Result<Vec<u8>, ChangeError> {
        let mut fields: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        let json = |text: &str| {
            serde_json::from_str::<Value>(text).ok().filter(|v| v.is_object() || v.is_array())
        };
        let named = fields.iter().position(|(name, _)| *name == tokens[0]);
        let holding = || fields.iter().position(|(_, value)| json(value).is_some());
        let (at, rest) = match named {
            Some(at) => (Some(at), &tokens[1..]),
            None => match holding() {
                Some(at) => (Some(at), tokens),
                None => (None, &tokens[1..]),
            },
        };
        match (at, rest) {
            (Some(at), []) => fields[at].1.clone_from(&self.value),
            (None, []) => fields.push((tokens[0].clone(), self.value.clone())),
            (Some(at), rest) => {
                let name = format!("the field {}", fields[at].0);
                let Some(mut inner) = json(&fields[at].1) else {
                    return Err(self.through(&name, "a string"));
                };
                self.put(&mut inner, rest, &name)?;
                fields[at].1 = inner.to_string();
            }
            (None, _) => return Err(self.through("the form", "without a field that contains JSON")),
        }
        let mut out = form_urlencoded::Serializer::new(String::new());
        out.extend_pairs(fields);
        Ok(out.finish().into_bytes())
    }

    fn put(&self, json: &mut Value, tokens: &[String], root: &str) -> Result<(), ChangeError> {
        let mut here = json;
        let mut at = root.to_owned();
        for token in tokens {
            let next = match here {
                Value::Object(fields) => fields.entry(token.clone()).or_insert(Value::Null),
                Value::Array(items) => {
                    let length = items.len();
                    let wrong = || ChangeError::Index {
                        pointer: self.pointer.clone(),
                        at: at.clone(),
                        length,
                    };
                    let index = if token == "-" { Ok(length) } else { token.parse::<usize>() };
                    let index =
                        index.ok().filter(|i| *i <= length && *i < ITEMS_MAX).ok_or_else(wrong)?;
                    if index == length {
                        items.push(Value::Null);
                    }
                    items.get_mut(index).ok_or_else(wrong)?
                }
                // Missing parents are created.
                Value::Null => {
                    *here = Value::Object(Map::new());
                    let Value::Object(fields) = here else { continue };
                    fields.entry(token.clone()).or_insert(Value::Null)
                }
                Value::Bool(_) => return Err(self.through(&at, "true or false")),
                Value::Number(_) => return Err(self.through(&at, "a number")),
                Value::String(_) => return Err(self.through(&at, "a string")),
            };
            at = if at.starts_with('/') { format!("{at}/{token}") } else { format!("/{token}") };
            here = next;
        }
        *here =
            serde_json::from_str(&self.value).unwrap_or_else(|_| Value::String(self.value.clone()));
        Ok(())
    }

    fn through(&self, at: &str, kind: &'static str) -> ChangeError {
        ChangeError::Through { pointer: self.pointer.clone(), at: at.into(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(body: &str, sets: &[&str]) -> Result<String, ChangeError> {
        let set = sets.iter().map(|text| set(text).unwrap()).collect();
        let changes = SampleChanges { set, ..SampleChanges::default() };
        changes.body(body.as_bytes().to_vec()).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn a_field_of_json_is_set_by_its_pointer() {
        for (body, pointer, wanted) in [
            (r#"{"a":{"b":1}}"#, "/a/b=x", r#"{"a":{"b":"x"}}"#),
            (r#"{"a":1}"#, "/a=2", r#"{"a":2}"#),
            (r#"{"a":1}"#, "/a=\"2\"", r#"{"a":"2"}"#),
            (r#"{"a":1}"#, "/a=null", r#"{"a":null}"#),
            (r#"{"a":1}"#, "/a=", r#"{"a":""}"#),
            (r#"{"a":1}"#, "/a={\"b\":[1]}", r#"{"a":{"b":[1]}}"#),
            (r#"{"a":1}"#, "/a=x=y", r#"{"a":"x=y"}"#),
            (r#"{}"#, "/a/b/c=true", r#"{"a":{"b":{"c":true}}}"#),
            (r#"{"l":[1,2]}"#, "/l/1=3", r#"{"l":[1,3]}"#),
            (r#"{"l":[1]}"#, "/l/-/id=7", r#"{"l":[1,{"id":7}]}"#),
            (r#"{"a/b":1}"#, "/a~1b=2", r#"{"a/b":2}"#),
            ("", "/a=1", r#"{"a":1}"#),
        ] {
            assert_eq!(changed(body, &[pointer]).as_deref(), Ok(wanted), "{body} {pointer}");
        }
        assert_eq!(changed("{}", &["/a=1", "/b=2", "/a=3"]).as_deref(), Ok(r#"{"a":3,"b":2}"#));
    }

    #[test]
    fn a_field_of_a_form_and_of_its_json_is_set() {
        for (body, pointer, wanted) in [
            ("Body=hi&From=x", "/Body=7", "Body=7&From=x"),
            ("Body=hi", "/To=a b", "Body=hi&To=a+b"),
            ("payload=%7B%22a%22%3A1%7D", "/payload/a=x", "payload=%7B%22a%22%3A%22x%22%7D"),
            (
                "payload=%7B%22a%22%3A1%7D",
                "/user/name=x",
                "payload=%7B%22a%22%3A1%2C%22user%22%3A%7B%22name%22%3A%22x%22%7D%7D",
            ),
            (
                "mandrill_events=%5B%7B%7D%5D",
                "/0/event=x",
                "mandrill_events=%5B%7B%22event%22%3A%22x%22%7D%5D",
            ),
        ] {
            assert_eq!(changed(body, &[pointer]).as_deref(), Ok(wanted), "{body} {pointer}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_value() {
        for (body, pointer, wanted) in [
            (r#"{"a":"text"}"#, "/a/b=hunter2", "--set /a/b: /a is a string and has no fields"),
            (r#"{"l":[1]}"#, "/l/9=hunter2", "/l is a list of 1; write an index up to 1"),
            (r#"{"l":[1]}"#, "/l/x=hunter2", "/l is a list of 1"),
            ("<xml/>", "/a=hunter2", "the body is neither JSON nor a form"),
            ("Body=hi", "/Body/b=hunter2", "the field Body is a string"),
        ] {
            let said = changed(body, &[pointer]).unwrap_err().to_string();
            assert!(said.contains(wanted) && !said.contains("hunter2"), "{said}");
        }
        for wrong in ["title=x", "/title", "=x", "/=x"] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        for wrong in ["X-Event", "X Event: a", "X-Event: a\nb", ": a"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_header_replaces_the_one_of_the_same_name() {
        let headers = vec![("x-event".into(), "push".into()), ("X-Id".into(), "1".into())];
        let changes = SampleChanges {
            headers: vec![header("X-Event: issues").unwrap(), header("X-ID:").unwrap()],
            ..SampleChanges::default()
        };
        let mut changed = headers;
        changes.put_headers(&mut changed);
        assert_eq!(changed, [("X-Event".to_owned(), "issues".to_owned())]);
    }
}
