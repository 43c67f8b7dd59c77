//! `weir retry`: makes deliveries that wait for a retry due at once.

use serde_json::{Value, json};

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::events::text;
use super::trial;
use crate::program::output::Output;

/// Retry now the deliveries that wait for their next attempt; no attempts are lost
///
/// A destination or handler that is paused after failures is tried with one delivery at once, and this says how that
/// went. A handler whose file has changed, and a destination whose configuration has, are retried by the hub itself.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["id", "destination", "handler"])))]
pub struct RetryArgs {
    /// Of a delivery, a message, or an event with all that waits of it
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Everything that waits for this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// Everything that waits for this handler
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &RetryArgs, output: Output) -> Result<(), CommandError> {
    let hub = AdminClient::find(&args.hub)?;
    let (kind, name) = match (&args.id, &args.destination, &args.handler) {
        (Some(id), ..) => ("id", id.as_str()),
        (None, Some(name), _) => ("destination", name.trim_start_matches("destination:")),
        (None, None, Some(name)) => ("handler", name.trim_start_matches("handler:")),
        (None, None, None) => return Ok(()),
    };
    let scope = format!("{kind}:{name}");
    let before = trial::standing(&hub, &scope).await?;
    let done = hub.post_json("/api/v1/retry", &json!({ kind: name })).await?;
    if output.json {
        output.value(&done);
    } else {
        output.text(&told(&done, (kind != "id").then_some(scope.as_str())));
    }
    if done["tried"] == true {
        return trial::follow(&hub, &scope, &before, output).await;
    }
    if let Some(paused) = before.and_then(|before| before.paused())
        && !output.json
    {
        output.text(&format!("{scope} is paused: {paused}"));
    }
    Ok(())
}

fn told(done: &Value, target: Option<&str>) -> String {
    let to = target.map_or_else(String::new, |target| format!(" for {target}"));
    match done["retried"].as_u64() {
        Some(0) | None => format!("nothing{to} waits for a retry"),
        Some(1) => format!("1 delivery{to} is due now"),
        Some(_) => format!("{} deliveries{to} are due now", text(&done["retried"])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_retried_is_said_in_numbers() {
        let said = |n: u64, target| told(&json!({ "retried": n }), target);
        assert_eq!(
            said(0, Some("destination:ops")),
            "nothing for destination:ops waits for a retry"
        );
        assert_eq!(said(1, None), "1 delivery is due now");
        assert_eq!(said(3, Some("handler:a")), "3 deliveries for handler:a are due now");
    }
}
