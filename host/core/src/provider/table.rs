//! A provider file as it is written: the released format, unknown keys refused, nothing judged yet.
//!
//! [`SchemeTable`] is also what a source writes under `signature` to change its provider's scheme, so that
//! both are the same words.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::units::{CategoryEntry, DurationText, OneOrMore, SizeText};
use crate::verify::{
    Algorithm, CandidateRule, Direction, Encoding, KeyDocument, KeyForm, SchemePolicy, TimeUnit,
};

/// A provider file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderTable {
    /// Version of the format: 1.
    pub(super) format: u32,
    /// The name that a source gives under `provider`.
    pub(super) name: String,
    /// One line about who sends.
    pub(super) about: String,
    /// The provider's own documentation.
    pub(super) docs: String,
    /// What an operator has to give.
    #[serde(default)]
    pub(super) params: Vec<ParamTable>,
    /// Which schemes a source accepts.
    #[serde(default = "strongest", with = "policy_word")]
    pub(super) policy: SchemePolicy,
    /// The schemes, strongest first.
    pub(super) schemes: Vec<SchemeTable>,

    /// Where the event's type stands.
    #[serde(default, rename = "type")]
    pub(super) kind: OneOrMore,
    /// Where the provider's own file has the type, if a source changes that: categories go by it.
    #[serde(skip)]
    pub(super) plain_kind: Option<OneOrMore>,
    /// The categories that a source adds, which come before the provider's.
    #[serde(skip)]
    pub(super) own_categories: BTreeMap<String, CategoryEntry>,
    /// Where the delivery's id stands.
    #[serde(default)]
    pub(super) id: OneOrMore,
    /// The types that the provider documents; `*` stands for any text.
    #[serde(default)]
    pub(super) types: Vec<String>,
    /// There are no others, so that a pattern which fits none of them is a mistake.
    #[serde(default)]
    pub(super) types_complete: bool,
    /// What makes two requests the same: `id`, `id+body`, `type+body`, `body`, `none`, or a list of fields. The body is
    /// what of it is signed.
    pub(super) dedup: OneOrMore,
    /// Where an array stands whose items are events of their own, in the body or as JSON in a field of a form
    /// (`form:FIELD#/pointer`); several where senders differ.
    #[serde(default)]
    pub(super) fan_out: OneOrMore,
    /// What bodies are.
    #[serde(default, with = "body_word")]
    pub(super) body: BodyKind,
    /// The field of a form that holds the JSON which other requests have as their body: pointers point into it.
    pub(super) json_field: Option<String>,
    /// The methods by which events come; `POST` if not said. What a `GET` or `DELETE` without a body says stands in its
    /// query, which then is the event's payload, a form.
    pub(super) methods: Option<OneOrMore>,
    /// The provider's types (with `*`) and the common category of each, or `by` what field of the event it goes (or by
    /// which of several, with ` | ` between) and that field's texts with the category of each.
    #[serde(default)]
    pub(super) categories: BTreeMap<String, CategoryEntry>,
    /// Fields that hold secrets, besides static tokens.
    #[serde(default)]
    pub(super) secret_fields: Vec<String>,

    /// Largest body.
    pub(super) body_limit: Option<SizeText>,
    /// How long the provider tries again.
    pub(super) retry_window: Option<DurationText>,
    /// How soon the provider wants its answer.
    pub(super) ack_deadline: Option<DurationText>,
    /// What a redelivery of an event that failed here does.
    #[serde(default, with = "redelivery_word")]
    pub(super) on_redelivery: OnRedelivery,
    /// Headers that say who sent what and sign it: a route passes them on. Never one that is a credential by itself.
    #[serde(default)]
    pub(super) pass_headers: Vec<String>,
    /// Header values are Latin-1.
    #[serde(default)]
    pub(super) latin1_headers: bool,
    /// Media types that the provider can be set to send and that are not read here: refused as such.
    #[serde(default)]
    pub(super) unread_types: Vec<String>,
    /// Status of a refused signature.
    pub(super) failure_status: Option<u16>,
    /// A refused signature is answered with nothing but its status.
    #[serde(default)]
    pub(super) failure_empty: bool,
    /// The answer to an accepted request, where the provider wants a certain one.
    pub(super) acknowledge: Option<AnswerTable>,
    /// The same where the request is a form, if that differs.
    pub(super) acknowledge_form: Option<AnswerTable>,
    /// The answer when a responder is late.
    pub(super) default_answer: Option<AnswerTable>,

    #[serde(default)]
    pub(super) handshakes: Vec<HandshakeTable>,
    #[serde(default)]
    pub(super) samples: Vec<SampleTable>,
    #[serde(default)]
    pub(super) vectors: Vec<VectorTable>,
}

