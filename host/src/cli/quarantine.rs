//! `weir quarantine`: lists, shows and releases requests with an invalid signature.

use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use weir_core::name::SourceName;

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use crate::api::{
    BytesView, QuarantineDetail, QuarantineItem, QuarantineQuery, ReleaseAllAnswer, ReleaseAnswer,
    ReleaseBody, StillInvalid,
};
use crate::program::output::Output;

/// List, show and release requests with an invalid signature
#[derive(Debug, Clone, clap::Args)]
pub struct QuarantineArgs {
    #[command(subcommand)]
    pub act: QuarantineAct,
}

/// An act on quarantined requests.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum QuarantineAct {
    /// List quarantined requests, newest first
    List {
        /// Filter by source
        #[arg(long)]
        source: Option<SourceName>,
        /// Include released requests
        #[arg(long)]
        released: bool,
        /// Most requests to print
        #[arg(long, default_value = "50")]
        limit: NonZeroUsize,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Show a quarantined request with its headers and body
    Show {
        /// Id of the request, qrt_…
        id: String,
        #[command(flatten)]
        hub: HubArgs,
    },
    /// Re-check quarantined requests with the current secrets and accept those that now verify
    ///
    /// A signature's age counts from when the request arrived, not from now.
    Release {
        /// Ids of the requests, qrt_… [default: all]
        ids: Vec<String>,
        /// Filter by source
        #[arg(long, conflicts_with = "ids")]
        source: Option<SourceName>,
        #[command(flatten)]
        hub: HubArgs,
    },
}

pub(super) async fn run(args: &QuarantineArgs, output: Output) -> Result<(), CommandError> {
    match &args.act {
        QuarantineAct::List { source, released, limit, hub } => {
            let query = |limit, cursor| QuarantineQuery {
                source: source.clone(),
                released: released.then_some(true),
                limit,
                cursor,
            };
            let hub = AdminClient::find(hub)?;
            let items = hub.list("/api/v1/quarantine", limit.get(), query).await?;
            list(&items, output);
            Ok(())
        }
        QuarantineAct::Show { id, hub } => {
            let path = format!("/api/v1/quarantine/{}", path_id(id)?);
            let request: QuarantineDetail = AdminClient::find(hub)?.get(&path).await?;
            output.answer(&request, show);
            Ok(())
        }
        QuarantineAct::Release { ids, source, hub } if ids.is_empty() => {
            release_all(&AdminClient::find(hub)?, source.as_ref(), output).await
        }
        QuarantineAct::Release { ids, hub, .. } => {
            let hub = AdminClient::find(hub)?;
            for id in ids {
                let path = format!("/api/v1/quarantine/{}/release", path_id(id)?);
                let released: ReleaseAnswer = hub.post(&path).await?;
                output.answer(&released, |released| {
                    format!("{id} accepted: {}", released.events.join(" "))
                });
            }
            Ok(())
        }
    }
}

async fn release_all(
    hub: &AdminClient,
    source: Option<&SourceName>,
    output: Output,
) -> Result<(), CommandError> {
    let (mut released, mut refused) = (0, Vec::new());
    let mut body = ReleaseBody { source: source.map(ToString::to_string), after: None };
    loop {
        let answer: ReleaseAllAnswer = hub.post_body("/api/v1/quarantine/release", &body).await?;
        if output.json {
            output.value(&answer);
        }
        released += answer.released.len();
        refused.extend(answer.refused);
        match answer.next {
            Some(next) => body.after = Some(next.to_string()),
            None => break,
        }
    }
    if output.json {
        return Ok(());
    }
    output.text(&format!("{released} accepted, {} still invalid", refused.len()));
    if !refused.is_empty() {
        let row = |StillInvalid { id, code }: StillInvalid| vec![id.to_string(), code];
        let rows: Vec<_> = refused.into_iter().map(row).collect();
        output.table(&["ID", "REASON"], &rows);
    }
    Ok(())
}

fn list(items: &[QuarantineItem], output: Output) {
    let headings = ["ID", "RECEIVED", "SOURCE", "FROM", "REASON", "EVENT"];
    output.list(items, "no quarantined requests", headings, |item| {
        let QuarantineItem { id, source, address, received_at, code, events, .. } = item;
        let events = events.as_ref().map_or_else(String::new, |events| events.join(" "));
        let (id, received_at) = (id.to_string(), received_at.to_string());
        [id, received_at, source.clone(), address.clone(), code.clone(), events]
    });
}

fn show(detail: &QuarantineDetail) -> String {
    let QuarantineItem { id, source, address, received_at, code, .. } = &detail.request;
    let mut lines =
        vec![format!("{id}  {code}"), format!("for {source} from {address} at {received_at}")];
    for header in &detail.payload.headers {
        lines.push(format!("{}: {}", header.name, escaped(&header.value)));
    }
    lines.push(String::new());
    lines.push(escaped(&detail.payload.body.shown));
    lines.join("\n")
}

/// Text as it is; other bytes with each that is not ASCII escaped.
fn escaped(bytes: &BytesView) -> String {
    match bytes {
        BytesView::Text(text) => text.clone(),
        BytesView::Base64(base64) => match STANDARD.decode(base64) {
            Ok(bytes) => bytes.escape_ascii().to_string(),
            Err(_) => base64.clone(),
        },
    }
}
