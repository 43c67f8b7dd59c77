//! Sample events: requests as a provider would send them, with fresh ids and times.
//!
//! Randomness and time are arguments. Samples are unsigned; `sign` signs them.

use std::collections::BTreeMap;

use rand::Rng;
use thiserror::Error;

use crate::template::{Piece, Unclosed, pieces};
use crate::time::Timestamp;

/// The maximum length of a random text in a sample, in characters.
const FRESH_CHARS_MAX: usize = 128;

/// A sample of a provider file, checked.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The name: the event's type, or close to it.
    pub name: String,
    /// A description in one line.
    pub about: String,
    /// The method; `None` is the first of the provider's methods.
    pub method: Option<String>,
    content_type: String,
    headers: Vec<(String, SampleText)>,
    body: SampleText,
}

/// A sample with its placeholders filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedSample {
    /// The headers, including `content-type`, without the signature's.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// An error in the text of a sample.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidSample {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    #[error("{{{0}}} is not a placeholder of samples")]
    Unknown(String),
}

#[derive(Debug, Clone)]
struct SampleText(Vec<SamplePart>);

#[derive(Debug, Clone)]
enum SamplePart {
    Literal(String),
    /// The kind of value, and a label that repeats the value within one request.
    FreshValue(FreshValue, Option<String>),
}

#[derive(Debug, Clone, Copy)]
enum FreshValue {
    Uuid,
    Hex(usize),
    Digits(usize),
    Letters(usize),
    Seconds,
    Millis,
    Rfc3339,
}

impl Sample {
    pub(crate) fn parse(
        name: &str,
        about: &str,
        content_type: &str,
        headers: &BTreeMap<String, String>,
        body: &str,
    ) -> Result<Self, InvalidSample> {
        let headers = headers
            .iter()
            .map(|(name, value)| Ok((name.clone(), SampleText::parse(value)?)))
            .collect::<Result<_, InvalidSample>>()?;
        Ok(Self {
            name: name.to_owned(),
            about: about.to_owned(),
            method: None,
            content_type: content_type.to_owned(),
            headers,
            body: SampleText::parse(body)?,
        })
    }

    /// True if the body is a form, which can be a query.
    #[must_use]
    pub fn is_form(&self) -> bool {
        self.content_type == "application/x-www-form-urlencoded"
    }

    /// Sets the method.
    pub(crate) fn with_method(self, method: Option<String>) -> Self {
        Self { method, ..self }
    }

    /// Fills in the placeholders: ids from `random`, times from `now`.
    #[must_use]
    pub fn render(&self, random: &mut impl Rng, now: Timestamp) -> RenderedSample {
        let mut labels = BTreeMap::new();
        let mut headers = vec![("content-type".to_owned(), self.content_type.clone())];
        for (name, text) in &self.headers {
            headers.push((name.clone(), text.fill(&mut labels, random, now)));
        }
        RenderedSample { headers, body: self.body.fill(&mut labels, random, now) }
    }
}

impl SampleText {
    fn parse(text: &str) -> Result<Self, InvalidSample> {
        let parts = pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Ok(SamplePart::Literal(text)),
                Piece::Placeholder(name) => {
                    let (kind, label) = match name.split_once('#') {
                        Some((kind, label)) => (kind, Some(label.to_owned())),
                        None => (name.as_str(), None),
                    };
                    let kind = FreshValue::parse(kind)
                        .ok_or_else(|| InvalidSample::Unknown(name.clone()))?;
                    Ok(SamplePart::FreshValue(kind, label))
                }
            })
            .collect::<Result<_, InvalidSample>>()?;
        Ok(Self(parts))
    }

    fn fill(
        &self,
        labels: &mut BTreeMap<String, String>,
        random: &mut impl Rng,
        now: Timestamp,
    ) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                SamplePart::Literal(text) => out.push_str(text),
                SamplePart::FreshValue(fresh, None) => out.push_str(&fresh.make(random, now)),
                SamplePart::FreshValue(fresh, Some(label)) => {
                    out.push_str(
                        labels.entry(label.clone()).or_insert_with(|| fresh.make(random, now)),
                    );
                }
            }
        }
        out
    }
}

impl FreshValue {
    fn parse(text: &str) -> Option<Self> {
        let (word, length) = match text.split_once(':') {
            Some((word, length)) => {
                (word, Some(length.parse().ok().filter(|n| *n <= FRESH_CHARS_MAX)?))
            }
            None => (text, None),
        };
        Some(match (word, length) {
            ("uuid", None) => Self::Uuid,
            ("now", None) => Self::Seconds,
            ("now-ms", None) => Self::Millis,
            ("now-rfc3339", None) => Self::Rfc3339,
            ("hex", Some(n)) => Self::Hex(n),
            ("digits", Some(n)) => Self::Digits(n),
            ("letters", Some(n)) => Self::Letters(n),
            _ => return None,
        })
    }

    fn make(self, random: &mut impl Rng, now: Timestamp) -> String {
        match self {
            Self::Uuid => uuid(random),
            Self::Hex(n) => pick(random, b"0123456789abcdef", n),
            // No leading zero, because the value may be a JSON number.
            Self::Digits(n) => pick(random, b"123456789", n),
            Self::Letters(n) => {
                pick(random, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", n)
            }
            Self::Seconds => now.as_secs().to_string(),
            Self::Millis => now.as_millis().to_string(),
            Self::Rfc3339 => now.to_string(),
        }
    }
}

fn pick(random: &mut impl Rng, alphabet: &[u8], length: usize) -> String {
    let mut one = || {
        // The bias of the remainder does not matter in a sample.
        let at = random.next_u32() as usize % alphabet.len();
        char::from(alphabet[at])
    };
    (0..length).map(|_| one()).collect()
}

fn uuid(random: &mut impl Rng) -> String {
    let mut b = [0u8; 16];
    random.fill_bytes(&mut b);
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = hex::encode(b);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