/// What an operator has to give.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParamTable {
    pub(super) name: String,
    pub(super) about: String,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) secret: bool,
    /// How the provider writes it, such as `whsec_{base64:32}`; for secrets that are text.
    #[serde(default)]
    pub(super) form: Option<String>,
}

/// A scheme, or a source's changes to one. What is left out keeps its default, or the provider's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeTable {
    /// Name of the scheme; in a source, which one is changed (the only one if there is no other).
    pub name: Option<String>,
    /// Header of the signature, with `|` between the names that it has in different families.
    pub header: Option<String>,
    /// Places of the signature, where it is not simply in one header.
    pub from: Option<OneOrMore>,
    /// What stands before the signature.
    pub prefix: Option<String>,
    /// Characters that separate several signatures in one value.
    pub separator: Option<String>,
    /// In a list of `key=value`, the key of a signature.
    pub pair: Option<String>,
    /// How a signature is written; hex if not said.
    #[serde(default, with = "encoding_word")]
    pub encoding: Option<Encoding>,
    /// How a signature is made.
    #[serde(default, with = "algorithm_word")]
    pub algorithm: Option<AlgorithmName>,
    /// How the secret becomes a key; its bytes if not said.
    #[serde(default, with = "key_word")]
    pub key: Option<KeyForm>,
    /// What is signed; `{body}` if not said. Of several, any may be.
    pub message: Option<OneOrMore>,
    /// The signed time.
    pub timestamp: Option<TimestampTable>,
    /// Headers, or fields in the notation of sources, with an exact value or one of several.
    pub require: Option<BTreeMap<String, OneOrMore>>,
    /// Fields and the shape that each must have.
    pub shapes: Option<BTreeMap<String, String>>,
    /// How many of several signatures must be right: `any` or `all`.
    #[serde(default, with = "candidates_word")]
    pub candidates: Option<CandidateRule>,
    /// A digest of the body among the signed fields.
    pub body_digest: Option<BodyDigestTable>,
    /// An array in the body, each item of which is signed as if it were the body.
    pub items: Option<String>,
    /// The signature is a JSON Web Token that must say this.
    pub jwt: Option<JwtTable>,
    /// The signature is one of RFC 9421 that must cover this.
    pub http_message: Option<HttpMessageTable>,
    /// Where keys are published that no secret gives.
    pub fetched_key: Option<FetchedKeyTable>,
    /// The name of a scheme that must hold besides.
    pub also: Option<String>,
}

/// What a signature of RFC 9421 must cover.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpMessageTable {
    /// Components that it must cover, such as `@method` and `content-digest`.
    #[serde(default)]
    pub components: Vec<String>,
    /// How old it may be by its `created`.
    pub max_age: Option<DurationText>,
    /// What its `tag` must say.
    pub tag: Option<String>,
}

/// What a JSON Web Token must say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtTable {
    /// Claims with the value, or the values of which one must be there; `{url}` and `{param:NAME}` stand for
    /// the public URL and a parameter. `one|other` is a claim that may have either name.
    #[serde(default)]
    pub claims: BTreeMap<String, OneOrMore>,
    /// How old the token may be by its `iat`.
    pub max_age: Option<DurationText>,
    /// A claim that holds the SHA-256 of the body.
    pub body_digest: Option<ClaimedDigestTable>,
    /// A claim that holds the SHA-256 of the public URL.
    pub url_digest: Option<ClaimedDigestTable>,
    /// A claim that holds the SHA-256 of method and public URL in a canonical form, in hex.
    pub request_digest: Option<RequestDigestTable>,
}

