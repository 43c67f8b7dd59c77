//! Handshakes: requests that want an answer and are no events, such as Slack's `url_verification`.
//!
//! Decides what to answer and what the provider wants done besides; does none of it. An echo is capped, is
//! escaped for the body it goes into, and goes out with `nosniff`, because what is echoed may be a stranger's.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::identify::RequestFacts;
use crate::json_pointer::Pointer;
use crate::provider::{InvalidSelector, Piece, Provider, Selector, Shape, Unclosed, pieces};
use crate::verify::{
    Encoding, HostPattern, Params, PathPattern, PreparedKey, Secret, Verified, Verifier,
    is_allowed_url,
};

/// Longest value that is echoed, in bytes.
pub const ECHO_BYTES_MAX: usize = 1024;

/// A handshake as a provider file describes it, checked.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Its name.
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

/// What must hold before a handshake is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// The signature.
    Verify,
    /// Nothing: anyone may ask.
    Nothing,
    /// The value at `from` equals the source's parameter `param`.
    Token { from: Selector, param: String },
}

/// What a handshake's file wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EffectRule {
    None,
    StoreSecret { from: Selector, show_once: bool },
    FetchUrl { from: Selector, hosts: AllowedHosts, later: bool },
}

/// Whose addresses a handshake may have fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AllowedHosts {
    /// These hosts', with this path.
    Named(Vec<HostPattern>, Option<PathPattern>),
    /// Those that this parameter lists; where a source has none, nobody's, and what asks for it is not heard.
    Param(String),
}

/// The hosts that a text lists, with commas between; `Err` is the first that is none.
pub fn parse_host_list(text: &str) -> Result<Vec<HostPattern>, &str> {
    text.split(',').map(str::trim).map(|host| HostPattern::parse(host).ok_or(host)).collect()
}

/// A reply with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplyTemplate(Vec<ReplyPart>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum ReplyPart {
    Literal(String),
    Echo(Selector),
    /// A parameter of the source that is no secret.
    Param(String),
    /// The keyed hash of what stands there, under the source's first secret.
    Keyed(Encoding, Selector),
}

/// A text that describes no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum InvalidReply {
    #[error(transparent)]
    Unclosed(#[from] Unclosed),
    #[error(transparent)]
    Selector(#[from] InvalidSelector),
}

/// What a source knows that a handshake may need.
#[derive(Debug, Clone, Copy)]
pub struct HandshakeKeys<'a> {
    /// The source's keys.
    pub verifier: &'a Verifier,
    /// Parameters that the source was given, by name.
    pub params: &'a Params,
}

/// The answer to a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeAnswer {
    /// Which handshake it was.
    pub name: String,
    /// HTTP status.
    pub status: u16,
    /// Headers, `content-type` and `x-content-type-options` among them.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
    /// What else the provider wants.
    pub effect: HandshakeEffect,
    /// What the operator has to do now, once the effect is had.
    pub notice: Option<String>,
}

/// What a handshake wants done besides an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandshakeEffect {
    /// Nothing.
    None,
    /// Keep this as the source's secret; only while an operator has opened a window, never over another.
    StoreSecret {
        /// What is handed over.
        secret: Secret,
        /// The operator has to give it back to the provider, and is shown it, once.
        show_once: bool,
    },
    /// Fetch this URL, whose host is one that the file allows, through the guarded client.
    FetchUrl {
        /// The URL, a stranger's word.
        url: String,
        /// Only once the answer is given, and whatever comes of it.
        later: bool,
    },
    /// Tell the operator.
    Notice(String),
}

/// A handshake that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// The token is not the one that the source was given.
    #[error("the handshake's token is wrong")]
    TokenMismatch,
    /// A field of the reply is missing, too long, or cannot stand in a header.
    #[error("the handshake's challenge is missing or unusable")]
    ChallengeUnusable,
}

impl HandshakeError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TokenMismatch => "handshake_token_mismatch",
            Self::ChallengeUnusable => "handshake_challenge_unusable",
        }
    }
}

impl Provider {
    /// The answer, if this request is a handshake: before verification (`verified` is none) only those that
    /// need no signature, after it only those that do. `None` means that the request is no handshake.
    pub fn handshake(
        &self,
        facts: &RequestFacts<'_>,
        verified: Option<&Verified>,
        keys: HandshakeKeys<'_>,
    ) -> Option<Result<HandshakeAnswer, HandshakeError>> {
        let family = verified.map_or(0, |v| v.family);
        let key = || keys.verifier.handshake_key(verified);
        let handshake = self.handshakes.iter().find(|h| {
            (h.after == Precondition::Verify) == verified.is_some() && h.is_meant(facts, family)
        })?;
        Some(handshake.answer(facts, family, ReplyInputs { params: keys.params, key: &key }))
    }

    /// True if there may be handshakes before verification, also by other methods than `POST`.
    #[must_use]
    pub fn has_unsigned_handshakes(&self) -> bool {
        self.handshakes.iter().any(|h| h.after != Precondition::Verify)
    }
}

impl Handshake {
    /// True if it hands over the source's secret.
    pub(crate) fn stores_secret(&self) -> bool {
        matches!(self.effect, EffectRule::StoreSecret { .. })
    }

