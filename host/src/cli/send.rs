//! `weir send`: sends a signed sample of a provider's event to a hub or to any URL.

use std::path::PathBuf;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use serde_json::{Value, json};
use weir_core::sign::SigningInput;
use weir_core::time::Clock as _;

use crate::samples::edits::{self, SampleChanges, Set};

use super::error::CommandError;
use super::signing_plan::{self, SigningPlan, WantedPlan};
use crate::config;
use crate::http_client::{HttpClient, HttpResponse};
use crate::program::output::Output;
use crate::runtime::clock::SystemClock;
use crate::samples::{SampleDraft, SignedSample};

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
        value_parser = signing_plan::param,
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

impl SendArgs {
    /// The plan that the flags ask for.
    fn wanted(&self) -> WantedPlan<'_> {
        WantedPlan {
            provider: &self.provider,
            secret: self.secret.as_deref(),
            params: &self.params,
            url: self.url.as_deref(),
            config: self.config.as_ref(),
            mode: config::Mode::from_flag(self.dev),
        }
    }
}

pub(super) async fn run(args: &SendArgs, output: Output) -> Result<(), CommandError> {
    let plan = SigningPlan::of(&args.wanted())?;
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
        let SigningPlan { provider, signing, params, signed_url, .. } = &plan;
        let (now, method) = (SystemClock.now(), method.as_deref());
        let signing = SigningInput { secret: signing, params, scheme: None };
        let draft = match (&args.kind, &changes.body) {
            (Some(kind), _) => SampleDraft::of_sample(provider, kind, method, now, &mut random),
            (None, body) => {
                SampleDraft::of_body(provider, method, body.as_deref().unwrap_or_default())
            }
        };
        let made = draft.and_then(|draft| draft.sign(provider, &changes, signing, signed_url, now));
        made.map_err(|error| CommandError::Usage(signing_plan::explained(provider, &error)))
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
