//! `weir sources`: the ways in as the hub has them now, and the secrets that some of their senders hand over.

use serde_json::{Value, json};

use super::client::{Hub, HubArgs};
use super::error::CommandError;
use super::events::text;
use super::output::{Output, table};

/// List the sources in force, and say when a sender may hand its secret over.
#[derive(Debug, Clone, clap::Args)]
pub struct SourcesArgs {
    #[command(subcommand)]
    pub act: SourcesAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum SourcesAct {
    /// List them; of secrets, their names
    List {
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Take the secret that the next handshake hands over (Asana, Notion), once
    ///
    /// Anyone could send such a handshake: do this when you create the webhook there, and not for longer.
    AcceptSecret {
        /// The source
        source: String,
        /// For how long
        #[arg(long = "for", value_name = "TIME", default_value = "10m")]
        time: String,
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
            list(&Hub::find(hub)?.get("/api/v1/sources", &[]).await?, output)
        }
        SourcesAct::AcceptSecret { source, time, hub } => {
            let path = format!("/api/v1/sources/{}/secret-window", name(source)?);
            let opened = Hub::find(hub)?.post_json(&path, &json!({ "until": time })).await?;
            if output.json {
                output.value(&opened);
            } else {
                let until = text(&opened["until"]);
                output
                    .text(&format!("{source} takes a secret from its sender until {until}, once"));
            }
        }
        SourcesAct::ForgetSecret { source, hub } => {
            let path = format!("/api/v1/sources/{}/secret", name(source)?);
            let forgotten = Hub::find(hub)?.delete(&path).await?;
            if output.json {
                output.value(&forgotten);
            } else {
                output.text(&format!("the secret of {source} is forgotten"));
            }
        }
    }
    Ok(())
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
