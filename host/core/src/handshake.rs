//! Handshakes: requests that ask for an answer and carry no event, such as Slack's
//! `url_verification`.
//!
//! Decides the answer and the effect that the provider asks for; performs neither. An echo is
//! limited in length, escaped for its body, and sent with `nosniff`, because a stranger may have
//! chosen its text.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::identify::RequestFacts;
use crate::json_pointer::Pointer;
use crate::selector::{InvalidSelector, Selector, Shape};
use crate::template::{Piece, Unclosed, pieces};
use crate::verify::{
    Encoding, HostPattern, Params, PathPattern, PreparedKey, Secret, Verified, Verifier,
    is_allowed_url,
};

/// The maximum length of an echoed value, in bytes.
pub const ECHO_BYTES_MAX: usize = 1024;

/// A handshake of a provider file, checked.
#[derive(Debug, Clone)]
pub struct Handshake {
    pub name: String,
    pub(crate) method: String,
    pub(crate) present: Vec<Selector>,
    pub(crate) absent: Vec<Selector>,
    pub(crate) equal: Vec<(Selector, String)>,
    pub(crate) shapes: Vec<(Selector, Shape)>,
    pub(crate) after: Precondition,
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) headers: Vec<(String, ReplyTemplate)>,
    pub(crate) body: ReplyTemplate,
    pub(crate) effect: EffectRule,
    pub(crate) notice: Option<String>,
}

/// The condition for answering a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// The signature is valid.
    Verify,
    /// None: anyone may send it.
    Nothing,
    /// The value at `from` equals the source's parameter `param`.
    Token { from: Selector, param: String },
}

/// The effect of a handshake, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EffectRule {
    None,
    StoreSecret { from: Selector, show_once: bool },
    FetchUrl { from: Selector, hosts: AllowedHosts, later: bool },
}

/// The hosts from which a handshake may have a URL fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// These hosts, with this path.
    Named(Vec<HostPattern>, Option<PathPattern>),
    /// The hosts that this parameter lists. Without the parameter, the request to fetch is ignored.
    Param(String),
}

impl AllowedHosts {
    /// The effect of a handshake that asks to have `url` fetched.
    fn fetch(
        &self,
        url: String,
        later: bool,
        params: &Params,
    ) -> Result<HandshakeEffect, HandshakeError> {
        let allowed = match self {
            Self::Named(hosts, path) => is_allowed_url(&url, hosts, path.as_ref()),
            Self::Param(param) => {
                // The operator permits no host.
                let Some(hosts) = params.get(param) else { return Ok(HandshakeEffect::None) };
                let hosts = String::from_utf8_lossy(hosts.expose());
                parse_host_list(&hosts).is_ok_and(|hosts| is_allowed_url(&url, &hosts, None))
            }
        };
        if allowed {
            Ok(HandshakeEffect::FetchUrl { url, later })
        } else {
            Err(HandshakeError::ChallengeUnusable)
        }
    }

    /// The effect of a handshake without a URL: required with named hosts, optional otherwise.
    fn without_url(&self) -> Result<HandshakeEffect, HandshakeError> {
        match self {
            Self::Named(..) => Err(HandshakeError::ChallengeUnusable),
            Self::Param(_) => Ok(HandshakeEffect::None),
        }
    }
}

/// Parses a comma-separated list of hosts; `Err` is the first invalid one.
pub fn parse_host_list(text: &str) -> Result<Vec<HostPattern>, &str> {
    text.split(',').map(str::trim).map(|host| HostPattern::parse(host).ok_or(host)).collect()
}

/// A response with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTemplate(Vec<ReplyPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ReplyPart {
    Literal(String),
    Echo(Selector),
    /// A parameter of the source that is not secret.
    Param(String),
    /// The keyed hash of the selected value, with the source's first secret.
    Keyed(Encoding, Selector),
}

/// An error in the text of a response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidReply {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
}

