//! Sources in force, and the secrets that some senders hand over.

use std::time::Duration;

use weir_core::name::SourceName;

use super::{AdminService, Principal, views};
use crate::admin::error::ApiError;
use crate::api::params::future_moment;
use crate::api::{
    ForgottenSecret, ListPage, OpenWindowBody, SecretAnswer, SourceView, WindowAnswer,
};
use crate::ingress::{HandOverStatus, OpenWindowError, SourceStatus};

/// Longest time that a window may be open: meanwhile anyone may hand a secret over.
const WINDOW_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl AdminService {
    /// Sources in force, by name.
    pub(crate) fn sources(&self) -> ListPage<SourceView> {
        let mut connections = self.pulls.statuses();
        let view = |source: SourceStatus| {
            let connection = connections.remove(&source.name);
            views::source(source, connection)
        };
        ListPage::whole(self.ingress.sources().into_iter().map(view))
    }

    /// The URL of a source's webhooks: the configured one, or that of this hub's listener.
    pub(crate) fn webhook_url(&self, source: &SourceName) -> String {
        let found = self.ingress.sources().into_iter().find(|one| one.name == *source);
        let configured = found.and_then(|source| source.public_url);
        configured.unwrap_or_else(|| format!("{}/webhook/{source}", self.webhooks_at))
    }

    /// The same with their counts and states.
    pub(in crate::admin) async fn sources_with_health(&self) -> ListPage<SourceView> {
        let mut health = self.source_health().await;
        let mut page = self.sources();
        for source in &mut page.items {
            source.health = health.remove(source.name.as_str());
        }
        page
    }

    /// One source in force with its counts, its state, and the fields of its events.
    pub(crate) async fn source(&self, name: &str) -> Result<SourceView, ApiError> {
        let name = source_name(name)?;
        let found = self.sources_with_health().await.items.into_iter().find(|s| s.name == name);
        match found {
            Some(mut source) => {
                let shapes = self.shapes.of(&source.name).into_iter().map(views::shape);
                source.shapes = Some(shapes.collect());
                Ok(source)
            }
            None => Err(self.unknown_source(&name).await),
        }
    }

    /// Opens the window in which the next handshake may hand over the source's secret.
    pub(crate) async fn open_window(
        &self,
        source: &str,
        body: OpenWindowBody,
        by: Principal,
    ) -> Result<WindowAnswer, ApiError> {
        let result = self.do_open_window(source, body, by.clone()).await;
        self.recorded(&by, "secret_window_open", source, result).await
    }

    async fn do_open_window(
        &self,
        source: &str,
        body: OpenWindowBody,
        by: Principal,
    ) -> Result<WindowAnswer, ApiError> {
        let source = source_name(source)?;
        let now = self.clock.now();
        let invalid =
            |why: String| ApiError::bad_request("invalid_until", format!("`until`: {why}"));
        let until = future_moment(&body.until, now).map_err(|why| invalid(why.to_string()))?;
        if until > now.after(WINDOW_MAX) {
            return Err(invalid("the time must be within a day".to_owned()));
        }
        let shown_once = match self.ingress.open_window(source.as_str(), until).await {
            Ok(shown_once) => shown_once,
            Err(OpenWindowError::Store(error)) => return Err(error.into()),
            Err(OpenWindowError::UnknownSource) => return Err(self.unknown_source(&source).await),
            Err(refused) => {
                let code = match refused {
                    OpenWindowError::Configured => "secrets_configured",
                    OpenWindowError::NotHandedOver => "not_handed_over",
                    _ => "secret_known",
                };
                return Err(ApiError::conflict(code, refused.to_string()));
            }
        };
        let name = source.as_str();
        tracing::info!(source = name, %until, %by, "window for handing over a secret opened");
        Ok(WindowAnswer { source, until, shown_once })
    }

    /// Shows, once, the secret that came through the window, if the operator has to give it back to
    /// the provider.
    pub(crate) async fn show_secret(
        &self,
        source: &str,
        by: Principal,
    ) -> Result<SecretAnswer, ApiError> {
        let result = self.do_show_secret(source, by.clone());
        self.recorded(&by, "secret_show", source, result).await
    }

    fn do_show_secret(&self, source: &str, by: Principal) -> Result<SecretAnswer, ApiError> {
        let source = source_name(source)?;
        match self.ingress.show_secret(source.as_str()) {
            HandOverStatus::Secret(secret) => {
                tracing::info!(source = source.as_str(), %by, "handed-over secret shown");
                let secret = String::from_utf8_lossy(secret.expose()).into_owned();
                Ok(SecretAnswer { source, secret: Some(secret), until: None })
            }
            HandOverStatus::Waiting(until) => {
                Ok(SecretAnswer { source, secret: None, until: Some(until) })
            }
            HandOverStatus::Shown => {
                let detail = "the secret was shown already; it is shown only once";
                Err(ApiError::gone("secret_shown", detail))
            }
            HandOverStatus::Nothing => {
                let detail = "there is no secret to show for this source: its window is closed, or \
                              its provider does not need the secret back";
                Err(ApiError::not_found("secret_not_found", detail))
            }
        }
    }

    /// Closes the window again.
    pub(crate) async fn close_window(
        &self,
        source: &str,
        by: Principal,
    ) -> Result<ForgottenSecret, ApiError> {
        let result = self.do_close_window(source, by.clone());
        self.recorded(&by, "secret_window_close", source, result).await
    }

    fn do_close_window(&self, source: &str, by: Principal) -> Result<ForgottenSecret, ApiError> {
        let source = source_name(source)?;
        if !self.ingress.close_window(source.as_str()) {
            let detail = "no window is open for this source";
            return Err(ApiError::not_found("window_not_found", detail));
        }
        tracing::info!(source = source.as_str(), %by, "window for handing over a secret closed");
        Ok(ForgottenSecret { source })
    }

    /// Forgets the secret that was handed over.
    pub(crate) async fn forget_secret(
        &self,
        source: &str,
        by: Principal,
    ) -> Result<ForgottenSecret, ApiError> {
        let result = self.do_forget_secret(source, by.clone()).await;
        self.recorded(&by, "secret_forget", source, result).await
    }

    async fn do_forget_secret(
        &self,
        source: &str,
        by: Principal,
    ) -> Result<ForgottenSecret, ApiError> {
        let source = source_name(source)?;
        if !self.ingress.forget_secret(&source).await? {
            let detail = "no secret was handed over for this source";
            return Err(ApiError::not_found("secret_not_found", detail));
        }
        tracing::info!(source = source.as_str(), %by, "handed-over secret forgotten");
        Ok(ForgottenSecret { source })
    }

    async fn unknown_source(&self, source: &SourceName) -> ApiError {
        let unknown =
            || ApiError::not_found("source_not_found", format!("there is no source `{source}`"));
        self.check_names(Some(source), None).await.err().unwrap_or_else(unknown)
    }
}

fn source_name(text: &str) -> Result<SourceName, ApiError> {
    text.parse().map_err(|error| ApiError::bad_request("invalid_source", format!("{error}")))
}
