//! `weir why`: explains where an event was routed, and what it is waiting for.

use weir_core::delivery::Outcome;

use super::client::{AdminClient, HubArgs, path_id};
use super::error::CommandError;
use super::events::{other_version, show_message, waiting};
use crate::api::{CandidateView, RoutedDelivery, WhyAnswer};
use crate::program::output::Output;

/// Explain where an event was routed, and what it is waiting for
#[derive(Debug, Clone, clap::Args)]
pub struct WhyArgs {
    /// The id of the event, or of one of its deliveries, messages or attempts, or the sender's own
    /// id
    pub id: String,
    #[command(flatten)]
    pub hub: HubArgs,
}

pub(super) async fn run(args: &WhyArgs, output: Output) -> Result<(), CommandError> {
    let path = format!("/api/v1/events/{}/why", path_id(&args.id)?);
    let why: WhyAnswer = AdminClient::find(&args.hub)?.get(&path).await?;
    output.answer(&why, show);
    Ok(())
}

fn show(why: &WhyAnswer) -> String {
    let WhyAnswer {
        event,
        source,
        kind,
        category,
        status,
        table,
        trace,
        considered,
        deliveries,
        ..
    } = why;
    let category = category.map_or_else(String::new, |category| format!(", category {category}"));
    let mut lines = vec![
        format!("{event}  {source}:{kind}{category}"),
        format!("status     {status}"),
        format!("table      {table}"),
    ];
    lines.extend(trace.as_ref().map(|trace| format!("trace      {trace}")));
    match considered.as_deref() {
        None => lines.push("the routing table of that time is no longer stored".into()),
        Some([]) => {
            lines.push("there were no handlers or routes when this event arrived".into());
        }
        Some(all) => lines.extend(all.iter().map(candidate)),
    }
    for delivery in deliveries {
        let RoutedDelivery { id, target, state, due_at, waiting: reason, messages, .. } = delivery;
        lines.push(format!("{id} -> {target}  {state}"));
        lines.extend(delivery.order_key.as_ref().map(|key| format!("  in the order of {key}")));
        lines.extend(last_error(delivery));
        lines.extend(other_run(delivery));
        lines.extend(waiting(target, reason.as_ref(), *due_at).map(|line| format!("  {line}")));
        for message in messages {
            lines.extend(show_message(message).iter().map(|line| format!("  {line}")));
        }
    }
    lines.join("\n")
}

/// The failure of the last attempt, if it failed.
fn last_error(delivery: &RoutedDelivery) -> Option<String> {
    let last = delivery.last_attempt.as_ref().filter(|last| last.outcome != Outcome::Ok)?;
    let reason = last.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let (number, at, outcome) = (last.number, last.started_at, last.outcome);
    Some(format!("  last error: attempt {number} at {at}, {outcome}{reason}"))
}

/// The run under another version in the last attempt, which failed.
fn other_run(delivery: &RoutedDelivery) -> Option<String> {
    let last = delivery.last_attempt.as_ref()?;
    let other = last.other.as_ref()?;
    let ran = last.version.as_deref().unwrap_or("-");
    Some(format!("  {}", other_version(ran, other)))
}

/// A rule with the reason why it matched or did not.
fn candidate(candidate: &CandidateView) -> String {
    let CandidateView { target, matched, refused, never, condition_false, error, .. } = candidate;
    if let Some(error) = error {
        return format!("  not matched: {target}: the rule failed: {error}");
    }
    if let Some(condition) = condition_false {
        return format!("  not matched: {target}: `{condition}` was false");
    }
    if let Some(pattern) = matched {
        let when = candidate.condition.as_ref().map(|when| format!(", when {when}"));
        return format!("  matched:     {target} by {pattern}{}", when.unwrap_or_default());
    }
    let mut lines = vec![format!("  not matched: {target} wants {}", refused.join(", "))];
    lines.extend(never.iter().map(|never| format!("    {never}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_explanation_shows_matches_errors_and_holds() {
        let why = json!({
            "event": "evt_00000000000000000000000001", "source": "github", "type": "push",
            "category": "created", "status": "held", "table": "ab12",
            "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
            "considered": [
                { "rule": "handler:chat", "target": "handler:chat", "matched": "github:*",
                  "refused": ["stripe:*"], "condition": "event.body.paid" },
                { "rule": "route:2", "target": "handler:b", "matched": null, "refused": [],
                  "condition_false": "amount > 5" },
                { "rule": "route:1", "target": "destination:ops", "matched": null,
                  "refused": ["stripe:*", "a:b"],
                  "never": ["`a:b` matches no event: a has no such type"] },
            ],
            "deliveries": [{
                "id": "dlv_00000000000000000000000001", "target": "handler:chat",
                "state": "pending",
                "held": true, "attempts": 2, "reason": "boom", "due_at": null, "order_key": "c7",
                "last_attempt": {
                    "number": 2, "started_at": "2026-11-23T15:00:00.000Z", "outcome": "crashed",
                    "reason": "boom",
                    "response_status": null,
                },
                "messages": [{
                    "id": "dlv_00000000000000000000000002",
                    "event": "evt_00000000000000000000000001", "cause": null, "message": null,
                    "target": "destination:ops", "state": "processed",
                    "held": false, "generation": 0, "attempts": 1, "due_at": null, "reason": null,
                }],
                "waiting": {
                    "for": "hold", "hold": 3, "scope": "handler:chat", "by": "operator",
                    "reason": "a bad release", "until": null,
                },
                "holds": [{ "id": 3, "scope": "handler:chat", "reason": "a bad release" }],
            }],
        });
        let why: WhyAnswer = serde_json::from_value(why).unwrap();
        assert_eq!(
            show(&why),
            "\
evt_00000000000000000000000001  github:push, category created
status     held
table      ab12
trace      4bf92f3577b34da6a3ce929d0e0e4736
  matched:     handler:chat by github:*, when event.body.paid
  not matched: handler:b: `amount > 5` was false
  not matched: destination:ops wants stripe:*, a:b
    `a:b` matches no event: a has no such type
dlv_00000000000000000000000001 -> handler:chat  pending
  in the order of c7
  last error: attempt 2 at 2026-11-23T15:00:00.000Z, crashed: boom
  waiting: hold 3 on handler:chat by operator: a bad release
  sent dlv_00000000000000000000000002 to destination:ops  processed"
        );
    }
}
