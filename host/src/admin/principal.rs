//! The principal: the client that makes a request of the admin API, its role, and the proof it
//! gave.

use std::fmt;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use super::error::ApiError;
use crate::api::{Proof, Role, WhoAmI};

/// The name of the holder of the token of the configuration or of the data folder.
pub(crate) const OPERATOR: &str = "operator";
/// The name of a client that gave no proof.
const ANONYMOUS: &str = "anonymous";

/// The client that makes a request. The guard puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) name: Arc<str>,
    /// None for a client that may do only what needs no permission.
    pub(crate) role: Option<Role>,
    pub(crate) how: Proof,
    /// The form token of its session, if it has one.
    pub(super) form_token: Option<Arc<str>>,
}

impl Principal {
    /// A client that gave no proof where none is needed.
    pub(crate) fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), role: None, how: Proof::None, form_token: None }
    }

    /// A client on this machine, to which reads are open.
    pub(super) fn open_reads() -> Self {
        Self { role: Some(Role::Read), how: Proof::OpenReads, ..Self::anonymous() }
    }

    /// A holder of a token.
    pub(super) fn of_token(name: Arc<str>, role: Role, how: Proof) -> Self {
        Self { name, role: Some(role), how, form_token: None }
    }

    /// True if it has this role or a higher one.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role.is_some_and(|own| own >= role)
    }

    /// The name in records and logs.
    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    /// The value of the field `form_token` that every form of its session must send. Empty for a
    /// client without a session, which needs none.
    pub(crate) fn form_token(&self) -> &str {
        self.form_token.as_deref().unwrap_or_default()
    }

    /// The same as an answer of the API.
    pub(super) fn who_am_i(&self) -> WhoAmI {
        WhoAmI {
            name: self.name.to_string(),
            role: self.role,
            how: self.how,
            form_token: self.form_token.as_deref().map(Into::into),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let principal = parts.extensions.get().cloned();
        // The guard sets it before every endpoint.
        principal.ok_or_else(|| ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR))
    }
}
