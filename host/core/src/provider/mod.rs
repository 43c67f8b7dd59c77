//! Providers: data files that describe how a sender's requests are verified, identified and
//! answered.
//!
//! `table` is the file as written; `compile` turns it into a checked [`Provider`] and reports every
//! problem with its path; `overrides` applies a source's changes. The format is a released
//! contract: version 1 stays readable. No code knows a provider by name; the built-in ones are
//! files like any other.

mod catalog;
mod compile;
mod coverage;
mod methods;
mod overrides;
mod passed_headers;
mod problems;
mod receive;
mod scheme_table;
mod send;
mod table;
mod units;
mod user_files;
mod vectors;
mod words;

use std::sync::Arc;
use std::time::Duration;

use crate::handshake::Handshake;
use crate::identify::IdentityRules;
use crate::sample::Sample;
use crate::selector::{BodyKind, HeaderPattern, Selector};
use crate::sign::SecretForm;
use crate::verify::{Scheme, SchemePolicy};

pub use catalog::Catalog;
pub use coverage::{BodyCoverage, Coverage};
pub use methods::{InvalidMethods, Methods};
pub use overrides::ProviderOverrides;
pub use passed_headers::CREDENTIAL_HEADERS;
pub use problems::{ProviderError, ProviderProblem};
pub use scheme_table::{
    AlgorithmName, BodyDigestTable, ClaimedDigestTable, FetchedKeyTable, HttpMessageTable,
    JwtTable, RequestDigestTable, RequestForm, SchemeTable, TimestampTable,
};
pub use table::{AnswerTable, OnRedelivery};
pub use units::{CategoryEntry, DurationText, OneOrMore, SizeText};
pub use user_files::{LoadedUserFile, UserProviderFile};

/// The version of the format that this hub reads.
pub const FORMAT: u32 = 1;

/// A checked provider.
#[derive(Debug, Clone)]
pub struct Provider {
    table: Arc<table::ProviderTable>,
    /// The name that a source refers to.
    pub name: Arc<str>,
    /// A description in one line.
    pub about: String,
    /// The URL of the provider's documentation.
    pub docs: String,
    pub params: Vec<Param>,
    /// The schemes that a source accepts.
    pub policy: SchemePolicy,
    /// The schemes, strongest first.
    pub schemes: Vec<Arc<Scheme>>,
    /// The rules for type, id and the rest of an event's identity.
    pub identity: IdentityRules,
    /// The kind of the bodies.
    pub body: BodyKind,
    /// The documented types; `*` stands for any text.
    pub types: Vec<Box<str>>,
    /// True if there are no other types.
    pub types_complete: bool,
    /// The form field that holds the JSON which other requests have as their body.
    pub json_field: Option<Box<str>>,
    /// The HTTP methods of events.
    pub methods: Methods,
    /// Requests that ask for an answer and carry no event.
    pub handshakes: Vec<Handshake>,
    /// Fields with secrets (static tokens, and those that the file adds), replaced before a request
    /// is stored.
    pub secret_fields: Vec<Selector>,
    /// The maximum body size in bytes; `None` uses the hub's limit.
    pub body_limit: Option<usize>,
    /// The time during which the provider retries.
    pub retry_window: Option<Duration>,
    /// The time within which the provider expects an answer.
    pub ack_deadline: Option<Duration>,
    /// The effect of a redelivery of an event that failed.
    pub on_redelivery: OnRedelivery,
    /// The headers that a route passes on, so that its receiver can verify the request: those that
    /// the file names, and those that signature and identity are read from.
    pub pass_headers: Vec<HeaderPattern>,
    /// True if header values are Latin-1, not UTF-8.
    pub latin1_headers: bool,
    /// Media types that the sender may use and that are not supported.
    pub unread_types: Arc<[Box<str>]>,
    /// The HTTP status for an invalid signature.
    pub failure_status: u16,
    /// True if the response to an invalid signature has no body.
    pub failure_empty: bool,
    /// The response to an accepted request, if the provider expects a certain one.
    pub acknowledge: Option<AnswerTable>,
    /// The response to an accepted form, if it differs.
    pub acknowledge_form: Option<AnswerTable>,
    /// The response if a responder is late.
    pub default_answer: Option<AnswerTable>,
    /// Requests as the provider sends them.
    pub samples: Vec<Sample>,
    /// The public URL, if the source states one.
    pub public_url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    pub name: String,
    /// A description, and where to find the value.
    pub about: String,
    /// True if the source does not work without it.
    pub required: bool,
    /// True if the value is secret.
    pub secret: bool,
    /// The form of a fresh value.
    pub form: Option<SecretForm>,
}

impl Provider {
    /// Reads and checks a provider file, and verifies its own vectors: a file that does not tell a
    /// genuine request from a forged one is refused.
    pub fn load(text: &str) -> Result<Self, ProviderError> {
        let table: table::ProviderTable = toml::from_str(text)
            .map_err(|error| ProviderError::Format { message: error.to_string() })?;
        let provider = compile::compile(Arc::new(table))?;
        let failures = provider.check_vectors();
        if failures.is_empty() { Ok(provider) } else { Err(ProviderError::Invalid(failures)) }
    }

    /// This provider with the overrides of a source.
    pub fn with_overrides(&self, overrides: &ProviderOverrides) -> Result<Self, ProviderError> {
        let mut table = (*self.table).clone();
        overrides.apply(&mut table).map_err(|(path, message)| {
            ProviderError::Invalid(vec![ProviderProblem { path, message }])
        })?;
        let mut provider = compile::compile(Arc::new(table))?;
        provider.public_url.clone_from(&overrides.public_url);
        Ok(provider)
    }

    /// The scheme with this name, or the first.
    #[must_use]
    pub fn scheme(&self, name: Option<&str>) -> Option<&Arc<Scheme>> {
        self.schemes.iter().find(|s| name.is_none_or(|name| *s.name == *name))
    }
}
