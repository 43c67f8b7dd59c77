//! The message that a route makes of an event: body, headers, content type and path as expressions.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::error::InvalidExpression;
use super::evaluate::{LazyEvent, evaluate};
use super::parse::{ExpressionUse, parse_whole};
use super::syntax::Syntax;
use super::value::CelValue;
use super::{quoting, with_article};
use crate::bounds::{
    EFFECT_HEADER_NAME_BYTES_MAX, EFFECT_HEADER_VALUE_BYTES_MAX, EFFECT_HEADERS_MAX, MIB,
};
use crate::reserved_headers::reserved_header;
use crate::word_enum;

/// Largest body that an expression makes. A larger one is forwarded unchanged instead.
const BODY_BYTES_MAX: usize = MIB;
/// Deepest nesting of a body that is made. Parsed JSON has at most 128 levels.
const BODY_DEPTH_MAX: usize = 200;
const CONTENT_TYPE_BYTES_MAX: usize = 200;
/// Longest path: with a host it stays below what servers accept as a URL.
const PATH_BYTES_MAX: usize = 2_048;

word_enum! {
    /// A part of a message that an expression makes, by the key of the configuration.
    TemplatePart {
        Body = "body",
        Headers = "headers",
        ContentType = "content_type",
        /// The path below the URL of a webhook.
        Path = "path",
    }
}

/// The expressions of a message. Parts without one are those of the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageTemplate {
    body: Option<Expression>,
    headers: Option<Expression>,
    content_type: Option<Expression>,
    path: Option<Expression>,
}

#[derive(Clone)]
struct Expression {
    text: Arc<str>,
    syntax: Arc<Syntax>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

/// A message as its template made it. None: as the event has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShapedMessage {
    pub body: Option<Bytes>,
    pub content_type: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// Begins with a slash and is escaped as in a URL.
    pub path: Option<Box<str>>,
}

impl MessageTemplate {
    /// Sets the expression of one part.
    ///
    /// # Errors
    /// All mistakes that were found, in the order of the text.
    pub fn set(&mut self, part: TemplatePart, text: &str) -> Result<(), Vec<InvalidExpression>> {
        let syntax = parse_whole(text, ExpressionUse::Message)?;
        let wanted = match part {
            TemplatePart::Body => None,
            TemplatePart::Headers => Some("map"),
            TemplatePart::ContentType | TemplatePart::Path => Some("string"),
        };
        if let (Some(wanted), Some(kind)) = (wanted, syntax.kind())
            && kind != wanted
        {
            let (kind, wanted) = (with_article(kind), with_article(wanted));
            let what = format!("gives {kind}, not {wanted}");
            return Err(vec![InvalidExpression::new(0, what)]);
        }
        if let (TemplatePart::Headers, Syntax::Map(entries)) = (part, &syntax) {
            for (key, _) in entries {
                let Syntax::Text(name) = key else { continue };
                header_name(name).map_err(|what| vec![InvalidExpression::new(0, what)])?;
            }
        }
        if let (TemplatePart::Path, Syntax::Text(path)) = (part, &syntax) {
            path_text(path).map_err(|what| vec![InvalidExpression::new(0, what)])?;
        }
        *self.part_mut(part) = Some(Expression { text: text.into(), syntax: Arc::new(syntax) });
        Ok(())
    }

    fn part_mut(&mut self, part: TemplatePart) -> &mut Option<Expression> {
        match part {
            TemplatePart::Body => &mut self.body,
            TemplatePart::Headers => &mut self.headers,
            TemplatePart::ContentType => &mut self.content_type,
            TemplatePart::Path => &mut self.path,
        }
    }

    /// True if it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        TemplatePart::ALL.iter().all(|part| self.text(*part).is_none())
    }

    /// The text of a part's expression.
    #[must_use]
    pub fn text(&self, part: TemplatePart) -> Option<&str> {
        let expression = match part {
            TemplatePart::Body => &self.body,
            TemplatePart::Headers => &self.headers,
            TemplatePart::ContentType => &self.content_type,
            TemplatePart::Path => &self.path,
        };
        expression.as_ref().map(|expression| &*expression.text)
    }

    /// The message of an event: equal for equal events.
    ///
    /// # Errors
    /// A reason for people, if a part cannot be made of this event.
    pub fn shape(&self, event: &LazyEvent<'_>) -> Result<ShapedMessage, Box<str>> {
        let mut shaped = ShapedMessage::default();
        if let Some(body) = &self.body {
            let (body, content_type) = body.evaluated(TemplatePart::Body, event, body_of)?;
            shaped.body = Some(body);
            shaped.content_type = Some(content_type.into());
        }
        if let Some(headers) = &self.headers {
            shaped.headers = headers.evaluated(TemplatePart::Headers, event, headers_of)?;
        }
        if let Some(content_type) = &self.content_type {
            let part = TemplatePart::ContentType;
            shaped.content_type = Some(content_type.evaluated(part, event, content_type_of)?);
        }
        if let Some(path) = &self.path {
            shaped.path = Some(path.evaluated(TemplatePart::Path, event, path_of)?);
        }
        Ok(shaped)
    }
}

