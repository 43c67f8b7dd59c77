//! `weir hold`, `weir release`, `weir holds`: keeping work from being done, for as long as a person says.

use serde_json::{Value, json};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::text;
use super::{trial, words};
use crate::program::output::{Output, table};

/// The reason of a hold that stands for failures.
const BREAKER: &str = "breaker";

/// Hold a source's events, a handler's runs or a destination's messages; nothing is lost or used up
///
/// Held deliveries keep their time and their attempts. `source:NAME` stops the runs and sends that the source's events cause;
/// what a handler sent already is the handler's: hold `destination:NAME`, or `source:@HANDLER` for all that it sends
/// and emits.
#[derive(Debug, Clone, clap::Args)]
pub struct HoldArgs {
    /// source:NAME, handler:NAME or destination:NAME
    #[arg(value_parser = words::scope)]
    pub scope: String,
    /// The reason, for other operators
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    pub reason: Option<String>,
    /// When it ends by itself: in how long, such as 2h, or a time such as 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = words::moment_to_come)]
    pub until: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// End the holds of operators on a source, a handler or a destination
///
/// A destination or handler that is paused after failures (`breaker`) is tried with one delivery at once, and this says
/// how that went.
#[derive(Debug, Clone, clap::Args)]
pub struct ReleaseArgs {
    /// source:NAME, handler:NAME or destination:NAME; or the number of one hold
    #[arg(value_parser = words::scope_or_number)]
    pub scope: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// List the holds in force.
#[derive(Debug, Clone, clap::Args)]
pub struct HoldsArgs {
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn hold(args: &HoldArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let mut asked = json!({ "scope": args.scope });
    for (key, said) in [("reason", &args.reason), ("until", &args.until)] {
        if let Some(said) = said {
            asked[key] = said.as_str().into();
        }
    }
    let placed = hub.post_json("/api/v1/holds", &asked).await?;
    if output.json {
        output.value(&placed);
    } else {
        let end = match placed["until"].is_null() {
            true => "until it is released".to_owned(),
            false => format!("until {}", text(&placed["until"])),
        };
        output.text(&format!("hold {} on {} {end}", text(&placed["id"]), text(&placed["scope"])));
    }
    Ok(())
}

pub(super) async fn release(args: &ReleaseArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let number: Option<u64> = args.scope.parse().ok();
    let of_scope = number.is_none().then_some(args.scope.as_str());
    let listed = hub.get("/api/v1/holds", &[("scope", of_scope)]).await?;
    let all = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    let meant: Vec<&Value> =
        all.iter().filter(|held| number.is_none_or(|number| held["id"] == number)).collect();
    // With none that an operator may end, asking for one of the hub's says why it cannot be.
    let asked: Vec<&Value> = if meant.iter().any(is_an_operators_to_end) {
        meant.into_iter().filter(is_an_operators_to_end).collect()
    } else {
        meant
    };
    if asked.is_empty() {
        return nothing_to_release(&hub, &args.scope, number).await;
    }
    let mut tried = None;
    for held in asked {
        let scope = text(&held["scope"]);
        let before = trial::standing(&hub, &scope).await?;
        let released = hub.delete(&format!("/api/v1/holds/{}", held["id"])).await?;
        if output.json {
            output.value(&released);
        } else {
            output.text(&format!("released hold {} on {scope}", held["id"]));
        }
        if held["reason"] == BREAKER {
            tried = Some((scope, before));
        }
    }
    match tried {
        Some((scope, before)) => trial::follow(&hub, &scope, &before, output).await,
        None => Ok(()),
    }
}

async fn nothing_to_release(
    hub: &AdminClient,
    scope: &str,
    number: Option<u64>,
) -> Result<(), CommandError> {
    if number.is_some() {
        return Err(CommandError::NotFound(format!("no hold {scope} is in force")));
    }
    let standing = trial::standing(hub, scope).await?;
    let failing = standing.is_some_and(|standing| standing.state == "failing");
    let also = if failing { "; it is failing, and one delivery is being tried now" } else { "" };
    Err(CommandError::NotFound(format!("there is no hold on {scope}{also}")))
}

fn is_an_operators_to_end(held: &&Value) -> bool {
    held["by"] != "weir" || held["reason"] == BREAKER
}

pub(super) async fn holds(args: &HoldsArgs, output: Output) -> Result<(), CommandError> {
    let listed = AdminClient::find(&args.hub)?.get("/api/v1/holds", &[]).await?;
    let items = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    if output.json {
        items.iter().for_each(|item| output.value(item));
    } else if items.is_empty() {
        output.text("no holds");
    } else {
        let row = |item: &Value| {
            ["id", "scope", "reason", "by", "at", "until"].map(|key| text(&item[key])).to_vec()
        };
        let rows: Vec<_> = items.iter().map(row).collect();
        output.text(&table(&["ID", "SCOPE", "REASON", "BY", "SINCE", "UNTIL"], &rows));
    }
    Ok(())
}
