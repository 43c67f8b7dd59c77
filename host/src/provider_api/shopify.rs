//! Shopify's webhook subscriptions of a shop, and the resources that webhooks are about.
//!
//! <https://shopify.dev/docs/api/admin-graphql/latest/mutations/webhookSubscriptionCreate>: one
//! subscription for each topic, by GraphQL; mistakes are `userErrors` in an answer of 200.
//! <https://shopify.dev/docs/api/admin-rest/latest/resources/order>: there is no list of deliveries
//! or events; what was missed is found by the time of the last change, as
//! <https://shopify.dev/docs/apps/build/webhooks/best-practices> advises.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use weir_core::verify::Secret;

use super::client::{ApiClient, ProviderApiError, next_link};
use super::{PAGES_MAX, RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};

/// Lists subscriptions with HTTP endpoints.
const LIST: &str = "query($after: String) { webhookSubscriptions(first: 100, after: $after) { \
    nodes { id topic endpoint { __typename ... on WebhookHttpEndpoint { callbackUrl } } } \
    pageInfo { hasNextPage endCursor } } }";
const CREATE: &str = "mutation($topic: WebhookSubscriptionTopic!, $url: URL!) { \
    webhookSubscriptionCreate(topic: $topic, webhookSubscription: { callbackUrl: $url, format: JSON }) \
    { webhookSubscription { id } userErrors { field message } } }";
const DELETE: &str = "mutation($id: ID!) { webhookSubscriptionDelete(id: $id) { \
    deletedWebhookSubscriptionId userErrors { field message } } }";

/// The API of a shop.
#[derive(Debug)]
pub(crate) struct Shopify {
    api: ApiClient,
    version: String,
}

impl Shopify {
    /// `shop` is the name before `.myshopify.com`.
    pub(crate) fn new(
        base: Option<&str>,
        shop: &str,
        version: &str,
        token: &Secret,
    ) -> Result<Self, ProviderApiError> {
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let shop = shop.strip_suffix(".myshopify.com").unwrap_or(shop);
        if !is_word(shop) || !is_word(version) {
            return Err(ProviderApiError::Setup(
                "--shop takes a name such as acme.myshopify.com".into(),
            ));
        }
        let usual = format!("https://{shop}.myshopify.com");
        let api = ApiClient::new("shopify", &usual, base, message)?;
        let api = api.with_secret("x-shopify-access-token", "", token.expose())?;
        Ok(Self { api, version: version.to_owned() })
    }

    async fn graphql(&self, query: &str, variables: Value) -> Result<Value, ProviderApiError> {
        let path = format!("/admin/api/{}/graphql.json", self.version);
        let body = json!({ "query": query, "variables": variables });
        let mut answer = self.api.json(Method::POST, &path, &body).await?;
        if let Some(said) = message(&answer) {
            return Err(self.api.refused(&said, ""));
        }
        Ok(answer["data"].take())
    }

