//! Identity: from the proof in a request to the principal who makes it.
//!
//! The token of the configuration or of the data folder has the role admin and is known without
//! the store, so that a hub whose store failed can still be looked at. Named tokens are in the
//! store's registry; sessions, login codes and failed sign-ins in memory. No secret is kept, only
//! digests.

mod failures;
mod login_codes;
mod sessions;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;
use weir_core::time::{Clock, Timestamp};
use weir_store::StoreError;

use super::principal::{OPERATOR, Principal};
use super::token::Token;
use crate::api::{LoginCode, Proof, Role};
use crate::context::HubContext;
use failures::FailedSignIns;
use login_codes::LoginCodes;
use sessions::Sessions;
use tokens::NamedTokens;

pub(super) use sessions::NewSession;
pub(super) use tokens::TokenStoreError;

/// The digest under which a secret is known.
type SecretDigest = [u8; 32];

/// The holder of a token, as sessions and login codes remember it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    /// The token of the configuration or of the data folder.
    Operator,
    /// The named token with this digest.
    Named(SecretDigest),
}

/// A proof that is not accepted. No message contains a secret.
#[derive(Debug, Error)]
pub(super) enum IdentityError {
    #[error(
        "this needs a token: send `Authorization: Bearer TOKEN` with a token of `weir tokens \
         create`, with admin.token, or with the content of admin-token in the data folder"
    )]
    TokenMissing,
    #[error("the token is wrong, or it was revoked")]
    TokenMismatch,
    #[error("the token `{name}` has expired; an admin can make a new one: `weir tokens create`")]
    TokenExpired { name: Arc<str> },
    #[error("too many failed sign-ins from this address; try again in a minute")]
    TooManyFailures,
    #[error("this code is wrong, was used or is older than a minute; `weir open` makes a new one")]
    CodeInvalid,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Knows every proof of one listener.
#[derive(Debug)]
pub(super) struct Identity {
    operator: Token,
    /// True if clients on this machine may read without a token.
    open_reads: bool,
    cookie: String,
    named: NamedTokens,
    sessions: Sessions,
    codes: LoginCodes,
    failures: FailedSignIns,
    clock: Arc<dyn Clock>,
}

impl Identity {
    /// The identities of a listener at this port. Browsers do not keep the cookies of two ports
    /// apart, so the port is part of the cookie's name.
    pub(super) fn new(ctx: &HubContext, operator: Token, open_reads: bool, port: u16) -> Self {
        Self {
            operator,
            open_reads,
            cookie: format!("weir_session_{port}"),
            named: NamedTokens::new(ctx.store.clone(), ctx.tasks.clone()),
            sessions: Sessions::default(),
            codes: LoginCodes::default(),
            failures: FailedSignIns::default(),
            clock: ctx.clock.clone(),
        }
    }

    /// The named tokens.
    pub(super) fn named(&self) -> &NamedTokens {
        &self.named
    }

    /// True if reads are open to this machine.
    pub(super) fn has_open_reads(&self) -> bool {
        self.open_reads
    }

    /// The principal of a request: by its bearer token, else by its session.
    pub(super) async fn principal(&self, headers: &HeaderMap) -> Result<Principal, IdentityError> {
        if headers.contains_key(AUTHORIZATION) {
            let token = bearer(headers).ok_or(IdentityError::TokenMissing)?;
            return Ok(self.owner(token).await?.1);
        }
        let cookie = self.session_cookie(headers).ok_or(IdentityError::TokenMissing)?;
        let found = self.sessions.find(&digest(cookie.as_bytes()), Instant::now());
        let (owner, form_token) = found.ok_or(IdentityError::TokenMissing)?;
        match self.principal_of(&owner).await {
            Ok(principal) => {
                Ok(Principal { how: Proof::Session, form_token: Some(form_token), ..principal })
            }
            Err(error) => {
                // The token behind it was revoked or has expired.
                self.sessions.end(&digest(cookie.as_bytes()));
                Err(error)
            }
        }
    }

    /// True as long as the proof of a request that was permitted is valid. Asking does not count
    /// as a use of it.
    pub(super) async fn still_knows(&self, headers: &HeaderMap) -> bool {
        let owner = match (headers.contains_key(AUTHORIZATION), self.session_cookie(headers)) {
            (true, _) => bearer(headers).map(|token| self.owner_of(token)),
            (false, Some(cookie)) => self.sessions.peek(&digest(cookie.as_bytes()), Instant::now()),
            // Reads were open to it, and are until the next start.
            (false, None) => return self.open_reads,
        };
        match owner {
            Some(Owner::Operator) => true,
            Some(Owner::Named(digest)) => self.named.is_valid(&digest, self.now()).await,
            None => false,
        }
    }

