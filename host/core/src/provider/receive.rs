//! The receiving side of a [`Provider`]: verifies, identifies and answers its requests.
//!
//! The work is done in `verify`, `identify` and `handshake`, which know no provider.

use super::Provider;
use crate::handshake::{self, Handshake, HandshakeAnswer, HandshakeError, HandshakeKeys};
use crate::identify::{Identified, IdentifyError, RequestFacts, RequestFormat};
use crate::request::{RequestView, payload_is_query};
use crate::verify::{NamedSecret, Params, SecretError, Verified, Verifier};

impl Provider {
    /// Prepares the keys of a source without parameters.
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
            return Ok(Verifier::refusing());
        }
        let verifier = Verifier::new(&self.schemes, self.policy, secrets, params)?;
        let by_query = self.methods.iter().any(|method| payload_is_query(method, b""));
        Ok(verifier.refusing_types(&self.unread_types).with_query_payloads(by_query))
    }

    /// True if no scheme signs only certain fields of a form.
    pub(crate) fn signs_whole_forms(&self) -> bool {
        !self.schemes.iter().any(|scheme| scheme.signs_some_fields())
    }

    /// True if a handshake hands over the secret, so that a source can start without one.
    #[must_use]
    pub fn receives_secret(&self) -> bool {
        self.handshakes.iter().any(Handshake::stores_secret)
    }

    /// True if a request may have this method: events or a handshake use it.
    #[must_use]
    pub fn accepts_method(&self, method: &str) -> bool {
        self.methods.contains(method) || self.handshakes.iter().any(|h| h.method == method)
    }

    /// All methods that a request may have, in the form of the header `Allow`.
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

    /// True if the operator must be shown the secret that a handshake hands over.
    #[must_use]
    pub fn shows_secret(&self) -> bool {
        self.handshakes.iter().any(Handshake::shows_secret)
    }

    /// The parameters that list hosts, in the form that [`handshake::parse_host_list`] reads.
    pub fn host_params(&self) -> impl Iterator<Item = &str> {
        self.handshakes.iter().filter_map(Handshake::hosts_param)
    }

    /// The values of `request` by the rules of this provider. Reads nothing yet.
    #[must_use]
    pub fn facts<'a>(&'a self, request: RequestView<'a>) -> RequestFacts<'a> {
        let format = RequestFormat {
            body: self.body,
            json_field: self.json_field.as_deref(),
            pointers_select_fields: self.signs_whole_forms(),
            latin1_headers: self.latin1_headers,
        };
        RequestFacts::new(&self.identity, format, request)
    }

    /// Identifies the events of a verified request. A body that is not the expected JSON is not an
    /// error: the sender is genuine, so the event is kept, with the type `unknown` unless a header
    /// names it.
    pub fn identify(
        &self,
        facts: &RequestFacts<'_>,
        verified: &Verified,
    ) -> Result<Identified, IdentifyError> {
        let scheme = self.scheme(Some(&verified.scheme));
        self.identity.identify(facts, verified, scheme.map(|scheme| &**scheme))
    }

    /// Identifies the events of a request that no signature vouches for, such as a sample. Not for
    /// what a sender sends.
    pub fn identify_unverified(
        &self,
        facts: &RequestFacts<'_>,
    ) -> Result<Identified, IdentifyError> {
        let scheme = self.schemes.first().map(|scheme| scheme.name.clone()).unwrap_or_default();
        self.identify(facts, &Verified::assumed(scheme))
    }

    /// The answer, if this request is a handshake: before verification (`verified` is `None`) only
    /// a handshake that needs no signature, after it only one that does. `None` means that the
    /// request is not a handshake.
    pub fn handshake(
        &self,
        facts: &RequestFacts<'_>,
        verified: Option<&Verified>,
        keys: HandshakeKeys<'_>,
    ) -> Option<Result<HandshakeAnswer, HandshakeError>> {
        handshake::answer(&self.handshakes, facts, verified, keys)
    }

    /// True if a handshake may come before verification, also with other methods than `POST`.
    #[must_use]
    pub fn has_unsigned_handshakes(&self) -> bool {
        self.handshakes.iter().any(|handshake| !handshake.needs_signature())
    }
}
