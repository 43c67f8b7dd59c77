//! The catalog of providers: the built-in ones and the operator's own files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Provider, ProviderError, ProviderProblem};

/// The built-in files, each with its name.
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

#[derive(Debug, Clone, Default)]
pub struct Catalog {
    providers: BTreeMap<Arc<str>, Arc<Provider>>,
}

impl Catalog {
    /// The built-in providers. Reads and checks each file; called once per process.
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

    /// Adds the text of a provider file. A name that is taken is refused: a file that replaced
    /// GitHub's unnoticed could accept anyone's requests.
    pub fn add(&mut self, text: &str) -> Result<Arc<Provider>, ProviderError> {
        let provider = Arc::new(Provider::load(text)?);
        if self.insert(&provider) { Ok(provider) } else { Err(name_taken(&provider.name)) }
    }

    /// Adds a provider unless its name is taken; true if it was added.
    pub(super) fn insert(&mut self, provider: &Arc<Provider>) -> bool {
        let is_new = !self.providers.contains_key(&provider.name);
        if is_new {
            self.providers.insert(provider.name.clone(), provider.clone());
        }
        is_new
    }

    /// The text of a built-in file, as a start for an operator's own.
    #[must_use]
    pub fn built_in_text(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.get(name)
    }

    /// All providers, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }
}

/// The error for a file whose provider name is taken.
pub(super) fn name_taken(name: &str) -> ProviderError {
    let message = format!("there is a provider {name:?} already");
    ProviderError::Invalid(vec![ProviderProblem { path: "name".into(), message }])
}
