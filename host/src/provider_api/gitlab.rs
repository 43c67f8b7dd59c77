//! GitLab's webhooks of projects.
//!
//! <https://docs.gitlab.com/api/project_webhooks/>: the secret is `token`, which GitLab sends in
//! `X-Gitlab-Token` and never shows. Each kind of event is a field such as `push_events`.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError, next_link, part};
use super::{PAGES_MAX, RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// The kinds of events, as in the fields `KIND_events`.
const KINDS: [&str; 17] = [
    "push",
    "tag_push",
    "issues",
    "confidential_issues",
    "note",
    "confidential_note",
    "merge_requests",
    "job",
    "pipeline",
    "wiki_page",
    "deployment",
    "feature_flag",
    "releases",
    "milestone",
    "emoji",
    "resource_access_token",
    "vulnerability",
];

/// The API of a project.
#[derive(Debug)]
pub(crate) struct GitLab {
    api: ApiClient,
    /// The path of its webhooks.
    hooks: String,
}

impl GitLab {
    /// `project` is the number of a project or its path.
    pub(crate) fn new(
        base: Option<&str>,
        project: &str,
        token: &Secret,
    ) -> Result<Self, ProviderApiError> {
        let api = ApiClient::new("gitlab", "https://gitlab.com/api/v4", base, message)?;
        let api = api.with_secret("private-token", "", token.expose())?;
        Ok(Self { api, hooks: format!("/projects/{}/hooks", part(project)) })
    }

    fn body(wanted: &WantedWebhook) -> Result<Value, ProviderApiError> {
        let mut body = json!({ "url": wanted.url, "enable_ssl_verification": true });
        if let Some(unknown) = wanted.events.iter().find(|name| !KINDS.contains(&name.as_str())) {
            let known = KINDS.join(", ");
            return Err(ProviderApiError::Setup(format!(
                "gitlab has no events `{unknown}`, but {known}"
            )));
        }
        for kind in KINDS {
            body[format!("{kind}_events")] = wanted.events.iter().any(|name| name == kind).into();
        }
        if let Some(secret) = &wanted.secret {
            body["token"] = String::from_utf8_lossy(secret.expose()).into();
        }
        Ok(body)
    }
}

#[async_trait]
impl WebhookApi for GitLab {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Ours
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        Some(&["push", "tag_push", "issues", "note", "merge_requests", "pipeline", "releases"])
    }

    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let (mut all, mut next) = (Vec::new(), Some(format!("{}?per_page=100", self.hooks)));
        for _ in 0..PAGES_MAX {
            let Some(path) = next else { break };
            let (page, headers) = self.api.get(&path).await?;
            for hook in self.api.list_in(&page)? {
                let has = |kind: &&str| hook[format!("{kind}_events")] == true;
                all.push(RegisteredWebhook {
                    id: self.api.text(hook, "id")?,
                    url: self.api.text(hook, "url")?,
                    events: sorted(KINDS.into_iter().filter(has).map(str::to_owned)),
                    // GitLab disables a webhook that failed too often.
                    is_active: hook["alert_status"] != "disabled",
                });
            }
            next = next_link(&headers);
        }
        Ok(all)
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        let made = self.api.json(Method::POST, &self.hooks, &Self::body(wanted)?).await?;
        Ok((self.api.text(&made, "id")?, None))
    }

    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        let path = format!("{}/{}", self.hooks, part(&found.id));
        self.api.json(Method::PUT, &path, &Self::body(wanted)?).await?;
        Ok(())
    }

    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        self.api.bare(Method::DELETE, &format!("{}/{}", self.hooks, part(&found.id))).await?;
        Ok(())
    }
}

/// The message of an error: text, or an object of fields with lists of texts.
fn message(body: &Value) -> Option<String> {
    match &body["message"] {
        Value::String(text) => Some(text.clone()),
        Value::Null => body["error"].as_str().map(str::to_owned),
        fields => Some(fields.to_string()),
    }
}