    /// The result of a mutation, unless it names mistakes.
    fn checked<'v>(&self, data: &'v Value, name: &str) -> Result<&'v Value, ProviderApiError> {
        let result = &data[name];
        match result["userErrors"].get(0) {
            Some(error) => {
                let said = error["message"].as_str().unwrap_or("no message");
                Err(self.api.refused(said, ""))
            }
            None => Ok(result),
        }
    }

    /// The resources of a kind, such as `orders`, that changed since a time, each as the body that
    /// a webhook carries.
    pub(crate) async fn changed(
        &self,
        kind: &str,
        since: &str,
    ) -> Result<Vec<Box<RawValue>>, ProviderApiError> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("updated_at_min", since).append_pair("limit", "250");
        if kind == "orders" {
            query.append_pair("status", "any");
        }
        let first = format!("/admin/api/{}/{kind}.json?{}", self.version, query.finish());
        let (mut all, mut next) = (Vec::new(), Some(first));
        for _ in 0..PAGES_MAX {
            let Some(path) = next else { break };
            let (text, headers) = self.api.get_text(&path).await?;
            let mut page: BTreeMap<String, Vec<Box<RawValue>>> = serde_json::from_slice(&text)
                .map_err(|error| self.api.unexpected(&error.to_string()))?;
            all.extend(page.remove(kind).unwrap_or_default());
            next = next_link(&headers);
        }
        Ok(all)
    }

    /// The version of the API, as webhooks name it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    async fn subscriptions(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let (mut all, mut after) = (Vec::new(), Value::Null);
        for _ in 0..PAGES_MAX {
            let data = self.graphql(LIST, json!({ "after": after })).await?;
            let page = &data["webhookSubscriptions"];
            for node in self.api.list_in(&page["nodes"])? {
                // Subscriptions of queues have no URL.
                let Some(url) = node["endpoint"]["callbackUrl"].as_str() else { continue };
                all.push(RegisteredWebhook {
                    id: self.api.text(node, "id")?,
                    url: url.to_owned(),
                    events: vec![topic_of(&self.api.text(node, "topic")?)],
                    is_active: true,
                });
            }
            if page["pageInfo"]["hasNextPage"] != true {
                break;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
        Ok(all)
    }

    async fn subscribe(&self, topic: &str, url: &str) -> Result<String, ProviderApiError> {
        let variables = json!({ "topic": name_of(topic), "url": url });
        let data = self.graphql(CREATE, variables).await?;
        let made = self.checked(&data, "webhookSubscriptionCreate")?;
        self.api.text(&made["webhookSubscription"], "id")
    }

    async fn unsubscribe(&self, id: &str) -> Result<(), ProviderApiError> {
        let data = self.graphql(DELETE, json!({ "id": id })).await?;
        self.checked(&data, "webhookSubscriptionDelete")?;
        Ok(())
    }
}

#[async_trait]
impl WebhookApi for Shopify {
    fn secret_origin(&self) -> SecretOrigin {
        SecretOrigin::Elsewhere(
            "Shopify signs with the client secret of the app: copy it from the app's settings",
        )
    }

    fn usual_events(&self) -> Option<&'static [&'static str]> {
        None
    }

    /// The subscriptions with one URL are one webhook, whose id is that of each, with commas.
    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError> {
        let mut all: Vec<RegisteredWebhook> = Vec::new();
        for one in self.subscriptions().await? {
            match all.iter_mut().find(|webhook| webhook.url == one.url) {
                Some(webhook) => {
                    webhook.id = format!("{},{}", webhook.id, one.id);
                    webhook.events.extend(one.events);
                }
                None => all.push(one),
            }
        }
        for webhook in &mut all {
            webhook.events = sorted(std::mem::take(&mut webhook.events));
        }
        Ok(all)
    }

    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError> {
        let mut ids = Vec::new();
        for topic in &wanted.events {
            ids.push(self.subscribe(topic, &wanted.url).await?);
        }
        Ok((ids.join(","), None))
    }

    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError> {
        for topic in wanted.events.iter().filter(|topic| !found.events.contains(topic)) {
            self.subscribe(topic, &wanted.url).await?;
        }
        for one in self.subscriptions().await? {
            if one.url == wanted.url && !wanted.events.contains(&one.events[0]) {
                self.unsubscribe(&one.id).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError> {
        for id in found.id.split(',') {
            self.unsubscribe(id).await?;
        }
        Ok(())
    }
}

/// The name of a topic in the API: `ORDERS_CREATE` for `orders/create`.
fn name_of(topic: &str) -> String {
    topic.replace('/', "_").to_ascii_uppercase()
}

/// The topic as webhooks name it. The last word is the act.
fn topic_of(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.rsplit_once('_') {
        Some((subject, act)) => format!("{subject}/{act}"),
        None => name,
    }
}

/// The message of an error: of REST, or of GraphQL.
fn message(body: &Value) -> Option<String> {
    match &body["errors"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let said = all.iter().filter_map(|error| error["message"].as_str());
            Some(said.collect::<Vec<_>>().join("; "))
        }
        fields => Some(fields.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_two_forms() {
        for topic in ["orders/create", "app/uninstalled"] {
            assert_eq!(topic_of(&name_of(topic)), topic);
        }
        assert_eq!(name_of("orders/create"), "ORDERS_CREATE");
    }
}
