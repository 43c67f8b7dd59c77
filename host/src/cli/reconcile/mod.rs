//! `weir reconcile`: compares a provider's own list with what the hub has, and brings what is
//! missing.
//!
//! `known` reads what the hub has. `github` asks the provider to send again, so that the signature
//! is checked as always; `stripe` and `shopify` bring the events through the hub's API, marked.

mod bring;
mod github;
mod known;
mod shopify;
mod stripe;

use std::time::Duration;

use serde::Serialize;
use weir_core::name::SourceName;
use weir_core::time::{Clock as _, Timestamp};
use weir_core::units::parse_duration;

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::provider_account::AccountArgs;
use crate::api::params::PointInTime;
use crate::config::SourcePlace;
use crate::program::output::Output;
use crate::runtime::clock::SystemClock;

/// Find and bring events that a provider sent and the hub does not have
///
/// Reads the provider's own list: the deliveries of a GitHub webhook, the events of Stripe, the
/// changed resources of Shopify. Prints what is missing and changes nothing; with --apply, GitHub
/// sends again, and the events of Stripe and Shopify are stored through the hub's API, as the
/// scheme provider-api, since no signature vouches for them. That needs a token with the role
/// admin.
#[derive(Debug, Clone, clap::Args)]
pub struct ReconcileArgs {
    /// The provider
    #[arg(value_parser = ["github", "stripe", "shopify"])]
    pub provider: String,
    /// The source [default: the name of the provider]
    #[arg(long, value_name = "NAME", value_parser = str::parse::<SourceName>)]
    pub source: Option<SourceName>,
    /// Begin of the period, such as 24h or 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    pub since: PointInTime,
    /// Bring what is missing
    #[arg(long)]
    pub apply: bool,
    /// GitHub: id of the webhook [default: the one with the URL of the source]
    #[arg(long, value_name = "ID")]
    pub hook: Option<String>,
    /// Shopify: kind of resources, such as orders, products or customers. Repeatable
    #[arg(long, value_name = "KIND", default_value = "orders")]
    pub kind: Vec<String>,
    /// URL of the source at the provider [default: by public_url in the configuration]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// GitHub: longest wait until what was sent again has arrived
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub wait: Duration,
    #[command(flatten)]
    pub account: AccountArgs,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Something that the provider has and the hub has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct MissingEvent {
    /// The provider's id.
    id: String,
    #[serde(rename = "type")]
    kind: String,
    /// The time at the provider.
    at: String,
    /// The provider's word on its delivery.
    provider_says: String,
    /// `missing`, `arrived`, `stored`, `duplicate`, `requested` or `refused`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The result of a comparison.
#[derive(Debug, Default)]
struct Comparison {
    /// Events at the provider.
    looked_at: usize,
    missing: Vec<MissingEvent>,
    notes: Vec<String>,
}

/// The flags with what was found out of them.
struct Task<'a> {
    args: &'a ReconcileArgs,
    hub: AdminClient,
    source: SourceName,
    since: Timestamp,
    /// The URL of the source, if it is known.
    url: Option<String>,
}

pub(super) async fn run(args: &ReconcileArgs, output: Output) -> Result<(), CommandError> {
    let source = match &args.source {
        Some(source) => source.clone(),
        None => SourceName::configured(&args.provider)
            .map_err(|error| CommandError::Usage(error.to_string()))?,
    };
    let place = SourcePlace::find(args.hub.config.as_deref(), source.as_str()).ok();
    let task = Task {
        args,
        hub: AdminClient::find(&args.hub)?,
        since: args.since.resolve(SystemClock.now()),
        url: args.url.clone().or_else(|| place?.url),
        source,
    };
    let compared = match args.provider.as_str() {
        "github" => github::reconcile(&task).await?,
        "stripe" => stripe::reconcile(&task).await?,
        _ => shopify::reconcile(&task).await?,
    };
    print(args, &compared, output)
}

fn print(args: &ReconcileArgs, compared: &Comparison, output: Output) -> Result<(), CommandError> {
    let Comparison { looked_at, missing, notes } = compared;
    if output.json {
        missing.iter().for_each(|one| output.value(one));
    } else if !missing.is_empty() {
        let row = |one: &MissingEvent| {
            let reason = one.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            let outcome = format!("{}{reason}", one.outcome);
            vec![
                one.id.clone(),
                one.kind.clone(),
                one.at.clone(),
                one.provider_says.clone(),
                outcome,
            ]
        };
        let rows: Vec<_> = missing.iter().map(row).collect();
        output.table(&["ID", "TYPE", "AT", "PROVIDER", "OUTCOME"], &rows);
    }
    notes.iter().for_each(|note| output.problem(note));
    let count = missing.len();
    let says = match (count, args.apply) {
        (0, _) => format!("nothing is missing of {looked_at}"),
        (_, false) => format!("{count} of {looked_at} are missing; --apply brings them"),
        (_, true) => format!("{count} of {looked_at} were missing"),
    };
    output.problem(&says);
    let is_left = |one: &&MissingEvent| matches!(one.outcome, "refused" | "requested");
    match missing.iter().filter(is_left).count() {
        0 => Ok(()),
        left => Err(CommandError::Failed(format!("{left} of {count} are still missing"))),
    }
}
