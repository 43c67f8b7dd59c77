//! `weir providers`: lists and shows providers, and tests a provider file.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_core::identify::DedupRule;
use weir_core::provider::{BodyCoverage, Catalog, Coverage, Provider};
use weir_core::units::format_duration;

use super::error::CommandError;
use crate::config::{self, ProviderFile, Providers, shown};
use crate::program::output::Output;

/// Most types that are printed for a provider; `--json` has all of them.
const TYPES_SHOWN: usize = 12;

/// List providers with their samples, show one, or test your own provider file
#[derive(Debug, Clone, clap::Args)]
pub struct ProvidersArgs {
    #[command(subcommand)]
    pub act: Option<ProvidersAct>,
    /// Configuration file that names your own provider files [default: weir.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
}

/// An act on providers.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ProvidersAct {
    /// List providers
    List,
    /// Show a provider: its schemes, samples and types, and the settings of a source
    Show {
        /// Name of the provider
        name: String,
        /// Print its file instead, as a start for your own
        #[arg(long)]
        file: bool,
    },
    /// Check a provider file, and run its test vectors through the hub's code
    Test {
        /// Provider file
        file: PathBuf,
    },
}

/// The known providers: the built-in ones and those of the operator's files.
pub(super) fn catalog(config: Option<&PathBuf>) -> Result<Catalog, CommandError> {
    Ok(known(config)?.catalog)
}

fn known(config: Option<&PathBuf>) -> Result<Providers, CommandError> {
    Ok(config::known_providers(config.map(PathBuf::as_path))?)
}

/// The provider of this name.
pub(super) fn find(catalog: &Catalog, name: &str) -> Result<Arc<Provider>, CommandError> {
    catalog.get(name).cloned().ok_or_else(|| {
        let known: Vec<_> = catalog.iter().map(|provider| &*provider.name).collect();
        CommandError::NotFound(format!(
            "there is no provider `{}`; known providers: {}",
            shown::name(name),
            known.join(", ")
        ))
    })
}

pub(super) fn run(args: &ProvidersArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        None | Some(ProvidersAct::List) => list(&known(args.config.as_ref())?, output),
        Some(ProvidersAct::Show { name, file: false }) => {
            show(&*find(&catalog(args.config.as_ref())?, name)?, output);
        }
        Some(ProvidersAct::Show { name, file: true }) => {
            let text = Catalog::built_in_text(name).ok_or_else(|| {
                CommandError::NotFound(format!(
                    "`{name}` is not built in; its file is one of yours"
                ))
            })?;
            match output.json {
                true => output.value(&json!({ "name": name, "file": text })),
                false => output.text(text.trim_end()),
            }
        }
        Some(ProvidersAct::Test { file }) => {
            let provider = config::provider_file(file)?;
            let vectors: Vec<_> = provider.vectors().collect();
            let refused = vectors.iter().filter(|(_, refused)| refused.is_some()).count();
            if output.json {
                output.value(&json!({
                    "ok": true, "file": file.display().to_string(), "provider": *provider.name,
                    "vectors": vectors.len(), "refused": refused,
                }));
            } else {
                output.text(&format!(
                    "{}: OK, provider {}: {} valid requests accepted, {refused} invalid ones \
                     refused",
                    file.display(),
                    provider.name,
                    vectors.len() - refused,
                ));
            }
        }
    }
    Ok(())
}

fn list(Providers { catalog, files, .. }: &Providers, output: Output) {
    let problems =
        |file: &ProviderFile| -> Vec<_> { file.problems.iter().map(ToString::to_string).collect() };
    if output.json {
        for provider in catalog.iter() {
            let mut value = value(provider);
            let is_its = |file: &&ProviderFile| file.provider.as_ref() == Some(&provider.name);
            if let Some(file) = files.iter().find(is_its) {
                value["file"] = file.file.as_str().into();
                value["problems"] = problems(file).into();
            }
            output.value(&value);
        }
        for file in files.iter().filter(|file| file.provider.is_none()) {
            output.value(&json!({ "name": null, "file": file.file, "problems": problems(file) }));
        }
        return;
    }
    let row = |provider: &Provider| {
        vec![provider.name.to_string(), provider.about.clone(), samples(provider).join(", ")]
    };
    let rows: Vec<_> = catalog.iter().map(|provider| row(provider)).collect();
    output.table(&["PROVIDER", "ABOUT", "SAMPLES"], &rows);
    for file in files {
        let meanwhile = match &file.provider {
            Some(provider) => format!("the last good version of {provider} is used"),
            None => "it defines no provider".into(),
        };
        for problem in problems(file) {
            output.problem(&format!("{problem} ({meanwhile})"));
        }
    }
}