/// The secrets and parameters of a source that a handshake may need.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeKeys<'a> {
    pub verifier: &'a Verifier,
    /// The parameters of the source, by name.
    pub params: &'a Params,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeAnswer {
    /// The name of the handshake.
    pub name: String,
    pub status: u16,
    /// The headers, including `content-type` and `x-content-type-options`.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub effect: HandshakeEffect,
    /// A message to the operator after the effect.
    pub notice: Option<String>,
}

/// The effect of a handshake besides its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandshakeEffect {
    None,
    /// Store this as the source's secret: only while an operator has opened a window, and never
    /// over another secret.
    StoreSecret {
        secret: Secret,
        /// True if the operator must enter the secret at the provider, so that it is shown once.
        show_once: bool,
    },
    /// Fetch this URL, whose host is permitted, through the guarded client.
    FetchUrl {
        /// The URL, chosen by the sender.
        url: String,
        /// True if it is fetched after the answer, whatever the result.
        later: bool,
    },
    /// Show a notice to the operator.
    Notice(String),
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The token differs from the source's parameter.
    #[error("the handshake's token is wrong")]
    TokenMismatch,
    /// A value of the response is missing, too long, or invalid in a header.
    #[error("the handshake's challenge is missing or unusable")]
    ChallengeUnusable,
}

impl HandshakeError {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenMismatch => "handshake_token_mismatch",
            Self::ChallengeUnusable => "handshake_challenge_unusable",
        }
    }
}

/// The answer, if this request is a handshake: before verification (`verified` is `None`) only a
/// handshake that needs no signature, after it only one that does. `None` means that the request is
/// not a handshake.
pub(crate) fn answer(
    handshakes: &[Handshake],
    facts: &RequestFacts<'_>,
    verified: Option<&Verified>,
    keys: HandshakeKeys<'_>,
) -> Option<Result<HandshakeAnswer, HandshakeError>> {
    let family = verified.map_or(0, |v| v.family);
    let key = || keys.verifier.handshake_key(verified);
    let handshake = handshakes
        .iter()
        .find(|h| h.needs_signature() == verified.is_some() && h.matches(facts, family))?;
    Some(handshake.answer(facts, family, ReplyInputs { params: keys.params, key: &key }))
}

impl Handshake {
    /// True if it is answered only after verification.
    pub(crate) fn needs_signature(&self) -> bool {
        self.after == Precondition::Verify
    }

    /// True if the handshake hands over the source's secret.
    pub(crate) fn stores_secret(&self) -> bool {
        matches!(self.effect, EffectRule::StoreSecret { .. })
    }

    /// True if the operator must be shown the secret that the handshake hands over.
    pub(crate) fn shows_secret(&self) -> bool {
        matches!(self.effect, EffectRule::StoreSecret { show_once: true, .. })
    }

    fn matches(&self, facts: &RequestFacts<'_>, family: usize) -> bool {
        let text = |source| facts.text(source, family, None);
        facts.request().method == self.method
            && self.equal.iter().all(|(source, value)| text(source).as_deref() == Some(value))
            && self.present.iter().all(|source| text(source).is_some())
            && self.absent.iter().all(|source| match source {
                // A header that occurs twice has no single text, but is present.
                Selector::Header(names) => {
                    names.iter().all(|n| facts.request().header(n).is_none())
                }
                source => text(source).is_none(),
            })
    }

    fn answer(
        &self,
        facts: &RequestFacts<'_>,
        family: usize,
        inputs: ReplyInputs<'_>,
    ) -> Result<HandshakeAnswer, HandshakeError> {
        let text = |selector: &Selector| facts.text(selector, family, None);
        self.check_token(&text, inputs.params)?;
        self.check_shapes(&text)?;
        let json = self.content_type.as_deref().is_some_and(|t| t.starts_with("application/json"));
        let escape = if json { Escape::Json } else { Escape::Text };
        let body = self.body.fill(&text, inputs, escape)?;
        Ok(HandshakeAnswer {
            name: self.name.clone(),
            status: self.status,
            headers: self.headers(&text, inputs)?,
            body: body.ok_or(HandshakeError::ChallengeUnusable)?,
            effect: self.effect(&text, inputs.params)?,
            notice: self.notice.clone(),
        })
    }

