//! `weir hold`, `weir release`, `weir holds`: keeping work from being done, for as long as a person says.

use serde_json::{Value, json};

use super::client::{Hub, HubArgs};
use super::error::CommandError;
use super::events::text;
use super::output::{Output, table};

/// Keep a source's events, a handler's runs or a destination's sends waiting; nothing is lost or used up
///
/// What waits keeps its time and its attempts. `source:NAME` stops the runs and sends that the source's events cause;
/// what a handler sent already is the handler's: hold `destination:NAME`, or `source:@HANDLER` for all that it sends
/// and emits.
#[derive(Debug, Clone, clap::Args)]
pub struct HoldArgs {
    /// source:NAME, handler:NAME or destination:NAME
    pub scope: String,
    /// Why, for whoever finds it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// When it ends by itself: in how long, such as 2h, or a time such as 2026-11-23T15:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// End every hold that a person placed on a source, a handler or a destination
///
/// A destination or handler that is left alone because it failed (`breaker`) is tried with one delivery at once.
#[derive(Debug, Clone, clap::Args)]
pub struct ReleaseArgs {
    /// source:NAME, handler:NAME or destination:NAME; or the number of one hold
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
    let hub = Hub::find(&args.hub)?;
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
    let hub = Hub::find(&args.hub)?;
    let listed = hub.get("/api/v1/holds", &[]).await?;
    let all = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
    let meant = meant(all, &args.scope);
    // With none of a person's to end, asking for one of the hub's says why it cannot be.
    let asked = if meant.iter().any(is_a_persons_to_end) {
        meant.into_iter().filter(is_a_persons_to_end).collect()
    } else {
        meant
    };
    if asked.is_empty() {
        return Err(CommandError::NotFound(format!("there is no hold on {}", args.scope)));
    }
    for held in asked {
        let released = hub.delete(&format!("/api/v1/holds/{}", held["id"])).await?;
        if output.json {
            output.value(&released);
        } else {
            output.text(&format!("released hold {} on {}", held["id"], text(&held["scope"])));
        }
    }
    Ok(())
}

fn meant<'a>(holds: &'a [Value], scope: &str) -> Vec<&'a Value> {
    let number: Option<u64> = scope.parse().ok();
    let named =
        |held: &&Value| held["scope"] == scope || number.is_some_and(|number| held["id"] == number);
    holds.iter().filter(named).collect()
}

fn is_a_persons_to_end(held: &&Value) -> bool {
    held["by"] != "weir" || held["reason"] == "breaker"
}

pub(super) async fn holds(args: &HoldsArgs, output: Output) -> Result<(), CommandError> {
    let listed = Hub::find(&args.hub)?.get("/api/v1/holds", &[]).await?;
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