/// A digest of method and public URL among the claims.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestDigestTable {
    /// The claim.
    pub claim: String,
    /// Whose canonical form.
    #[serde(with = "request_form_word")]
    pub form: RequestForm,
    /// The URL below which paths are meant; may hold `{param:NAME|origin}`.
    pub base: String,
}

/// A canonical form of method and public URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestForm {
    /// That of Atlassian's products.
    Atlassian,
}

/// A digest among the claims.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedDigestTable {
    /// The claim.
    pub claim: String,
    /// How it is written; hex if not said.
    #[serde(default, with = "encoding_word")]
    pub encoding: Option<Encoding>,
    /// It may be missing where the body is empty.
    #[serde(default)]
    pub optional_if_empty: bool,
    /// Where the query stands in the place of a body, it is of the query's parameters, as a JSON object of texts in their
    /// order.
    #[serde(default)]
    pub query_as_json: bool,
}

/// Where keys are published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchedKeyTable {
    /// Always this address; may hold `{param:NAME}`.
    pub url: Option<String>,
    /// The address that stands there in the request.
    pub from: Option<String>,
    /// Hosts that keys are taken from.
    pub hosts: Vec<String>,
    /// What the address's path must be, such as `/certs/{hex:16-64}.pem`.
    pub path: Option<String>,
    /// Of what kind the document is; JSON Web Keys if not said.
    pub document: Option<KeyDocument>,
    /// Names one of which a certificate must be for.
    #[serde(default)]
    pub names: Vec<String>,
    /// A body to post, with `{key-id}` and `{param:NAME}`.
    pub post: Option<String>,
    /// Where in the answer the key stands.
    pub inside: Option<String>,
}

/// The signed time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampTable {
    /// Header of the time.
    pub header: Option<String>,
    /// Places of the time, where it is not simply in one header.
    pub from: Option<OneOrMore>,
    /// How it is written; seconds if not said.
    #[serde(default, with = "unit_word")]
    pub unit: Option<TimeUnit>,
    /// How far it may be from our clock.
    pub tolerance: Option<DurationText>,
    /// Which way it is limited; both if not said.
    #[serde(default, with = "direction_word")]
    pub direction: Option<Direction>,
}

/// A digest of the body among the signed fields.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyDigestTable {
    /// Where it stands.
    pub from: String,
    /// How it is written; hex if not said.
    #[serde(default, with = "encoding_word")]
    pub encoding: Option<Encoding>,
}

/// An algorithm, or the name of one that takes code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlgorithmName {
    /// One that the interpreter knows.
    Known(Algorithm),
    /// `hook:NAME`, reserved for schemes that need code of their own.
    Hook(String),
}

/// What bodies are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// A JSON document.
    #[default]
    Json,
    /// A URL-encoded form.
    Form,
    /// JSON or a form, as the content type says.
    Auto,
    /// Text of another kind.
    Text,
    /// Bytes.
    Opaque,
}

/// What a redelivery does when the first delivery's event ended as a dead letter or without a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRedelivery {
    /// It is a duplicate like any other.
    #[default]
    Duplicate,
    /// It puts the event back to work, for providers that deliver again only when a person asks.
    Requeue,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerTable {
    /// HTTP status.
    pub status: u16,
    /// Content type; none if not said.
    pub content_type: Option<String>,
    /// Body; empty if not said.
    #[serde(default)]
    pub body: String,
}

/// A handshake: a request that wants an answer and is no event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandshakeTable {
    pub(super) name: String,
    pub(super) when: WhenTable,
    /// `verify`, `nothing`, or a parameter's name: the value at `token` must equal it.
    pub(super) after: String,
    /// Where the token of `after` stands.
    pub(super) token: Option<String>,
    pub(super) reply: ReplyTable,
    #[serde(default)]
    pub(super) effect: EffectTable,
    /// Sources and the shape that each must have, or the handshake is refused.
    #[serde(default)]
    pub(super) shapes: BTreeMap<String, String>,
}

