//! The providers that a host knows: those compiled in, and the operator's own files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Problem, Provider, ProviderError};

/// The files compiled into the host.
const BUILT_IN: &[(&str, &str)] = &[
    ("custom", include_str!("../../providers/custom.toml")),
    ("github", include_str!("../../providers/github.toml")),
    ("sendgrid", include_str!("../../providers/sendgrid.toml")),
    ("shopify", include_str!("../../providers/shopify.toml")),
    ("slack", include_str!("../../providers/slack.toml")),
    ("standard-webhooks", include_str!("../../providers/standard-webhooks.toml")),
    ("stripe", include_str!("../../providers/stripe.toml")),
    ("twilio", include_str!("../../providers/twilio.toml")),
];

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
                return Err(ProviderError::Invalid(vec![Problem { path: "name".into(), message }]));
            }
        }
        Ok(catalog)
    }

    /// Adds the text of a provider file. One of a name already known is refused: a file that quietly took
    /// GitHub's place could let anyone in.
    pub fn add(&mut self, text: &str) -> Result<Arc<Provider>, ProviderError> {
        let provider = Arc::new(Provider::load(text)?);
        if self.providers.contains_key(&provider.name) {
            let message = format!("there is a provider {:?} already", provider.name);
            return Err(ProviderError::Invalid(vec![Problem { path: "name".into(), message }]));
        }
        self.providers.insert(Arc::clone(&provider.name), Arc::clone(&provider));
        Ok(provider)
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
