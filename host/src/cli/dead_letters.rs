//! `weir dead-letters`: deliveries that were given up, and putting one back to work.

use std::num::NonZeroUsize;

use serde_json::Value;

use super::client::{AdminClient, HubArgs, id};
use super::error::CommandError;
use super::events::{pages, show_delivery, text};
use super::words;
use crate::program::output::{Output, table};

/// Most dead letters that one call prints.
const LIMIT_MAX: usize = 10_000;

/// List, show and retry dead letters: deliveries that used up their attempts.
#[derive(Debug, Clone, clap::Args)]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    pub act: DeadLettersAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DeadLettersAct {
    /// List dead letters, newest first
    List {
        /// Filter by target, such as handler:orders or destination:ops
        #[arg(long, value_parser = words::target)]
        target: Option<String>,
        /// Filter by the event's source
        #[arg(long, value_parser = words::source)]
        source: Option<String>,
        /// Filter by the event's type; `*` stands for any run of characters
        #[arg(long = "type", value_name = "TYPE", value_parser = words::kind)]
        kind: Option<String>,
        /// Of events received since, such as 1h or 2026-11-23T15:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = words::moment)]
        since: Option<String>,
        /// Of events received before, such as 1h or 2026-11-23T15:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = words::moment)]
        until: Option<String>,
        /// Limit
        #[arg(long, default_value = "50")]
        limit: NonZeroUsize,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show a dead letter with its attempts
    Show {
        /// Its id, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Retry a dead letter, with all its attempts before it
    Requeue {
        /// Its id, dlv_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &DeadLettersArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        DeadLettersAct::List { target, source, kind, since, until, limit, hub } => {
            let hub = AdminClient::find(hub)?;
            let filter = [
                ("target", target.as_deref()),
                ("source", source.as_deref()),
                ("type", kind.as_deref()),
                ("since", since.as_deref()),
                ("until", until.as_deref()),
            ];
            let limit = limit.get().min(LIMIT_MAX);
            let items = pages(&hub, "/api/v1/dead-letters", &filter, limit).await?;
            list(&items, output);
        }
        DeadLettersAct::Show { id: delivery, hub } => {
            let path = format!("/api/v1/dead-letters/{}", id(delivery)?);
            let detail = AdminClient::find(hub)?.get(&path, &[]).await?;
            if output.json {
                output.value(&detail);
            } else {
                output.text(&show_delivery(&detail).join("\n"));
            }
        }
        DeadLettersAct::Requeue { id: delivery, hub } => {
            let path = format!("/api/v1/dead-letters/{}/requeue", id(delivery)?);
            let answer = AdminClient::find(hub)?.post(&path).await?;
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
