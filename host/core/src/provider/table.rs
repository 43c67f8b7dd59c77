//! A provider file as written: the released format, unknown keys refused, nothing checked yet.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::scheme_table::SchemeTable;
use super::units::{CategoryEntry, DurationText, OneOrMore, SizeText};
use super::words;
use crate::selector::BodyKind;
use crate::verify::SchemePolicy;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderTable {
    /// The version of the format: 1.
    pub(super) format: u32,
    /// The name that a source gives under `provider`.
    pub(super) name: String,
    /// A description in one line.
    pub(super) about: String,
    /// The URL of the provider's documentation.
    pub(super) docs: String,
    #[serde(default)]
    pub(super) params: Vec<ParamTable>,
    /// The schemes that a source accepts.
    #[serde(default = "strongest", with = "words::policy")]
    pub(super) policy: SchemePolicy,
    /// The schemes, strongest first.
    pub(super) schemes: Vec<SchemeTable>,

    /// The selectors of the event's type.
    #[serde(default, rename = "type")]
    pub(super) kind: OneOrMore,
    /// The provider's own type, if a source changes it: categories depend on it.
    #[serde(skip)]
    pub(super) original_type: Option<OneOrMore>,
    /// The categories that a source adds; they take precedence over the provider's.
    #[serde(skip)]
    pub(super) source_categories: BTreeMap<String, CategoryEntry>,
    /// The selectors of the sender's id.
    #[serde(default)]
    pub(super) id: OneOrMore,
    /// The documented types; `*` stands for any text.
    #[serde(default)]
    pub(super) types: Vec<String>,
    /// True if there are no other types, so that a pattern which matches none of them is a mistake.
    #[serde(default)]
    pub(super) types_complete: bool,
    /// The dedup rule: `id`, `id+body`, `type+body`, `body`, `none`, or a list of fields. The body
    /// is the signed part of it.
    pub(super) dedup: OneOrMore,
    /// The selectors of arrays whose items are separate events, in the body or as JSON in a form
    /// field (`form:FIELD#/pointer`); several for senders that differ.
    #[serde(default)]
    pub(super) fan_out: OneOrMore,
    /// The kind of the bodies.
    #[serde(default, with = "words::body")]
    pub(super) body: BodyKind,
    /// The form field that holds the JSON which other requests have as their body: pointers point
    /// into it.
    pub(super) json_field: Option<String>,
    /// The HTTP methods of events; the default is `POST`. The payload of a `GET` or `DELETE`
    /// without a body is its query, read as a form.
    pub(super) methods: Option<OneOrMore>,
    /// The categories of types (`*` stands for any text): a category, or `by` with a selector (or
    /// several, separated by ` | `) and a category for each text there.
    #[serde(default)]
    pub(super) categories: BTreeMap<String, CategoryEntry>,
    /// Fields with secrets, besides static tokens.
    #[serde(default)]
    pub(super) secret_fields: Vec<String>,

    /// The maximum body size.
    pub(super) body_limit: Option<SizeText>,
    /// The time during which the provider retries.
    pub(super) retry_window: Option<DurationText>,
    /// The time within which the provider expects an answer.
    pub(super) ack_deadline: Option<DurationText>,
    /// The effect of a redelivery of an event that failed.
    #[serde(default, with = "words::redelivery")]
    pub(super) on_redelivery: OnRedelivery,
    /// Headers that identify or sign the request: a route passes them on. Never a credential.
    #[serde(default)]
    pub(super) pass_headers: Vec<String>,
    /// True if header values are Latin-1.
    #[serde(default)]
    pub(super) latin1_headers: bool,
    /// Media types that the provider may send and that are not supported: such requests are
    /// refused.
    #[serde(default)]
    pub(super) unread_types: Vec<String>,
    /// The HTTP status for an invalid signature.
    pub(super) failure_status: Option<u16>,
    /// True if the response to an invalid signature has no body.
    #[serde(default)]
    pub(super) failure_empty: bool,
    /// The response to an accepted request, if the provider expects a certain one.
    pub(super) acknowledge: Option<AnswerTable>,
    /// The response to an accepted form, if it differs.
    pub(super) acknowledge_form: Option<AnswerTable>,
    /// The response if a responder is late.
    pub(super) default_answer: Option<AnswerTable>,

    #[serde(default)]
    pub(super) handshakes: Vec<HandshakeTable>,
    #[serde(default)]
    pub(super) samples: Vec<SampleTable>,
    #[serde(default)]
    pub(super) vectors: Vec<VectorTable>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParamTable {
    pub(super) name: String,
    pub(super) about: String,
    #[serde(default)]
    pub(super) required: bool,
    #[serde(default)]
    pub(super) secret: bool,
    /// The form of a text secret, such as `whsec_{base64:32}`.
    #[serde(default)]
    pub(super) form: Option<String>,
}

/// The effect of a redelivery of an event that ended as a dead letter or unrouted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRedelivery {
    /// The redelivery is a duplicate.
    #[default]
    Duplicate,
    /// The event is replayed: for providers that deliver again only if a person asks.
    Requeue,
}

