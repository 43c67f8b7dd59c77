//! The flags that name an account at a provider and the credential for its API. Shared by the
//! commands that call one. A credential is never on the command line.

use weir_core::verify::Secret;

use super::error::CommandError;
use super::signing_plan;
use crate::provider_api::{
    GitHub, GitLab, HooksOf, ProviderApiError, Shopify, Slack, Stripe, Twilio, WebhookApi,
};

impl From<ProviderApiError> for CommandError {
    fn from(error: ProviderApiError) -> Self {
        match error {
            ProviderApiError::Http(error) => error.into(),
            ProviderApiError::Setup(what) => Self::Usage(what),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The account, repository, shop or app.
#[derive(Debug, Clone, clap::Args)]
pub struct AccountArgs {
    /// GitHub: the repository, OWNER/NAME
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: Option<String>,
    /// GitHub: the organisation
    #[arg(long, value_name = "NAME", conflicts_with = "repo")]
    pub org: Option<String>,
    /// GitLab: the project, by number or path
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Shopify: the shop, such as acme.myshopify.com
    #[arg(long, value_name = "SHOP")]
    pub shop: Option<String>,
    /// Shopify: version of the API
    #[arg(long, value_name = "VERSION", default_value = "2025-01")]
    pub api_version: String,
    /// Slack: id of the app
    #[arg(long, value_name = "ID")]
    pub app: Option<String>,
    /// Twilio: SID of the account [default: $TWILIO_ACCOUNT_SID]
    #[arg(long, value_name = "SID")]
    pub account: Option<String>,
    /// Twilio: the phone number, such as +15551234567
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub number: Option<String>,
    /// Base URL of the API [default: the provider's]
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// Credential for the API: env:NAME or file:PATH [default: GITHUB_TOKEN, STRIPE_API_KEY,
    /// SHOPIFY_ACCESS_TOKEN, SLACK_CONFIG_TOKEN, GITLAB_TOKEN or TWILIO_AUTH_TOKEN]
    #[arg(long, value_name = "WHERE")]
    pub credential: Option<String>,
}

impl AccountArgs {
    /// The credential, or else that of a variable.
    fn credential(&self, variable: &str) -> Result<Secret, CommandError> {
        match &self.credential {
            None if std::env::var_os(variable).is_none() => Err(CommandError::Usage(format!(
                "a credential is missing: set {variable}, or give --credential file:PATH"
            ))),
            None => signing_plan::secret(variable, &format!("env:{variable}")),
            Some(place) if place.starts_with("env:") || place.starts_with("file:") => {
                signing_plan::secret("--credential", place)
            }
            // Not repeated: it may be the credential itself.
            Some(_) => {
                let what = "--credential takes env:NAME or file:PATH; the command line is no place \
                            for a credential, since other users of the machine see it";
                Err(CommandError::Usage(what.into()))
            }
        }
    }

    /// GitHub's API.
    pub(super) fn github(&self) -> Result<GitHub, CommandError> {
        let of = match (&self.repo, &self.org) {
            (Some(repository), _) => HooksOf::Repository(repository.clone()),
            (None, Some(organisation)) => HooksOf::Organisation(organisation.clone()),
            (None, None) => return Err(missing("--repo OWNER/NAME or --org NAME")),
        };
        Ok(GitHub::new(self.api.as_deref(), &of, &self.credential("GITHUB_TOKEN")?)?)
    }

    /// Stripe's API.
    pub(super) fn stripe(&self) -> Result<Stripe, CommandError> {
        Ok(Stripe::new(self.api.as_deref(), &self.credential("STRIPE_API_KEY")?)?)
    }

    /// Shopify's API.
    pub(super) fn shopify(&self) -> Result<Shopify, CommandError> {
        let shop = self.shop.as_deref().ok_or_else(|| missing("--shop SHOP"))?;
        let token = self.credential("SHOPIFY_ACCESS_TOKEN")?;
        Ok(Shopify::new(self.api.as_deref(), shop, &self.api_version, &token)?)
    }

    /// Slack's API.
    pub(super) fn slack(&self) -> Result<Slack, CommandError> {
        let app = self.app.as_deref().ok_or_else(|| missing("--app ID"))?;
        let token = self.credential("SLACK_CONFIG_TOKEN")?;
        Ok(Slack::new(self.api.as_deref(), app, &token)?)
    }

    /// GitLab's API.
    pub(super) fn gitlab(&self) -> Result<GitLab, CommandError> {
        let project = self.project.as_deref().ok_or_else(|| missing("--project PROJECT"))?;
        let token = self.credential("GITLAB_TOKEN")?;
        Ok(GitLab::new(self.api.as_deref(), project, &token)?)
    }

    /// Twilio's API.
    pub(super) fn twilio(&self) -> Result<Twilio, CommandError> {
        let account = self.account.clone().or_else(|| std::env::var("TWILIO_ACCOUNT_SID").ok());
        let account = account.ok_or_else(|| missing("--account SID"))?;
        let token = self.credential("TWILIO_AUTH_TOKEN")?;
        Ok(Twilio::new(self.api.as_deref(), &account, self.number.as_deref(), &token)?)
    }

    /// The webhooks of a provider. None if it has no API for them.
    pub(super) fn webhooks(
        &self,
        provider: &str,
    ) -> Result<Option<Box<dyn WebhookApi>>, CommandError> {
        Ok(Some(match provider {
            "github" => Box::new(self.github()?),
            "stripe" => Box::new(self.stripe()?),
            "shopify" => Box::new(self.shopify()?),
            "slack" => Box::new(self.slack()?),
            "gitlab" => Box::new(self.gitlab()?),
            "twilio" => Box::new(self.twilio()?),
            _ => return Ok(None),
        }))
    }
}

fn missing(flag: &str) -> CommandError {
    CommandError::Usage(format!("give {flag}"))
}
