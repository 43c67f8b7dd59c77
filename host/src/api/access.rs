//! Roles, and `/api/v1/tokens`, `/api/v1/whoami` and `/api/v1/login-codes`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weir_core::time::Timestamp;

use super::params::InvalidValue;
use super::schema;

/// The permission of a client. Each role may do all that the role before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees events, payloads and states.
    Read,
    /// Replays, retries, holds and releases.
    Operate,
    /// Makes and revokes tokens, and handles secrets.
    Admin,
}

impl Role {
    /// The word in JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let all = [Self::Read, Self::Operate, Self::Admin];
        let found = all.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| InvalidValue::new("write read, operate or admin"))
    }
}

/// The proof that a client gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// A named token.
    Token,
    /// The token of the configuration or of the data folder.
    LocalFile,
    /// A session of a browser.
    Session,
    /// None: reads are open to this machine.
    OpenReads,
    /// None, and none is needed.
    None,
}

impl Proof {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::LocalFile => "local_file",
            Self::Session => "session",
            Self::OpenReads => "open_reads",
            Self::None => "none",
        }
    }
}

/// The client that asks, as the hub sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    pub name: String,
    pub role: Option<Role>,
    pub how: Proof,
    /// For a session: the value that its writes send as `X-Weir-Form-Token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form_token: Option<String>,
}

/// A named token. The token itself is shown only when it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    pub name: String,
    pub role: Role,
    #[schema(value_type = schema::TimestampText)]
    pub created_at: Timestamp,
    /// The name of the client that made it.
    pub created_by: String,
    /// The time from which it is refused; null for never.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub expires_at: Option<Timestamp>,
    /// The last time it was used, to the minute; null if it never was.
    #[schema(value_type = Option<schema::TimestampText>)]
    pub last_used_at: Option<Timestamp>,
}

/// Asks for a new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTokenBody {
    /// Its name, 1 to 64 of `a-z`, `A-Z`, `0-9`, `-`, `_`, `.`, which no other token has.
    pub name: String,
    pub role: Role,
    /// The time at which it expires, or the time from now until then; without it, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// A new token. It is not shown again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    pub token: String,
    pub details: TokenView,
}

/// A code that signs one browser in, once, within a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginCode {
    pub code: String,
    /// The path of the console that takes the code.
    pub path: String,
    #[schema(value_type = schema::TimestampText)]
    pub expires_at: Timestamp,
}
