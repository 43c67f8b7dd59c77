//! Tokens: the list, making one, revoking one; and signing in.

use std::net::IpAddr;

use http::HeaderMap;

use super::{AdminService, Principal};
use crate::admin::error::ApiError;
use crate::admin::identity::{IdentityError, NewSession};
use crate::api::params::{future_moment, token_name};
use crate::api::{CreateTokenBody, CreatedToken, ListPage, LoginCode, TokenView};

impl AdminService {
    /// Named tokens, by name.
    pub(crate) async fn tokens(&self) -> Result<ListPage<TokenView>, ApiError> {
        Ok(ListPage::whole(self.identity.named().list().await?))
    }

    /// Makes a named token.
    pub(crate) async fn create_token(
        &self,
        body: CreateTokenBody,
        by: Principal,
    ) -> Result<CreatedToken, ApiError> {
        let CreateTokenBody { name, role, expires } = body;
        token_name(&name)
            .map_err(|why| ApiError::bad_request("invalid_token_name", format!("`name`: {why}")))?;
        let now = self.clock.now();
        let expires_at = expires.map(|text| future_moment(&text, now)).transpose();
        let expires_at = expires_at
            .map_err(|why| ApiError::bad_request("invalid_until", format!("`expires`: {why}")))?;
        let tokens = self.identity.named();
        let created = tokens.create(&name, role, expires_at, by.as_str(), now).await?;
        tracing::info!(token = name, %role, %by, "token made");
        Ok(created)
    }

    /// Revokes a named token. Its sessions end with it.
    pub(crate) async fn revoke_token(
        &self,
        name: &str,
        by: Principal,
    ) -> Result<TokenView, ApiError> {
        let revoked = self.identity.named().revoke(name).await?;
        tracing::info!(token = name, %by, "token revoked");
        Ok(revoked)
    }

    /// Signs a browser in with a token.
    pub(in crate::admin) async fn sign_in(
        &self,
        token: &str,
        from: IpAddr,
    ) -> Result<NewSession, ApiError> {
        self.signed_in(self.identity.sign_in(token, from).await, from)
    }

    /// Signs a browser in with a single-use code.
    pub(in crate::admin) async fn exchange_code(
        &self,
        code: &str,
        from: IpAddr,
    ) -> Result<NewSession, ApiError> {
        self.signed_in(self.identity.exchange(code, from).await, from)
    }

    fn signed_in(
        &self,
        result: Result<(NewSession, Principal), IdentityError>,
        from: IpAddr,
    ) -> Result<NewSession, ApiError> {
        match result {
            Ok((session, by)) => {
                tracing::info!(%by, address = %from, "signed in");
                Ok(session)
            }
            Err(error) => {
                tracing::info!(%error, address = %from, "sign-in refused");
                Err(error.into())
            }
        }
    }

    /// Makes a code that signs one browser in as the holder of the token in these headers.
    pub(in crate::admin) async fn login_code(
        &self,
        headers: &HeaderMap,
    ) -> Result<LoginCode, ApiError> {
        Ok(self.identity.login_code(headers).await?)
    }
}
