//! GitHub's webhooks of repositories and organisations, and their deliveries.
//!
//! <https://docs.github.com/en/rest/repos/webhooks>,
//! <https://docs.github.com/en/rest/orgs/webhooks>: the secret is `config.secret`, and is shown as
//! asterisks. Lists are read a page at a time by the `Link` header. A redelivery sends the same
//! request again, signed anew, with the same GUID.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError, next_link, part};
use super::{PAGES_MAX, RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// The owner of webhooks.
#[derive(Debug, Clone)]
pub(crate) enum HooksOf {
    Repository(String),
    Organisation(String),
}

/// The API of a repository or organisation.
#[derive(Debug)]
pub(crate) struct GitHub {
    api: ApiClient,
    /// The path of its webhooks.
    hooks: String,
}

/// A delivery as GitHub lists it.
#[derive(Debug, Clone)]
pub(crate) struct HookDelivery {
    pub(crate) id: String,
    /// The same for all deliveries of one event, and the id of the event at the hub.
    pub(crate) guid: String,
    pub(crate) delivered_at: String,
    /// 0 if there was no answer.
    pub(crate) status_code: u64,
    pub(crate) event: String,
    pub(crate) action: Option<String>,
}

impl GitHub {
    pub(crate) fn new(
        base: Option<&str>,
        of: &HooksOf,
        token: &Secret,
    ) -> Result<Self, ProviderApiError> {
        let api = ApiClient::new("github", "https://api.github.com", base, message)?
            .with("accept", "application/vnd.github+json")
            .with("x-github-api-version", "2022-11-28")
            .with_bearer(token)?;
        let hooks = match of {
            HooksOf::Organisation(name) => format!("/orgs/{}/hooks", part(name)),
            HooksOf::Repository(name) => {
                let (owner, repository) = name.split_once('/').ok_or_else(|| {
                    ProviderApiError::Setup("--repo takes OWNER/NAME, such as acme/river".into())
                })?;
                format!("/repos/{}/{}/hooks", part(owner), part(repository))
            }
        };
        Ok(Self { api, hooks })
    }

    async fn pages(&self, path: String) -> Result<Vec<Value>, ProviderApiError> {
        let (mut all, mut next) = (Vec::new(), Some(path));
        for _ in 0..PAGES_MAX {
            let Some(path) = next else { break };
            let (page, headers) = self.api.get(&path).await?;
            all.extend(self.api.list_in(&page)?.iter().cloned());
            next = next_link(&headers);
        }
        Ok(all)
    }

    /// The deliveries of a webhook, newest first, until one for which `is_old` is true.
    pub(crate) async fn deliveries(
        &self,
        hook: &str,
        is_old: impl Fn(&HookDelivery) -> bool + Send,
    ) -> Result<Vec<HookDelivery>, ProviderApiError> {
        let path = format!("{}/{}/deliveries?per_page=100", self.hooks, part(hook));
        let (mut all, mut next) = (Vec::new(), Some(path));
        for _ in 0..PAGES_MAX {
            let Some(path) = next else { break };
            let (page, headers) = self.api.get(&path).await?;
            for item in self.api.list_in(&page)? {
                let delivery = HookDelivery {
                    id: self.api.text(item, "id")?,
                    guid: self.api.text(item, "guid")?,
                    delivered_at: self.api.text(item, "delivered_at")?,
                    status_code: item["status_code"].as_u64().unwrap_or(0),
                    event: self.api.text(item, "event")?,
                    action: item["action"].as_str().map(str::to_owned),
                };
                if is_old(&delivery) {
                    return Ok(all);
                }
                all.push(delivery);
            }
            next = next_link(&headers);
        }
        Ok(all)
    }

    /// Asks GitHub to send a delivery again.
    pub(crate) async fn redeliver(
        &self,
        hook: &str,
        delivery: &str,
    ) -> Result<(), ProviderApiError> {
        let path = format!("{}/{}/deliveries/{}/attempts", self.hooks, part(hook), part(delivery));
        self.api.bare(Method::POST, &path).await?;
        Ok(())
    }

    fn body(wanted: &WantedWebhook) -> Value {
        let mut config = json!({ "url": wanted.url, "content_type": "json", "insecure_ssl": "0" });
        if let Some(secret) = &wanted.secret {
            config["secret"] = String::from_utf8_lossy(secret.expose()).into();
        }
        json!({ "active": true, "events": wanted.events, "config": config })
    }
}

#[async_trait]
impl WebhookApi for GitHub {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Ours
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        Some(&["*"])
    }

    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let hooks = self.pages(format!("{}?per_page=100", self.hooks)).await?;
        let read = |hook: &Value| {
            let events = self.api.list_in(&hook["events"])?.iter();
            Ok(RegisteredWebhook {
                id: self.api.text(hook, "id")?,
                url: hook["config"]["url"].as_str().unwrap_or_default().to_owned(),
                events: sorted(events.filter_map(Value::as_str).map(str::to_owned)),
                is_active: hook["active"] == true,
            })
        };
        hooks.iter().map(read).collect()
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        let mut body = Self::body(wanted);
        body["name"] = "web".into();
        let made = self.api.json(Method::POST, &self.hooks, &body).await?;
        Ok((self.api.text(&made, "id")?, None))
    }

    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        let path = format!("{}/{}", self.hooks, part(&found.id));
        self.api.json(Method::PATCH, &path, &Self::body(wanted)).await?;
        Ok(())
    }

    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        self.api.bare(Method::DELETE, &format!("{}/{}", self.hooks, part(&found.id))).await?;
        Ok(())
    }
}

/// The message of an error, with those about its fields.
fn message(body: &Value) -> Option<String> {
    let mut said = body["message"].as_str()?.to_owned();
    for error in body["errors"].as_array().into_iter().flatten() {
        let field = error["message"].as_str().or_else(|| error.as_str());
        if let Some(text) = field {
            said.push_str(": ");
            said.push_str(text);
        }
    }
    Some(said)
}