fn value(provider: &Provider) -> Value {
    let schemes: Vec<_> = provider.schemes.iter().map(|scheme| scheme.name.to_string()).collect();
    let params = provider.params.iter().map(|param| {
        json!({
            "name": param.name, "about": param.about, "required": param.required,
            "secret": param.secret,
        })
    });
    json!({
        "name": *provider.name,
        "about": provider.about,
        "docs": provider.docs,
        "schemes": schemes,
        "params": params.collect::<Vec<_>>(),
        "methods": provider.methods.iter().collect::<Vec<_>>(),
        "handshakes": handshakes(provider),
        "samples": samples(provider),
        "types": provider.types,
        "types_complete": provider.types_complete,
        "ack_deadline": provider.ack_deadline.map(format_duration),
        "retry_window": provider.retry_window.map(format_duration),
        "signed": provider.coverage().iter().map(signed).collect::<Vec<_>>(),
    })
}

fn show(provider: &Provider, output: Output) {
    if output.json {
        output.value(&value(provider));
        return;
    }
    let list = |names: Vec<String>| if names.is_empty() { "none".into() } else { names.join(", ") };
    let schemes = provider.schemes.iter().map(|scheme| scheme.name.to_string()).collect();
    let mut lines = vec![
        format!("{}  {}", provider.name, provider.about),
        provider.docs.clone(),
        String::new(),
        format!("schemes     {}", list(schemes)),
        format!("methods     {}", provider.methods),
        format!("handshakes  {}", list(handshakes(provider))),
        format!("samples     {}", list(samples(provider))),
        format!("types       {}", types(provider)),
    ];
    lines.extend(
        provider.ack_deadline.map(|deadline| {
            format!("deadline    {} to answer a request", format_duration(deadline))
        }),
    );
    lines.extend(
        provider.retry_window.map(|window| format!("retries     for {}", format_duration(window))),
    );
    lines.extend(coverage(provider));
    lines.extend([
        String::new(),
        format!("[sources.{}]", provider.name),
        format!("provider = \"{}\"", provider.name),
    ]);
    let asks = provider.params.iter().filter(|param| param.name != "secret");
    if let Some(secret) =
        provider.params.iter().find(|param| param.name == "secret" || param.secret)
    {
        let optional = if secret.required { "" } else { "# " };
        lines.push(format!("{optional}secrets = [{{ env = \"…\" }}]  # {}", secret.about));
        for scheme in &provider.schemes {
            lines.push(format!("# for scheme {}: {}", scheme.name, scheme.minimum_secret()));
        }
    }
    for param in asks {
        let optional = if param.required { "" } else { "# " };
        let value = if param.secret { "{ env = \"…\" }" } else { "\"…\"" };
        lines.push(format!("{optional}params.{} = {value}  # {}", param.name, param.about));
    }
    output.text(&lines.join("\n"));
}

fn signed(coverage: &Coverage) -> Value {
    let Coverage { scheme, body, kind, id, time } = coverage;
    json!({ "scheme": &**scheme, "body": body.as_str(), "type": kind, "id": id, "time": time })
}

/// The parts of an event that each scheme signs, and a hint if it leaves the id open.
fn coverage(provider: &Provider) -> Vec<String> {
    let mut lines = Vec::new();
    for Coverage { scheme, body, kind, id, time } in provider.coverage() {
        let facts = [("type", kind, &provider.identity.kinds), ("id", id, &provider.identity.ids)];
        let facts = facts.map(|(name, signed, places)| (name, signed, !places.is_empty()));
        let facts: Vec<_> = facts.into_iter().chain([("time", time, true)]).collect();
        let names = |wanted: bool| {
            let of = facts.iter().filter(|(_, signed, known)| *known && *signed == wanted);
            of.map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>()
        };
        let body = match body {
            BodyCoverage::All => "body",
            BodyCoverage::Fields => "fields of the body",
            BodyCoverage::Checksum => "a checksum of the body",
            BodyCoverage::Nothing => {
                lines.push(format!("signed      no part of the event ({scheme})"));
                continue;
            }
        };
        let signed = [vec![body.to_owned()], names(true)].concat().join(", ");
        let open = names(false);
        let not =
            if open.is_empty() { String::new() } else { format!("; not {}", open.join(", ")) };
        lines.push(format!("signed      {signed}{not} ({scheme})"));
        let id_counts = matches!(provider.identity.dedup, DedupRule::Id | DedupRule::IdAndBody);
        if !id && id_counts {
            lines.push(
                "            a captured request counts as new under another id: set dedup = \
                 \"type+body\" or \"body\" in the source if its sender never sends \
                 the same body twice"
                    .to_owned(),
            );
        }
    }
    lines
}

fn handshakes(provider: &Provider) -> Vec<String> {
    provider.handshakes.iter().map(|handshake| handshake.name.clone()).collect()
}

/// The first types that the provider documents, and the number of the rest.
fn types(provider: &Provider) -> String {
    let shown: Vec<&str> = provider.types.iter().take(TYPES_SHOWN).map(|kind| &**kind).collect();
    match provider.types.len().saturating_sub(TYPES_SHOWN) {
        0 if shown.is_empty() => "not listed".into(),
        0 if provider.types_complete => shown.join(", "),
        0 => format!("{} and others", shown.join(", ")),
        more => format!("{} and {more} more, with --json", shown.join(", ")),
    }
}

fn samples(provider: &Provider) -> Vec<String> {
    provider.samples.iter().map(|sample| sample.name.clone()).collect()
}
