//! `weir send`: sends a signed sample of a provider's event to a hub or to any URL.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use serde_json::{Value, json};
use weir_core::provider::Provider;
use weir_core::sign::{SignError, SigningInput};
use weir_core::time::Clock as _;
use weir_core::verify::{KeyError, Params, Secret};

use crate::samples::edits::{self, SampleChanges, Set};
use weir_core::error::chain;

use super::error::CommandError;
use super::providers::{catalog, find};
use crate::config::shown::{self, is_path, is_variable_name};
use crate::config::{self, Config, Source};
use crate::http_client::{HttpClient, HttpResponse, local_base};
use crate::program::output::Output;
use crate::runtime::clock::SystemClock;
use crate::samples::{SampleDraft, SampleError, SignedSample};

/// Most samples that one command sends: it tries a path and is not a load test.
const COUNT_MAX: u32 = 100_000;

/// Send a signed sample of a provider's event
#[derive(Debug, Clone, clap::Args)]
pub struct SendArgs {
    /// A provider or the name of a source (see `weir providers`)
    #[arg(value_name = "PROVIDER")]
    pub provider: String,
    /// Name of the sample, such as push or payment.success (see `weir providers`); optional with
    /// --file
    #[arg(value_name = "TYPE", required_unless_present = "file")]
    pub kind: Option<String>,
    /// Send the body in this file (- for standard input) with the sample's headers
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Set a field of the body, such as /issue/title=Hello; the value is JSON or else text. In a
    /// form, the path starts with the name of a field; if there is none of that name, it leads into
    /// the field that contains JSON. Repeatable
    #[arg(long, value_name = "/PATH=VALUE", value_parser = edits::set, allow_hyphen_values = true)]
    pub set: Vec<Set>,
    /// Set a header, such as 'X-GitHub-Event: issues'; remove it if nothing follows the colon.
    /// Repeatable
    #[arg(
        long,
        value_name = "NAME: VALUE",
        value_parser = edits::header,
        allow_hyphen_values = true
    )]
    pub header: Vec<(String, String)>,
    /// HTTP method [default: the provider's]
    #[arg(long)]
    pub method: Option<String>,
    /// Target URL [default: this source on the local hub]
    #[arg(long)]
    pub url: Option<String>,
    /// Signing secret: env:NAME, file:PATH, or the secret itself [default: the source's]
    #[arg(long, value_name = "SECRET", allow_hyphen_values = true)]
    pub secret: Option<String>,
    /// A value that the provider signs besides a secret, such as webhook_id=… [default: the
    /// source's]. Repeatable
    #[arg(
        long = "param",
        value_name = "NAME=VALUE",
        value_parser = param,
        allow_hyphen_values = true
    )]
    pub params: Vec<(String, String)>,
    /// Configuration file with the source and its secret [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file
    #[arg(long)]
    pub dev: bool,
    /// Print a curl command instead of sending
    #[arg(long)]
    pub print: bool,
    /// Number of events to send, one after the other
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX))
    )]
    pub count: u32,
}

/// Everything that signing and sending a sample needs.
#[derive(Debug)]
struct SendPlan {
    provider: Arc<Provider>,
    signing: Secret,
    params: Params,
    /// The URL of the request.
    to: String,
    /// The URL that the sender believes it uses. Schemes that sign the URL sign this one.
    signed_url: String,
    /// The certificate of the hub, if its configuration is on this machine and it speaks TLS.
    certificate: Option<PathBuf>,
}

pub(super) async fn run(args: &SendArgs, output: Output) -> Result<(), CommandError> {
    let plan = plan(args)?;
    let body = args.file.as_deref().map(edits::read).transpose();
    let changes = SampleChanges {
        body: body.map_err(CommandError::Usage)?,
        set: args.set.clone(),
        headers: args.header.clone(),
    };
    let mut random = StdRng::try_from_rng(&mut SysRng)
        .map_err(|_| CommandError::Failed("the system gave no randomness".into()))?;
    let method = args.method.as_deref().map(str::to_ascii_uppercase);
    let mut make_sample = || {
        let SendPlan { provider, signing, params, signed_url, .. } = &plan;
        let (now, method) = (SystemClock.now(), method.as_deref());
        let signing = SigningInput { secret: signing, params, scheme: None };
        let draft = match (&args.kind, &changes.body) {
            (Some(kind), _) => SampleDraft::of_sample(provider, kind, method, now, &mut random),
            (None, body) => {
                SampleDraft::of_body(provider, method, body.as_deref().unwrap_or_default())
            }
        };
        let made = draft.and_then(|draft| draft.sign(provider, &changes, signing, signed_url, now));
        made.map_err(|error| CommandError::Usage(explained(provider, &error)))
    };
    if args.print {
        let curl = make_sample()?.curl(&plan.to);
        match output.json {
            true => output.value(&json!({ "curl": curl })),
            false => output.text(&curl),
        }
        return Ok(());
    }
    let http = HttpClient::trusting(plan.certificate.as_deref())?;
    let mut refused = 0_u32;
    for _ in 0..args.count {
        let answer = http.send(request(&make_sample()?, &plan.to)?).await?;
        refused += u32::from(!answer.status.is_success());
        show(&answer, output);
    }
    if refused == 0 {
        return Ok(());
    }
    Err(CommandError::Failed(format!("{refused} of {} requests were refused", args.count)))
}

fn plan(args: &SendArgs) -> Result<SendPlan, CommandError> {
    let given = args.secret.as_deref().map(secret).transpose()?;
    let given_params: Params = args
        .params
        .iter()
        .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
        .collect();
    if let (Some(signing), Some(url)) = (&given, &args.url) {
        // No configuration is needed, and there may be none.
        return Ok(SendPlan {
            provider: find(&catalog(args.config.as_ref())?, &args.provider)?,
            signing: signing.clone(),
            params: given_params,
            to: url.clone(),
            signed_url: url.clone(),
            certificate: None,
        });
    }
    let config = config::load(args.config.as_deref(), config::Mode::from_flag(args.dev))?.config;
    let source = source(&config, &args.provider)?;
    let tls = config.server.tls.as_ref();
    let here = local_base(config.server.listen, tls.is_some());
    let here = format!("{here}/webhook/{}", source.name);
    let to = args.url.clone().unwrap_or_else(|| here.clone());
    let public = source.public_url.clone().filter(|_| args.url.is_none());
    Ok(SendPlan {
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

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The error, with what to do about it.
fn explained(provider: &Provider, error: &SampleError) -> String {
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
fn secret(text: &str) -> Result<Secret, CommandError> {
    let failed = |what: &str| CommandError::Usage(format!("--secret: {what}"));
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

fn request(sample: &SignedSample, to: &str) -> Result<Request<Full<Bytes>>, CommandError> {
    let request = sample.request(to).ok().filter(|request| {
        let uri = request.uri();
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    // Not repeated here: a path may hold a secret.
    request
        .ok_or_else(|| CommandError::Usage("--url takes one such as https://example.com/in".into()))
}

/// Prints the answer as it was received: ids and problems are in its body.
fn show(answer: &HttpResponse, output: Output) {
    let status = answer.status.as_u16();
    let text = String::from_utf8_lossy(&answer.body);
    if output.json {
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::String(text.into_owned()));
        output.value(&json!({ "status": status, "body": body }));
    } else {
        output.text(format!("{status} {text}").trim_end());
    }
}
