//! The scheme tables of a provider file, as written: the released format, unknown keys refused,
//! nothing checked yet. A source writes the same tables under `signature` to change its provider's
//! scheme.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::units::{DurationText, OneOrMore};
use super::words;
use crate::verify::{
    Algorithm, CandidateRule, Direction, Encoding, KeyDocument, KeyForm, TimeUnit,
};

/// A scheme, or a source's overrides of one. Absent fields keep their default, or the provider's
/// value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeTable {
    /// The name of the scheme; in a source, the scheme that is changed (the only one by default).
    pub name: Option<String>,
    /// The header of the signature, with its names in different families separated by `|`.
    pub header: Option<String>,
    /// The selectors of the signature, if it is not simply in one header.
    pub from: Option<OneOrMore>,
    /// The prefix of the signature.
    pub prefix: Option<String>,
    /// The characters that separate several signatures in one value.
    pub separator: Option<String>,
    /// The key of a signature in a list of `key=value`.
    pub pair: Option<String>,
    /// The encoding of a signature; the default is hex.
    #[serde(default, with = "words::encoding")]
    pub encoding: Option<Encoding>,
    #[serde(default, with = "words::algorithm")]
    pub algorithm: Option<AlgorithmName>,
    /// The decoding of the secret to a key; by default its bytes are the key.
    #[serde(default, with = "words::key")]
    pub key: Option<KeyForm>,
    /// The signed message; the default is `{body}`. If there are several, any of them is accepted.
    pub message: Option<OneOrMore>,
    /// The signed time.
    pub timestamp: Option<TimestampTable>,
    /// Headers, or selectors, with the required value or several permitted ones.
    pub require: Option<BTreeMap<String, OneOrMore>>,
    /// Fields with the shape that each must have.
    pub shapes: Option<BTreeMap<String, String>>,
    /// The number of signatures that must be valid: `any`, `all` or `one`.
    #[serde(default, with = "words::candidates")]
    pub candidates: Option<CandidateRule>,
    /// A digest of the body among the signed fields.
    pub body_digest: Option<BodyDigestTable>,
    /// An array in the body; each item is signed as if it were the body.
    pub items: Option<String>,
    /// The signature is a JSON Web Token with these claims.
    pub jwt: Option<JwtTable>,
    /// The signature is an HTTP Message Signature (RFC 9421) that covers these components.
    pub http_message: Option<HttpMessageTable>,
    /// The place where the sender publishes its keys, if no secret gives one.
    pub fetched_key: Option<FetchedKeyTable>,
    /// The name of another scheme that must hold too.
    pub also: Option<String>,
}

/// The requirements on an HTTP Message Signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpMessageTable {
    /// The components that it must cover, such as `@method` and `content-digest`.
    #[serde(default)]
    pub components: Vec<String>,
    /// The maximum age by its `created`.
    pub max_age: Option<DurationText>,
    /// The required `tag`.
    pub tag: Option<String>,
}

/// The requirements on a JSON Web Token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtTable {
    /// Claims with a required value or several permitted ones. `{url}` and `{param:NAME}` stand for
    /// the public URL and a parameter. `one|other` is a claim that may have either name.
    #[serde(default)]
    pub claims: BTreeMap<String, OneOrMore>,
    /// The maximum age by the claim `iat`.
    pub max_age: Option<DurationText>,
    /// The claim with the SHA-256 of the body.
    pub body_digest: Option<ClaimedDigestTable>,
    /// The claim with the SHA-256 of the public URL.
    pub url_digest: Option<ClaimedDigestTable>,
    /// The claim with the SHA-256 of method and public URL in a canonical form, in hex.
    pub request_digest: Option<RequestDigestTable>,
}

/// A claim with a digest of method and public URL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestDigestTable {
    pub claim: String,
    #[serde(with = "words::request_form")]
    pub form: RequestForm,
    /// The base URL of paths; may contain `{param:NAME|origin}`.
    pub base: String,
}

/// A canonical form of method and public URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestForm {
    /// The form of Atlassian's products.
    Atlassian,
}

/// A claim with a digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedDigestTable {
    pub claim: String,
    /// The default is hex.
    #[serde(default, with = "words::encoding")]
    pub encoding: Option<Encoding>,
    /// True if the claim may be missing when the body is empty.
    #[serde(default)]
    pub optional_if_empty: bool,
    /// True if, for a query payload, the digest is of the query's parameters as a JSON object of
    /// strings in their order.
    #[serde(default)]
    pub query_as_json: bool,
}

/// The place where keys are published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchedKeyTable {
    /// A fixed address, which may contain `{param:NAME}`.
    pub url: Option<String>,
    /// The selector of the address in the request.
    pub from: Option<String>,
    /// The hosts from which keys are accepted.
    pub hosts: Vec<String>,
    /// The pattern of the address's path, such as `/certs/{hex:16-64}.pem`.
    pub path: Option<String>,
    /// The kind of the document; the default is JSON Web Keys.
    pub document: Option<KeyDocument>,
    /// A certificate must be for one of these names.
    #[serde(default)]
    pub names: Vec<String>,
    /// A body to post, with `{key-id}` and `{param:NAME}`.
    pub post: Option<String>,
    /// The pointer to the key in the response.
    pub inside: Option<String>,
}

/// The signed time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampTable {
    /// The header of the time.
    pub header: Option<String>,
    /// The selectors of the time, if it is not simply in one header.
    pub from: Option<OneOrMore>,
    /// The default is seconds.
    #[serde(default, with = "words::unit")]
    pub unit: Option<TimeUnit>,
    /// The permitted difference from the hub's clock.
    pub tolerance: Option<DurationText>,
    /// The direction in which it is limited; the default is both.
    #[serde(default, with = "words::direction")]
    pub direction: Option<Direction>,
}

/// A digest of the body among the signed fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyDigestTable {
    pub from: String,
    /// The default is hex.
    #[serde(default, with = "words::encoding")]
    pub encoding: Option<Encoding>,
}

/// An algorithm, or the name of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlgorithmName {
    /// A supported algorithm.
    Known(Algorithm),
    /// `hook:NAME`, reserved for schemes that need their own code.
    Hook(String),
}
