//! The published APIs of providers, as far as webhooks need them: to register one, to list and
//! delete them, and to read what was sent. One file a provider, which cites its documentation.
//!
//! `client` makes the calls, through the guard. Not here: files, the configuration, the hub.

mod client;
mod github;
mod gitlab;
mod shopify;
mod slack;
mod stripe;
mod twilio;

use async_trait::async_trait;
use weir_core::verify::Secret;

pub(crate) use client::ProviderApiError;
pub(crate) use github::{GitHub, HookDelivery, HooksOf};
pub(crate) use gitlab::GitLab;
pub(crate) use shopify::Shopify;
pub(crate) use slack::Slack;
pub(crate) use stripe::Stripe;
pub(crate) use twilio::Twilio;

/// Most pages of a list that are read: a provider that never ends a list is not followed for ever.
const PAGES_MAX: usize = 1_000;

/// A webhook as it should be.
#[derive(Debug, Clone)]
pub(crate) struct WantedWebhook {
    pub(crate) url: String,
    /// Types of events, by the provider's own names. Sorted, without repeats.
    pub(crate) events: Vec<String>,
    /// The secret to sign with, where the operator chooses it.
    pub(crate) secret: Option<Secret>,
}

/// A webhook that the provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegisteredWebhook {
    pub(crate) id: String,
    pub(crate) url: String,
    /// Sorted, without repeats.
    pub(crate) events: Vec<String>,
    pub(crate) is_active: bool,
}

/// The place from which the secret of a new webhook comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretOrigin {
    /// It is chosen here and told to the provider.
    Ours,
    /// The provider makes it, and tells it once.
    Provider,
    /// The provider has it and no API tells it: where a person finds it.
    Elsewhere(&'static str),
}

/// The webhooks of one account, repository or app.
#[async_trait]
pub(crate) trait WebhookApi: Send + Sync {
    /// The place from which the secret of a new webhook comes.
    fn secret_origin(&self) -> SecretOrigin;

    /// The events of a webhook for which none are given. None if the operator must choose.
    fn usual_events(&self) -> Option<&'static [&'static str]>;

    /// Every webhook.
    async fn list(&self) -> Result<Vec<RegisteredWebhook>, ProviderApiError>;

    /// Makes a webhook: its id, and its secret if the provider made one.
    async fn create(
        &self,
        wanted: &WantedWebhook,
    ) -> Result<(String, Option<Secret>), ProviderApiError>;

    /// Changes a webhook with the wanted URL into the wanted one.
    async fn update(
        &self,
        found: &RegisteredWebhook,
        wanted: &WantedWebhook,
    ) -> Result<(), ProviderApiError>;

    /// Deletes a webhook.
    async fn delete(&self, found: &RegisteredWebhook) -> Result<(), ProviderApiError>;
}

/// Names in order, without repeats.
pub(crate) fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort();
    names.dedup();
    names
}
