//! Providers: who sends, as data. A file says how to verify, identify, acknowledge and shake hands.
//!
//! `table` is the file as written, `compile` turns it into a checked [`Provider`] and reports every problem
//! with its path, `overrides` lays a source's changes over it. The format is a released contract: version 1
//! stays readable. No name of a provider appears in code; the built-in ones are files like any other.

mod catalog;
mod compile;
mod compile_scheme;
mod coverage;
mod methods;
mod overrides;
mod own;
mod pass;
mod secret_form;
mod shape;
mod source;
mod table;
mod template;
mod units;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::handshake::Handshake;
use crate::identify::IdentityRules;
use crate::sample::Sample;
use crate::verify::{
    NamedSecret, Params, Scheme, SchemePolicy, SecretError, Verifier, payload_is_query,
};

pub use catalog::Catalog;
pub use coverage::{BodyCoverage, Coverage};
pub use methods::{InvalidMethods, Methods};
pub use overrides::ProviderOverrides;
pub use own::{LoadedUserFile, UserProviderFile};
pub use pass::CREDENTIAL_HEADERS;
pub use secret_form::{InvalidForm, SecretForm};
pub use shape::Shape;
pub use source::{HeaderPattern, InvalidSelector, Selector};
pub(crate) use source::{first_key_besides, into_bytes, unless_duplicated, xml_text};
pub use table::{
    AlgorithmName, AnswerTable, BodyDigestTable, BodyKind, ClaimedDigestTable, FetchedKeyTable,
    HttpMessageTable, JwtTable, OnRedelivery, RequestDigestTable, RequestForm, SchemeTable,
    TimestampTable,
};
pub use template::{Piece, Unclosed, pieces};
pub use units::{CategoryEntry, DurationText, OneOrMore, SizeText};

/// The version of the format that this host reads.
pub const FORMAT: u32 = 1;

/// A provider, checked and ready.
#[derive(Debug, Clone)]
pub struct Provider {
    table: Arc<table::ProviderTable>,
    /// The name that a source gives.
    pub name: Arc<str>,
    /// One line about who sends.
    pub about: String,
    /// The provider's own documentation.
    pub docs: String,
    /// What an operator has to give.
    pub params: Vec<Param>,
    /// Which of the schemes a source accepts.
    pub policy: SchemePolicy,
    /// Its schemes, strongest first.
    pub schemes: Vec<Arc<Scheme>>,
    /// Where type, id and the rest of an event's identity stand.
    pub identity: IdentityRules,
    /// What bodies are.
    pub body: BodyKind,
    /// The types that it documents; `*` stands for any text.
    pub types: Vec<Box<str>>,
    /// There are no others.
    pub types_complete: bool,
    /// The field of a form that holds the JSON which other requests have as their body.
    pub json_field: Option<Box<str>>,
    /// The methods by which its events come.
    pub methods: Methods,
    /// Requests that want an answer and are no events.
    pub handshakes: Vec<Handshake>,
    /// Fields that hold secrets: static tokens and what the file adds. To be replaced before anything is stored.
    pub secret_fields: Vec<Selector>,
    /// Largest body, in bytes; `None` leaves it to the host's limit.
    pub body_limit: Option<usize>,
    /// How long the provider tries again.
    pub retry_window: Option<Duration>,
    /// How soon it wants its answer.
    pub ack_deadline: Option<Duration>,
    /// What a redelivery of an event that failed here does.
    pub on_redelivery: OnRedelivery,
    /// Headers that a route passes on, so that its receiver can verify what the provider sent: those that the file
    /// names, and all that a signature or an identity is read from.
    pub pass_headers: Vec<HeaderPattern>,
    /// Header values are Latin-1, not UTF-8.
    pub latin1_headers: bool,
    /// Media types that the sender may use and that are not read here.
    pub unread_types: Arc<[Box<str>]>,
    /// Status of a refused signature.
    pub failure_status: u16,
    /// A refused signature is answered with nothing but that status.
    pub failure_empty: bool,
    /// The answer to an accepted request, where the provider wants a certain one.
    pub acknowledge: Option<AnswerTable>,
    /// The same where the request is a form, if that differs.
    pub acknowledge_form: Option<AnswerTable>,
    /// The answer when a responder is late.
    pub default_answer: Option<AnswerTable>,
    /// Requests as the provider would send them.
    pub samples: Vec<Sample>,
    /// The public URL, where the source states one.
    pub public_url: Option<String>,
}

/// What an operator has to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What it is and where to find it.
    pub about: String,
    /// The source does not work without it.
    pub required: bool,
    /// To be kept secret.
    pub secret: bool,
    /// How the provider writes it, for a fresh one.
    pub form: Option<SecretForm>,
}

