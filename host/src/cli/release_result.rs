//! The result of the one delivery that is tried when a failing destination or handler is released.

use std::time::{Duration, Instant};

use weir_core::time::Timestamp;

use super::client::AdminClient;
use super::error::CommandError;
use crate::api::{DestinationView, HandlerView, HealthState, ListPage};
use crate::program::output::{Output, or_dash};

/// Longest wait for the result.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// Time between two questions to the hub.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The state of one destination or handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReleasedTarget {
    pub(super) health: HealthState,
    reason: Option<String>,
    next_try: Option<Timestamp>,
    failed_tries: u32,
}

impl ReleasedTarget {
    /// The reason of a pause and its end, if it is paused.
    pub(super) fn pause(&self) -> Option<String> {
        let until = self.next_try.map_or_else(String::new, |next| format!(", next try {next}"));
        let is_paused = self.health == HealthState::Paused;
        is_paused.then(|| format!("{}{until}", or_dash(self.reason.as_ref())))
    }
}

/// Reads the state of a destination or handler. None for a source, or if it does not exist.
pub(super) async fn target_state(
    hub: &AdminClient,
    scope: &str,
) -> Result<Option<ReleasedTarget>, CommandError> {
    match scope.split_once(':') {
        Some(("destination", name)) => {
            let listed: ListPage<DestinationView> = hub.get("/api/v1/destinations").await?;
            let found = listed.items.into_iter().find(|one| one.name.as_str() == name);
            Ok(found.map(|one| ReleasedTarget {
                health: one.state,
                reason: one.reason,
                next_try: one.next_try,
                failed_tries: one.failed_tries,
            }))
        }
        Some(("handler", name)) => {
            let listed: ListPage<HandlerView> = hub.get("/api/v1/handlers").await?;
            let found = listed.items.into_iter().find(|one| one.name.as_str() == name);
            Ok(found.map(|one| ReleasedTarget {
                health: one.health,
                reason: one.health_reason,
                next_try: one.next_try,
                failed_tries: one.failed_tries,
            }))
        }
        _ => Ok(None),
    }
}

/// Waits for the result of the delivery that is tried, and prints it. A failure is an error.
pub(super) async fn follow(
    hub: &AdminClient,
    scope: &str,
    before: Option<&ReleasedTarget>,
    output: Output,
) -> Result<(), CommandError> {
    let failed_before = before.map_or(0, |before| before.failed_tries);
    let say = |what: String| {
        if !output.json {
            output.text(&what);
        }
    };
    let started = Instant::now();
    loop {
        let Some(now) = target_state(hub, scope).await? else { return Ok(()) };
        match result(scope, &now, failed_before) {
            Some(Ok(success)) => {
                say(success);
                return Ok(());
            }
            Some(Err(failure)) => return Err(CommandError::Failed(failure)),
            None if started.elapsed() > WAIT_MAX => {
                let seconds = WAIT_MAX.as_secs();
                say(format!(
                    "{scope}: no delivery was due within {seconds} s; the next one is tried at once"
                ));
                return Ok(());
            }
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

/// The sentence for the result. None while there is no result.
fn result(scope: &str, now: &ReleasedTarget, failed_before: u32) -> Option<Result<String, String>> {
    let reason = or_dash(now.reason.as_ref());
    match now.health {
        HealthState::Failing if now.failed_tries > failed_before => {
            let next = or_dash(now.next_try);
            Some(Err(format!("{scope} still fails: {reason}; next try at {next}")))
        }
        HealthState::Failing => None,
        HealthState::Paused => Some(Ok(format!("{scope} is paused: {reason}"))),
        HealthState::Ok => Some(Ok(format!("{scope} is ok: its queued deliveries go on"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(health: HealthState, failed_tries: u32) -> ReleasedTarget {
        let next_try = serde_json::from_value("2026-11-23T15:00:00.000Z".into()).ok();
        ReleasedTarget { health, next_try, failed_tries, reason: Some("answered 500".into()) }
    }

    #[test]
    fn a_release_succeeds_only_if_the_delivery_does() {
        let result = |now: &ReleasedTarget| result("destination:ops", now, 1);
        assert_eq!(result(&state(HealthState::Failing, 1)), None);
        let failure =
            "destination:ops still fails: answered 500; next try at 2026-11-23T15:00:00.000Z";
        assert_eq!(result(&state(HealthState::Failing, 2)), Some(Err(failure.into())));
        assert!(result(&state(HealthState::Ok, 0)).unwrap().is_ok());
    }
}
