//! Everything that signing a sample for a URL needs, from flags or from the configuration. Shared
//! by the commands that send one.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_core::error::chain;
use weir_core::provider::Provider;
use weir_core::sign::SignError;
use weir_core::verify::{KeyError, Params, Secret};

use super::error::CommandError;
use super::providers::{catalog, find};
use crate::config::shown::{self, is_path, is_variable_name};
use crate::config::{self, Config, Mode, Source};
use crate::http_client::local_base;
use crate::samples::SampleError;

/// The flags that decide how a sample is signed.
#[derive(Debug)]
pub(super) struct WantedPlan<'a> {
    /// A provider or the name of a source.
    pub(super) provider: &'a str,
    pub(super) secret: Option<&'a str>,
    pub(super) params: &'a [(String, String)],
    pub(super) url: Option<&'a str>,
    pub(super) config: Option<&'a PathBuf>,
    pub(super) mode: Mode,
}

/// Everything that signing and sending a sample needs.
#[derive(Debug)]
pub(super) struct SigningPlan {
    pub(super) provider: Arc<Provider>,
    pub(super) signing: Secret,
    pub(super) params: Params,
    /// The URL of the request.
    pub(super) to: String,
    /// The URL that the sender believes it uses. Schemes that sign the URL sign this one.
    pub(super) signed_url: String,
    /// The certificate of the hub, if its configuration is on this machine and it speaks TLS.
    pub(super) certificate: Option<PathBuf>,
}

impl SigningPlan {
    /// The plan for a provider with a secret and a URL, or else for a source of the configuration.
    pub(super) fn of(wanted: &WantedPlan<'_>) -> Result<Self, CommandError> {
        plan(wanted)
    }
}

fn plan(args: &WantedPlan<'_>) -> Result<SigningPlan, CommandError> {
    let given = args.secret.map(|text| secret("--secret", text)).transpose()?;
    let given_params: Params = args
        .params
        .iter()
        .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
        .collect();
    if let (Some(signing), Some(url)) = (&given, args.url) {
        // No configuration is needed, and there may be none.
        return Ok(SigningPlan {
            provider: find(&catalog(args.config)?, args.provider)?,
            signing: signing.clone(),
            params: given_params,
            to: url.to_owned(),
            signed_url: url.to_owned(),
            certificate: None,
        });
    }
    let config = config::load(args.config.map(PathBuf::as_path), args.mode)?.config;
    let source = source(&config, args.provider)?;
    let tls = config.server.tls.as_ref();
    let here = local_base(config.server.listen, tls.is_some());
    let here = format!("{here}/webhook/{}", source.name);
    let to = args.url.map_or_else(|| here.clone(), str::to_owned);
    let public = source.public_url.clone().filter(|_| args.url.is_none());
    Ok(SigningPlan {
        provider: source.provider.clone(),
        signing: given.or_else(|| source.signing.clone()).ok_or_else(|| no_secret(source))?,
        params: source.params.clone().into_iter().chain(given_params).collect(),
        signed_url: public.unwrap_or_else(|| to.clone()),
        certificate: tls.filter(|_| args.url.is_none()).map(|tls| tls.cert.clone()),
        to,
    })
}

fn no_secret(source: &Source) -> CommandError {
    let (name, provider) = (&source.name, &source.provider.name);
    if let Some(pull) = &source.pull {
        return CommandError::Usage(format!(
            "source {name} accepts no requests: the hub takes its messages from {}; publish one \
             there",
            pull.address()
        ));
    }
    CommandError::Usage(format!(
        "source {name} has no secret: {provider} publishes its keys or hands its secret over; give \
         one with --secret"
    ))
}

/// The source of this name, or else the first one of this provider.
fn source<'c>(config: &'c Config, word: &str) -> Result<&'c Arc<Source>, CommandError> {
    let named = config.sources.get(word);
    let of_provider = || config.sources.values().find(|source| *source.provider.name == *word);
    named.or_else(of_provider).ok_or_else(|| {
        let known: Vec<_> = config.sources.keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        CommandError::Usage(format!(
            "there is no source named `{}` or of that provider; sources: {known}. \
             With --url and --secret no source is needed",
            shown::name(word)
        ))
    })
}

/// Reads `NAME=VALUE`.
pub(super) fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The error, with what to do about it.
pub(super) fn explained(provider: &Provider, error: &SampleError) -> String {
    let why = chain(error);
    match error {
        SampleError::Sign(SignError::Key { cause: KeyError::NotPrivate, .. }) => format!(
            "{why}; only {} has the private key. Make a key pair of your own, give the private key \
             here with --secret file:PATH, and the public key to the source",
            provider.name
        ),
        SampleError::Sign(SignError::VerifiedOnly { .. }) => format!(
            "{why}. To test a source of {}, send again a request that the sender signed, with its \
             headers, such as with curl --data-binary @FILE",
            provider.name
        ),
        SampleError::Sign(SignError::ParamMissing { param, .. }) => {
            format!("{why}; give it with --param {param}=VALUE")
        }
        _ => why,
    }
}

/// Reads `env:NAME`, `file:PATH`, or the secret itself. No error repeats what may be the secret.
pub(super) fn secret(flag: &str, text: &str) -> Result<Secret, CommandError> {
    let failed = |what: &str| CommandError::Usage(format!("{flag}: {what}"));
    let bytes = if let Some(name) = text.strip_prefix("env:") {
        let shown = if is_variable_name(name) { name } else { "the variable after env:" };
        let value = std::env::var_os(name).ok_or_else(|| {
            failed(&format!("{shown} is not set; write env:NAME with the name of a variable"))
        })?;
        value.into_vec()
    } else if let Some(path) = text.strip_prefix("file:") {
        let plain = is_path(Path::new(path));
        let shown = if plain { path } else { "the file after file:" };
        std::fs::read(path).map_err(|e| {
            failed(&format!("{shown} cannot be read: {e}; write file:PATH with the path of a file"))
        })?
    } else {
        return if text.is_empty() { Err(failed("it is empty")) } else { Ok(Secret::new(text)) };
    };
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.is_empty() { Err(failed("it is empty")) } else { Ok(Secret::new(bytes)) }
}
