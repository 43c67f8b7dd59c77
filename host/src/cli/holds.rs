//! `weir hold`, `weir release`, `weir holds`: places, ends and lists holds.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::{release_result, values};
use crate::api::{HealthState, HoldView, HoldsQuery, ListPage, PlaceHoldBody};
use crate::program::output::{Output, or_dash};

/// The reason of a breaker's hold.
const BREAKER: &str = "breaker";
/// The name under which the hub places holds.
const HUB: &str = "weir";

/// Hold a source's events, a handler's runs, a destination's messages or the hub; nothing is lost
///
/// Held deliveries keep their place and their attempts. `source:NAME` stops the runs and messages
/// that the source's events cause, but not messages that a handler has already sent: for those hold
/// `destination:NAME`, or `source:@HANDLER` for all that a handler sends and emits. `hub` holds
/// everything: webhooks are stored, and nothing runs.
#[derive(Debug, Clone, clap::Args)]
pub struct HoldArgs {
    /// source:NAME, handler:NAME, destination:NAME or hub
    #[arg(value_parser = values::scope)]
    pub scope: String,
    /// Reason, for other operators
    #[arg(long, value_name = "TEXT", value_parser = values::reason)]
    pub reason: Option<String>,
    /// End of the hold: a time from now, such as 2h, or a time such as 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = values::future_moment)]
    pub until: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// End the operators' holds on a source, a handler, a destination or the hub
///
/// If a handler or destination is paused after failures (`breaker`), this tries it with one
/// delivery at once and prints the result.
#[derive(Debug, Clone, clap::Args)]
pub struct ReleaseArgs {
    /// source:NAME, handler:NAME, destination:NAME or hub; or the number of one hold
    #[arg(value_parser = values::scope_or_number)]
    pub scope: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// List the holds in force
#[derive(Debug, Clone, clap::Args)]
pub struct HoldsArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn hold(args: &HoldArgs, output: Output) -> Result<(), CommandError> {
    let HoldArgs { scope, reason, until, hub } = args.clone();
    let body = PlaceHoldBody { scope, reason, until };
    let placed: HoldView = AdminClient::find(&hub)?.post_body("/api/v1/holds", &body).await?;
    output.answer(&placed, |placed| {
        let HoldView { id, scope, until, .. } = placed;
        match until {
            Some(until) => format!("hold {id} on {scope} until {until}"),
            None => format!("hold {id} on {scope} until it is released"),
        }
    });
    Ok(())
}

pub(super) async fn release(args: &ReleaseArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let number: Option<u64> = args.scope.parse().ok();
    let query = HoldsQuery { scope: number.is_none().then(|| args.scope.clone()) };
    let listed: ListPage<HoldView> = hub.query("/api/v1/holds", &query).await?;
    let mut meant = listed.items;
    meant.retain(|held| number.is_none_or(|number| held.id == number));
    // If an operator may end none of them, the hub says why when it is asked to.
    if meant.iter().any(may_end) {
        meant.retain(may_end);
    }
    if meant.is_empty() {
        return nothing_to_release(&hub, &args.scope, number).await;
    }
    let mut tried = None;
    for held in meant {
        let before = release_result::target_state(&hub, &held.scope).await?;
        let released: HoldView = hub.delete(&format!("/api/v1/holds/{}", held.id)).await?;
        output.answer(&released, |held| format!("released hold {} on {}", held.id, held.scope));
        if held.reason == BREAKER {
            tried = Some((held.scope, before));
        }
    }
    match tried {
        Some((scope, before)) => {
            release_result::follow(&hub, &scope, before.as_ref(), output).await
        }
        None => Ok(()),
    }
}

async fn nothing_to_release(
    hub: &AdminClient,
    scope: &str,
    number: Option<u64>,
) -> Result<(), CommandError> {
    if number.is_some() {
        return Err(CommandError::NotFound(format!("there is no hold {scope}")));
    }
    let state = release_result::target_state(hub, scope).await?;
    let is_failing = state.is_some_and(|state| state.health == HealthState::Failing);
    let also = if is_failing { "; it is failing, and one delivery is being tried now" } else { "" };
    Err(CommandError::NotFound(format!("there is no hold on {scope}{also}")))
}

/// True if an operator may end this hold.
fn may_end(held: &HoldView) -> bool {
    held.by != HUB || held.reason == BREAKER
}

pub(super) async fn holds(args: &HoldsArgs, output: Output) -> Result<(), CommandError> {
    let listed: ListPage<HoldView> = AdminClient::find(&args.hub)?.get("/api/v1/holds").await?;
    let headings = ["ID", "SCOPE", "REASON", "BY", "SINCE", "UNTIL"];
    output.list(&listed.items, "no holds", headings, |held| {
        let HoldView { id, scope, reason, by, at, until } = held.clone();
        [id.to_string(), scope, reason, by, at.to_string(), or_dash(until)]
    });
    Ok(())
}