    /// Signs a browser in with a token.
    pub(super) async fn sign_in(
        &self,
        token: &str,
        from: IpAddr,
    ) -> Result<(NewSession, Principal), IdentityError> {
        if !self.failures.may_try(from, Instant::now()) {
            return Err(IdentityError::TooManyFailures);
        }
        match self.owner(token.trim().as_bytes()).await {
            Ok((owner, principal)) => Ok((self.sessions.begin(owner, Instant::now()), principal)),
            Err(error) => {
                self.failures.note(from, Instant::now());
                Err(error)
            }
        }
    }

    /// Makes a code that signs a browser in as the holder of the bearer token of this request.
    pub(super) async fn login_code(&self, headers: &HeaderMap) -> Result<LoginCode, IdentityError> {
        let token = bearer(headers).ok_or(IdentityError::TokenMissing)?;
        let (owner, _) = self.owner(token).await?;
        let code = random_hex();
        self.codes.add(digest(code.as_bytes()), owner, Instant::now());
        let expires_at = self.now().after(login_codes::LIFE);
        Ok(LoginCode { path: format!("/login/{code}"), code, expires_at })
    }

    /// Signs a browser in with a code, which is useless from now on.
    pub(super) async fn exchange(
        &self,
        code: &str,
        from: IpAddr,
    ) -> Result<(NewSession, Principal), IdentityError> {
        if !self.failures.may_try(from, Instant::now()) {
            return Err(IdentityError::TooManyFailures);
        }
        let Some(owner) = self.codes.take(&digest(code.as_bytes()), Instant::now()) else {
            self.failures.note(from, Instant::now());
            return Err(IdentityError::CodeInvalid);
        };
        let principal = self.principal_of(&owner).await?;
        Ok((self.sessions.begin(owner, Instant::now()), principal))
    }

    /// Ends the session of a request.
    pub(super) fn sign_out(&self, headers: &HeaderMap) {
        if let Some(cookie) = self.session_cookie(headers) {
            self.sessions.end(&digest(cookie.as_bytes()));
        }
    }

    /// The cookie that keeps a session, or with none, the cookie that removes it.
    pub(super) fn cookie(&self, session: Option<&NewSession>, is_secure: bool) -> String {
        let (value, age) = match session {
            Some(session) => (session.secret.as_str(), sessions::LIFE.as_secs()),
            None => ("", 0),
        };
        let name = &self.cookie;
        let secure = if is_secure { "; Secure" } else { "" };
        format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}")
    }

    fn session_cookie(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookie::Cookie::split_parse(cookies).flatten());
        pairs.find(|cookie| cookie.name() == self.cookie).map(|cookie| cookie.value().to_owned())
    }

    async fn owner(&self, token: &[u8]) -> Result<(Owner, Principal), IdentityError> {
        let owner = self.owner_of(token);
        let principal = self.principal_of(&owner).await?;
        Ok((owner, principal))
    }

    fn owner_of(&self, token: &[u8]) -> Owner {
        match self.operator.matches(token) {
            true => Owner::Operator,
            false => Owner::Named(digest(token)),
        }
    }

    async fn principal_of(&self, owner: &Owner) -> Result<Principal, IdentityError> {
        match owner {
            Owner::Operator => {
                Ok(Principal::of_token(OPERATOR.into(), Role::Admin, Proof::LocalFile))
            }
            Owner::Named(digest) => {
                let (name, role) = self.named.holder(digest, self.now()).await?;
                Ok(Principal::of_token(name, role, Proof::Token))
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// True if this is the form token of the session. Takes the same time for every wrong one.
pub(super) fn is_form_token(principal: &Principal, presented: &[u8]) -> bool {
    let own = principal.form_token();
    !own.is_empty() && own.as_bytes().ct_eq(presented).into()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn digest(secret: &[u8]) -> SecretDigest {
    Sha256::digest(secret).into()
}

/// 256 random bits.
fn random_hex() -> String {
    hex::encode(rand::rng().random::<[u8; 32]>())
}
