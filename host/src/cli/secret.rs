//! `weir secret`: fresh secrets in the form in which each provider hands them out.

use std::path::PathBuf;

use ring::rand::SystemRandom;
use serde_json::json;
use weir_core::verify::Secret;

use weir_core::error::chain;

use super::error::CommandError;
use super::providers::{catalog, find};
use crate::config::shown;
use crate::program::output::Output;

/// Generate secrets.
#[derive(Debug, Clone, clap::Args)]
pub struct SecretArgs {
    #[command(subcommand)]
    pub act: SecretAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SecretAct {
    /// Print a fresh secret
    Generate {
        /// For this provider; by Standard Webhooks if not said
        #[arg(default_value = "standard-webhooks")]
        provider: String,
        /// For this scheme of the provider, such as v1a
        #[arg(long)]
        scheme: Option<String>,
        /// The configuration that names provider files of your own; weir.toml if not said
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

pub(super) fn run(args: &SecretArgs, output: Output) -> Result<(), CommandError> {
    let SecretAct::Generate { provider: name, scheme, config } = &args.act;
    let provider = find(&catalog(config.as_ref())?, name)?;
    if let Some(scheme) = scheme.as_deref().filter(|name| provider.scheme(Some(name)).is_none()) {
        let known: Vec<_> = provider.schemes.iter().map(|scheme| &*scheme.name).collect();
        return Err(CommandError::Usage(format!(
            "{name} has no scheme `{}`; there is: {}",
            shown::name(scheme),
            known.join(", ")
        )));
    }
    let pair = provider.generate_secret(scheme.as_deref(), &SystemRandom::new());
    let pair = pair.map_err(|error| CommandError::Failed(chain(&error)))?;
    let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
    let (sending, verifying) = (text(&pair.sending), text(&pair.verifying));
    if output.json {
        output.value(&json!({ "provider": name, "signs": sending, "verifies": verifying }));
    } else if sending == verifying {
        output.text(&verifying);
    } else {
        output.text(&format!("signs     {sending}\nverifies  {verifying}"));
    }
    Ok(())
}
