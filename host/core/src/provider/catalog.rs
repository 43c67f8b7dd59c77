//! The providers that a host knows: those compiled in, and the operator's own files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Provider, ProviderError, ProviderProblem};

/// The files compiled into the host, by the name of each.
macro_rules! built_in {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../providers/", $name, ".toml")))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = built_in! {
    "adyen"
    "airtable"
    "asana"
    "auth0"
    "bitbucket"
    "box"
    "braintree"
    "calendly"
    "clerk"
    "cloudevents"
    "cloudflare-notifications"
    "cloudflare-stream"
    "coinbase-cdp"
    "coinbase-commerce"
    "contentful"
    "custom"
    "discord"
    "docusign"
    "dropbox"
    "easypost"
    "elevenlabs"
    "forgejo"
    "gitea"
    "github"
    "gitlab"
    "gocardless"
    "google-pubsub"
    "hook0"
    "hubspot"
    "intercom"
    "jira"
    "lemonsqueezy"
    "line"
    "linear"
    "livekit"
    "mailgun"
    "mandrill"
    "messagebird"
    "meta"
    "msgraph"
    "mux"
    "notion"
    "okta"
    "openai"
    "paddle"
    "paddle-classic"
    "pagerduty"
    "paypal"
    "paystack"
    "plaid"
    "polar"
    "postmark"
    "quickbooks"
    "razorpay"
    "resend"
    "rfc9421"
    "sanity"
    "sendgrid"
    "sentry"
    "shopify"
    "slack"
    "sns"
    "square"
    "standard-webhooks"
    "stripe"
    "svix"
    "telegram"
    "telnyx"
    "trello"
    "twilio"
    "twitch"
    "typeform"
    "vercel"
    "vonage"
    "vonage-sms"
    "woocommerce"
    "workos"
    "x"
    "xero"
    "zendesk"
    "zoom"
};

/// Providers by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    providers: BTreeMap<Arc<str>, Arc<Provider>>,
}

impl Catalog {
    /// The providers compiled in. Reads and checks each file; once per process.
    pub fn built_in() -> Result<Self, ProviderError> {
        let mut catalog = Self::default();
        for (name, text) in BUILT_IN {
            let provider = catalog.add(text)?;
            if *provider.name != **name {
                let message = format!("is the file of {name}");
                return Err(ProviderError::Invalid(vec![ProviderProblem {
                    path: "name".into(),
                    message,
                }]));
            }
        }
        Ok(catalog)
    }

    /// Adds the text of a provider file. One of a name already known is refused: a file that quietly took
    /// GitHub's place could let anyone in.
    pub fn add(&mut self, text: &str) -> Result<Arc<Provider>, ProviderError> {
        let provider = Arc::new(Provider::load(text)?);
        if self.insert(&provider) { Ok(provider) } else { Err(taken(&provider.name)) }
    }

    /// Adds a provider, unless there is one of its name.
    pub(super) fn insert(&mut self, provider: &Arc<Provider>) -> bool {
        let is_new = !self.providers.contains_key(&provider.name);
        if is_new {
            self.providers.insert(Arc::clone(&provider.name), Arc::clone(provider));
        }
        is_new
    }

    /// The text of a file compiled in: a start for one of your own.
    #[must_use]
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// The provider of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }
}

/// Why a file is not used whose provider's name another has.
pub(super) fn taken(name: &str) -> ProviderError {
    let message = format!("there is a provider {name:?} already");
    ProviderError::Invalid(vec![ProviderProblem { path: "name".into(), message }])
}
