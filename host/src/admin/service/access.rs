//! Tokens: the list, making one, revoking one; and signing in.

use std::net::IpAddr;

use http::HeaderMap;
use serde_json::Map;

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
        let name = body.name.clone();
        let result = self.do_create_token(body, by.clone()).await;
        self.recorded(&by, "token_create", &name, result).await
    }

    async fn do_create_token(
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
        let result = self.do_revoke_token(name, by.clone()).await;
        self.recorded(&by, "token_revoke", name, result).await
    }

    async fn do_revoke_token(&self, name: &str, by: Principal) -> Result<TokenView, ApiError> {
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
        self.signed_in(self.identity.sign_in(token, from).await, from).await
    }

    /// Signs a browser in with a single-use code.
    pub(in crate::admin) async fn exchange_code(
        &self,
        code: &str,
        from: IpAddr,
    ) -> Result<NewSession, ApiError> {
        self.signed_in(self.identity.exchange(code, from).await, from).await
    }

    async fn signed_in(
        &self,
        result: Result<(NewSession, Principal), IdentityError>,
        from: IpAddr,
    ) -> Result<NewSession, ApiError> {
        let subject = from.to_string();
        match result {
            Ok((session, by)) => {
                tracing::info!(%by, address = %from, "signed in");
                self.recorded(&by, "sign_in", &subject, Ok(session)).await
            }
            // A flood of these must not fill the log.
            Err(error @ IdentityError::TooManyFailures) => Err(error.into()),
            Err(error) => {
                tracing::info!(%error, address = %from, "sign-in refused");
                let unknown = Principal::anonymous();
                self.recorded(&unknown, "sign_in", &subject, Err(error.into())).await
            }
        }
    }

    /// Ends a session.
    pub(in crate::admin) async fn sign_out(&self, headers: &HeaderMap, by: Principal) {
        self.identity.sign_out(headers);
        tracing::info!(%by, "signed out");
        self.record(&by, "sign_out", "", &Ok(()), Map::new()).await;
    }

    /// Makes a code that signs one browser in as the holder of the token in these headers.
    pub(in crate::admin) async fn login_code(
        &self,
        headers: &HeaderMap,
        by: Principal,
    ) -> Result<LoginCode, ApiError> {
        let code = self.identity.login_code(headers).await.map_err(ApiError::from);
        self.recorded(&by, "login_code", "", code).await
    }
}
