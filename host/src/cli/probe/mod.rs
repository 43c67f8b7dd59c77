//! `weir probe`: reaches for an endpoint a step at a time, and says where it stops and what helps.
//!
//! `steps` does them, `advice` says what to do about one that failed.

mod advice;
mod steps;

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use serde::Serialize;
use weir_core::sign::SigningInput;
use weir_core::time::{Clock as _, Timestamp};
use weir_core::units::parse_duration;

use super::error::CommandError;
use super::signing_plan::{self, SigningPlan, WantedPlan};
use crate::config::Mode;
use crate::guard::AllowedNetworks;
use crate::program::exit::Exit;
use crate::program::output::{Output, table};
use crate::runtime::clock::SystemClock;
use crate::samples::{SampleDraft, SignedSample};

/// Find out whether an endpoint can be reached: name, guard, connection, certificate, answer
///
/// Looks the name up, asks the guard of destinations about its addresses, connects, makes the TLS
/// handshake, and sends one request: with --provider a signed sample, which must be accepted, else
/// a GET, which may be answered with anything. Proxies of the environment are not used.
#[derive(Debug, Clone, clap::Args)]
pub struct ProbeArgs {
    /// The endpoint, such as https://ops.example.com/hook
    #[arg(value_name = "URL")]
    pub url: String,
    /// Send a signed sample of this provider or source (see `weir providers`)
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// Name of the sample [default: the provider's first]
    #[arg(long = "type", value_name = "TYPE", requires = "provider")]
    pub kind: Option<String>,
    /// Signing secret: env:NAME, file:PATH, or the secret itself [default: the source's]
    #[arg(long, value_name = "SECRET", requires = "provider", allow_hyphen_values = true)]
    pub secret: Option<String>,
    /// A value that the provider signs besides a secret, such as webhook_id=…. Repeatable
    #[arg(
        long = "param",
        value_name = "NAME=VALUE",
        value_parser = signing_plan::param,
        allow_hyphen_values = true
    )]
    pub params: Vec<(String, String)>,
    /// Addresses besides those of the internet, as in `allow` of a destination: @private,
    /// @linklocal or @metadata. Repeatable
    #[arg(long, value_name = "WORD", value_parser = network)]
    pub allow: Vec<String>,
    /// File with the certificate of your own authority, as in `ca` of a destination
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Longest time of each step
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Configuration file with the source and its secret [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Development mode: allow secrets in the file
    #[arg(long)]
    pub dev: bool,
}

fn network(text: &str) -> Result<String, String> {
    match AllowedNetworks::default().add(text) {
        true => Ok(text.to_owned()),
        false => Err("write @private, @linklocal or @metadata".into()),
    }
}

/// The steps, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StepName {
    Dns,
    Guard,
    Tcp,
    Tls,
    Http,
}

impl StepName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Guard => "guard",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// The end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum StepState {
    Ok,
    /// It went on, and something needs attention.
    Warning,
    Failed,
}

impl StepState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// A step that was done.
#[derive(Debug, Clone, Serialize)]
struct ProbeStep {
    step: StepName,
    state: StepState,
    /// The time that it took, in milliseconds.
    ms: f64,
    /// The fact that was found.
    found: String,
    /// The advice, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// All steps until one failed.
#[derive(Debug, Default, Serialize)]
struct Probed {
    /// Scheme, host and port. The rest of a URL may hold secrets.
    endpoint: String,
    /// True if the endpoint answered.
    reachable: bool,
    /// True if it accepted the event; none if no event was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<bool>,
    /// The HTTP status of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The end of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_expires: Option<Timestamp>,
    steps: Vec<ProbeStep>,
}

/// The endpoint and what to send there.
struct Endpoint {
    host: String,
    port: u16,
    is_tls: bool,
    uri: Uri,
    allow: AllowedNetworks,
    ca: Option<PathBuf>,
    limit: Duration,
    sample: Option<SignedSample>,
}

pub(super) async fn run(args: &ProbeArgs, output: Output) -> Result<Exit, CommandError> {
    let endpoint = endpoint(args)?;
    let probed = steps::probe(&endpoint).await;
    output.answer(&probed, text);
    Ok(match (probed.reachable, probed.accepted) {
        (false, _) => Exit::Unreachable,
        (true, Some(false)) => Exit::Failure,
        (true, _) => Exit::Success,
    })
}

fn endpoint(args: &ProbeArgs) -> Result<Endpoint, CommandError> {
    // Not repeated here: a path may hold a secret.
    let usage = || CommandError::Usage("URL takes one such as https://example.com/in".into());
    let uri: Uri = args.url.parse().map_err(|_| usage())?;
    let is_tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(usage()),
    };
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(usage)?.to_owned();
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let what = "URL: it holds a password; give it without".to_owned();
        return Err(CommandError::Usage(what));
    }
    let mut allow = AllowedNetworks::default();
    for word in &args.allow {
        // The parser of the flag has checked the word.
        let _known = allow.add(word);
    }
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let sample = args.provider.as_deref().map(|provider| sample(args, provider)).transpose()?;
    let (ca, limit) = (args.ca.clone(), args.timeout);
    Ok(Endpoint { host, port, is_tls, uri, allow, ca, limit, sample })
}

/// The signed sample to send.
fn sample(args: &ProbeArgs, provider: &str) -> Result<SignedSample, CommandError> {
    let plan = SigningPlan::of(&WantedPlan {
        provider,
        secret: args.secret.as_deref(),
        params: &args.params,
        url: Some(&args.url),
        config: args.config.as_ref(),
        mode: Mode::from_flag(args.dev),
    })?;
    let SigningPlan { provider, signing, params, signed_url, .. } = &plan;
    let first = provider.samples.first().map(|sample| sample.name.as_str());
    let kind =
        args.kind.as_deref().or(first).ok_or_else(|| {
            CommandError::Usage(format!("{} has no sample to send", provider.name))
        })?;
    let mut random = StdRng::try_from_rng(&mut SysRng)
        .map_err(|_| CommandError::Failed("the system gave no randomness".into()))?;
    let (now, input) = (SystemClock.now(), SigningInput { secret: signing, params, scheme: None });
    let made = SampleDraft::of_sample(provider, kind, None, now, &mut random)
        .and_then(|draft| draft.sign(provider, &Default::default(), input, signed_url, now));
    made.map_err(|error| CommandError::Usage(signing_plan::explained(provider, &error)))
}

fn text(probed: &Probed) -> String {
    let row = |step: &ProbeStep| {
        let ms = format!("{:.1} ms", step.ms);
        let (name, state) = (step.step.as_str().into(), step.state.as_str().into());
        vec![name, state, ms, step.found.clone()]
    };
    let rows: Vec<_> = probed.steps.iter().map(row).collect();
    let mut lines =
        vec![probed.endpoint.clone(), table(&["STEP", "STATE", "TIME", "FOUND"], &rows)];
    let todo = |step: &ProbeStep| {
        let todo = step.todo.as_ref()?;
        Some(format!("{}: {todo}", step.step.as_str()))
    };
    lines.extend(probed.steps.iter().filter_map(todo));
    lines.push(match (probed.reachable, probed.accepted) {
        (false, _) => "not reachable".into(),
        (true, None) => "reachable".into(),
        (true, Some(true)) => "reachable, and the event was accepted".into(),
        (true, Some(false)) => "reachable, but the event was not accepted".into(),
    });
    lines.join("\n")
}