impl Expression {
    fn evaluated<T>(
        &self,
        part: TemplatePart,
        event: &LazyEvent<'_>,
        read: impl FnOnce(&CelValue<'_>) -> Result<T, Box<str>>,
    ) -> Result<T, Box<str>> {
        let value = evaluate(&self.syntax, event).map_err(|failure| failure.what);
        value.and_then(|value| read(&value)).map_err(|what| {
            let quoted = quoting(&self.text, &what);
            format!("the message has no {}: {quoted}", part.as_str()).into()
        })
    }
}

/// A string is the body as it is; anything else is JSON.
fn body_of(value: &CelValue<'_>) -> Result<(Bytes, &'static str), Box<str>> {
    if let CelValue::Text(text) = value {
        if text.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        return Ok((Bytes::copy_from_slice(text.as_bytes()), "text/plain; charset=utf-8"));
    }
    let mut out = Vec::new();
    write_json(value, &mut out, 0)?;
    Ok((out.into(), "application/json"))
}

fn too_large() -> Box<str> {
    format!("it has more than {BODY_BYTES_MAX} bytes").into()
}

fn write_json(value: &CelValue<'_>, out: &mut Vec<u8>, depth: usize) -> Result<(), Box<str>> {
    if out.len() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    if depth > BODY_DEPTH_MAX {
        return Err(format!("it is nested deeper than {BODY_DEPTH_MAX} levels").into());
    }
    match value {
        CelValue::Null => out.extend_from_slice(b"null"),
        CelValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        CelValue::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        CelValue::Double(value) => {
            let number = serde_json::Number::from_f64(*value)
                .ok_or("it has a number that JSON cannot express")?;
            out.extend_from_slice(number.to_string().as_bytes());
        }
        CelValue::Text(text) => write_text(text, out)?,
        _ => {
            if let Some(items) = value.items() {
                out.push(b'[');
                for (index, item) in items.enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_json(&item, out, depth + 1)?;
                }
                out.push(b']');
            } else {
                out.push(b'{');
                for (index, (key, value)) in value.entries().into_iter().flatten().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(&key, out)?;
                    out.push(b':');
                    write_json(&value, out, depth + 1)?;
                }
                out.push(b'}');
            }
        }
    }
    if out.len() > BODY_BYTES_MAX { Err(too_large()) } else { Ok(()) }
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), Box<str>> {
    if text.len() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    serde_json::to_writer(out, text).map_err(|error| error.to_string().into())
}

fn headers_of(value: &CelValue<'_>) -> Result<Vec<(Box<str>, Bytes)>, Box<str>> {
    let Some(entries) = value.entries() else {
        return Err(format!("it gives {}, not a map", value.kind()).into());
    };
    let mut headers: Vec<(Box<str>, Bytes)> = Vec::new();
    for (name, value) in entries {
        let name = header_name(&name)?;
        if headers.len() == EFFECT_HEADERS_MAX {
            return Err(format!("it has more than {EFFECT_HEADERS_MAX} headers").into());
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return Err(format!("it has the header `{name}` twice").into());
        }
        let value = header_value(&value).map_err(|what| format!("header `{name}`: {what}"))?;
        headers.push((name, value));
    }
    Ok(headers)
}

/// The name of a header in lower case, if a message may have it.
fn header_name(name: &str) -> Result<Box<str>, Box<str>> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > EFFECT_HEADER_NAME_BYTES_MAX || !name.bytes().all(is_token) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!("{shown:?} is not the name of a header").into());
    }
    let lower = name.to_ascii_lowercase();
    if lower == "content-type" {
        return Err("`content-type` is set with `content_type`".into());
    }
    if reserved_header(&lower) {
        return Err(format!("only the hub sets `{lower}`").into());
    }
    Ok(lower.into())
}

fn header_value(value: &CelValue<'_>) -> Result<Bytes, Box<str>> {
    let text = match value {
        CelValue::Text(text) => text.to_string(),
        CelValue::Int(value) => value.to_string(),
        CelValue::Double(value) => value.to_string(),
        CelValue::Bool(value) => value.to_string(),
        other => return Err(format!("it is {}, not a string, number or bool", other.kind()).into()),
    };
    if text.len() > EFFECT_HEADER_VALUE_BYTES_MAX {
        return Err(format!("it has more than {EFFECT_HEADER_VALUE_BYTES_MAX} bytes").into());
    }
    if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("it has a control character".into());
    }
    Ok(text.into())
}

fn path_of(value: &CelValue<'_>) -> Result<Box<str>, Box<str>> {
    match value {
        CelValue::Text(text) => path_text(text),
        other => Err(format!("it gives {}, not a string", other.kind()).into()),
    }
}

/// A path as it is written in a URL. It can neither leave the URL that it is added to nor begin a
/// query, whatever a sender wrote into it.
fn path_text(text: &str) -> Result<Box<str>, Box<str>> {
    if !text.starts_with('/') {
        return Err("it does not begin with a slash".into());
    }
    // Some servers drop what follows a semicolon before they resolve dots.
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if text.split('/').any(is_dots) {
        return Err("it has `.` or `..` between slashes".into());
    }
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(format!("it has more than {PATH_BYTES_MAX} bytes").into());
        }
    }
    Ok(path.into())
}

fn content_type_of(value: &CelValue<'_>) -> Result<String, Box<str>> {
    let CelValue::Text(text) = value else {
        return Err(format!("it gives {}, not a string", value.kind()).into());
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.len() > CONTENT_TYPE_BYTES_MAX || !text.contains('/') || !text.bytes().all(is_plain) {
        return Err("it is not a content type, such as \"text/plain\"".into());
    }
    Ok(text.to_string())
}
