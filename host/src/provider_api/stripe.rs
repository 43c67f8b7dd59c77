//! Stripe's webhook endpoints, and its events.
//!
//! <https://docs.stripe.com/api/webhook_endpoints>: the secret is in the answer that creates an
//! endpoint, and only there. <https://docs.stripe.com/api/events/list>: events of the last 30 days,
//! newest first. Calls are forms, answers are JSON, and an error is `error.message`.

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError, part};
use super::{PAGES_MAX, RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// The path of endpoints.
const ENDPOINTS: &str = "/v1/webhook_endpoints";

/// A page of events, whose texts are kept as they are.
#[derive(Debug, Deserialize)]
struct EventPage {
    data: Vec<Box<RawValue>>,
    has_more: bool,
}

/// The API of an account.
#[derive(Debug)]
pub(crate) struct Stripe {
    api: ApiClient,
}

impl Stripe {
    pub(crate) fn new(base: Option<&str>, key: &Secret) -> Result<Self, ProviderApiError> {
        let api = ApiClient::new("stripe", "https://api.stripe.com", base, message)?;
        Ok(Self { api: api.with_bearer(key)? })
    }

    /// The items of a list, over as many pages as it takes.
    async fn all(&self, path: &str) -> Result<Vec<Value>, ProviderApiError> {
        let mut all: Vec<Value> = Vec::new();
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.api.get(&format!("{path}{mark}limit=100{after}")).await?.0;
            let items = self.api.list_in(&page["data"])?;
            all.extend(items.iter().cloned());
            let Some(last) = items.last().filter(|_| page["has_more"] == true) else { break };
            after = format!("&starting_after={}", part(&self.api.text(last, "id")?));
        }
        Ok(all)
    }

    /// The events since a time in seconds, newest first, each as the body that a webhook carries.
    pub(crate) async fn events(&self, since: u64) -> Result<Vec<Box<RawValue>>, ProviderApiError> {
        let first = format!("/v1/events?created%5Bgte%5D={since}&limit=100");
        let (mut all, mut after) = (Vec::<Box<RawValue>>::new(), String::new());
        for _ in 0..PAGES_MAX {
            let text = self.api.get_text(&format!("{first}{after}")).await?.0;
            let page: EventPage = serde_json::from_slice(&text)
                .map_err(|error| self.api.unexpected(&error.to_string()))?;
            all.extend(page.data);
            let Some(last) = all.last().filter(|_| page.has_more) else { break };
            let last: Value = serde_json::from_str(last.get()).unwrap_or_default();
            after = format!("&starting_after={}", part(&self.api.text(&last, "id")?));
        }
        Ok(all)
    }

    fn fields(wanted: &WantedWebhook) -> Vec<(&str, &str)> {
        let events = wanted.events.iter().map(|name| ("enabled_events[]", name.as_str()));
        std::iter::once(("url", wanted.url.as_str())).chain(events).collect()
    }
}

#[async_trait]
impl WebhookApi for Stripe {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Provider
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        Some(&["*"])
    }

    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let endpoints = self.all(ENDPOINTS).await?;
        let read = |endpoint: &Value| {
            let events = self.api.list_in(&endpoint["enabled_events"])?.iter();
            Ok(RegisteredWebhook {
                id: self.api.text(endpoint, "id")?,
                url: self.api.text(endpoint, "url")?,
                events: sorted(events.filter_map(Value::as_str).map(str::to_owned)),
                is_active: endpoint["status"] == "enabled",
            })
        };
        endpoints.iter().map(read).collect()
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        let made = self.api.form(ENDPOINTS, &Self::fields(wanted)).await?;
        let secret = Secret::new(self.api.text(&made, "secret")?);
        Ok((self.api.text(&made, "id")?, Some(secret)))
    }

    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        let mut fields = Self::fields(wanted);
        fields.push(("disabled", "false"));
        self.api.form(&format!("{ENDPOINTS}/{}", part(&found.id)), &fields).await?;
        Ok(())
    }

    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        self.api.bare(Method::DELETE, &format!("{ENDPOINTS}/{}", part(&found.id))).await?;
        Ok(())
    }
}

fn message(body: &Value) -> Option<String> {
    body["error"]["message"].as_str().map(str::to_owned)
}