/// Which requests are the handshake.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenTable {
    pub(super) method: String,
    /// Sources that must be there.
    #[serde(default)]
    pub(super) present: Vec<String>,
    /// Sources that must not be there.
    #[serde(default)]
    pub(super) absent: Vec<String>,
    /// Sources that must have this value.
    #[serde(default)]
    pub(super) equal: BTreeMap<String, String>,
}

/// The answer to a handshake, with placeholders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplyTable {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) body: String,
}

/// What a handshake asks for besides an answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EffectTable {
    /// Keep the secret that stands there.
    pub(super) store_secret: Option<String>,
    /// The operator has to give that secret back to the provider, so it is shown to whoever let it be handed
    /// over, once.
    #[serde(default)]
    pub(super) show_once: bool,
    /// Fetch the URL that stands there, if its host is one of `hosts`.
    pub(super) fetch_url: Option<String>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    /// What the URL's path must be; any if not said.
    pub(super) path: Option<String>,
    /// A parameter that lists the hosts, with commas between; where a source has none, nothing is fetched.
    pub(super) hosts_param: Option<String>,
    /// Fetch it once the answer is given, whatever comes of it.
    #[serde(default)]
    pub(super) later: bool,
    /// Tell the operator.
    pub(super) notice: Option<String>,
}

/// A request as the provider would send it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleTable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: String,
    /// How it is sent; the first of the provider's methods if not said. By `GET`, the body goes into the query.
    pub(super) method: Option<String>,
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// A request whose verdict is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VectorTable {
    pub(super) name: String,
    /// Where it is from: the provider's documentation, a test suite, or computed.
    pub(super) origin: String,
    /// The code of the refusal; left out if the request is genuine.
    pub(super) refused: Option<String>,
    #[serde(default)]
    pub(super) secret: OneOrMore,
    /// Parameters of the source.
    #[serde(default)]
    pub(super) params: BTreeMap<String, String>,
    /// The clock to verify by, in Unix seconds.
    #[serde(default)]
    pub(super) now: u64,
    #[serde(default = "post")]
    pub(super) method: String,
    #[serde(default = "example_url")]
    pub(super) url: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The body as text.
    pub(super) body: Option<String>,
    /// The body as base64, where it is no text or its line ends matter.
    pub(super) body_base64: Option<String>,
    /// The types of its events, in order, where that is to be checked too.
    pub(super) types: Option<Vec<String>>,
    /// The delivery ids of its events, in order.
    pub(super) ids: Option<Vec<String>>,
}

fn post() -> String {
    "POST".to_owned()
}

fn example_url() -> String {
    "https://example.com/webhook".to_owned()
}

fn strongest() -> SchemePolicy {
    SchemePolicy::Strongest
}

/// Gives an enum its words in a file. The `option` form is for fields that a source may leave to its provider.
macro_rules! words {
    ($module:ident: Option<$type:ty> { $($text:literal => $value:expr,)* }) => {
        words!(@module $module, $type, Option<$type>, Some, $($text => $value,)*);
    };
    ($module:ident: $type:ty { $($text:literal => $value:expr,)* }) => {
        words!(@module $module, $type, $type, std::convert::identity, $($text => $value,)*);
    };
    (@module $module:ident, $type:ty, $out:ty, $wrap:expr, $($text:literal => $value:expr,)*) => {
        mod $module {
            use super::*;

            const WORDS: &[&str] = &[$($text),*];

            pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<$out, D::Error> {
                let text = String::deserialize(d)?;
                let value: $type = match text.as_str() {
                    $($text => $value,)*
                    _ => return Err(serde::de::Error::unknown_variant(&text, WORDS)),
                };
                Ok(($wrap)(value))
            }
        }
    };
}