/// A fixed response.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerTable {
    pub status: u16,
    pub content_type: Option<String>,
    #[serde(default)]
    pub body: String,
}

/// A handshake: a request that asks for an answer and carries no event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandshakeTable {
    pub(super) name: String,
    pub(super) when: WhenTable,
    /// `verify`, `nothing`, or the name of a parameter that the value at `token` must equal.
    pub(super) after: String,
    /// The selector of the token for `after`.
    pub(super) token: Option<String>,
    pub(super) reply: ReplyTable,
    #[serde(default)]
    pub(super) effect: EffectTable,
    /// Selectors with the shape that each value must have, or the handshake is refused.
    #[serde(default)]
    pub(super) shapes: BTreeMap<String, String>,
}

/// The requests that are the handshake.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenTable {
    pub(super) method: String,
    /// Selectors that must have a value.
    #[serde(default)]
    pub(super) present: Vec<String>,
    /// Selectors that must have no value.
    #[serde(default)]
    pub(super) absent: Vec<String>,
    /// Selectors that must have this value.
    #[serde(default)]
    pub(super) equal: BTreeMap<String, String>,
}

/// The response to a handshake, with placeholders.
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

/// The effect of a handshake besides its response.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EffectTable {
    /// The selector of a secret to store.
    pub(super) store_secret: Option<String>,
    /// True if the operator must enter that secret at the provider, so that it is shown once to the
    /// person who opened the window.
    #[serde(default)]
    pub(super) show_once: bool,
    /// The selector of a URL to fetch, if its host is one of `hosts`.
    pub(super) fetch_url: Option<String>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    /// The pattern of the URL's path; the default permits any.
    pub(super) path: Option<String>,
    /// A parameter that lists the hosts, separated by commas; without it, nothing is fetched.
    pub(super) hosts_param: Option<String>,
    /// True if the URL is fetched after the response, whatever the result.
    #[serde(default)]
    pub(super) later: bool,
    /// A notice to the operator.
    pub(super) notice: Option<String>,
}

/// A request as the provider sends it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SampleTable {
    pub(super) name: String,
    #[serde(default)]
    pub(super) about: String,
    /// The method; the default is the provider's first. With `GET`, the body becomes the query.
    pub(super) method: Option<String>,
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

/// A request with a known verdict.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VectorTable {
    pub(super) name: String,
    /// The origin: the provider's documentation, a test suite, or computed.
    pub(super) origin: String,
    /// The error code; absent if the request is genuine.
    pub(super) refused: Option<String>,
    #[serde(default)]
    pub(super) secret: OneOrMore,
    #[serde(default)]
    pub(super) params: BTreeMap<String, String>,
    /// The time of verification, in Unix seconds.
    #[serde(default)]
    pub(super) now: u64,
    #[serde(default = "post")]
    pub(super) method: String,
    #[serde(default = "example_url")]
    pub(super) url: String,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Option<String>,
    /// The body as base64, if it is not text or its line ends matter.
    pub(super) body_base64: Option<String>,
    /// The types of its events, in order, to check them too.
    pub(super) types: Option<Vec<String>>,
    /// The sender's ids of its events, in order.
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
