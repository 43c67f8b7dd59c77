//! The outcome of the delivery that is tried when a failing destination or handler is released.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::AdminClient;
use super::error::CommandError;
use super::events::text;
use crate::program::output::Output;

/// Longest wait for the outcome.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two questions to the hub.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The state of one destination or handler, as the hub tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetState {
    pub(super) state: String,
    next_try: Value,
    failed_tries: u64,
    reason: String,
}

impl TargetState {
    /// The reason of a pause and its end, if it is paused.
    pub(super) fn paused(&self) -> Option<String> {
        let until = match self.next_try.is_null() {
            true => String::new(),
            false => format!(", next try {}", text(&self.next_try)),
        };
        (self.state == "paused").then(|| format!("{}{until}", self.reason))
    }
}

/// Asks for the state of a destination or handler; none for a source, or if it is not there.
pub(super) async fn standing(
    hub: &AdminClient,
    scope: &str,
) -> Result<Option<TargetState>, CommandError> {
    let (path, state, reason, name) = match scope.split_once(':') {
        Some(("destination", name)) => ("/api/v1/destinations", "state", "reason", name),
        Some(("handler", name)) => ("/api/v1/handlers", "health", "health_reason", name),
        _ => return Ok(None),
    };
    let listed = hub.get(path, &[]).await?;
    let found = listed["items"].as_array().into_iter().flatten().find(|item| item["name"] == name);
    Ok(found.map(|item| TargetState {
        state: text(&item[state]),
        next_try: item["next_try"].clone(),
        failed_tries: item["failed_tries"].as_u64().unwrap_or_default(),
        reason: text(&item[reason]),
    }))
}

/// Waits for the outcome of the delivery that is tried, and prints it. A failure is an error.
pub(super) async fn follow(
    hub: &AdminClient,
    scope: &str,
    before: &Option<TargetState>,
    output: Output,
) -> Result<(), CommandError> {
    let failed_before = before.as_ref().map_or(0, |before| before.failed_tries);
    let say = |what: String| {
        if !output.json {
            output.text(&what);
        }
    };
    let begun = Instant::now();
    loop {
        let Some(now) = standing(hub, scope).await? else { return Ok(()) };
        match verdict(scope, &now, failed_before) {
            Some(Ok(well)) => {
                say(well);
                return Ok(());
            }
            Some(Err(failed)) => return Err(CommandError::Failed(failed)),
            None if begun.elapsed() > PATIENCE => {
                say(format!(
                    "{scope}: nothing was due within {} s; the next delivery that is due is tried at once",
                    PATIENCE.as_secs()
                ));
                return Ok(());
            }
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The sentence for an outcome; none while it is open.
fn verdict(scope: &str, now: &TargetState, failed_before: u64) -> Option<Result<String, String>> {
    match now.state.as_str() {
        "failing" if now.failed_tries > failed_before => {
            let (reason, next) = (&now.reason, text(&now.next_try));
            Some(Err(format!("{scope} still fails: {reason}; next try at {next}")))
        }
        "failing" => None,
        "paused" => Some(Ok(format!("{scope} is paused: {}", now.reason))),
        _ => Some(Ok(format!("{scope} is ok: what waited for it goes on"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: &str, failed_tries: u64) -> TargetState {
        let next_try = serde_json::json!("2026-11-23T15:00:00Z");
        TargetState { state: state.into(), next_try, failed_tries, reason: "answered 500".into() }
    }

    #[test]
    fn a_release_is_a_success_only_if_the_delivery_went_well() {
        let said = |now: &TargetState| verdict("destination:ops", now, 1);
        assert_eq!(said(&standing("failing", 1)), None);
        assert_eq!(
            said(&standing("failing", 2)),
            Some(Err(
                "destination:ops still fails: answered 500; next try at 2026-11-23T15:00:00Z"
                    .into()
            ))
        );
        assert!(said(&standing("ok", 0)).unwrap().is_ok());
    }
}