    fn check_token<'f>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'f, str>>,
        params: &Params,
    ) -> Result<(), HandshakeError> {
        let Precondition::Token { from, param } = &self.after else { return Ok(()) };
        let given = params.get(param).ok_or(HandshakeError::TokenMismatch)?;
        let token = text(from).unwrap_or_default();
        let [given, token] = [given.expose(), token.as_bytes()].map(Sha256::digest);
        if bool::from(given.as_slice().ct_eq(token.as_slice())) {
            Ok(())
        } else {
            Err(HandshakeError::TokenMismatch)
        }
    }

    fn check_shapes<'f>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'f, str>>,
    ) -> Result<(), HandshakeError> {
        let fits = |(selector, shape): &(Selector, Shape)| {
            text(selector).is_some_and(|text| shape.fits(text.as_bytes()))
        };
        if self.shapes.iter().all(fits) { Ok(()) } else { Err(HandshakeError::ChallengeUnusable) }
    }

    fn headers<'f>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'f, str>>,
        inputs: ReplyInputs<'_>,
    ) -> Result<Vec<(String, String)>, HandshakeError> {
        let mut headers = vec![("x-content-type-options".to_owned(), "nosniff".to_owned())];
        headers.extend(self.content_type.iter().map(|t| ("content-type".to_owned(), t.clone())));
        for (name, template) in &self.headers {
            // Without a value, the header was not asked for.
            if let Some(value) = template.fill(text, inputs, Escape::Header)? {
                headers.push((name.clone(), value));
            }
        }
        Ok(headers)
    }

    fn effect<'f>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'f, str>>,
        params: &Params,
    ) -> Result<HandshakeEffect, HandshakeError> {
        let unusable = HandshakeError::ChallengeUnusable;
        match &self.effect {
            EffectRule::None => {
                let notice = self.notice.clone();
                Ok(notice.map_or(HandshakeEffect::None, HandshakeEffect::Notice))
            }
            EffectRule::StoreSecret { from, show_once } => {
                let secret = text(from).filter(|t| !t.is_empty() && t.len() <= ECHO_BYTES_MAX);
                let secret = Secret::new(secret.ok_or(unusable)?.as_bytes());
                Ok(HandshakeEffect::StoreSecret { secret, show_once: *show_once })
            }
            EffectRule::FetchUrl { from, hosts, later } => match text(from) {
                Some(url) => hosts.fetch(url.into_owned(), *later, params),
                None => hosts.without_url(),
            },
        }
    }

    /// The parameter that lists permitted hosts.
    pub(crate) fn hosts_param(&self) -> Option<&str> {
        match &self.effect {
            EffectRule::FetchUrl { hosts: AllowedHosts::Param(param), .. } => Some(param),
            _ => None,
        }
    }

    /// The pointers into the body that the handshake reads.
    pub(crate) fn pointers(&self) -> Vec<Pointer> {
        let replies = self.headers.iter().map(|(_, template)| template).chain([&self.body]);
        let mut sources: Vec<&Selector> = replies.flat_map(ReplyTemplate::sources).collect();
        sources.extend(self.present.iter().chain(&self.absent));
        sources.extend(self.shapes.iter().map(|(source, _)| source));
        sources.extend(self.equal.iter().map(|(source, _)| source));
        match &self.after {
            Precondition::Token { from, .. } => sources.push(from),
            Precondition::Verify | Precondition::Nothing => {}
        }
        match &self.effect {
            EffectRule::StoreSecret { from, .. } | EffectRule::FetchUrl { from, .. } => {
                sources.push(from)
            }
            EffectRule::None => {}
        }
        sources
            .into_iter()
            .filter_map(|source| match source {
                Selector::Json(pointer) | Selector::Body(pointer) => Some(pointer.clone()),
                _ => None,
            })
            .collect()
    }
}