    /// True if the operator has to be shown the secret that it hands over.
    pub(crate) fn shows_secret(&self) -> bool {
        matches!(self.effect, EffectRule::StoreSecret { show_once: true, .. })
    }

    fn is_meant(&self, facts: &RequestFacts<'_>, family: usize) -> bool {
        let text = |source| facts.text(source, family, None);
        facts.request().method == self.method
            && self.equal.iter().all(|(source, value)| text(source).as_deref() == Some(value))
            && self.present.iter().all(|source| text(source).is_some())
            && self.absent.iter().all(|source| match source {
                // A header that occurs twice has no one text, but is there.
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
        means: ReplyInputs<'_>,
    ) -> Result<HandshakeAnswer, HandshakeError> {
        let text = |source: &Selector| facts.text(source, family, None);
        if let Precondition::Token { from, param } = &self.after {
            let given = means.params.get(param).ok_or(HandshakeError::TokenMismatch)?;
            let token = text(from).unwrap_or_default();
            let [given, token] = [given.expose(), token.as_bytes()].map(Sha256::digest);
            if !bool::from(given.as_slice().ct_eq(token.as_slice())) {
                return Err(HandshakeError::TokenMismatch);
            }
        }
        let usable = HandshakeError::ChallengeUnusable;
        for (source, shape) in &self.shapes {
            if !text(source).is_some_and(|text| shape.fits(text.as_bytes())) {
                return Err(usable);
            }
        }
        let json = self.content_type.as_deref().is_some_and(|t| t.starts_with("application/json"));
        let escape = if json { Escape::Json } else { Escape::Text };
        let body = self.body.fill(&text, means, escape)?.ok_or(usable)?;
        let mut headers = vec![("x-content-type-options".to_owned(), "nosniff".to_owned())];
        headers.extend(self.content_type.iter().map(|t| ("content-type".to_owned(), t.clone())));
        for (name, template) in &self.headers {
            // A header whose field is missing was not asked for.
            if let Some(value) = template.fill(&text, means, Escape::Header)? {
                headers.push((name.clone(), value));
            }
        }
        let effect = match &self.effect {
            EffectRule::None => {
                let notice = self.notice.clone();
                notice.map_or(HandshakeEffect::None, HandshakeEffect::Notice)
            }
            EffectRule::StoreSecret { from, show_once } => {
                let secret = text(from).filter(|t| !t.is_empty() && t.len() <= ECHO_BYTES_MAX);
                let secret = Secret::new(secret.ok_or(usable)?.as_bytes());
                HandshakeEffect::StoreSecret { secret, show_once: *show_once }
            }
            EffectRule::FetchUrl { from, hosts: AllowedHosts::Named(hosts, path), later } => {
                let url = text(from).filter(|url| is_allowed_url(url, hosts, path.as_ref()));
                HandshakeEffect::FetchUrl { url: url.ok_or(usable)?.into_owned(), later: *later }
            }
            EffectRule::FetchUrl { from, hosts: AllowedHosts::Param(param), later } => {
                match (text(from), means.params.get(param)) {
                    // The operator wants none of it, or the sender does not.
                    (None, _) | (_, None) => HandshakeEffect::None,
                    (Some(url), Some(listed)) => {
                        let listed = String::from_utf8_lossy(listed.expose());
                        let hosts = parse_host_list(&listed).map_err(|_| usable)?;
                        if !is_allowed_url(&url, &hosts, None) {
                            return Err(usable);
                        }
                        HandshakeEffect::FetchUrl { url: url.into_owned(), later: *later }
                    }
                }
            }
        };
        let (name, notice) = (self.name.clone(), self.notice.clone());
        Ok(HandshakeAnswer { name, status: self.status, headers, body, effect, notice })
    }

    /// The parameter that lists hosts for it.
    pub(crate) fn hosts_param(&self) -> Option<&str> {
        match &self.effect {
            EffectRule::FetchUrl { hosts: AllowedHosts::Param(param), .. } => Some(param),
            _ => None,
        }
    }

    /// Pointers into the body that it reads.
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

/// What a reply may be made from besides the request.
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

    /// The text; `None` if a source has no value.
    fn fill<'a>(
        &self,
        text: &impl Fn(&Selector) -> Option<Cow<'a, str>>,
        means: ReplyInputs<'_>,
        escape: Escape,
    ) -> Result<Option<String>, HandshakeError> {
        let mut out = String::new();
        for part in &self.0 {
            let (value, literal) = match part {
                ReplyPart::Literal(literal) => (Some(Cow::Borrowed(literal.as_str())), true),
                ReplyPart::Echo(source) => (text(source), false),
                ReplyPart::Param(name) => {
                    let value = means.params.get(name);
                    let value = value.ok_or(HandshakeError::ChallengeUnusable)?;
                    (Some(String::from_utf8_lossy(value.expose())), false)
                }
                ReplyPart::Keyed(encoding, source) => {
                    let value = text(source).map(|value| keyed_hash(means, &value, *encoding));
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
    means: ReplyInputs<'_>,
    value: &str,
    encoding: Encoding,
) -> Result<Cow<'static, str>, HandshakeError> {
    let key = (means.key)().ok_or(HandshakeError::ChallengeUnusable)?;
    let mut room = [0; 64];
    let hash = key.digest(&[Cow::Borrowed(value.as_bytes())], &mut room);
    Ok(Cow::Owned(encoding.encode(hash)))
}
