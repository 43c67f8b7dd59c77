//! `weir secret`: generates secrets in the form that each provider uses.

use std::path::PathBuf;

use ring::rand::SystemRandom;
use serde_json::json;
use weir_core::verify::Secret;

use weir_core::error::chain;

use super::error::CommandError;
use super::providers::{catalog, find};
use crate::config::shown;
use crate::program::output::Output;

/// Generate secrets
#[derive(Debug, Clone, clap::Args)]
pub struct SecretArgs {
    #[command(subcommand)]
    pub act: SecretAct,
}

/// An act on secrets.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SecretAct {
    /// Print a new secret
    Generate {
        /// Provider whose form to use
        #[arg(default_value = "standard-webhooks")]
        provider: String,
        /// Scheme of the provider, such as v1a [default: its first]
        #[arg(long)]
        scheme: Option<String>,
        /// Configuration file that names your own provider files [default: weir.toml]
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
            "{name} has no scheme `{}`; its schemes are {}",
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
