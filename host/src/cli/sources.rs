//! `weir sources`: the ways in as the hub has them now, and the secrets that some of their senders hand over.

use std::time::Duration;

use http::StatusCode;
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::client::{AdminClient, ClientError, HubArgs};
use super::error::CommandError;
use super::events::text;
use crate::program::output::{Output, table};

/// How often the hub is asked whether a secret has come.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// List the sources in force, and say when a sender may hand its secret over.
#[derive(Debug, Clone, clap::Args)]
pub struct SourcesArgs {
    #[command(subcommand)]
    pub act: SourcesAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SourcesAct {
    /// List sources (names of secrets only)
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Take the secret that the next handshake hands over (Asana, Notion), once
    ///
    /// Anyone could send such a handshake: do this when you create the webhook there, and not for longer. Where you have
    /// to give the secret back to the provider (Notion), this waits for it and prints it, once.
    AcceptSecret {
        /// The source
        source: String,
        /// For how long
        #[arg(long = "for", value_name = "TIME", default_value = "10m")]
        time: String,
        /// Do not wait for a secret that has to be given back; `learned-secret` shows it
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Print the secret that was handed over and has to be given back to the provider, once
    ///
    /// Until the time of `accept-secret` is up. After that, or once it was printed, forget it and have another one made.
    LearnedSecret {
        /// The source
        source: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Forget the secret that was handed over, so that another may be
    ForgetSecret {
        /// The source
        source: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &SourcesArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        SourcesAct::List { hub } => {
            list(&AdminClient::find(hub)?.get("/api/v1/sources", &[]).await?, output)
        }
        SourcesAct::AcceptSecret { source, time, no_wait, hub } => {
            accept(&AdminClient::find(hub)?, name(source)?, time, *no_wait, output).await?;
        }
        SourcesAct::LearnedSecret { source, hub } => {
            let hub = AdminClient::find(hub)?;
            match look(&hub, name(source)?).await? {
                SecretState::Secret(shown) if output.json => output.value(&shown),
                // Alone, for whoever passes it on.
                SecretState::Secret(shown) => output.text(&text(&shown["secret"])),
                SecretState::Awaited(until) => {
                    let what =
                        format!("{source} was given no secret yet; it takes one until {until}");
                    return Err(CommandError::NotFound(what));
                }
            }
        }
        SourcesAct::ForgetSecret { source, hub } => {
            let path = format!("/api/v1/sources/{}/secret", name(source)?);
            let forgotten = AdminClient::find(hub)?.delete(&path).await?;
            if output.json {
                output.value(&forgotten);
            } else {
                output.text(&format!("the secret of {source} is forgotten"));
            }
        }
    }
    Ok(())
}

/// Opens the window, and waits for what comes through it if that has to be seen.
async fn accept(
    hub: &AdminClient,
    source: &str,
    time: &str,
    no_wait: bool,
    output: Output,
) -> Result<(), CommandError> {
    let path = format!("/api/v1/sources/{source}/secret-window");
    let opened = hub.post_json(&path, &json!({ "until": time })).await?;
    let until = text(&opened["until"]);
    let to_be_shown = opened["shown_once"] == true;
    if output.json {
        output.value(&opened);
    } else {
        output.text(&format!("{source} takes a secret from its sender until {until}, once"));
        if to_be_shown && no_wait {
            output.text(&format!("`weir sources learned-secret {source}` shows it, once"));
        }
    }
    if !to_be_shown || no_wait {
        return Ok(());
    }
    let line = waiting(
        format!(
            "waiting for it until {until}; `weir sources learned-secret {source}` shows it too"
        ),
        output,
    );
    let shown = arrived(hub, source).await;
    line.finish_and_clear();
    let shown = shown?.ok_or_else(|| {
        CommandError::NotFound(format!("nobody handed a secret over for {source} until {until}"))
    })?;
    if output.json {
        output.value(&shown);
    } else {
        output.text("its sender wants this back; it is not shown again:");
        output.text(&text(&shown["secret"]));
    }
    Ok(())
}

/// Waits for the secret; none if the window's time is up before it comes.
async fn arrived(hub: &AdminClient, source: &str) -> Result<Option<Value>, ClientError> {
    loop {
        match look(hub, source).await {
            Ok(SecretState::Secret(shown)) => return Ok(Some(shown)),
            Ok(SecretState::Awaited(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(ClientError::Refused { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// What the hub has to show.
enum SecretState {
    /// Its answer, with the secret.
    Secret(Value),
    /// Nothing before then, perhaps.
    Awaited(String),
}

async fn look(hub: &AdminClient, source: &str) -> Result<SecretState, ClientError> {
    let answer = hub.post(&format!("/api/v1/sources/{source}/secret/show")).await?;
    if answer["secret"].is_string() {
        Ok(SecretState::Secret(answer))
    } else {
        Ok(SecretState::Awaited(text(&answer["until"])))
    }
}

/// A line that says what is waited for. Hides itself where standard error is no terminal.
fn waiting(what: String, output: Output) -> ProgressBar {
    if output.json {
        return ProgressBar::hidden();
    }
    let line = ProgressBar::new_spinner().with_message(what);
    line.enable_steady_tick(LOOK_EVERY / 8);
    line
}

/// A name that can stand in a path.
fn name(text: &str) -> Result<&str, CommandError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= 63 && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(CommandError::Usage(format!("`{text}` is not the name of a source")))
    }
}

fn list(listed: &Value, output: Output) {
    let items = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no sources");
    } else {
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["SOURCE", "PROVIDER", "SCHEMES", "VERIFIED WITH"], &rows));
    }
}

fn row(item: &Value) -> Vec<String> {
    let names = |key: &str| {
        let names = item[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let with = match item["window_until"].as_str() {
        Some(until) => format!("nothing yet: takes a secret until {until}"),
        None if item["awaits_secret"] == true => "nothing yet: `weir sources accept-secret`".into(),
        None => names("secrets"),
    };
    vec![text(&item["name"]), text(&item["provider"]), names("schemes"), with]
}