/// The values for a response besides the request.
#[derive(Clone, Copy)]
struct ReplyInputs<'a> {
    params: &'a Params,
    key: &'a dyn Fn() -> Option<&'a PreparedKey>,
}

#[derive(Debug, Clone, Copy)]
enum Escape {
    Json,
    Text,
    Header,
}

impl ReplyTemplate {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidReply> {
        let parts = pieces(text)?
            .into_iter()
            .map(|piece| match piece {
                Piece::Literal(text) => Ok(ReplyPart::Literal(text)),
                Piece::Placeholder(name) => {
                    if let Some(source) = name.strip_prefix("keyed-hex:") {
                        return Ok(ReplyPart::Keyed(Encoding::Hex, Selector::parse(source)?));
                    }
                    if let Some(source) = name.strip_prefix("keyed-base64:") {
                        return Ok(ReplyPart::Keyed(Encoding::Base64, Selector::parse(source)?));
                    }
                    if let Some(param) = name.strip_prefix("param:") {
                        return Ok(ReplyPart::Param(param.to_owned()));
                    }
                    Ok(ReplyPart::Echo(Selector::parse(&name)?))
                }
            })
            .collect::<Result<Vec<_>, InvalidSelector>>()?;
        Ok(Self(parts))
    }

    fn sources(&self) -> impl Iterator<Item = &Selector> {
        self.0.iter().filter_map(|part| match part {
            ReplyPart::Literal(_) | ReplyPart::Param(_) => None,
            ReplyPart::Echo(source) | ReplyPart::Keyed(_, source) => Some(source),
        })
    }

    /// Fills in the placeholders; `None` if a selector has no value.
    fn fill<'a>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'a, str>>,
        inputs: ReplyInputs<'_>,
        escape: Escape,
    ) -> Result<Option<String>, HandshakeError> {
        let mut out = String::new();
        for part in &self.0 {
            let (value, literal) = match part {
                ReplyPart::Literal(literal) => (Some(Cow::Borrowed(literal.as_str())), true),
                ReplyPart::Echo(source) => (text(source), false),
                ReplyPart::Param(name) => {
                    let value = inputs.params.get(name);
                    let value = value.ok_or(HandshakeError::ChallengeUnusable)?;
                    (Some(String::from_utf8_lossy(value.expose())), false)
                }
                ReplyPart::Keyed(encoding, source) => {
                    let value = text(source).map(|value| keyed_hash(inputs, &value, *encoding));
                    (value.transpose()?, false)
                }
            };
            let Some(value) = value else { return Ok(None) };
            if !literal && value.len() > ECHO_BYTES_MAX {
                return Err(HandshakeError::ChallengeUnusable);
            }
            match escape {
                Escape::Json if !literal => {
                    let quoted = serde_json::Value::from(&*value).to_string();
                    out.push_str(&quoted[1..quoted.len() - 1]);
                }
                Escape::Header if !value.bytes().all(|b| matches!(b, b' '..=b'~')) => {
                    return Err(HandshakeError::ChallengeUnusable);
                }
                Escape::Json | Escape::Text | Escape::Header => out.push_str(&value),
            }
        }
        Ok(Some(out))
    }
}

fn keyed_hash(
    inputs: ReplyInputs<'_>,
    value: &str,
    encoding: Encoding,
) -> Result<Cow<'static, str>, HandshakeError> {
    let key = (inputs.key)().ok_or(HandshakeError::ChallengeUnusable)?;
    let mut buffer = [0; 64];
    let hash = key.digest(&[Cow::Borrowed(value.as_bytes())], &mut buffer);
    Ok(Cow::Owned(encoding.encode(hash)))
}
