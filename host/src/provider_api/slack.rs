//! The event subscription of a Slack app, which is a part of its manifest.
//!
//! <https://docs.slack.dev/reference/methods/apps.manifest.export>,
//! <https://docs.slack.dev/reference/methods/apps.manifest.update>: no API registers events with a
//! bot token. With an app configuration token, the manifest of an app can be read and replaced. An
//! error is `ok: false` with a code. No method tells the signing secret of an app that exists.
//! Slack checks the URL by a handshake, so the hub must be running with the signing secret.

use async_trait::async_trait;
use serde_json::{Value, json};
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError};
use super::{RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// The API of one app.
#[derive(Debug)]
pub(crate) struct Slack {
    api: ApiClient,
    app: String,
}

impl Slack {
    /// `app` is the id of the app, such as `A012ABCD0A0`.
    pub(crate) fn new(
        base: Option<&str>,
        app: &str,
        token: &Secret,
    ) -> Result<Self, ProviderApiError> {
        let api = ApiClient::new("slack", "https://slack.com/api", base, message)?;
        Ok(Self { api: api.with_bearer(token)?, app: app.to_owned() })
    }

    async fn call(&self, method: &str, fields: &[(&str, &str)]) -> Result<Value, ProviderApiError> {
        let answer = self.api.form(&format!("/{method}"), fields).await?;
        if answer["ok"] == true {
            return Ok(answer);
        }
        let said = message(&answer).unwrap_or_else(|| "no error code".into());
        let advice = match answer["error"].as_str() {
            Some("invalid_auth" | "token_expired" | "not_authed" | "not_allowed_token_type") => {
                "; give an app configuration token, which begins with xoxe.xoxp-: a bot token \
                 cannot do this. It lives 12 hours"
            }
            Some("app_not_eligible" | "invalid_app_id" | "invalid_app") => "; check --app",
            _ => "",
        };
        Err(self.api.refused(&said, advice))
    }

    async fn manifest(&self) -> Result<Value, ProviderApiError> {
        let mut answer = self.call("apps.manifest.export", &[("app_id", &self.app)]).await?;
        Ok(answer["manifest"].take())
    }

    async fn replace(&self, manifest: &Value) -> Result<(), ProviderApiError> {
        let manifest = manifest.to_string();
        let fields = [("app_id", self.app.as_str()), ("manifest", &manifest)];
        self.call("apps.manifest.update", &fields).await?;
        Ok(())
    }

    async fn subscribe(&self, wanted: &WantedWebhook) -> Result<(), ProviderApiError> {
        let mut manifest = self.manifest().await?;
        let settings = &mut manifest["settings"];
        if settings["socket_mode_enabled"] == true {
            let what = "the app uses socket mode, in which Slack calls no URL; switch it off in the \
                        app's settings first";
            return Err(ProviderApiError::Impossible(what.into()));
        }
        // What the subscription has beside these two is kept.
        settings["event_subscriptions"]["request_url"] = wanted.url.clone().into();
        settings["event_subscriptions"]["bot_events"] = json!(wanted.events);
        self.replace(&manifest).await
    }
}

#[async_trait]
impl WebhookApi for Slack {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Elsewhere(
            "no method of Slack tells the signing secret: copy it from Basic Information of the app",
        )
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        None
    }

    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let manifest = self.manifest().await?;
        let subscription = &manifest["settings"]["event_subscriptions"];
        let Some(url) = subscription["request_url"].as_str() else { return Ok(Vec::new()) };
        let events = subscription["bot_events"].as_array().into_iter().flatten();
        Ok(vec![RegisteredWebhook {
            id: self.app.clone(),
            url: url.to_owned(),
            events: sorted(events.filter_map(Value::as_str).map(str::to_owned)),
            is_active: true,
        }])
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        // An app has one URL, and another hub may depend on it.
        if let Some(other) = self.list().await?.into_iter().next() {
            let what = format!(
                "the app sends its events to {} already, and an app has one URL; take it away with \
                 --delete --id {} first",
                other.url, other.id
            );
            return Err(ProviderApiError::Impossible(what));
        }
        self.subscribe(wanted).await?;
        Ok((self.app.clone(), None))
    }

    async fn update(
        &self,
        _: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        self.subscribe(wanted).await
    }

    async fn delete(&self, _: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        let mut manifest = self.manifest().await?;
        if let Some(settings) = manifest["settings"].as_object_mut() {
            settings.remove("event_subscriptions");
        }
        self.replace(&manifest).await
    }
}

/// The code of an error, with what it says of the manifest.
fn message(body: &Value) -> Option<String> {
    let mut said = body["error"].as_str()?.to_owned();
    for error in body["errors"].as_array().into_iter().flatten() {
        if let Some(text) = error["message"].as_str() {
            let at = error["pointer"].as_str().unwrap_or_default();
            said.push_str(&format!(": {text} {at}"));
        }
    }
    Some(said.trim_end().to_owned())
}
