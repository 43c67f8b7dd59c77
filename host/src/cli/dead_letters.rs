//! `weir dead-letters`: deliveries that were given up, and putting one back to work.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::client::{Hub, HubArgs, id};
use super::error::CommandError;
use super::events::{pages, show_delivery, text};
use super::output::{Output, table};

/// Most dead letters that one call prints.
const LIMIT_MAX: usize = 10_000;

/// List, show and requeue deliveries that were given up.
#[derive(Debug, Clone, clap::Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    pub act: DeadLettersAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DeadLettersAct {
    /// List them
    List {
        /// Only for this target, such as handler:orders or destination:ops
        #[arg(long)]
        target: Option<String>,
        /// At most so many
        #[arg(long, default_value = "50")]
        limit: NonZeroUsize,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show one with its attempts
    Show {
        /// Its id, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Put one back to work
    Requeue {
        /// Its id, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &DeadLettersArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        DeadLettersAct::List { target, limit, hub } => {
            let hub = Hub::find(hub)?;
            let filter = [("target", target.as_deref())];
            let limit = limit.get().min(LIMIT_MAX);
            let items = pages(&hub, "/api/v1/dead-letters", &filter, limit).await?;
            list(&items, output);
        }
        DeadLettersAct::Show { id: delivery, hub } => {
            let path = format!("/api/v1/dead-letters/{}", id(delivery)?);
            let detail = Hub::find(hub)?.get(&path, &[]).await?;
            if output.json {
                output.value(&detail);
            } else {
                output.text(&show_delivery(&detail).join("\n"));
            }
        }
        DeadLettersAct::Requeue { id: delivery, hub } => {
            let path = format!("/api/v1/dead-letters/{}/requeue", id(delivery)?);
            let answer = Hub::find(hub)?.post(&path).await?;
            if output.json {
                output.value(&answer);
            } else {
                let requeued = answer["requeued"].as_array().into_iter().flatten().map(text);
                let requeued = requeued.collect::<Vec<_>>().join(" ");
                output.text(&format!("requeued {requeued}"));
            }
        }
    }
    Ok(())
}

fn list(items: &[Value], output: Output) {
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no dead letters");
    } else {
        let row = |item: &Value| {
            ["id", "event", "target", "attempts", "reason"].map(|key| text(&item[key])).to_vec()
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["ID", "EVENT", "TARGET", "ATTEMPTS", "REASON"], &rows));
    }
}