/// One thing that is wrong with a provider file or a source's changes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderProblem {
    /// Where, such as `schemes.v1.timestamp`.
    pub path: String,
    /// What.
    pub message: String,
}

/// A provider file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// Not the format at all: a line that TOML does not read, an unknown key, a missing one.
    #[error("not a provider file: {message}")]
    Format {
        /// What the parser says, with line and column.
        message: String,
    },
    /// Read, but wrong: every problem at once.
    #[error("{}", list(.0))]
    Invalid(Vec<ProviderProblem>),
}

fn list(problems: &[ProviderProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.path, p.message)).collect();
    lines.join("; ")
}

impl Provider {
    /// Reads a provider file, checks it, and tries its own vectors: a file that does not tell a genuine
    /// request from a forged one is not used.
    pub fn load(text: &str) -> Result<Self, ProviderError> {
        let table: table::ProviderTable = toml::from_str(text)
            .map_err(|error| ProviderError::Format { message: error.to_string() })?;
        let provider = compile::compile(Arc::new(table))?;
        let failures = provider.check_vectors();
        if failures.is_empty() { Ok(provider) } else { Err(ProviderError::Invalid(failures)) }
    }

    /// This provider as a source has it.
    pub fn with_overrides(&self, overrides: &ProviderOverrides) -> Result<Self, ProviderError> {
        let mut table = (*self.table).clone();
        overrides.apply(&mut table).map_err(|(path, message)| {
            ProviderError::Invalid(vec![ProviderProblem { path, message }])
        })?;
        let mut provider = compile::compile(Arc::new(table))?;
        provider.public_url.clone_from(&overrides.public_url);
        Ok(provider)
    }

    /// Prepares the keys of a source that was given no parameters.
    pub fn verifier(&self, secrets: &[NamedSecret]) -> Result<Verifier, SecretError> {
        self.verifier_with(secrets, &Params::new())
    }

    /// Prepares the keys of a source.
    pub fn verifier_with(
        &self,
        secrets: &[NamedSecret],
        params: &Params,
    ) -> Result<Verifier, SecretError> {
        if secrets.is_empty() && self.receives_secret() {
            return Ok(Verifier::awaiting_secret());
        }
        let verifier = Verifier::new(&self.schemes, self.policy, secrets, params)?;
        let by_query = self.methods.iter().any(|method| payload_is_query(method, b""));
        Ok(verifier.without_types(&self.unread_types).taking_queries(by_query))
    }

    /// True if no scheme signs certain fields of a form and leaves others open.
    pub(crate) fn signs_whole_forms(&self) -> bool {
        !self.schemes.iter().any(|scheme| scheme.signs_some_fields())
    }

    /// True if a handshake hands over the secret, so that a source may start without one.
    #[must_use]
    pub fn receives_secret(&self) -> bool {
        self.handshakes.iter().any(Handshake::stores_secret)
    }

    /// Whether a request of this method can mean anything: its events come by it, or one of its handshakes does.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        self.methods.contains(method) || self.handshakes.iter().any(|h| h.method == method)
    }

    /// Every method that can mean anything, as the header `Allow` has them.
    #[must_use]
    pub fn allowed_methods(&self) -> String {
        let mut names: Vec<&str> = self.methods.iter().collect();
        for handshake in &self.handshakes {
            if !names.contains(&&*handshake.method) {
                names.push(&handshake.method);
            }
        }
        names.join(", ")
    }

    /// True if the operator has to be shown the secret that a handshake hands over.
    #[must_use]
    pub fn shows_secret(&self) -> bool {
        self.handshakes.iter().any(Handshake::shows_secret)
    }

    /// The parameters that list hosts, see [`parse_host_list`](crate::handshake::listed_hosts).
    pub fn host_params(&self) -> impl Iterator<Item = &str> {
        self.handshakes.iter().filter_map(Handshake::hosts_param)
    }

    /// How it writes the secrets that it shares, where it has a form of its own.
    #[must_use]
    pub fn secret_form(&self) -> Option<&SecretForm> {
        self.params.iter().find(|param| param.name == "secret")?.form.as_ref()
    }

    /// The text that its secrets begin with, where they do.
    #[must_use]
    pub fn secret_prefix(&self) -> Option<&str> {
        self.secret_form().map(SecretForm::start).filter(|start| start.ends_with('_'))
    }

    /// The scheme of that name, or the first.
    #[must_use]
    pub fn scheme(&self, name: Option<&str>) -> Option<&Arc<Scheme>> {
        self.schemes.iter().find(|s| name.is_none_or(|name| *s.name == *name))
    }
}