words!(policy_word: SchemePolicy {
    "strongest" => SchemePolicy::Strongest,
    "strongest-present" => SchemePolicy::StrongestPresent,
    "any" => SchemePolicy::Any,
});
words!(body_word: BodyKind {
    "json" => BodyKind::Json,
    "form" => BodyKind::Form,
    "auto" => BodyKind::Auto,
    "text" => BodyKind::Text,
    "opaque" => BodyKind::Opaque,
});
words!(request_form_word: RequestForm {
    "atlassian" => RequestForm::Atlassian,
});
words!(redelivery_word: OnRedelivery {
    "duplicate" => OnRedelivery::Duplicate,
    "requeue" => OnRedelivery::Requeue,
});
words!(encoding_word: Option<Encoding> {
    "hex" => Encoding::Hex,
    "hex-any-case" => Encoding::HexAnyCase,
    "base64" => Encoding::Base64,
    "base64url" => Encoding::Base64Url,
    "plain" => Encoding::Plain,
});
words!(key_word: Option<KeyForm> {
    "utf8" => KeyForm::Utf8,
    "base64" => KeyForm::Base64,
    "hex" => KeyForm::Hex,
    "whsec" => KeyForm::Whsec,
    "whpk" => KeyForm::Whpk,
    "whsec-only" => KeyForm::WhsecOnly,
    "whsec-or-utf8" => KeyForm::WhsecOrUtf8,
    "html-text" => KeyForm::HtmlText,
    "sha1" => KeyForm::Sha1,
    "public-key" => KeyForm::PublicKey,
    "nfkd" => KeyForm::Nfkd,
});
words!(unit_word: Option<TimeUnit> {
    "seconds" => TimeUnit::Seconds,
    "millis" => TimeUnit::Millis,
    "rfc3339" => TimeUnit::Rfc3339,
});
words!(direction_word: Option<Direction> {
    "both" => Direction::Both,
    "past" => Direction::Past,
});
words!(candidates_word: Option<CandidateRule> {
    "any" => CandidateRule::Any,
    "all" => CandidateRule::All,
    "one" => CandidateRule::One,
});

mod algorithm_word {
    use super::*;

    const WORDS: &[&str] = &[
        "hmac-sha1",
        "hmac-sha256",
        "hmac-sha384",
        "hmac-sha512",
        "sha256-secret-prefix",
        "ed25519",
        "ecdsa-p256-sha256-der",
        "rsa-pkcs1-sha1",
        "rsa-pkcs1-sha256",
        "rsa-pss-sha512",
        "ecdsa-p256-sha256",
        "ecdsa-p384-sha384",
        "static-equals",
    ];

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        d: D,
    ) -> Result<Option<AlgorithmName>, D::Error> {
        let text = String::deserialize(d)?;
        let known = match text.as_str() {
            "hmac-sha1" => Algorithm::HmacSha1,
            "hmac-sha256" => Algorithm::HmacSha256,
            "hmac-sha384" => Algorithm::HmacSha384,
            "hmac-sha512" => Algorithm::HmacSha512,
            "sha256-secret-prefix" => Algorithm::Sha256SecretPrefix,
            "ed25519" => Algorithm::Ed25519,
            "ecdsa-p256-sha256-der" => Algorithm::EcdsaP256Sha256Der,
            "rsa-pkcs1-sha1" => Algorithm::RsaPkcs1Sha1,
            "rsa-pkcs1-sha256" => Algorithm::RsaPkcs1Sha256,
            "rsa-pss-sha512" => Algorithm::RsaPssSha512,
            "ecdsa-p256-sha256" => Algorithm::EcdsaP256Sha256,
            "ecdsa-p384-sha384" => Algorithm::EcdsaP384Sha384,
            "static-equals" => Algorithm::StaticEquals,
            _ => match text.strip_prefix("hook:") {
                Some(name) => return Ok(Some(AlgorithmName::Hook(name.to_owned()))),
                None => return Err(serde::de::Error::unknown_variant(&text, WORDS)),
            },
        };
        Ok(Some(AlgorithmName::Known(known)))
    }
}

pub(super) fn redelivery<'de, D: serde::Deserializer<'de>>(d: D) -> Result<OnRedelivery, D::Error> {
    redelivery_word::deserialize(d)
}
