//! `weir retry`: makes deliveries that wait for their next attempt due at once.

use super::client::{AdminClient, HubArgs};
use super::error::CommandError;
use super::release_result;
use crate::api::{RetryAnswer, RetryBody};
use crate::program::output::Output;

/// Retry waiting deliveries now; no attempts are lost
///
/// If a destination or handler is paused after failures, this tries it with one delivery at once
/// and prints the result. The hub itself retries a handler whose file has changed and a destination
/// whose configuration has.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["id", "destination", "handler"])))]
pub struct RetryArgs {
    /// A delivery, a message, or an event with all its deliveries
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// All deliveries that wait for this destination
    #[arg(long, value_name = "NAME")]
    pub destination: Option<String>,
    /// All deliveries that wait for this handler
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &RetryArgs, output: Output) -> Result<(), CommandError> {
    let name = |name: &str, kind: &str| name.trim_start_matches(kind).to_owned();
    let destination = args.destination.as_deref().map(|text| name(text, "destination:"));
    let handler = args.handler.as_deref().map(|text| name(text, "handler:"));
    let scope = match (&destination, &handler) {
        (Some(name), _) => Some(format!("destination:{name}")),
        (None, Some(name)) => Some(format!("handler:{name}")),
        (None, None) => None,
    };
    let hub = AdminClient::find(&args.hub)?;
    let before = match &scope {
        Some(scope) => release_result::target_state(&hub, scope).await?,
        None => None,
    };
    let body = RetryBody { id: args.id.clone(), destination, handler };
    let answer: RetryAnswer = hub.post_body("/api/v1/retry", &body).await?;
    output.answer(&answer, |answer| summary(answer.retried, scope.as_deref()));
    let Some(scope) = scope else { return Ok(()) };
    if answer.tried == Some(true) {
        return release_result::follow(&hub, &scope, before.as_ref(), output).await;
    }
    if let Some(pause) = before.and_then(|before| before.pause())
        && !output.json
    {
        output.text(&format!("{scope} is paused: {pause}"));
    }
    Ok(())
}

fn summary(retried: usize, target: Option<&str>) -> String {
    let target = target.map_or_else(String::new, |target| format!(" for {target}"));
    match retried {
        0 => format!("no delivery{target} waits for a retry"),
        1 => format!("1 delivery{target} is due now"),
        n => format!("{n} deliveries{target} are due now"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_deliveries() {
        let none = "no delivery for destination:ops waits for a retry";
        assert_eq!(summary(0, Some("destination:ops")), none);
        assert_eq!(summary(1, None), "1 delivery is due now");
        assert_eq!(summary(3, Some("handler:a")), "3 deliveries for handler:a are due now");
    }
}
