//! `weir register`: makes the webhook of a source through the published API of its provider, and
//! keeps its secret where the configuration says. A second call changes nothing.

mod secret_file;

use std::path::PathBuf;

use ring::rand::SystemRandom;
use serde::Serialize;
use weir_core::error::chain;
use weir_core::verify::Secret;

use super::error::CommandError;
use super::provider_account::AccountArgs;
use super::providers::{catalog, find};
use crate::config::{SecretPlace, SourcePlace};
use crate::program::output::Output;
use crate::provider_api::{RegisteredWebhook, SecretOrigin, WantedWebhook, WebhookApi, sorted};
use secret_file::NewSecretFile;

/// Make, list or delete a webhook through the API of its provider
///
/// Makes the webhook that sends to a source, and writes its secret with mode 0600 into the file
/// that the source's `secrets` names. If a webhook with this URL is there, nothing changes, or only
/// its events. Credentials come from variables or files, never from the command line.
#[derive(Debug, Clone, clap::Args)]
pub struct RegisterArgs {
    /// The provider. With `custom`, for senders without an API, only the secret is made
    #[arg(value_parser = ["github", "stripe", "shopify", "slack", "gitlab", "twilio", "custom"])]
    pub provider: String,
    /// The source in the configuration [default: the name of the provider]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Type of events to send, by the provider's name for it. Repeatable [default: as documented]
    #[arg(long = "event", value_name = "TYPE")]
    pub events: Vec<String>,
    /// URL of the source, as the provider reaches it [default: by public_url in the configuration]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// List the webhooks that the provider has, and change nothing
    #[arg(long, conflicts_with_all = ["events", "delete"])]
    pub list: bool,
    /// Delete the webhook with the URL of the source, or with --id
    #[arg(long, conflicts_with = "events")]
    pub delete: bool,
    /// The id of the webhook to delete
    #[arg(long, value_name = "ID", requires = "delete")]
    pub id: Option<String>,
    #[command(flatten)]
    pub account: AccountArgs,
    /// Configuration file with the source [default: weir.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The result of a call.
#[derive(Debug, Serialize)]
struct Outcome {
    provider: String,
    source: String,
    url: String,
    /// `created`, `updated`, `unchanged`, `deleted` or `prepared`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    events: Vec<String>,
    /// The file with the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<String>,
    /// The acts that are left to a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    todo: Vec<String>,
}

pub(super) async fn run(args: &RegisterArgs, output: Output) -> Result<(), CommandError> {
    let api = args.account.webhooks(&args.provider)?;
    match api {
        Some(api) if args.list => list(&*api, output).await,
        Some(api) if args.delete => delete(args, &*api, output).await,
        Some(api) => {
            let outcome = register(args, &*api).await?;
            output.answer(&outcome, text);
            Ok(())
        }
        None if args.list || args.delete => {
            let what = "custom senders have no API: see at the sender";
            Err(CommandError::Usage(what.into()))
        }
        None => {
            let outcome = prepare(args)?;
            output.answer(&outcome, text);
            Ok(())
        }
    }
}

async fn list(api: &dyn WebhookApi, output: Output) -> Result<(), CommandError> {
    let webhooks = api.list().await?;
    if output.json {
        for webhook in &webhooks {
            let RegisteredWebhook { id, url, events, is_active } = webhook;
            output.value(&serde_json::json!({
                "id": id, "url": url, "events": events, "active": is_active,
            }));
        }
        return Ok(());
    }
    if webhooks.is_empty() {
        output.text("no webhooks");
        return Ok(());
    }
    let row = |one: &RegisteredWebhook| {
        let state = if one.is_active { "ok" } else { "paused" };
        vec![one.id.clone(), state.into(), one.events.join(" "), one.url.clone()]
    };
    output.table(&["ID", "STATE", "EVENTS", "URL"], &webhooks.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn delete(
    args: &RegisterArgs,
    api: &dyn WebhookApi,
    output: Output,
) -> Result<(), CommandError> {
    let url = match &args.id {
        Some(_) => None,
        None => Some(place(args)?.1),
    };
    let is_meant = |one: &RegisteredWebhook| match &args.id {
        Some(id) => one.id == *id,
        None => Some(&one.url) == url.as_ref(),
    };
    let found: Vec<_> = api.list().await?.into_iter().filter(is_meant).collect();
    let [found] = &found[..] else {
        let meant = args.id.clone().or(url).unwrap_or_default();
        return Err(match found.len() {
            0 => CommandError::NotFound(format!("there is no webhook {meant}; see --list")),
            many => CommandError::Usage(format!(
                "{many} webhooks are {meant}; choose one with --id, or name its account more exactly"
            )),
        });
    };
    api.delete(found).await?;
    let outcome = Outcome {
        provider: args.provider.clone(),
        source: source_name(args).to_owned(),
        url: found.url.clone(),
        outcome: "deleted",
        id: Some(found.id.clone()),
        events: found.events.clone(),
        secret_file: None,
        todo: Vec::new(),
    };
    output.answer(&outcome, text);
    Ok(())
}

fn source_name(args: &RegisterArgs) -> &str {
    args.source.as_deref().unwrap_or(&args.provider)
}

/// The source in the configuration, and its URL.
fn place(args: &RegisterArgs) -> Result<(SourcePlace, String), CommandError> {
    let source = source_name(args);
    let place = SourcePlace::find(args.config.as_deref(), source)?;
    let is_other = place.provider != args.provider && args.provider != "custom";
    if is_other {
        return Err(CommandError::Usage(format!(
            "source {source} has the provider {}, not {}",
            place.provider, args.provider
        )));
    }
    let url = args.url.clone().or_else(|| place.url.clone()).ok_or_else(|| {
        CommandError::Usage(
            "the URL of the source is not known: set server.public_url, or give --url".into(),
        )
    })?;
    Ok((place, url))
}

/// Makes the webhook, or changes the one that is there.
async fn register(args: &RegisterArgs, api: &dyn WebhookApi) -> Result<Outcome, CommandError> {
    let (place, url) = place(args)?;
    let listed = api.list().await?;
    let found = listed.into_iter().find(|one| one.url == url);
    let events = wanted_events(args, api, found.as_ref())?;
    let origin = api.secret_origin();
    let secrets = Secrets::of(&place, args, origin, found.is_some())?;
    let (secret, is_new) = (secrets.ours.clone(), secrets.is_new());
    let wanted = WantedWebhook { url: url.clone(), events, secret };
    let (outcome, id) = match found {
        None => {
            let (id, made) = api.create(&wanted).await?;
            secrets.keep(made.as_ref()).map_err(|error| {
                let what = format!("{error}. The webhook {id} was made: delete it with --delete");
                CommandError::Failed(what)
            })?;
            ("created", id)
        }
        Some(found) => {
            // A webhook whose secret is not known here would be refused.
            let is_same = found.events == wanted.events && found.is_active && !is_new;
            if !is_same {
                api.update(&found, &wanted).await?;
                secrets.keep(None)?;
            }
            (if is_same { "unchanged" } else { "updated" }, found.id)
        }
    };
    let mut todo = Vec::new();
    if let SecretOrigin::Elsewhere(advice) = origin {
        let is_there = secrets_known(&place);
        let into = shown(&place);
        todo.extend(
            (!is_there).then(|| format!("{advice}, and put it into {into} with mode 0600")),
        );
    }
    Ok(Outcome {
        provider: args.provider.clone(),
        source: source_name(args).to_owned(),
        url,
        outcome,
        id: Some(id),
        events: wanted.events,
        secret_file: file_of(&place).map(|file| file.display().to_string()),
        todo,
    })
}

/// Makes the secret for a sender without an API.
fn prepare(args: &RegisterArgs) -> Result<Outcome, CommandError> {
    let (place, url) = place(args)?;
    let secrets = Secrets::of(&place, args, SecretOrigin::Ours, false)?;
    let outcome = if secrets.is_new() { "prepared" } else { "unchanged" };
    secrets.keep(None)?;
    let secret = shown(&place);
    let todo = vec![format!(
        "{} has no API that weir knows: enter the URL and the secret of {secret} at the sender",
        place.provider
    )];
    Ok(Outcome {
        provider: place.provider.clone(),
        source: source_name(args).to_owned(),
        url,
        outcome,
        id: None,
        events: Vec::new(),
        secret_file: file_of(&place).map(|file| file.display().to_string()),
        todo,
    })
}

/// The events that are asked for, or those that the webhook has, or the usual ones.
fn wanted_events(
    args: &RegisterArgs,
    api: &dyn WebhookApi,
    found: Option<&RegisteredWebhook>,
) -> Result<Vec<String>, CommandError> {
    if !args.events.is_empty() {
        return Ok(sorted(args.events.iter().cloned()));
    }
    if let Some(found) = found {
        return Ok(found.events.clone());
    }
    let usual = api.usual_events().ok_or_else(|| {
        CommandError::Usage(format!(
            "{} needs the types of events: give --event TYPE, as often as needed",
            args.provider
        ))
    })?;
    Ok(sorted(usual.iter().map(|name| (*name).to_owned())))
}

/// The secret of a source, before the provider is called.
struct Secrets {
    /// The one that is told to the provider.
    ours: Option<Secret>,
    /// The file for a new one.
    file: Option<NewSecretFile>,
}

impl Secrets {
    fn of(
        place: &SourcePlace,
        args: &RegisterArgs,
        origin: SecretOrigin,
        is_registered: bool,
    ) -> Result<Self, CommandError> {
        let none = Self { ours: None, file: None };
        match (origin, &place.secret) {
            (SecretOrigin::Elsewhere(_), _) => Ok(none),
            (_, None) => Err(CommandError::Usage(format!(
                "source {source} names no secret: write secrets = [{{ file = \"secrets/{source}\" }}]",
                source = source_name(args)
            ))),
            (SecretOrigin::Ours, Some(SecretPlace::Variable(name))) => {
                let secret = super::signing_plan::secret("secrets", &format!("env:{name}"))?;
                Ok(Self { ours: Some(secret), file: None })
            }
            (SecretOrigin::Ours, Some(SecretPlace::File(path))) => match secret_file::read(path)? {
                Some(secret) => Ok(Self { ours: Some(secret), file: None }),
                None => {
                    let file = Some(NewSecretFile::create(path)?);
                    Ok(Self { ours: Some(new_secret(place, args)?), file })
                }
            },
            (SecretOrigin::Provider, Some(SecretPlace::Variable(name))) if !is_registered => {
                Err(CommandError::Usage(format!(
                    "{} tells the secret of a new webhook once, and a variable ({name}) cannot keep \
                     it: let the source name a file, secrets = [{{ file = \"PATH\" }}]",
                    args.provider
                )))
            }
            (SecretOrigin::Provider, Some(SecretPlace::Variable(_))) => Ok(none),
            (SecretOrigin::Provider, Some(SecretPlace::File(path))) => {
                match (secret_file::read(path)?, is_registered) {
                    (Some(_), true) => Ok(none),
                    (None, true) => Err(CommandError::Failed(format!(
                        "a webhook with this URL is there, and {} tells its secret only when it is \
                         made; {} is not there. Copy the secret into it, or delete the webhook with \
                         --delete and register it again",
                        args.provider,
                        path.display()
                    ))),
                    (Some(_), false) => Err(CommandError::Failed(format!(
                        "{} has a secret already, and a new webhook gets one of its own; move the \
                         file away, or name a new one first in the `secrets` of the source",
                        path.display()
                    ))),
                    (None, false) => {
                        Ok(Self { ours: None, file: Some(NewSecretFile::create(path)?) })
                    }
                }
            }
        }
    }

    /// True if the source had no secret before.
    fn is_new(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the new secret: the provider's, or else ours.
    fn keep(self, made: Option<&Secret>) -> Result<(), CommandError> {
        match (self.file, made.or(self.ours.as_ref())) {
            (Some(file), Some(secret)) => file.keep(secret),
            _ => Ok(()),
        }
    }
}

/// A secret in the form of the source's provider.
fn new_secret(place: &SourcePlace, args: &RegisterArgs) -> Result<Secret, CommandError> {
    let provider = find(&catalog(args.config.as_ref())?, &place.provider)?;
    // GitLab's API takes the token that is sent along, and not the one that signs.
    let scheme = (&*provider.name == "gitlab").then_some("token");
    let pair = provider.generate_secret(scheme, &SystemRandom::new());
    Ok(pair.map_err(|error| CommandError::Failed(chain(&error)))?.verifying)
}

fn file_of(place: &SourcePlace) -> Option<PathBuf> {
    match &place.secret {
        Some(SecretPlace::File(path)) => Some(path.clone()),
        _ => None,
    }
}

/// True if the secret of a source is there.
fn secrets_known(place: &SourcePlace) -> bool {
    match &place.secret {
        Some(SecretPlace::File(path)) => path.exists(),
        Some(SecretPlace::Variable(name)) => std::env::var_os(name).is_some(),
        None => false,
    }
}

fn shown(place: &SourcePlace) -> String {
    match &place.secret {
        Some(SecretPlace::File(path)) => path.display().to_string(),
        Some(SecretPlace::Variable(name)) => format!("${name}"),
        None => "the file that its `secrets` will name".into(),
    }
}

fn text(outcome: &Outcome) -> String {
    let id = outcome.id.as_ref().map_or_else(String::new, |id| format!(" {id}"));
    let mut lines = vec![format!("{}  {}{id}", outcome.outcome, outcome.provider)];
    let mut fact = |name: &str, value: &str| lines.push(format!("{name:<7}  {value}"));
    fact("url", &outcome.url);
    if !outcome.events.is_empty() {
        fact("events", &outcome.events.join(" "));
    }
    if let Some(file) = outcome.secret_file.as_ref().filter(|_| outcome.outcome != "deleted") {
        fact("secret", &format!("in {file}"));
    }
    lines.extend(outcome.todo.iter().cloned());
    lines.join("\n")
}
