//! What is signed: parts of the request in the order in which the scheme strings them together.

use std::borrow::Cow;

use thiserror::Error;

use crate::provider::{InvalidSource, Piece, Source, Unclosed, pieces};

use super::{Refusal, RequestView};

/// A signed message as a list of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    parts: Vec<Part>,
}

/// One part of a signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Fixed bytes.
    Literal(Box<[u8]>),
    /// The raw body.
    Body,
    /// The text of the time as received.
    Timestamp,
    /// The method.
    Method,
    /// The public URL.
    Url(UrlForm),
    /// A field of the request.
    Field(Source),
    /// Every form field, sorted by name, name and value with nothing between; nothing if the body is no form.
    FormSorted {
        /// Equal values of one name count once, and values are sorted.
        dedupe: bool,
    },
    /// A decoded field of a form body, or the raw body if it is no form.
    BodyOrField(Box<str>),
}

/// Which form of the public URL is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlForm {
    /// As configured.
    AsIs,
    /// With the port, without it, or with the default one: any may be right.
    AnyPort,
    /// With the escapes that `HubSpot` decodes decoded.
    Hubspot,
}

/// A text that describes no message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    /// A placeholder without an end.
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    /// A placeholder that is no part and no source.
    #[error(transparent)]
    Source(#[from] InvalidSource),
    /// A source that has several values.
    #[error("{{{0}}} has several values and cannot be part of a signed message")]
    Plural(String),
    /// Nothing at all.
    #[error("a signed message needs at least one part")]
    Empty,
}

impl Message {
    /// Parses a template such as `{timestamp}.{body}`.
    pub fn parse(text: &str) -> Result<Self, InvalidMessage> {
        let parts = pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Ok(Part::Literal(text.into_bytes().into())),
                Piece::Placeholder(name) => Part::parse(&name),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            return Err(InvalidMessage::Empty);
        }
        Ok(Self { parts })
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The fields of the request among the parts.
    pub fn fields(&self) -> impl Iterator<Item = &Source> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(source) => Some(source),
            _ => None,
        })
    }

    /// True if the raw body is a part.
    #[must_use]
    pub fn covers_body(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Body))
    }

    /// True if a change of what stands at `source` breaks the signature.
    #[must_use]
    pub fn covers(&self, source: &Source) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Body | Part::FormSorted { .. } | Part::BodyOrField(_) => source.reads_body(),
            Part::Url(_) => matches!(source, Source::Query(_)),
            Part::Field(field) => field == source,
            Part::Literal(_) | Part::Timestamp | Part::Method => false,
        })
    }

    /// True if the text of the time is a part.
    #[must_use]
    pub fn covers_timestamp(&self) -> bool {
        self.parts.contains(&Part::Timestamp)
    }

    /// The forms of the public URL, each of which may be the signed one.
    pub(crate) fn url_forms<'a>(&self, url: &'a str) -> Vec<Cow<'a, str>> {
        let form = self.parts.iter().find_map(|p| match p {
            Part::Url(form) => Some(*form),
            _ => None,
        });
        match form {
            None | Some(UrlForm::AsIs) => vec![Cow::Borrowed(url)],
            Some(UrlForm::AnyPort) => port_forms(url),
            Some(UrlForm::Hubspot) => vec![Cow::Owned(hubspot_url(url))],
        }
    }

    /// The bytes of each part in order, with `url` as the public URL.
    pub(crate) fn resolve<'a>(
        &'a self,
        request: &RequestView<'a>,
        timestamp: Option<&'a [u8]>,
        family: usize,
        url: &'a str,
    ) -> Result<Vec<Cow<'a, [u8]>>, Refusal> {
        self.parts
            .iter()
            .map(|part| {
                Ok(match part {
                    Part::Literal(bytes) => Cow::Borrowed(&**bytes),
                    Part::Body => Cow::Borrowed(request.body),
                    Part::Timestamp => Cow::Borrowed(timestamp.ok_or(Refusal::TimestampMissing)?),
                    Part::Method => Cow::Borrowed(request.method.as_bytes()),
                    Part::Url(_) => Cow::Borrowed(url.as_bytes()),
                    Part::Field(source) => {
                        source.read(request, family)?.ok_or(Refusal::SignedFieldMissing)?
                    }
                    Part::FormSorted { dedupe } => Cow::Owned(form_sorted(request, *dedupe)),
                    Part::BodyOrField(field) if request.is_form() => {
                        let value = request.form_field(field).ok_or(Refusal::SignedFieldMissing)?;
                        crate::provider::into_bytes(value)
                    }
                    Part::BodyOrField(_) => Cow::Borrowed(request.body),
                })
            })
            .collect()
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, InvalidMessage> {
        Ok(match name {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "method" => Self::Method,
            "url" => Self::Url(UrlForm::AsIs),
            "url:any-port" => Self::Url(UrlForm::AnyPort),
            "url:hubspot" => Self::Url(UrlForm::Hubspot),
            "form-sorted" => Self::FormSorted { dedupe: false },
            "form-sorted:dedupe" => Self::FormSorted { dedupe: true },
            _ => match name.strip_prefix("body-or-form:") {
                Some(field) if !field.is_empty() => Self::BodyOrField(field.into()),
                _ => match Source::parse(name)? {
                    Source::Headers(_) | Source::Each(_) | Source::Pair(_) => {
                        return Err(InvalidMessage::Plural(name.to_owned()));
                    }
                    source => Self::Field(source),
                },
            },
        })
    }
}

fn form_sorted(request: &RequestView<'_>, dedupe: bool) -> Vec<u8> {
    if !request.is_form() {
        return Vec::new();
    }
    let mut fields: Vec<_> = form_urlencoded::parse(request.body).collect();
    if dedupe {
        fields.sort();
        fields.dedup();
    } else {
        // Stable, so values of one name keep the order in which they came.
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    }
    let mut out = Vec::with_capacity(request.body.len());
    for (name, value) in fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// The URL as it is, without its port, and with the scheme's default port; each once.
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

/// `HubSpot` signs the URL with these escapes decoded and all others left as they are.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_tried_with_and_without_its_port() {
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
    fn form_fields_are_sorted_and_twins_count_once() {
        let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
        let request = RequestView { method: "POST", url: "", headers, body: b"b=2&a=2&b=1&a=2" };
        assert_eq!(form_sorted(&request, true), b"a2b1b2");
        assert_eq!(form_sorted(&request, false), b"a2a2b2b1");
    }

    #[test]
    fn what_a_message_covers_is_read_off_its_parts() {
        let message = Message::parse("{header:a|b}.{timestamp}.{body}").unwrap();
        assert!(message.covers(&Source::parse("header:a|b").unwrap()));
        assert!(!message.covers(&Source::parse("header:c").unwrap()));
        assert!(message.covers(&Source::parse("/id").unwrap()));
        assert!(message.covers_body() && message.covers_timestamp());
        assert!(matches!(Message::parse("{bodi}"), Err(InvalidMessage::Source(_))));
        assert!(matches!(Message::parse("{each:/a/*/b}"), Err(InvalidMessage::Plural(_))));
    }
}
