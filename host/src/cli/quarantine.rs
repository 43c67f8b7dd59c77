//! `weir quarantine`: requests with an invalid signature, and releasing them once the reason is fixed.

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{AdminClient, HubArgs, id};
use super::error::CommandError;
use super::events::{pages, text};
use super::words;
use crate::program::output::{Output, table};

/// Most requests that one call prints.
const LIMIT_MAX: usize = 10_000;

/// List, show and release requests with an invalid signature.
#[derive(Debug, Clone, clap::Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub act: QuarantineAct,
}

/// What to do.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum QuarantineAct {
    /// List quarantined requests, newest first
    List {
        /// Filter by source
        #[arg(long, value_parser = words::source)]
        source: Option<String>,
        /// Include released requests
        #[arg(long)]
        released: bool,
        /// Limit
        #[arg(long, default_value = "50")]
        limit: NonZeroUsize,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show a quarantined request with its headers and body
    Show {
        /// Its id, qrt_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Re-check quarantined requests with the current secrets and accept those that now verify
    ///
    /// The time at which a request came counts, not the time of the check.
    Release {
        /// Their ids, qrt_…; all of them if there is none
        ids: Vec<String>,
        /// Filter by source
        #[arg(long, conflicts_with = "ids", value_parser = words::source)]
        source: Option<String>,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &QuarantineArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        QuarantineAct::List { source, released, limit, hub } => {
            let filter = [("source", source.as_deref()), ("released", released.then_some("true"))];
            let limit = limit.get().min(LIMIT_MAX);
            list(
                &pages(&AdminClient::find(hub)?, "/api/v1/quarantine", &filter, limit).await?,
                output,
            );
            Ok(())
        }
        QuarantineAct::Show { id: request, hub } => {
            let path = format!("/api/v1/quarantine/{}", id(request)?);
            let shown = AdminClient::find(hub)?.get(&path, &[]).await?;
            show(&shown, output);
            Ok(())
        }
        QuarantineAct::Release { ids, source, hub } if ids.is_empty() => {
            release_all(&AdminClient::find(hub)?, source.as_deref(), output).await
        }
        QuarantineAct::Release { ids, hub, .. } => {
            let hub = AdminClient::find(hub)?;
            for request in ids {
                let path = format!("/api/v1/quarantine/{}/release", id(request)?);
                let released = hub.post(&path).await?;
                if output.json {
                    output.value(&released);
                } else {
                    output.text(&format!("{request} accepted: {}", list_of(&released["events"])));
                }
            }
            Ok(())
        }
    }
}

async fn release_all(
    hub: &AdminClient,
    source: Option<&str>,
    output: Output,
) -> Result<(), CommandError> {
    let (mut released, mut refused) = (0, Vec::new());
    let mut asked = json!({ "source": source });
    loop {
        let answer = hub.post_json("/api/v1/quarantine/release", &asked).await?;
        if output.json {
            output.value(&answer);
        }
        released += answer["released"].as_array().map_or(0, Vec::len);
        refused.extend(answer["refused"].as_array().into_iter().flatten().cloned());
        match answer["next"].as_str() {
            Some(next) => asked["after"] = next.into(),
            None => break,
        }
    }
    if output.json {
        return Ok(());
    }
    output.text(&format!("{released} accepted, {} still invalid", refused.len()));
    if !refused.is_empty() {
        let rows: Vec<_> =
            refused.iter().map(|item| vec![text(&item["id"]), text(&item["code"])]).collect();
        output.text(&table(&["ID", "REASON"], &rows));
    }
    Ok(())
}

fn list(items: &[Value], output: Output) {
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no quarantined requests");
    } else {
        let row = |item: &Value| {
            let mut row: Vec<_> = ["id", "received_at", "source", "address", "code"]
                .map(|key| text(&item[key]))
                .to_vec();
            row.push(list_of(&item["events"]));
            row
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["ID", "RECEIVED", "SOURCE", "FROM", "REASON", "EVENT"], &rows));
    }
}

fn show(shown: &Value, output: Output) {
    if output.json {
        return output.value(shown);
    }
    let mut lines = vec![
        format!("{}  {}", text(&shown["id"]), text(&shown["code"])),
        format!(
            "for {} from {} at {}",
            text(&shown["source"]),
            text(&shown["address"]),
            text(&shown["received_at"])
        ),
    ];
    for header in shown["payload"]["headers"].as_array().into_iter().flatten() {
        lines.push(format!("{}: {}", text(&header["name"]), shown_bytes(header)));
    }
    lines.push(String::new());
    lines.push(shown_bytes(&shown["payload"]["body"]));
    output.text(&lines.join("\n"));
}

/// A text as it is, or bytes that are none with each that is not ASCII escaped.
fn shown_bytes(value: &Value) -> String {
    match value["base64"].as_str().map(|base64| STANDARD.decode(base64)) {
        Some(Ok(bytes)) => bytes.escape_ascii().to_string(),
        _ => text(&value["text"]),
    }
}

fn list_of(ids: &Value) -> String {
    let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str);
    ids.collect::<Vec<_>>().join(" ")
}
